/* config.c: the file itself: opening it safely, reading it whole, and its two top-level keys (config.h). */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "config/walk.h"

const struct section section_file = {
    .what = "the file",
    .keys = (const struct key[]){
        {.name = "networks",
         .take = networks_take,
         .takes = "networks by name, such as 'brnat: {mode: nat, subnet: 10.0.0.0/24}'",
         .missing = "begin with 'networks:'"},
        {.name = "machines",
         .take = machines_take,
         .takes = "machines by name, such as 'vm0: {memory: 1G, nics: [{network: brnat}]}'"},
        {.name = "guard_ms",
         .take = key_number,
         .offset = offsetof(struct model, guard_ms),
         .pos_offset = offsetof(struct model, guard_ms_pos),
         .max = GUARD_MAX_MS,
         .takes = "milliseconds, 0 to 600000 (10 minutes)"},
        {0}}};

/* Returns false when part of the file was not read, so that checks across entries would mislead. */
static bool parse(struct arena *arena, const char *text, size_t length, struct model *model,
                  struct problems *problems)
{
    _cleanup_arena_ struct arena scratch = {0};
    struct walk walk = {.arena = arena, .problems = problems, .model = model};
    const struct yaml_node *root;

    walk.partial = !yaml_parse(&scratch, text, length, problems, &root);
    if (root && root->kind != YAML_NULL)
        walk_section(&walk, &section_file, "the file", 0, model, root);
    else if (!walk.partial)
        problem_add(problems, (struct pos){1, 1}, "the file is empty; begin with 'networks:'");
    return !walk.partial;
}

void config_parse(struct arena *arena, const char *text, size_t length, struct model *model,
                  struct problems *problems)
{
    parse(arena, text, length, model, problems);
}

/* What sudo asks of its own file: whoever can write it decides what root does. */
static int file_check(struct problems *problems, const char *path, const struct stat *status, struct err *err)
{
    const char *quoted = shell_quote(problems->arena, path);
    if (S_ISDIR(status->st_mode))
        return err_set(err, EISDIR, "reading '%s': it is a directory; name the file in it, as %s/vmwire.yaml",
                       path, quoted);
    if (!S_ISREG(status->st_mode))
        return err_set(err, EINVAL, "reading '%s': it is not a regular file", path);
    if (status->st_uid != 0 && status->st_uid != geteuid())
        return err_set(
            err, EPERM,
            "reading '%s': it belongs to user %u, who could change what it does; cure: chown %u %s", path,
            status->st_uid, geteuid(), quoted);
    if (status->st_mode & (S_IWGRP | S_IWOTH))
        return err_set(err, EPERM, "reading '%s': %s can write to it (mode %04o); cure: chmod go-w %s", path,
                       status->st_mode & S_IWOTH ? "everybody" : "its group", status->st_mode & 07777,
                       quoted);
    if (status->st_size > CONFIG_SIZE_MAX)
        return err_set(err, EFBIG, "reading '%s': it has %lld bytes, and %d is the most", path,
                       (long long)status->st_size, CONFIG_SIZE_MAX);
    return 0;
}

/* The rest of `fd`, at most CONFIG_SIZE_MAX bytes, also when the file grows while it is read. */
static int bytes_read(int fd, const char *path, char *buffer, size_t size, size_t *length, struct err *err)
{
    *length = 0;
    for (;;) {
        ssize_t got = read(fd, buffer + *length, size - *length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_errno(err, errno, "reading '%s'", path);
        if (got == 0)
            return 0;
        *length += (size_t)got;
        if (*length == size)
            return err_set(err, EFBIG, "reading '%s': it grew while it was read", path);
    }
}

static int directory_find(struct arena *arena, const char *path, struct model *model, struct err *err)
{
    _cleanup_free_ char *absolute = realpath(dirname(arena_strdup(arena, path)), NULL);
    if (!absolute)
        return err_errno(err, errno, "finding the directory of '%s'", path);
    model->directory = arena_strdup(arena, absolute);
    return 0;
}

int config_load(struct arena *arena, const char *path, const char *mac_seed, struct model *model,
                struct problems *problems, struct err *err)
{
    struct stat status;
    _cleanup_free_ char *buffer = NULL;

    if (!problems->arena)
        problems->arena = arena;
    problems->file = arena_strdup(arena, path);
    _cleanup_fd_ int fd = file_read_open(path, err);
    if (fd < 0)
        return fd;
    if (fstat(fd, &status) < 0)
        return err_errno(err, errno, "reading '%s'", path);
    int rc = file_check(problems, path, &status, err);
    if (rc == 0)
        rc = directory_find(arena, path, model, err);
    if (rc < 0)
        return rc;

    size_t length, size = (size_t)status.st_size + 1;
    buffer = malloc(size);
    if (!buffer)
        return err_errno(err, ENOMEM, "reading '%s'", path);
    rc = bytes_read(fd, path, buffer, size, &length, err);
    if (rc < 0)
        return rc;
    if (parse(arena, buffer, length, model, problems))
        model_check(model, arena, mac_seed, problems);
    problem_sort(problems);
    return 0;
}
