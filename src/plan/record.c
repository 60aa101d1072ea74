/* record.c: what a network's record says: the text form of struct record (plan.h). */
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "plan/plan.h"

const char *record_path(struct arena *arena, const char *run_dir, const char *network)
{
    return arena_printf(arena, "%s/network/%s/record", run_dir, network);
}

const char *record_format(struct arena *arena, const struct record *record)
{
    struct text out = {.arena = arena};
    text_add(&out, "mode %s\n", network_mode_name(record->mode));
    vec_foreach (&record->former, op)
        text_add(&out, "former %s\n", op_format(arena, op));
    vec_foreach (&record->made, op)
        text_add(&out, "made %s\n", op_format(arena, op));
    return text_get(&out);
}

static int line_parse(struct arena *arena, const char *line, struct record *record, struct err *err)
{
    if (strncmp(line, "mode ", 5) == 0) {
        for (int mode = NETWORK_BRIDGED; mode < NETWORK_MODE_COUNT; mode++) {
            if (strcmp(line + 5, network_mode_name((enum network_mode)mode)) == 0)
                record->mode = (enum network_mode)mode;
        }
        return record->mode ? 0 : err_set(err, EINVAL, "'%s' is not a mode", line + 5);
    }
    struct op op;
    if (strncmp(line, "former ", 7) == 0) {
        int rc = op_parse(arena, line + 7, &op, err);
        if (rc < 0)
            return rc;
        if (op.kind == OP_LINK_SET)
            record->uplink = record->port = op.link.name;
        *vec_push(arena, &record->former) = op;
        return 0;
    }
    if (strncmp(line, "made ", 5) == 0) {
        int rc = op_parse(arena, line + 5, &op, err);
        if (rc < 0)
            return rc;
        if (op.kind == OP_LINK_CREATE) { /* stands behind the uplink */
            record->port = op.link.name;
            record->vlan = op.link.vlan;
        }
        *vec_push(arena, &record->made) = op;
        return 0;
    }
    return err_set(err, EINVAL, "'%.40s' is neither mode, former nor made", line);
}

int record_parse(struct arena *arena, const char *text, struct record *record, struct err *err)
{
    *record = (struct record){0};
    int number = 1;
    for (const char *rest = text; *rest; number++) {
        size_t length = strcspn(rest, "\n");
        int rc = line_parse(arena, arena_strndup(arena, rest, length), record, err);
        if (rc < 0)
            return err_wrap(err, "line %d", number);
        rest += length + (rest[length] == '\n');
    }
    return record->mode ? 0 : err_set(err, EINVAL, "it does not say a mode");
}

int record_read(struct arena *arena, const struct observed *observed, const char *network,
                struct record *record, struct err *err)
{
    *record = (struct record){0};
    const char *path = record_path(arena, observed->run_dir, network);
    const struct file *file = file_find(observed, path);
    if (!file)
        return 0;
    int rc = record_parse(arena, file->content, record, err);
    return rc < 0 ? err_wrap(err, "the record '%s' is damaged", path) : 0;
}
