/* launch.h: one start of a machine, for machine.c and the files of the hypervisors. */
#ifndef VMWIRE_ENGINE_LAUNCH_H
#define VMWIRE_ENGINE_LAUNCH_H

#include "engine/machine.h"
#include "engine/machine_dir.h"
#include "engine/nic.h"
#include "hyper/hyper.h"

/* Everything that one start works out. */
struct launch {
    struct host *host;
    struct arena *arena;
    const struct model *model;
    const struct machine *machine;
    struct hyper_options options;
    struct nics nics;
    const char *const *argv; /* with placeholders */
    bool keeper;             /* somebody must stay, to give devices back when the hypervisor has ended */
};

/* A machine's nic as one to be opened. */
struct nic_spec nic_spec_make(const struct host *host, const struct nic *nic);
/* vhost-net is there for whoever may open it. */
bool vhost_available(void);
/* The hypervisor's environment: the caller's PATH, HOME and TERM. */
char *const *launch_environment(struct arena *arena);
/* Take back everything that was prepared; what does not come back is appended to `err`. */
void launch_undo(struct launch *launch, struct machine_dir *dir, struct err *err);

/* --- machine_bhyve.c.  bhyve does not daemonize, ends when its guest reboots, and does not take its taps
 * along: so somebody stays, the keeper. */

/* Before anything is taken: the modules are loaded, and no bhyve of this name runs that is not vmwire's. */
int bhyve_machine_check(const struct launch *launch, bool background, struct err *err);
/* machine_run and machine_start, once all is prepared; both clean up after a failure. */
int bhyve_machine_run(struct launch *launch, struct machine_dir *dir, int *exit_status, struct err *err);
int bhyve_machine_start(struct launch *launch, struct machine_dir *dir, struct err *err);
/* machine_stop: the power button, then bhyvectl, then SIGKILL. */
int bhyve_machine_stop(struct machine_dir *dir, const struct process *process, int timeout_ms,
                       enum machine_end *end, struct err *err);
/* What a killed keeper left: taps, and the machine's memory in vmm. */
void bhyve_machine_clean(struct host *host, struct machine_dir *dir);

#endif
