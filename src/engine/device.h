/* device.h: PCI devices of machines: taken before the hypervisor starts, given back when it has ended, and
 * given back by whoever comes next when nobody was left to do it. */
#ifndef VMWIRE_ENGINE_DEVICE_H
#define VMWIRE_ENGINE_DEVICE_H

#include "engine/engine.h"

/* Has the machine a nic on a passthrough network? */
bool devices_wanted(const struct model *model, const struct machine *machine);

/* Which device each nic of the machine would get; nothing is changed.  `addresses`: as plan_devices_take's.
 * -EINVAL with every problem, a line each. */
int devices_look(struct host *host, struct arena *arena, const struct model *model,
                 const struct machine *machine, const char *const **addresses, struct err *err);

/* Take them, in one transaction under the lock.  The caller holds the machine's lock. Errors: devices_look's;
 * engine_lock's, engine_apply's: nothing is changed then. */
int devices_take(struct host *host, struct arena *arena, const struct model *model,
                 const struct machine *machine, const char *const **addresses, struct err *err);

/* Give back what a machine has (or mark it free, with `bind: up`).  Its hypervisor has ended.  What cannot be
 * put back is said in `err`, after all the rest was. */
int devices_return(struct host *host, struct arena *arena, const char *machine, struct err *err);

/* With the lock held: give back the devices of machines that run no more; says so through the listener. Never
 * fails: a device that does not come back is said too, and tried again by the next command. */
void devices_settle(struct engine *engine);
/* Without the lock: is there such a device? */
bool devices_stale(struct engine *engine);

#endif
