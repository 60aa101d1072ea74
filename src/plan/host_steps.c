/* host_steps.c: what all nat networks share: IP forwarding, and a main ruleset that hands over to theirs.
 *
 * RUN/former has, as operations, what puts back what was changed for the first of them: one line for each
 * sysctl, one for the firewall.  `down` of the last carries them out. */
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "plan/internal.h"

static const char *former_path(const struct planner *planner)
{
    return arena_printf(planner->arena, "%s/former", planner->observed->run_dir);
}

static void set_sysctl(struct planner *planner, const char *name, const char *value, const char *former)
{
    struct op op = {.kind = OP_SYSCTL_SET, .network = "", .sysctl = {.name = name, .value = value}};
    struct op undo = op;
    undo.sysctl.value = former;
    step_add(planner, &op, &undo);
}

static bool forwarding_needed(const struct observed *observed)
{
    vec_foreach (&observed->forwarding, sysctl) {
        if (sysctl->wanted && strcmp(sysctl->now, sysctl->wanted) != 0)
            return true;
    }
    return false;
}

/* The disturbed ones come first, as operations that change nothing: undone last, they end with their own
 * value again. */
static void forwarding_record(const struct planner *planner, struct text *record)
{
    for (int disturbed = 0; disturbed < 2; disturbed++) {
        vec_foreach (&planner->observed->forwarding, sysctl) {
            if ((sysctl->wanted == NULL) != disturbed)
                continue;
            struct op op = {
                .kind = OP_SYSCTL_SET, .network = "", .sysctl = {.name = sysctl->name, .value = sysctl->now}};
            text_add(record, "%s\n", op_format(planner->arena, &op));
        }
    }
}

static void switch_forwarding_on(struct planner *planner)
{
    const struct observed *observed = planner->observed;
    vec_foreach (&observed->forwarding, sysctl) {
        if (!sysctl->wanted)
            set_sysctl(planner, sysctl->name, sysctl->now, sysctl->now);
    }
    vec_foreach (&observed->forwarding, sysctl) {
        if (sysctl->wanted && strcmp(sysctl->now, sysctl->wanted) != 0)
            set_sysctl(planner, sysctl->name, sysctl->wanted, sysctl->now);
    }
}

static void write_former(struct planner *planner, const struct file *old, const char *content)
{
    if (text_equal(old ? old->content : NULL, content))
        return;
    struct op op = {.kind = OP_FILE_WRITE, .network = ""};
    op.file = (struct file){.path = former_path(planner), .content = content, .mode = 0600};
    struct op undo = op;
    if (old)
        undo.file = *old;
    else
        undo.kind = OP_FILE_REMOVE;
    step_add(planner, &op, &undo);
}

/* Does a record hold an operation of this kind?  Lines begin with its name. */
static bool records(const struct file *file, enum op_kind kind)
{
    const char *name = op_kind_name(kind);
    size_t length = strlen(name);
    for (const char *line = file ? file->content : ""; *line;) {
        if (strncmp(line, name, length) == 0 && line[length] == ' ')
            return true;
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return false;
}

/* Rules are in force before packets are forwarded. */
void host_steps_up(struct planner *planner)
{
    const struct file *old = file_find(planner->observed, former_path(planner));
    const struct firewall_main *main = &planner->observed->firewall_main;
    bool forwarding = forwarding_needed(planner->observed), firewall = main->load || main->enable;
    struct op op = {.kind = OP_FIREWALL_ENABLE, .network = "", .main = *main}, undo = op;
    undo.kind = OP_FIREWALL_DISABLE;
    if (!forwarding && !firewall)
        return;
    struct text record = {.arena = planner->arena};
    text_add(&record, "%s", old ? old->content : "");
    if (forwarding && !records(old, OP_SYSCTL_SET))
        forwarding_record(planner, &record);
    if (firewall && !records(old, OP_FIREWALL_DISABLE))
        text_add(&record, "%s\n", op_format(planner->arena, &undo));
    write_former(planner, old, text_get(&record));
    if (firewall)
        step_add(planner, &op, &undo);
    if (forwarding)
        switch_forwarding_on(planner);
}

static const char *sysctl_now(const struct observed *observed, const char *name)
{
    vec_foreach (&observed->forwarding, sysctl) {
        if (strcmp(sysctl->name, name) == 0)
            return sysctl->now;
    }
    return NULL;
}

/* Only what is still as vmwire left it is taken away: a ruleset that the administrator loaded meanwhile, and
 * the switch that puts it in force, are not vmwire's. */
static void put_firewall_back(struct planner *planner, const struct op *former)
{
    const struct firewall_main *now = &planner->observed->firewall_main;
    struct op op = *former;
    op.main.load &= now->ours;
    op.main.enable &= !now->enable && (now->ours || !former->main.load);
    if (former->main.load && !now->ours && !now->load)
        plan_note(planner,
                  "another main ruleset has been loaded since vmwire's: it is left alone, and in force");
    if (!op.main.load && !op.main.enable)
        return;
    struct op undo = op;
    undo.kind = OP_FIREWALL_ENABLE;
    step_add(planner, &op, &undo);
}

int host_steps_down(struct planner *planner, struct err *err)
{
    const char *path = former_path(planner);
    const struct file *file = file_find(planner->observed, path);
    if (!file)
        return 0;
    for (const char *rest = file->content; *rest;) {
        size_t length = strcspn(rest, "\n");
        struct op op;
        int rc = op_parse(planner->arena, arena_strndup(planner->arena, rest, length), &op, err);
        if (rc < 0 || (op.kind != OP_SYSCTL_SET && op.kind != OP_FIREWALL_DISABLE))
            return err_set(err, EINVAL, "the record '%s' is damaged", path);
        const char *now = op.kind == OP_SYSCTL_SET ? sysctl_now(planner->observed, op.sysctl.name) : NULL;
        if (op.kind == OP_SYSCTL_SET)
            set_sysctl(planner, op.sysctl.name, op.sysctl.value, now ? now : op.sysctl.value);
        else
            put_firewall_back(planner, &op);
        rest += length + (rest[length] == '\n');
    }
    struct op op = {
        .kind = OP_FILE_REMOVE, .network = "", .file = {.path = path, .content = "", .mode = file->mode}};
    struct op undo = {.kind = OP_FILE_WRITE, .network = "", .file = *file};
    step_add(planner, &op, &undo);
    return 0;
}
