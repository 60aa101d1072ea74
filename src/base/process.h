/* process.h: other processes, by a descriptor that never comes to mean another one of the same number. */
#ifndef VMWIRE_BASE_PROCESS_H
#define VMWIRE_BASE_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/arena.h"

/* Start with {.fd = -1}.  `fd` gets readable (poll(2)) when the process has ended: a pidfd on Linux, a kqueue
 * on FreeBSD. */
struct process {
    pid_t pid;
    int fd;
};

/* -ESRCH when there is no such process.  What is found out about `pid` after this call is true of `process`,
 * as long as it has not ended. */
int process_open(struct process *process, pid_t pid);
void process_close(struct process *process); /* may be called twice */
#define _cleanup_process_ __attribute__((cleanup(process_close)))

/* Send a signal.  A process that is gone already counts as success.  0 or a negative errno. */
int process_signal(const struct process *process, int signal);
/* True when it ended within this time; a negative one waits for ever. */
bool process_wait(const struct process *process, int timeout_ms);

/* Has the process a descriptor of the file at `path`?  Source: proc_pid_fd(5); sysctl(3), KERN_PROC_FILEDESC.
 */
bool process_has_file(pid_t pid, const char *path);

/* The argument list of a process, NULL-terminated, in the arena; NULL, with errno, when it is gone
 * (ENOENT, ESRCH) or cannot be looked at.  A process may have
 * replaced it (setproctitle(3)).  Source: proc_pid_cmdline(5); sysctl(3), KERN_PROC_ARGS. */
const char *const *process_argv(struct arena *arena, pid_t pid);

#endif
