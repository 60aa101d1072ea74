/* rate_kernel.h: what rate_observe.c reads of shapers and nics, for rate.c too. */
#ifndef VMWIRE_HOST_LINUX_RATE_KERNEL_H
#define VMWIRE_HOST_LINUX_RATE_KERNEL_H

#include <linux/pkt_sched.h>

#include "host/linux/linux.h"

struct shaper_class {
    unsigned minor;
    struct rate rate; /* its limit; bits_s 0: SHAPER_UNLIMITED */
};

struct shaper_classes {
    struct arena *arena;
    VEC(struct shaper_class) list;
};

/* The classes of a shaper, by its interface's index. */
int shaper_classes_read(struct linux_host *host, int index, struct shaper_classes *classes, struct err *err);
/* Of all nics together; none where it has no class for that. */
int shaper_limit(struct linux_host *host, int index, struct rate *limit, struct err *err);
/* Does it have its root? And the filter that finds nics' classes? */
int shaper_root_there(struct linux_host *host, int index, bool *there, struct err *err);
int shaper_finder_there(struct linux_host *host, int index, bool *there, struct err *err);
/* Bytes, of a class's burst in ticks of 64 ns. */
uint32_t shaper_burst(uint32_t time, uint64_t bits_s);

/* A tap's hook of this way, and the index of the interface that it redirects to; 0: none, -1: to one that is
 * gone. */
static inline uint32_t rate_hook(enum rate_way way)
{
    return TC_H_MAKE(TC_H_CLSACT, way == RATE_OUT ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
}
/* A filter's preference.  u32 shows the filters of both hooks at each when they have the same. */
#define RATE_PREFERENCE(parent) ((parent) == rate_hook(RATE_IN) ? 2U : 1U)
int redirect_target(struct linux_host *host, int index, uint32_t hook, int *target, struct err *err);

#endif
