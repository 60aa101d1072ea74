/* machine_dir.c: a machine's directory and lock (machine_dir.h).
 *
 * The lock file can be unlinked only by who holds its lock, and who has taken a lock looks whether the path
 * still names the file that was locked.  So of two that come at once one wins, and nobody holds a lock on a
 * file that is gone. */
#include "engine/machine_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "model/model.h"

/* A `status` holds the lock for a moment while it cleans; a starting machine has no pid file yet. */
enum { LOCK_TRIES = 25, LOCK_PAUSE_MS = 20, LOOK_TRIES = 4, LOOK_PAUSE_MS = 5 };

int machine_dir_init(struct machine_dir *dir, struct arena *arena, struct host *host, const char *name,
                     struct err *err)
{
    const char *fault = machine_name_fault(arena, name);
    if (fault)
        return err_set(err, EINVAL, "machine name '%s' %s", name, fault);
    const char *path = arena_printf(arena, "%s/machine/%s", host->backend->run_dir, name);
    *dir = (struct machine_dir){.name = arena_strdup(arena, name),
                                .path = path,
                                .lock = arena_printf(arena, "%s/lock", path),
                                .pid = arena_printf(arena, "%s/pid", path),
                                .qmp = arena_printf(arena, "%s/qmp", path),
                                .serial = arena_printf(arena, "%s/serial", path),
                                .wait = arena_printf(arena, "%s/wait", path),
                                .console = arena_printf(arena, "%s/console", path),
                                .stop = arena_printf(arena, "%s/stop", path),
                                .agent = arena_printf(arena, "%s/agent", path),
                                .lock_fd = -1};
    return 0;
}

void machine_dir_close(struct machine_dir *dir)
{
    fd_close(&dir->lock_fd);
}

/* Everything but the lock.  A stop or a nic that an earlier machine was promised is not for the next one. */
static int stale_remove(const struct machine_dir *dir, struct err *err)
{
    DIR *files = opendir(dir->path);
    int rc = files ? 0 : err_errno(err, errno, "opening '%s'", dir->path);
    for (struct dirent *entry; files && (entry = readdir(files));) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "lock") == 0)
            continue;
        if (unlinkat(dirfd(files), name, 0) < 0 && rc == 0)
            rc = err_errno(err, errno, "taking '%s/%s' away", dir->path, name);
    }
    if (files)
        closedir(files);
    return rc;
}

/* The last machine takes RUN/machine along; what is not empty stays. */
static void remove_empty(const struct machine_dir *dir)
{
    rmdir(dir->path);
    char *parent = strdup(dir->path);
    char *slash = parent ? strrchr(parent, '/') : NULL;
    if (slash) {
        *slash = '\0';
        rmdir(parent);
    }
    free(parent);
}

/* One try: 1 when the lock is ours, 0 when its file went away meanwhile, else a negative errno. */
static int lock_try(struct machine_dir *dir, int flags)
{
    _cleanup_fd_ int fd = open(dir->lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return -errno;
    struct stat ours, there;
    if (fstat(fd, &ours) < 0)
        return -errno;
    if (stat(dir->lock, &there) < 0 || ours.st_dev != there.st_dev || ours.st_ino != there.st_ino)
        return 0;
    dir->lock_fd = fd_steal(&fd);
    return 1;
}

int machine_dir_lock(struct machine_dir *dir, struct err *err)
{
    int rc = 0;
    for (int i = 0; i < LOCK_TRIES; i++) {
        rc = directory_make(dir->path, 0700, err);
        if (rc < 0) {
            remove_empty(dir);
            return err_wrap(err, "machine '%s'", dir->name);
        }
        rc = lock_try(dir, O_CREAT);
        if (rc == 1) {
            rc = stale_remove(dir, err);
            if (rc == 0)
                return 0;
            machine_dir_remove(dir);
            return err_wrap(err, "machine '%s'", dir->name);
        }
        pid_t pid = rc == -EWOULDBLOCK ? machine_dir_pid(dir) : 0;
        if (pid)
            return err_set(err, EBUSY, "machine '%s' is already running (pid %d)", dir->name, (int)pid);
        if (rc < 0 && rc != -EWOULDBLOCK && rc != -ENOENT) {
            remove_empty(dir);
            return err_errno(err, rc, "machine '%s': opening '%s'", dir->name, dir->lock);
        }
        poll(NULL, 0, LOCK_PAUSE_MS);
    }
    return err_set(err, EBUSY, "machine '%s' is already running", dir->name);
}

void machine_dir_remove(struct machine_dir *dir)
{
    if (dir->lock_fd < 0)
        return;
    (void)stale_remove(dir, NULL); /* what stays keeps the directory, and the next one takes it away */
    unlink(dir->lock);
    remove_empty(dir);
    machine_dir_close(dir);
}

static pid_t pid_read(const struct machine_dir *dir)
{
    _cleanup_fd_ int fd = open(dir->pid, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char digits[16];
    ssize_t got = fd < 0 ? -1 : read(fd, digits, sizeof(digits) - 1);
    if (got <= 0)
        return 0;
    digits[got] = '\0';
    char *end;
    long pid = strtol(digits, &end, 10);
    return pid > 1 && pid <= INT32_MAX && (*end == '\n' || *end == '\0') ? (pid_t)pid : 0;
}

pid_t machine_dir_pid(const struct machine_dir *dir)
{
    pid_t pid = pid_read(dir);
    return pid && process_has_file(pid, dir->lock) ? pid : 0;
}

int machine_dir_process(const struct machine_dir *dir, struct process *process)
{
    pid_t pid = pid_read(dir);
    if (!pid || process_open(process, pid) < 0)
        return -ESRCH;
    if (process_has_file(pid, dir->lock))
        return 0;
    process_close(process);
    return -ESRCH;
}

bool machine_dir_absent(struct host *host, const char *name, bool clean)
{
    _cleanup_arena_ struct arena scratch = {0};
    const char *folder = arena_printf(&scratch, "%s/machine", host->backend->run_dir);
    if (machine_name_fault(&scratch, name) ||
        access(arena_printf(&scratch, "%s/%s", folder, name), F_OK) == 0 || errno != ENOENT)
        return false;
    if (clean)
        rmdir(folder); /* which is kept by what is in it */
    return true;
}

/* One look: 1 somebody holds the lock, 0 nobody, else a negative errno. */
static int look(struct machine_dir *dir, bool clean)
{
    if (clean) {
        int rc = lock_try(dir, 0);
        if (rc == 1)
            machine_dir_remove(dir);
        else if (rc == -ENOENT) /* killed before it made the lock, or after it took it away */
            remove_empty(dir);
        return rc == -EWOULDBLOCK ? 1 : rc >= 0 || rc == -ENOENT || rc == -ENOTDIR ? 0 : rc;
    }
    _cleanup_fd_ int fd = open(dir->lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
    /* Shared, so that two who look do not see each other. */
    return flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

int machine_dir_running(struct machine_dir *dir, bool clean, bool *running, struct err *err)
{
    *running = false;
    for (int i = 0; i < LOOK_TRIES; i++) {
        int rc = look(dir, clean);
        if (rc < 0)
            return err_errno(err, rc, "machine '%s': opening '%s'", dir->name, dir->lock);
        *running = rc;
        if (!rc || machine_dir_pid(dir))
            return 0;
        poll(NULL, 0, LOOK_PAUSE_MS); /* another who cleans, or a machine that starts */
    }
    return 0;
}

void machine_dirs_clean(struct host *host)
{
    _cleanup_arena_ struct arena arena = {0};
    DIR *machines = opendir(arena_printf(&arena, "%s/machine", host->backend->run_dir));
    for (struct dirent *entry; machines && (entry = readdir(machines));) {
        _cleanup_machine_dir_ struct machine_dir dir = {.lock_fd = -1};
        if (machine_dir_init(&dir, &arena, host, entry->d_name, NULL) == 0)
            look(&dir, true);
    }
    if (machines)
        closedir(machines);
}
