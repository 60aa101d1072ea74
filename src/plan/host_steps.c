/* host_steps.c: what all nat networks share: forwarding of IPv4 and of IPv6, and a main ruleset that hands
 * over to theirs.
 *
 * RUN/former has, as operations, what puts back what was changed for the first of them: one line for each
 * sysctl, one for the firewall.  `down` of the last carries them out.  RUN/former6 is the same for IPv6, for
 * the first and the last that has it.
 *
 * Before forwarding of IPv6 is what keeps the host's own (learning.c); and behind it on the way back.
 *
 * Each dnsmasq that follows the host's resolvers takes one of root's inotify instances, of which there are
 * 128 at first.  Where the networks' come near that, the limit is raised before they start;
 * RUN/former-watches is its record, for as long as there are such networks.
 *
 * RUN/former-locks is the record of what lets a packet filter see guests' packets, for as long as a network
 * has a lock that it holds. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "plan/internal.h"

static const char *former_path(const struct planner *planner, enum former former)
{
    static const char *const names[] = {"former", "former6", "former-watches", "former-rates",
                                        "former-locks"};
    return arena_printf(planner->arena, "%s/%s", planner->observed->run_dir, names[former]);
}

void host_sysctl_set(struct planner *planner, const char *name, const char *value, const char *former)
{
    struct op op = {.kind = OP_SYSCTL_SET, .network = "", .sysctl = {.name = name, .value = value}};
    struct op undo = op;
    undo.sysctl.value = former;
    step_add(planner, &op, &undo);
}

/* Those that the host lists in the order of switching on.  What only keeps the host's own learning is not
 * touched where somebody else has switched forwarding on. */
struct sysctls {
    VEC(const struct forwarding_sysctl *) list;
};

static struct sysctls sysctls_of(const struct planner *planner, bool ipv6, bool ours)
{
    struct sysctls sysctls = {0};
    bool off = false;
    vec_foreach (&planner->observed->forwarding, sysctl)
        off |= sysctl->ipv6 == ipv6 && sysctl->wanted && !sysctl->own_ra &&
               strcmp(sysctl->now, sysctl->wanted) != 0;
    vec_foreach (&planner->observed->forwarding, sysctl) {
        if (sysctl->ipv6 == ipv6 && (off || (ours && sysctl->own_ra)))
            *vec_push(planner->arena, &sysctls.list) = sysctl;
    }
    return sysctls;
}

/* Backwards: the disturbed ones stand behind what disturbs them. */
static void forwarding_record(const struct planner *planner, const struct sysctls *sysctls, const char *old,
                              struct text *record)
{
    for (size_t i = sysctls->list.count; i-- > 0;) {
        const struct forwarding_sysctl *sysctl = sysctls->list.items[i];
        struct op op = {
            .kind = OP_SYSCTL_SET, .network = "", .sysctl = {.name = sysctl->name, .value = sysctl->now}};
        if (!strstr(old, arena_printf(planner->arena, " name=%s ", sysctl->name)))
            text_add(record, "%s\n", op_format(planner->arena, &op));
    }
}

/* The disturbed ones are operations that change nothing: undone last, they end with their own value again. */
static void switch_forwarding_on(struct planner *planner, const struct sysctls *sysctls)
{
    vec_foreach (&sysctls->list, item) {
        const struct forwarding_sysctl *sysctl = *item;
        if (!sysctl->wanted || strcmp(sysctl->now, sysctl->wanted) != 0)
            host_sysctl_set(planner, sysctl->name, sysctl->wanted ? sysctl->wanted : sysctl->now,
                            sysctl->now);
    }
}

static void write_former(struct planner *planner, enum former former, const struct file *old,
                         const char *content)
{
    if (text_equal(old ? old->content : NULL, content))
        return;
    struct op op = {.kind = OP_FILE_WRITE, .network = ""};
    op.file = (struct file){.path = former_path(planner, former), .content = content, .mode = 0600};
    struct op undo = op;
    if (old)
        undo.file = *old;
    else
        undo.kind = OP_FILE_REMOVE;
    step_add(planner, &op, &undo);
}

void former_record(struct planner *planner, enum former former, const struct op *op)
{
    if (!file_find(planner->observed, former_path(planner, former)))
        write_former(planner, former, NULL,
                     arena_printf(planner->arena, "%s\n", op_format(planner->arena, op)));
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
void host_steps_up(struct planner *planner, bool forward)
{
    const struct file *old = file_find(planner->observed, former_path(planner, FORMER_IPV4));
    const struct firewall_main *main = &planner->observed->firewall_main;
    struct sysctls sysctls = forward ? sysctls_of(planner, false, false) : (struct sysctls){0};
    bool firewall = main->load || main->enable;
    struct op op = {.kind = OP_FIREWALL_ENABLE, .network = "", .main = *main}, undo = op;
    undo.kind = OP_FIREWALL_DISABLE;
    struct text record = {.arena = planner->arena};
    text_add(&record, "%s", old ? old->content : "");
    forwarding_record(planner, &sysctls, text_get(&record), &record);
    if (firewall && !records(old, OP_FIREWALL_DISABLE))
        text_add(&record, "%s\n", op_format(planner->arena, &undo));
    if (!sysctls.list.count && !firewall)
        return;
    write_former(planner, FORMER_IPV4, old, text_get(&record));
    if (firewall)
        step_add(planner, &op, &undo);
    switch_forwarding_on(planner, &sysctls);
}

int host_steps6_up(struct planner *planner, struct err *err)
{
    const struct file *old = file_find(planner->observed, former_path(planner, FORMER_IPV6));
    struct sysctls sysctls = sysctls_of(planner, true, old != NULL);
    struct text record = {.arena = planner->arena};
    text_add(&record, "%s", old ? old->content : "");
    forwarding_record(planner, &sysctls, text_get(&record), &record);
    if (sysctls.list.count)
        write_former(planner, FORMER_IPV6, old, text_get(&record));
    if (!planner->observed->traits.ra_for_all)
        learning_bridges(planner);
    int rc = learning_mend(planner, old, err);
    switch_forwarding_on(planner, &sysctls);
    return rc;
}

void watches_up(struct planner *planner)
{
    enum { OTHERS = 16, SPARE = 128 };
    const char *now = planner->observed->watch_limit;
    unsigned long limit = now ? strtoul(now, NULL, 10) : 0, needed = OTHERS;
    vec_foreach (&planner->request->services, services) {
        vec_foreach (&services->services, service)
            needed += strcmp(service->kind, "dnsmasq") == 0;
    }
    if (!now || limit >= needed)
        return;
    struct op former = {
        .kind = OP_SYSCTL_SET, .network = "", .sysctl = {.name = WATCH_LIMIT_SYSCTL, .value = now}};
    former_record(planner, FORMER_WATCHES, &former);
    host_sysctl_set(planner, WATCH_LIMIT_SYSCTL, arena_printf(planner->arena, "%lu", needed - OTHERS + SPARE),
                    now);
}

void lock_sysctls_up(struct planner *planner)
{
    const struct file *old = file_find(planner->observed, former_path(planner, FORMER_LOCKS));
    struct text record = {.arena = planner->arena};
    bool changes = false;
    text_add(&record, "%s", old ? old->content : "");
    vec_foreach (&planner->observed->lock_sysctls, sysctl) {
        struct op op = {
            .kind = OP_SYSCTL_SET, .network = "", .sysctl = {.name = sysctl->name, .value = sysctl->now}};
        bool other = strcmp(sysctl->now, sysctl->wanted) != 0;
        if (other && !strstr(text_get(&record), arena_printf(planner->arena, " name=%s ", sysctl->name)))
            text_add(&record, "%s\n", op_format(planner->arena, &op));
        changes |= other;
    }
    if (!changes)
        return;
    write_former(planner, FORMER_LOCKS, old, text_get(&record));
    vec_foreach (&planner->observed->lock_sysctls, sysctl) {
        if (strcmp(sysctl->now, sysctl->wanted) != 0)
            host_sysctl_set(planner, sysctl->name, sysctl->wanted, sysctl->now);
    }
}

static const char *sysctl_now(const struct observed *observed, const char *name)
{
    if (strcmp(name, WATCH_LIMIT_SYSCTL) == 0)
        return observed->watch_limit;
    vec_foreach (&observed->lock_sysctls, sysctl) {
        if (strcmp(sysctl->name, name) == 0)
            return sysctl->now;
    }
    vec_foreach (&observed->forwarding, sysctl) {
        if (strcmp(sysctl->name, name) == 0)
            return sysctl->now;
    }
    return NULL;
}

/* Of an interface that is gone, or that somebody has set otherwise since, it is left as it is. */
static void put_sysctl_back(struct planner *planner, const struct op *op)
{
    const char *now = sysctl_now(planner->observed, op->sysctl.name);
    const char *ifname = learning_interface(planner, op->sysctl.name);
    const struct link *link = ifname ? link_find(planner->observed, ifname) : NULL;
    if (ifname && (!link || link->accept_ra != 2))
        return;
    if (ifname)
        now = "2";
    host_sysctl_set(planner, op->sysctl.name, op->sysctl.value, now ? now : op->sysctl.value);
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

int host_steps_down(struct planner *planner, enum former former, struct err *err)
{
    const char *path = former_path(planner, former);
    const struct file *file = file_find(planner->observed, path);
    if (!file)
        return 0;
    for (const char *rest = file->content; *rest;) {
        size_t length = strcspn(rest, "\n");
        struct op op;
        int rc = op_parse(planner->arena, arena_strndup(planner->arena, rest, length), &op, err);
        if (rc < 0 ||
            (op.kind != OP_SYSCTL_SET && op.kind != OP_FIREWALL_DISABLE && op.kind != OP_SHAPING_DISABLE))
            return err_set(err, EINVAL, "the record '%s' is damaged", path);
        if (op.kind == OP_SYSCTL_SET)
            put_sysctl_back(planner, &op);
        else if (op.kind == OP_SHAPING_DISABLE)
            shaping_put_back(planner, &op);
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
