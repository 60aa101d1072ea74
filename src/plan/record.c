/* record.c: what a network's record says: the text form of struct record (plan.h). */
#include <errno.h>
#include <stdlib.h>
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
    if (record->guard_given)
        text_add(&out, "guard_ms %u\n", record->guard_ms);
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
    if (strncmp(line, "guard_ms ", 9) == 0) {
        char *end;
        unsigned long number = strtoul(line + 9, &end, 10);
        if (line[9] < '0' || line[9] > '9' || *end || number > GUARD_MAX_MS)
            return err_set(err, EINVAL, "'%s' are no milliseconds from 0 to %d", line + 9, GUARD_MAX_MS);
        record->guard_given = true;
        record->guard_ms = (uint32_t)number;
        return 0;
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
    return err_set(err, EINVAL, "'%.40s' is neither mode, guard_ms, former nor made", line);
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

static bool is_named(const char *const *names, const char *name, size_t length)
{
    for (size_t i = 0; names && names[i]; i++) {
        if (strlen(names[i]) == length && strncmp(names[i], name, length) == 0)
            return true;
    }
    return !names;
}

int record_guard_ms(struct arena *arena, const struct observed *observed, const char *const *names)
{
    const char *folder = arena_printf(arena, "%s/network/", observed->run_dir);
    int longest = -1;
    vec_foreach (&observed->files, file) {
        const char *name = file->path + strlen(folder);
        const char *end = strncmp(file->path, folder, strlen(folder)) == 0 ? strchr(name, '/') : NULL;
        struct record record;
        if (!end || strcmp(end, "/record") != 0 || !is_named(names, name, (size_t)(end - name)) ||
            record_parse(arena, file->content, &record, NULL) < 0)
            continue;
        int wanted = record.guard_given ? (int)record.guard_ms : GUARD_DEFAULT_MS;
        longest = wanted > longest ? wanted : longest;
    }
    return longest < 0 ? GUARD_DEFAULT_MS : longest;
}
