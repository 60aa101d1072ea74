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

#ifdef O_PATH
enum { LOOK = O_PATH | O_DIRECTORY | O_CLOEXEC };
#else
enum { LOOK = O_RDONLY | O_DIRECTORY | O_CLOEXEC };
#endif

static bool is_own(uid_t uid)
{
    return uid == 0 || uid == geteuid();
}

/* Could somebody have put this link here to lead us astray?  `strict`: also the directory's owner. */
static bool is_planted(const struct stat *directory, const struct stat *link, bool strict)
{
    if (is_own(link->st_uid))
        return false;
    return strict ? (directory->st_mode & 022) || !is_own(directory->st_uid)
                  : (directory->st_mode & 022) && link->st_uid != directory->st_uid;
}

static int planted(struct err *err, const char *path)
{
    return err_set(err, ELOOP, "'%s' is a symbolic link in a directory that others may write: not followed",
                   path);
}

/* One component of the way, from directory `at`: its descriptor, or -1 with errno. */
static int step_into(int at, const char *name, bool strict)
{
    struct stat directory, entry;
    if (fstat(at, &directory) < 0 || fstatat(at, name, &entry, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    if (!S_ISLNK(entry.st_mode))
        return openat(at, name, LOOK | O_NOFOLLOW);
    if (is_planted(&directory, &entry, strict)) {
        errno = ELOOP;
        return -1;
    }
    return openat(at, name, LOOK);
}

int directory_of(const char *path, bool strict, const char **name, struct err *err)
{
    _cleanup_free_ char *copy = strdup(path);
    _cleanup_fd_ int at = open(*path == '/' ? "/" : ".", LOOK);
    if (!copy)
        return err_errno(err, ENOMEM, "opening '%s'", path);
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    char *rest = copy, *word;
    copy[*name - path] = '\0';
    while (at >= 0 && (word = strsep(&rest, "/"))) {
        if (!*word)
            continue;
        int next = step_into(at, word, strict);
        int code = errno;
        fd_close(&at);
        at = next;
        if (at < 0 && code == ELOOP)
            return planted(err, path);
        errno = code;
    }
    return at < 0 ? err_errno(err, errno, "opening '%s'", path) : fd_steal(&at);
}

int file_read_open(const char *path, struct err *err)
{
    const char *name;
    struct stat directory, entry;
    _cleanup_fd_ int at = directory_of(path, false, &name, err);
    if (at < 0)
        return at == -ELOOP ? at : err_errno(err, at, "reading '%s'", path);
    bool link = fstat(at, &directory) == 0 && fstatat(at, name, &entry, AT_SYMLINK_NOFOLLOW) == 0 &&
                S_ISLNK(entry.st_mode);
    if (link && is_planted(&directory, &entry, false))
        return planted(err, path);
    int fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (link ? 0 : O_NOFOLLOW));
    return fd < 0 ? err_errno(err, errno, "reading '%s'", path) : fd;
}

int file_create(const char *path, mode_t mode, struct err *err)
{
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY;
    const char *name;
    struct stat directory, entry;
    _cleanup_fd_ int at = directory_of(path, true, &name, err);
    if (at < 0)
        return at;
    int fd = openat(at, name, flags | O_NOFOLLOW, mode);
    int code = errno; /* EACCES instead of ELOOP for somebody else's link in a sticky directory */
    if (fd < 0 && (code == ELOOP || code == EACCES || code == EMLINK) && fstat(at, &directory) == 0 &&
        fstatat(at, name, &entry, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(entry.st_mode)) {
        if ((directory.st_mode & 022) || !is_own(directory.st_uid))
            return planted(err, path);
        fd = openat(at, name, flags, mode);
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
