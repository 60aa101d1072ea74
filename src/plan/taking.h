/* taking.h: what the files that give devices away share (device_steps.c, device_functions.c). */
#ifndef VMWIRE_PLAN_TAKING_H
#define VMWIRE_PLAN_TAKING_H

#include "plan/device.h"
#include "plan/internal.h"

/* The driver that hands devices of this host to guests; SR-IOV functions are vfio-pci's. */
#define PASSTHROUGH_DRIVER "vfio-pci"
static inline const char *passthrough_driver(const struct observed *observed)
{
    return observed->traits.passthrough_driver ? observed->traits.passthrough_driver : PASSTHROUGH_DRIVER;
}

/* One machine's, or one network's, taking. */
struct taking {
    struct planner *planner;
    struct device_records records;
    const char *machine;     /* "" for `up` */
    VEC(const char *) taken; /* addresses so far */
    VEC(const char *) pools; /* parents whose functions are created in this plan */
};

/* "0000:02:00.0 (enp2s0)" */
const char *device_label(struct arena *arena, const struct device *device);
void device_record_write(struct planner *planner, const struct device_record *record);
/* The record's next operation for giving back. */
void device_former_add(struct planner *planner, struct device_record *record, struct op op);
/* Why the group of a device that could go cannot, with the cure: another machine has part of it.  NULL: it
 * can. */
const char *device_group_taken(struct taking *taking, const struct device *device);
/* The steps by which the device goes to the passthrough driver, the record first; what was is added to it. */
void device_bind_steps(struct taking *taking, const struct device *device, struct device_record *record);
/* A function of `parent` for a nic: its address, or NULL after a problem.  `nic` NULL: only make the pool. */
const char *take_function(struct taking *taking, const struct network *network, const struct device *parent,
                          const struct nic *nic);

#endif
