/* fd.h: file descriptors and small files, with scoped cleanup. */
#ifndef VMWIRE_BASE_FD_H
#define VMWIRE_BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/err.h"

/* Close *fd unless it is negative, and set it to -1.  Keeps errno. */
void fd_close(int *fd);
static inline void cleanup_free(void *memory)
{
    free(*(void **)memory);
}
static inline void cleanup_file(FILE **file)
{
    if (*file)
        fclose(*file);
}

#define _cleanup_fd_ __attribute__((cleanup(fd_close)))
#define _cleanup_free_ __attribute__((cleanup(cleanup_free)))
#define _cleanup_file_ __attribute__((cleanup(cleanup_file)))

/* Hand a descriptor over: returns *fd and sets it to -1. */
int fd_steal(int *fd);

/* The whole of file `path` below directory `dirfd` (or AT_FDCWD), NUL-terminated, in the arena.  At most
 * `limit` bytes, else -EFBIG.  Does not follow a symbolic link in the last component.  `length` (may be NULL)
 * gets the bytes read. Errors: open(2)'s and read(2)'s. */
int file_read(struct arena *arena, int dirfd, const char *path, size_t limit, char **text, size_t *length,
              struct err *err);

/* The directory that a path of the user's leads to, opened component by component, and the last component (of
 * `path`). A symbolic link is followed only where nobody else could have put it (`strict`: not even the
 * directory's owner), else -ELOOP.  Returns a descriptor to look up names by, or open(2)'s errors. */
int directory_of(const char *path, bool strict, const char **name, struct err *err);
/* Open a file that the user named for reading; links likewise, not strictly. */
int file_read_open(const char *path, struct err *err);
/* Create or empty a file that the user named, and return its descriptor.  A symbolic link is followed only
 * where nobody else could have put it: else -ELOOP. */
int file_create(const char *path, mode_t mode, struct err *err);
/* Replace file `path` by `length` bytes: written beside it under a temporary name, then renamed, so that a
 * reader sees the old or the new whole.  Missing parent directories are made with mode 0700. */
int file_write_atomic(const char *path, const char *bytes, size_t length, mode_t mode, struct err *err);

/* mkdir -p, with `mode` for each directory that it makes. */
int directory_make(const char *path, mode_t mode, struct err *err);

/* Write all of it, through short writes and EINTR.  Returns 0 or a negative errno. */
int fd_write_all(int fd, const void *bytes, size_t length);

/* Set or clear FD_CLOEXEC. */
int fd_inherit(int fd, int inherit);

#endif
