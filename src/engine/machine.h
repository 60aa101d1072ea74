/* machine.h: running machines: in the foreground, in the background, stopping, looking, the console.
 *
 * A machine's directory is RUN/machine/NAME (0700): lock, pid, qmp, serial, and for a while wait, console,
 * attach-INDEX and detach-INDEX (hotplug.h).
 * A machine runs iff `lock` is flock(2)ed: the hypervisor inherits the locked descriptor, so the kernel
 * itself lets go of it when the hypervisor ends, whoever killed it.  No process of vmwire stays (with
 * display.wait, a helper stays until the first viewer has come or the hypervisor has gone).  A directory
 * whose lock is free is what a dead machine left; whoever finds it may take it away, holding the lock.
 * On bhyve a process of vmwire stays (launch.h), `serial` names a device, and `stop` is there once it was
 * told to stop.
 *
 * Every function that takes a name answers -EINVAL for one that cannot be a machine's (machine_name_fault).
 */
#ifndef VMWIRE_ENGINE_MACHINE_H
#define VMWIRE_ENGINE_MACHINE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/err.h"
#include "host/host.h"
#include "model/model.h"

/* What belongs to a machine beyond its running: MACHINE_STATE_DIR/NAME/efivars.fd, its UEFI variables. */
#define MACHINE_STATE_DIR "/var/lib/vmwire/machine"

/* Become the machine's hypervisor, in the foreground, wired, with this process's standard descriptors and of
 * its environment PATH, HOME and TERM.  Does not return on success, but for a machine with passthrough nics:
 * its hypervisor is a child (on bhyve always: one after the other while the guest reboots), and when that has
 * ended, by whatever cause, the devices go back and 0 is returned with the hypervisor's `exit_status` (128
 * and the number for a signal).  Errors: -EBUSY already running, with its pid; -ENODEV a network is not up;
 * qemu_argv's; devices_take's; -ENOENT no hypervisor. After an error nothing is left. */
int machine_run(struct host *host, struct arena *arena, const struct model *model,
                const struct machine *machine, int *exit_status, struct err *err);

/* Start it in the background; its serial console is on a socket (machine_console).  Returns once the
 * hypervisor has opened everything that it needs; `pid` (may be NULL) gets its process.  Errors:
 * machine_run's; -EIO with the hypervisor's own words when it did not start; -ETIMEDOUT after 60 s. */
int machine_start(struct host *host, struct arena *arena, const struct model *model,
                  const struct machine *machine, pid_t *pid, struct err *err);

/* The command line that machine_run would become, as a line that really runs:
 * `PROGRAM exec --nic NET,mac=MAC,… -- qemu-system-x86_64 …` (for a machine without nics the hypervisor
 * alone), without control socket and pid file. NULL-terminated, in the arena.  UEFI variables: the machine's
 * own store where it is there already, else a throw-away copy. */
int machine_argv(struct host *host, struct arena *arena, const struct model *model,
                 const struct machine *machine, const char *program, const char *const **argv,
                 struct err *err);

struct machine_state {
    bool running;
    pid_t pid; /* the hypervisor; 0 while not known (it is starting) */
};

/* Does it run?  Two system calls for a machine that does not.  `clean`: take away what a dead one left.  A
 * machine that was never started is simply not running. */
int machine_state(struct host *host, const char *name, bool clean, struct machine_state *state,
                  struct err *err);

/* How a machine ended. */
enum machine_end {
    MACHINE_NOT_RUNNING, /* it did not run */
    MACHINE_POWERED_OFF, /* the guest shut itself down, as asked */
    MACHINE_FORCED,      /* the guest did not within the time: the hypervisor was told to quit */
    MACHINE_KILLED,      /* the hypervisor did not listen either: killed */
};

/* Stop it: ACPI power button, wait up to `timeout_ms` for the guest (0: do not ask the guest), then QMP
 * `quit` (or SIGTERM where the control socket cannot be had), and 5 s later SIGKILL, through a pidfd of a
 * process that was seen to hold the machine's lock.  Then takes its directory away.  -ESRCH when it runs and
 * its process is not known; -EBUSY when it survives even that. */
int machine_stop(struct host *host, const char *name, int timeout_ms, enum machine_end *end, struct err *err);

/* Let a running machine's guest ping `target`, by its agent: agent_ping's errors; -ENOENT when the machine
 * was not started with `agent: yes`. */
int machine_agent_ping(struct host *host, const char *name, const struct ip *target, struct err *err);

enum machine_console_end {
    CONSOLE_DETACHED,    /* the user typed Ctrl-] */
    CONSOLE_CLOSED,      /* the machine ended */
    CONSOLE_INTERRUPTED, /* SIGINT, SIGTERM or SIGHUP came */
};

/* Join `in` and `out` to the serial console of a machine until Ctrl-], the machine's end, or a signal.  Where
 * `in` is a terminal it is raw meanwhile (Ctrl-C goes to the guest) and is restored on every way out.  The
 * end of `in` ends only the input.  One at a time: -EBUSY.  -ESRCH not running; -ENOENT it has no console
 * socket (it runs in the foreground, or has `serial: off`). */
int machine_console(struct host *host, const char *name, int in, int out, enum machine_console_end *end,
                    struct err *err);

#endif
