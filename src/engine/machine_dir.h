/* machine_dir.h: the directory of one machine, its lock, and the process that holds it.  For the
 * files of this room that know machines, and for engine.c, which cleans up. */
#ifndef VMWIRE_ENGINE_MACHINE_DIR_H
#define VMWIRE_ENGINE_MACHINE_DIR_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/process.h"
#include "host/host.h"

struct machine_dir {
    const char *name; /* the machine's */
    /* Absolute, in the arena given to init. */
    const char *path, *lock, *pid, *qmp, *serial, *wait, *console, *stop, *agent;
    int lock_fd; /* ours, locked; -1 while it is not.  Start with {.lock_fd = -1} */
};

/* Work out the paths.  Touches nothing.  -EINVAL for a name that cannot be a machine's. */
int machine_dir_init(struct machine_dir *dir, struct arena *arena, struct host *host, const char *name,
                     struct err *err);
/* Close the lock's descriptor: the machine's, if it was inherited, stays locked. */
void machine_dir_close(struct machine_dir *dir);
#define _cleanup_machine_dir_ __attribute__((cleanup(machine_dir_close)))

/* Make the directory (0700), take the lock, take stale files away.  -EBUSY when the machine runs, with its
 * pid. */
int machine_dir_lock(struct machine_dir *dir, struct err *err);

/* Take the directory away and release the lock, which must be ours. */
void machine_dir_remove(struct machine_dir *dir);

/* No machine of that name has a directory: most, where a file has thousands.  `clean`: as below. */
bool machine_dir_absent(struct host *host, const char *name, bool clean);

/* Does somebody hold the lock?  `clean`: when nobody does, take away what is there. */
int machine_dir_running(struct machine_dir *dir, bool clean, bool *running, struct err *err);

/* Take away what dead machines left, whether the file names them or not. */
void machine_dirs_clean(struct host *host);

/* The pid in the pid file, when that process holds the lock; else 0. */
pid_t machine_dir_pid(const struct machine_dir *dir);

/* The process that the pid file names, opened before it was seen to hold the lock, so that it is never
 * another; -ESRCH when there is none. */
int machine_dir_process(const struct machine_dir *dir, struct process *process);

#endif
