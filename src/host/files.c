/* files.c: the files that vmwire keeps under the run directory, and beside it those that dnsmasq reads as
 * another user. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
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

enum { GROUPS_SIZE_MAX = 1 << 20 };

/* "name:password:number:members": the line that `name`, else `gid`, names.  NULL when there is none. */
static const char *group_line(struct arena *arena, const char *name, gid_t gid)
{
    char *text, *end;
    if (file_read(arena, AT_FDCWD, "/etc/group", GROUPS_SIZE_MAX, &text, NULL, NULL) < 0)
        return NULL;
    for (char *line; (line = strsep(&text, "\n"));) {
        const char *number = strchr(line, ':');
        number = number ? strchr(number + 1, ':') : NULL;
        size_t length = strcspn(line, ":");
        if (!number || !length)
            continue;
        bool same = name ? strlen(name) == length && strncmp(line, name, length) == 0
                         : strtoul(number + 1, &end, 10) == gid && end != number + 1;
        if (same)
            return line;
    }
    return NULL;
}

const char *group_name(struct arena *arena, gid_t gid)
{
    const char *line = group_line(arena, NULL, gid);
    return line ? arena_strndup(arena, line, strcspn(line, ":")) : NULL;
}

/* It is not there, or the caller may not look. */
static bool absent(int code)
{
    return code == ENOENT || code == ENOTDIR || code == EACCES || code == EPERM;
}

int file_observe(struct arena *arena, struct observed *observed, const char *path, struct err *err)
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
        (struct file){.path = path,
                      .content = content,
                      .mode = info.st_mode & 07777,
                      .group = info.st_gid ? group_name(arena, info.st_gid) : NULL};
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

/* Of every network's folder. */
static int folders_files(struct arena *arena, struct observed *observed, const char *path, struct err *err)
{
    DIR *directory;
    int rc = folder_open(path, &directory, err);
    if (!directory)
        return rc;
    for (struct dirent *entry; rc == 0 && (entry = readdir(directory));) {
        if (entry->d_name[0] != '.')
            rc = folder_files(arena, observed, arena_printf(arena, "%s/%s", path, entry->d_name), err);
    }
    closedir(directory);
    return rc;
}

/* A caller who may not look into the run directory sees no files: reading commands still show the kernel's
 * state. */
int files_observe(struct arena *arena, struct observed *observed, struct err *err)
{
    const char *run_dir = observed->run_dir;
    static const char *const records[] = {"former", "former6", "former-watches", "former-rates",
                                          "former-locks"};
    int rc = 0;
    for (size_t i = 0; i < sizeof(records) / sizeof(*records) && rc == 0 && access(run_dir, R_OK | X_OK) == 0;
         i++)
        rc = file_observe(arena, observed, arena_printf(arena, "%s/%s", run_dir, records[i]), err);
    if (rc == 0)
        rc = folder_files(arena, observed, arena_printf(arena, "%s/device", run_dir), err);
    if (rc == 0)
        rc = folder_files(arena, observed, arena_printf(arena, "%s/leases", run_dir), err);
    if (rc == 0)
        rc = folders_files(arena, observed, arena_printf(arena, "%s/network", run_dir), err);
    return rc == 0 ? folders_files(arena, observed, arena_printf(arena, "%s" TABLES_SUFFIX, run_dir), err)
                   : rc;
}

/* Is the path that of a table, beside the run directory?  Or below it, or neither. */
enum place { PLACE_ELSEWHERE, PLACE_RUN, PLACE_TABLES };

static enum place place_of(const char *run_dir, const char *path)
{
    size_t length = strlen(run_dir);
    if (strncmp(path, run_dir, length) != 0 || strstr(path, "/../"))
        return PLACE_ELSEWHERE;
    if (strncmp(path + length, TABLES_SUFFIX "/", strlen(TABLES_SUFFIX "/")) == 0)
        return PLACE_TABLES;
    return path[length] == '/' ? PLACE_RUN : PLACE_ELSEWHERE;
}

/* Parents that are empty now go, below the run directory; that of the tables goes with the last. */
static void remove_parents(const char *run_dir, const char *path)
{
    _cleanup_free_ char *parent = strdup(path);
    char *slash;
    while (parent && (slash = strrchr(parent, '/'))) {
        *slash = '\0';
        if (strcmp(parent, run_dir) == 0 || strlen(parent) < strlen(run_dir) ||
            (rmdir(parent) < 0 && errno != ENOENT))
            return;
    }
}

/* A program that has given up root's rights reads the file: the folders above it let it through, and show it
 * nothing. */
static int share_file(const char *run_dir, const struct file *file, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    bool shared = file->group && *file->group;
    const char *line = shared ? group_line(&arena, file->group, 0) : NULL;
    if (shared && !line)
        return err_set(err, ENOENT, "this host has no group '%s'", file->group);
    gid_t gid = line ? (gid_t)strtoul(strchr(strchr(line, ':') + 1, ':') + 1, NULL, 10) : 0;
    mode_t folders = file->mode & 0004 ? 0711 : 0710;
    char *path = arena_strdup(&arena, file->path), *slash;
    if (lchown(path, (uid_t)-1, gid) < 0)
        return err_errno(err, errno, "giving '%s' to group '%s'", path, file->group);
    while ((slash = strrchr(path, '/'))) {
        *slash = '\0';
        if (strlen(path) <= strlen(run_dir))
            return 0;
        if (lchown(path, (uid_t)-1, gid) < 0 || chmod(path, folders) < 0)
            return err_errno(err, errno, "letting group '%s' pass through '%s'", file->group, path);
    }
    return 0;
}

/* As of the run directory itself: root's, and nobody else's to change. */
static int tables_check(const char *run_dir, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    const char *path = arena_printf(&arena, "%s" TABLES_SUFFIX, run_dir);
    struct stat info;
    if (lstat(path, &info) < 0)
        return errno == ENOENT ? 0 : err_errno(err, errno, "looking at '%s'", path);
    if (!S_ISDIR(info.st_mode) || info.st_uid != geteuid() || (info.st_mode & 022))
        return err_set(err, EEXIST,
                       "'%s' belongs to somebody else or can be written to by others; remove it first", path);
    return 0;
}

int file_apply(const char *run_dir, const struct op *op, unsigned flags, struct err *err)
{
    const struct file *file = &op->file;
    enum place place = place_of(run_dir, file->path);
    if (place == PLACE_ELSEWHERE)
        return err_set(err, EPERM, "'%s' is not below '%s'", file->path, run_dir);
    if (op->kind == OP_FILE_WRITE) {
        int rc = place == PLACE_TABLES ? tables_check(run_dir, err) : 0;
        if (rc == 0)
            rc = file_write_atomic(file->path, file->content, strlen(file->content), (mode_t)file->mode, err);
        return rc == 0 && place == PLACE_TABLES ? share_file(run_dir, file, err) : rc;
    }
    int rc = unlink(file->path) < 0 ? -errno : 0;
    if (rc == -ENOENT && (flags & HOST_APPLY_TOLERANT))
        rc = 0;
    if (rc < 0)
        return err_errno(err, rc, "removing '%s'", file->path);
    if (place == PLACE_RUN || tables_check(run_dir, NULL) == 0)
        remove_parents(run_dir, file->path);
    return 0;
}
