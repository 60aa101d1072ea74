/* fd.c: descriptors and small files behind fd.h. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void fd_close(int *fd)
{
    if (*fd < 0)
        return;
    int saved = errno;
    close(*fd);
    errno = saved;
    *fd = -1;
}

int fd_steal(int *fd)
{
    int stolen = *fd;
    *fd = -1;
    return stolen;
}

int file_read(struct arena *arena, int dirfd, const char *path, size_t limit, char **text, size_t *length,
              struct err *err)
{
    _cleanup_fd_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return err_errno(err, errno, "reading '%s'", path);
    size_t capacity = 4096, used = 0;
    _cleanup_free_ char *buffer = malloc(capacity);
    if (!buffer)
        return err_errno(err, ENOMEM, "reading '%s'", path);
    for (;;) {
        ssize_t got = read(fd, buffer + used, capacity - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_errno(err, errno, "reading '%s'", path);
        if (got == 0)
            break;
        used += (size_t)got;
        if (used > limit)
            return err_set(err, EFBIG, "reading '%s': it is larger than %zu bytes", path, limit);
        if (used == capacity) {
            char *larger = realloc(buffer, capacity * 2);
            if (!larger)
                return err_errno(err, ENOMEM, "reading '%s'", path);
            buffer = larger;
            capacity *= 2;
        }
    }
    *text = arena_strndup(arena, buffer, used);
    if (length)
        *length = used;
    return 0;
}

int fd_write_all(int fd, const void *bytes, size_t length)
{
    const char *rest = bytes;
    while (length) {
        ssize_t put = write(fd, rest, length);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        rest += put;
        length -= (size_t)put;
    }
    return 0;
}

int directory_make(const char *path, mode_t mode, struct err *err)
{
    if (mkdir(path, mode) == 0 || errno == EEXIST)
        return 0;
    if (errno != ENOENT)
        return err_errno(err, errno, "making directory '%s'", path);
    _cleanup_free_ char *parent = strdup(path);
    char *slash = parent ? strrchr(parent, '/') : NULL;
    if (!slash || slash == parent)
        return err_errno(err, ENOENT, "making directory '%s'", path);
    *slash = '\0';
    int rc = directory_make(parent, mode, err);
    if (rc < 0)
        return rc;
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return err_errno(err, errno, "making directory '%s'", path);
    return 0;
}

int file_write_atomic(const char *path, const char *bytes, size_t length, mode_t mode, struct err *err)
{
    _cleanup_free_ char *parent = strdup(path);
    _cleanup_free_ char *temporary = NULL;
    if (!parent || asprintf(&temporary, "%s.new", path) < 0)
        return err_errno(err, ENOMEM, "writing '%s'", path);
    char *slash = strrchr(parent, '/');
    if (slash && slash != parent) {
        *slash = '\0';
        int rc = directory_make(parent, 0700, err);
        if (rc < 0)
            return err_wrap(err, "writing '%s'", path);
    }
    _cleanup_fd_ int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return err_errno(err, errno, "writing '%s'", path);
    int rc = fd_write_all(fd, bytes, length);
    if (rc == 0 && fchmod(fd, mode) < 0)
        rc = -errno;
    if (rc == 0 && rename(temporary, path) < 0)
        rc = -errno;
    if (rc < 0) {
        unlink(temporary);
        return err_errno(err, rc, "writing '%s'", path);
    }
    return 0;
}

/* Only its owner and root can put links there. */
static bool is_private(const char *path)
{
    _cleanup_free_ char *parent = strdup(path);
    char *slash = parent ? strrchr(parent, '/') : NULL;
    struct stat info;
    if (!parent)
        return false;
    if (slash)
        slash[slash == parent] = '\0';
    return stat(slash ? parent : ".", &info) == 0 && !(info.st_mode & 022) &&
           (info.st_uid == 0 || info.st_uid == geteuid());
}

int file_create(const char *path, mode_t mode, struct err *err)
{
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY;
    struct stat info;
    int fd = open(path, flags | O_NOFOLLOW, mode);
    int code = errno; /* EACCES instead of ELOOP for somebody else's link in a sticky directory */
    if (fd < 0 && (code == ELOOP || code == EACCES) && lstat(path, &info) == 0 && S_ISLNK(info.st_mode)) {
        if (!is_private(path))
            return err_set(err, ELOOP,
                           "'%s' is a symbolic link in a directory that others may write: not followed",
                           path);
        fd = open(path, flags, mode);
        code = errno;
    }
    return fd < 0 ? err_errno(err, code, "opening '%s'", path) : fd;
}

int fd_inherit(int fd, int inherit)
{
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0)
        return -errno;
    flags = inherit ? flags & ~FD_CLOEXEC : flags | FD_CLOEXEC;
    return fcntl(fd, F_SETFD, flags) < 0 ? -errno : 0;
}
