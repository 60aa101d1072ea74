/* system.h: what the files of the FreeBSD backend share; these need FreeBSD to compile. */
#ifndef VMWIRE_HOST_FREEBSD_SYSTEM_H
#define VMWIRE_HOST_FREEBSD_SYSTEM_H

#include "host/freebsd/freebsd.h"
#include "host/guest.h"
#include "host/shared.h"

struct freebsd_host {
    struct host host;
    struct arena arena; /* lives as long as the host */
    struct freebsd_names
        made; /* taps that this process opened: nobody has them open yet, and they are not stale */
};

/* What a program said. */
struct freebsd_answer {
    const char *output, *errors; /* never NULL */
    int status;
};

/* run.c: run one program to its end.  0 when it ended (look at answer->status), else -ENOENT, -ETIMEDOUT, …;
 * what it printed lives in the arena. */
int freebsd_run(struct arena *arena, const struct freebsd_command *command, struct freebsd_answer *answer,
                struct err *err);
/* The same for a program of words, ending in NULL, that has to succeed: -EIO with what it said. */
int freebsd_ask(struct arena *arena, const char *const words[], struct freebsd_answer *answer,
                struct err *err);
#define FREEBSD_ASK(arena, answer, err, ...)                                                                 \
    freebsd_ask((arena), (const char *const[]){__VA_ARGS__, NULL}, (answer), (err))

/* observe.c */
int freebsd_observe(struct host *host, struct arena *arena, unsigned what, struct observed *observed,
                    struct err *err);
/* One interface; -ENODEV when it is not there.  `observed` gets it and its addresses. */
int freebsd_link_get(struct arena *arena, const char *name, struct observed *observed, struct err *err);

/* lock_observe.c */
/* What guests of a network are held to, by its file; without one, nothing. */
int freebsd_lock_read(struct arena *arena, const char *network, struct lock *lock, struct err *err);
void freebsd_lock_files(struct arena *arena, struct observed *observed); /* of all networks: needs files */
void freebsd_lock_sysctls_observe(struct arena *arena, struct observed *observed);
/* Nics'; `counts`: what was dropped of them, too.  Needs links. */
int freebsd_locks_observe(struct arena *arena, bool counts, struct observed *observed, struct err *err);

/* apply.c */
int freebsd_apply(struct host *host, const struct op *op, unsigned flags, struct err *err);

/* rates_system.c: needs the links.  `probe`: what only a host that is to be changed is asked. */
int freebsd_rates_observe(struct arena *arena, struct observed *observed, struct err *err);
void freebsd_rates_probe(struct arena *arena, struct observed *observed);
/* A nic's own, before its program has it; and what a tap leaves behind. */
int freebsd_rates_open(struct arena *arena, const struct nic_request *request, const char *tap,
                       struct err *err);
void freebsd_rates_close(struct arena *arena, const char *tap);

/* tap.c */
int freebsd_nic_open(struct host *host, const struct nic_request *request, struct nic_open *nic,
                     struct err *err);
int freebsd_nic_close(struct host *host, const char *tap, struct err *err);
int freebsd_nics_settle(struct host *host, struct err *err);

/* guest.c */
extern const struct host_guest freebsd_guest;
/* Run all, and stop at the first that fails; `what` is for the message. */
int freebsd_run_all(struct arena *arena, const struct freebsd_commands *commands, const char *what,
                    struct err *err);

/* guest_act.c: host_guest's of what is called in the guest */
int freebsd_guest_lease(const char *ifname, const char *program, int timeout_ms, struct guest_lease *lease,
                        struct err *err);
int freebsd_guest_address_set(const char *ifname, const struct prefix *address, const struct ip *gateway,
                              struct err *err);

/* guest_kernel.c: what guests ask of the kernel. */
/* The caller becomes the only process of a jail with a network stack of its own, which ends with it; its
 * number. -ENOSYS in words where the kernel has none (VIMAGE), -EPERM. */
int freebsd_jail_enter(struct err *err);
void freebsd_jail_remove(int jail); /* and every process in it */
/* host_guest's of the same names */
int freebsd_guest_arp_open(const char *ifname);
size_t freebsd_guest_arp_read(int fd, void *frame, size_t size);
void freebsd_guest_never_fragment(int fd);

#endif
