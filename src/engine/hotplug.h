/* hotplug.h: nics that come and go while a machine runs.
 *
 * Theory of operation.  A nic is opened as at a start (nic.h) and its descriptors are passed to the
 * hypervisor (hyper/hotplug.h), with which the tap lives from then on.  It has an index as all nics of the
 * machine: of one that the file has, the file's, else the next that is free behind these.
 *
 * One at a time on a machine: the lock is flock(2) on its directory.  Under the lock, before the hypervisor
 * is told anything, a file attach-INDEX, detach-INDEX or replug-INDEX is made there, which goes when all is
 * done.  Whoever finds one while nobody has the lock looks whether the guest has the card, and ends what was
 * begun: a card that is there stays, and the rest of one that is not there goes.  So does a tap whose guest
 * let go of the card later than it was waited for.
 */
#ifndef VMWIRE_ENGINE_HOTPLUG_H
#define VMWIRE_ENGINE_HOTPLUG_H

#include "engine/engine.h"

struct attach {
    const char *machine, *network;
    const char *mac_seed; /* the host's identity, for a derived MAC */
    /* What the command line says; it goes before the file. */
    struct mac mac; /* all zero: not given */
    bool model_given;
    enum nic_model model;
    unsigned queues; /* 0: not given */

    /* What became of it. */
    unsigned index;
    const char *tap;
    bool listed; /* the file has this nic */
};

/* Give a running machine a nic.  Of the file's nics on that network the first that the machine has not is
 * meant; else it is one more.  Errors: -ESRCH the machine does not run; -ENOTSUP bhyve; -EBUSY another such
 * change takes its time; -ENOSPC no port is free; nics_open's; -EIO with the hypervisor's words.  After an
 * error nothing is left, or it is pending. */
int machine_attach(struct engine *engine, const struct model *model, struct attach *attach, struct err *err);

struct detach {
    const char *machine;
    const char *which; /* a network, a MAC or an index */
    int timeout_ms;    /* how long the guest may take */
    bool force;        /* then let go of the tap all the same */

    /* What became of it. */
    struct wired_nic nic; /* tap NULL: it had none any more */
    bool cut;             /* the guest still has the card, without a wire */
};

/* Take a nic from a running machine.  Errors: machine_attach's; -ENOENT it has no such nic; -EINVAL several
 * are meant; -ETIMEDOUT the guest has not let go: the nic stays until it does. */
int machine_detach(struct engine *engine, struct detach *detach, struct err *err);

/* A plan was applied that moved nics of running guests to other networks: their links go off and on, so that
 * DHCP clients ask anew.  Takes a second when there are some. */
void hotplug_replug(struct engine *engine, const struct plan *plan);

/* Is something pending that nobody is about?  And ending it, as far as can be. */
bool hotplug_stale(struct engine *engine);
void hotplug_settle(struct engine *engine);

#endif
