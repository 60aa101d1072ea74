/* files.c: the files that vmwire keeps under the run directory. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "host/shared.h"

enum { FILE_SIZE_MAX = 16 * 1024 * 1024 };

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), end = strlen(ending);
    return length >= end && strcmp(name + length - end, ending) == 0;
}

/* It is not there, or the caller may not look. */
static bool absent(int code)
{
    return code == ENOENT || code == ENOTDIR || code == EACCES || code == EPERM;
}

static int file_observe(struct arena *arena, struct observed *observed, const char *path, struct err *err)
{
    struct stat info;
    char *content;
    int rc = lstat(path, &info) < 0 ? -errno : 0;
    if (rc < 0 && !absent(-rc))
        return err_errno(err, rc, "looking at '%s'", path);
    if (rc < 0 || !S_ISREG(info.st_mode))
        return 0;
    rc = file_read(arena, AT_FDCWD, path, FILE_SIZE_MAX, &content, NULL, err);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    *vec_push(arena, &observed->files) =
        (struct file){.path = path, .content = content, .mode = info.st_mode & 07777};
    return 0;
}

int folder_open(const char *path, DIR **folder, struct err *err)
{
    *folder = opendir(path);
    if (*folder || absent(errno))
        return 0;
    return err_errno(err, errno, "reading '%s'", path);
}

static int folder_files(struct arena *arena, struct observed *observed, const char *folder, struct err *err)
{
    DIR *directory;
    int rc = folder_open(folder, &directory, err);
    if (!directory)
        return rc;
    for (struct dirent *entry; rc == 0 && (entry = readdir(directory));) {
        if (entry->d_name[0] != '.' && !ends_with(entry->d_name, ".pid") && !ends_with(entry->d_name, ".new"))
            rc = file_observe(arena, observed, arena_printf(arena, "%s/%s", folder, entry->d_name), err);
    }
    closedir(directory);
    return rc;
}

/* A caller who may not look into the run directory sees no files: reading commands still show the kernel's
 * state. */
int files_observe(struct arena *arena, struct observed *observed, struct err *err)
{
    const char *run_dir = observed->run_dir;
    int rc = access(run_dir, R_OK | X_OK) < 0
                 ? 0
                 : file_observe(arena, observed, arena_printf(arena, "%s/former", run_dir), err);
    if (rc == 0)
        rc = folder_files(arena, observed, arena_printf(arena, "%s/device", run_dir), err);
    if (rc == 0)
        rc = folder_files(arena, observed, arena_printf(arena, "%s/leases", run_dir), err);
    const char *networks = arena_printf(arena, "%s/network", run_dir);
    DIR *directory = NULL;
    if (rc == 0)
        rc = folder_open(networks, &directory, err);
    if (!directory)
        return rc;
    for (struct dirent *entry; rc == 0 && (entry = readdir(directory));) {
        if (entry->d_name[0] != '.')
            rc = folder_files(arena, observed, arena_printf(arena, "%s/%s", networks, entry->d_name), err);
    }
    closedir(directory);
    return rc;
}

/* Parents that are empty now go, below the run directory. */
static void remove_parents(const char *run_dir, const char *path)
{
    _cleanup_free_ char *parent = strdup(path);
    char *slash;
    while (parent && (slash = strrchr(parent, '/'))) {
        *slash = '\0';
        if (strcmp(parent, run_dir) == 0 || rmdir(parent) < 0)
            return;
    }
}

/* A program that has given up root's rights reads a file that others may read: the folders above it let it
 * through, and show it nothing. */
static int open_folders(const char *run_dir, const char *path, struct err *err)
{
    _cleanup_free_ char *folder = strdup(path);
    char *slash;
    while (folder && (slash = strrchr(folder, '/')) && strlen(folder) > strlen(run_dir)) {
        *slash = '\0';
        if (chmod(folder, 0711) < 0)
            return err_errno(err, errno, "letting others pass through '%s'", folder);
    }
    return 0;
}

int file_apply(const char *run_dir, const struct op *op, unsigned flags, struct err *err)
{
    const struct file *file = &op->file;
    size_t length = strlen(run_dir);
    if (strncmp(file->path, run_dir, length) != 0 || file->path[length] != '/' || strstr(file->path, "/../"))
        return err_set(err, EPERM, "'%s' is not below '%s'", file->path, run_dir);
    if (op->kind == OP_FILE_WRITE) {
        int rc = file_write_atomic(file->path, file->content, strlen(file->content), (mode_t)file->mode, err);
        return rc == 0 && (file->mode & 0004) ? open_folders(run_dir, file->path, err) : rc;
    }
    int rc = unlink(file->path) < 0 ? -errno : 0;
    if (rc == -ENOENT && (flags & HOST_APPLY_TOLERANT))
        rc = 0;
    if (rc < 0)
        return err_errno(err, rc, "removing '%s'", file->path);
    remove_parents(run_dir, file->path);
    return 0;
}
