/* hotplug.h: nics of a running QEMU, over its control socket: one comes, one goes.
 *
 * Nic N is netdev nicN and device cardN behind root port portN, as on the command line (qemu.c).  Source:
 * QEMU QMP Reference Manual, getfd, netdev_add, device_add, device_del. */
#ifndef VMWIRE_HYPER_HOTPLUG_H
#define VMWIRE_HYPER_HOTPLUG_H

#include <stdbool.h>

#include "hyper/qmp.h"
#include "model/model.h"

/* A nic whose tap is open. */
struct hotplug_nic {
    unsigned index;
    enum nic_model model;
    struct mac mac;
    unsigned queues;
    uint32_t mtu;         /* the network's */
    const int *fds;       /* one a queue */
    const int *vhost_fds; /* one a queue; NULL: none */
};

/* Give the guest the nic.  Errors: -EEXIST the guest has a card of that index; -ENOSPC the machine was not
 * started with a port of that index; -EIO with QEMU's own words; qmp_call's.  After an error nothing of it is
 * left, but where QEMU did not answer (-ETIMEDOUT). */
int hotplug_add(struct qmp *qmp, const struct hotplug_nic *nic, struct err *err);

/* Has the guest the card?  1, 0, or qmp_call's error. */
int hotplug_has(struct qmp *qmp, unsigned index, struct err *err);

/* Ask the guest to let go of the card; hotplug_has tells when it has.  -ENODEV there is none. */
int hotplug_ask(struct qmp *qmp, unsigned index, struct err *err);

/* Let go of the tap.  A card that the guest still has is without a wire from then on.  What is not there is
 * success. */
int hotplug_cut(struct qmp *qmp, unsigned index, struct err *err);

/* Plug the guest's end of the wire in, or out.  -ENODEV there is no such nic. */
int hotplug_link(struct qmp *qmp, unsigned index, bool up, struct err *err);

/* Take back what an interrupted hotplug_add left, up to the card. */
int hotplug_clean(struct qmp *qmp, unsigned index, struct err *err);

#endif
