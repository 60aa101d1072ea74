/* shared.h: what every backend does the same way: the files under the run directory, and helper programs. */
#ifndef VMWIRE_HOST_SHARED_H
#define VMWIRE_HOST_SHARED_H

#include <dirent.h>

#include "host/host.h"

/* files.c.  Open a folder that need not be there: 0 with NULL when it is not, or the caller may not look into
 * it.  Any other error is one: what is there and was not seen would stay behind. */
int folder_open(const char *path, DIR **folder, struct err *err);

/* `observed->run_dir` is set.  Errors: open(2)'s and read(2)'s. */
int files_observe(struct arena *arena, struct observed *observed, struct err *err);
/* One of them, where there is one of that path. */
int file_observe(struct arena *arena, struct observed *observed, const char *path, struct err *err);
/* A group's name by /etc/group, in the arena, or NULL. */
const char *group_name(struct arena *arena, gid_t gid);
/* OP_FILE_WRITE and OP_FILE_REMOVE.  -EPERM for a path that is neither below `run_dir` nor beside it, where
 * table_path leads. */
int file_apply(const char *run_dir, const struct op *op, unsigned flags, struct err *err);

/* service.c.  `observed->run_dir` is set. */
int services_observe(struct arena *arena, struct observed *observed, struct err *err);
/* OP_SERVICE_START and OP_SERVICE_STOP: one, and several of one kind (struct host_backend's apply_many). */
int service_apply(struct host *host, const struct op *op, unsigned flags, struct err *err);
int services_apply(struct host *host, const struct op *const ops[], size_t count, unsigned flags,
                   size_t *failed, struct err *err);
/* OP_SERVICE_RELOAD.  -ESRCH when the program does not run, unless tolerated. */
int service_reload(const char *run_dir, const struct op *op, unsigned flags, struct err *err);

#endif
