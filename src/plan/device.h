/* device.h: PCI devices on their way to a guest and back: which one a network means, whether it may go, and
 * the operations.  Pure functions.
 *
 * A device that is away from the host has a record, RUN/device/ADDRESS (struct device_record): the operations
 * by which it comes back, written before anything changes.  So whoever comes later, also after a kill -9, can
 * give it back without the file, and a name in the file still means the card that has it no more. */
#ifndef VMWIRE_PLAN_DEVICE_H
#define VMWIRE_PLAN_DEVICE_H

#include "plan/plan.h"

struct device_record {
    const char *address; /* of the device; of the parent for a pool of functions */
    const char *network;
    const char *machine; /* that has it; "" while nobody has */
    bool keep; /* it stays with vfio-pci (a pool: stays) when its machine ends; `down` gives it back */
    VEC(struct op) former; /* the operations that give it back, in order; OP_FUNCTIONS_SET for a pool */
};

/* RUN/device/ADDRESS */
const char *device_record_path(struct arena *arena, const char *run_dir, const char *address);
const char *device_record_format(struct arena *arena, const struct device_record *record);
/* Lines "network NET", "machine NAME", "keep", "former OPERATION".  -EINVAL with the line's number. */
int device_record_parse(struct arena *arena, const char *address, const char *text,
                        struct device_record *record, struct err *err);
/* All that `observed` holds. */
struct device_records {
    VEC(struct device_record) list;
};
int device_records_read(struct arena *arena, const struct observed *observed, struct device_records *records,
                        struct err *err);
const struct device_record *device_record_find(const struct device_records *records, const char *address);

/* The device that a network means, also when its interface is gone: NULL when this host has none. The parent
 * for an SR-IOV function. */
const struct device *device_of_network(const struct observed *observed, const struct device_records *records,
                                       const struct device_ref *ref);

/* Mark as `wanted` what a network may take: its device, or all functions that its parent has now. */
void device_want(struct observed *observed, const struct device_records *records,
                 const struct device_ref *ref);

/* Who asks whether a device may go. */
struct device_asker {
    const char *const *together; /* NULL-terminated addresses that go to the same machine; may be NULL */
    bool in_use_take;            /* also when the host uses it, even when it is reached by it */
};

/* Why a guest cannot have this device, with the cure, as one sentence ("group 12 also holds …"); NULL: it
 * can. */
const char *device_fault(struct arena *arena, const struct observed *observed, const struct device *device,
                         const struct device_asker *asker);

/* What on the host uses its interface: "default route, address 192.168.87.9/24, port of 'br0', below
 * 'enp3s0.20'";
 * "" nothing. */
const char *device_use(struct arena *arena, const struct observed *observed, const struct device *device);

/* Who has an SR-IOV function now: "machine 'vm1'", "the host (eth5)", "another program (…)"; NULL: nobody. */
const char *device_function_user(struct arena *arena, const struct observed *observed,
                                 const struct device_records *records, const char *address);

/* Give the devices of a machine's passthrough nics to it.  `addresses` gets one PCI address a nic, NULL for a
 * nic of another mode.  What cannot be is a problem, with the position in the file.  -EINVAL for damaged
 * records. */
int plan_devices_take(struct arena *arena, const struct model *model, const struct machine *machine,
                      const struct observed *observed, struct problems *problems, struct plan *plan,
                      const char *const **addresses, struct err *err);

/* The machine has ended: its devices go back, or, kept, wait for the next.  */
int plan_devices_return(struct arena *arena, const char *machine, const struct observed *observed,
                        struct plan *plan, struct err *err);

#endif
