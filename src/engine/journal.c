/* journal.c: writing, reading and undoing the journal of journal.h. */
#include "engine/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

enum { JOURNAL_SIZE_MAX = 64 * 1024 * 1024 };

const char *journal_path(struct arena *arena, const char *run_dir)
{
    return arena_printf(arena, "%s/journal", run_dir);
}

int journal_open(struct journal *journal, struct arena *arena, const char *run_dir, struct err *err)
{
    journal->path = journal_path(arena, run_dir);
    journal->fd = open(journal->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (journal->fd < 0)
        return err_errno(err, errno, "opening the journal '%s'", journal->path);
    return 0;
}

int journal_add(struct journal *journal, struct arena *arena, const struct op *undo, struct err *err)
{
    if (undo->kind == OP_NONE)
        return 0;
    const char *line = arena_printf(arena, "undo %s\n", op_format(arena, undo));
    int rc = fd_write_all(journal->fd, line, strlen(line));
    return rc < 0 ? err_errno(err, rc, "writing the journal '%s'", journal->path) : 0;
}

void journal_close(struct journal *journal)
{
    fd_close(&journal->fd);
}

int journal_commit(struct journal *journal, struct err *err)
{
    journal_close(journal);
    if (unlink(journal->path) < 0)
        return err_errno(err, errno, "removing the journal '%s'", journal->path);
    return 0;
}

struct undo_list {
    VEC(struct op) ops;
};

/* A line cut short by a kill was never followed by its operation: it is left out. */
static int journal_parse(struct arena *arena, const char *text, struct undo_list *undos, struct err *err)
{
    for (const char *rest = text; *rest;) {
        size_t length = strcspn(rest, "\n");
        if (rest[length] != '\n')
            return 0;
        struct op op;
        if (strncmp(rest, "undo ", 5) != 0)
            return err_set(err, EINVAL, "'%.40s' is not a line of a journal", rest);
        int rc = op_parse(arena, arena_strndup(arena, rest + 5, length - 5), &op, err);
        if (rc < 0)
            return rc;
        *vec_push(arena, &undos->ops) = op;
        rest += length + 1;
    }
    return 0;
}

/* What may be undone before or after a bridge is deleted that was made before it. */
static bool leaves_bridges_alone(enum op_kind kind)
{
    return kind == OP_ADDRESS_REMOVE || kind == OP_FIREWALL_REMOVE || kind == OP_LOCK_REMOVE ||
           kind == OP_FILE_REMOVE || kind == OP_FILE_WRITE || kind == OP_SYSCTL_SET;
}

/* From the last to the first, but that bridges wait for each other where nothing forbids it: the kernel waits
 * three times for each alone, and once for each of many. */
static const struct op **undos_order(struct arena *arena, const struct undo_list *undos)
{
    size_t count = 0, waiting = 0;
    const struct op **ops = arena_alloc(arena, (undos->ops.count + 1) * sizeof(*ops));
    const struct op **bridges = arena_alloc(arena, (undos->ops.count + 1) * sizeof(*bridges));
    for (size_t i = undos->ops.count; i-- > 0;) {
        const struct op *op = &undos->ops.items[i];
        if (op->kind == OP_LINK_DELETE && strcmp(op->link.kind, "bridge") == 0) {
            bridges[waiting++] = op;
            continue;
        }
        for (size_t k = 0; k < waiting && !leaves_bridges_alone(op->kind); k++)
            ops[count++] = bridges[k];
        waiting = leaves_bridges_alone(op->kind) ? waiting : 0;
        ops[count++] = op;
    }
    for (size_t k = 0; k < waiting; k++)
        ops[count++] = bridges[k];
    return ops;
}

int journal_roll_back(struct host *host, struct arena *arena, const char *run_dir, size_t *undone,
                      struct err *err)
{
    const char *path = journal_path(arena, run_dir);
    char *text = NULL;
    *undone = 0;
    int rc = file_read(arena, AT_FDCWD, path, JOURNAL_SIZE_MAX, &text, NULL, err);
    if (rc == -ENOENT)
        return 0;
    struct undo_list undos = {0};
    if (rc == 0)
        rc = journal_parse(arena, text, &undos, err);
    if (rc < 0)
        return err_wrap(err, "the journal '%s' of an interrupted change", path);

    int result = 0;
    size_t count = undos.ops.count;
    const struct op **ops = undos_order(arena, &undos);
    for (size_t batch; *undone < count; *undone += batch) {
        struct err failure = {0};
        const struct op *const *now = ops + *undone;
        size_t failed;
        batch = host_batch(now, count - *undone);
        rc = host_apply(host, now, batch, HOST_APPLY_TOLERANT, &failed, &failure);
        if (rc < 0 && result == 0)
            result = err_set(err, rc, "undoing: %s: %s", op_describe(arena, now[failed]), failure.text);
    }
    if (result < 0)
        return result;
    if (unlink(path) < 0)
        return err_errno(err, errno, "removing the journal '%s'", path);
    return 0;
}
