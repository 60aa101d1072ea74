/* plan.c: the whole host's plan: every network's passage, then what they share (forwarding). */
#include "plan/plan.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "plan/device.h"
#include "plan/internal.h"

enum { TABLE_MAIN = 254, MTU_DEFAULT = 1500 };

void step_add(struct planner *planner, const struct op *op, const struct op *undo)
{
    *vec_push(planner->arena, &planner->plan->steps) = (struct step){.op = *op, .undo = *undo};
}

void plan_note(struct planner *planner, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    *vec_push(planner->arena, &planner->plan->notes) = arena_vprintf(planner->arena, format, args);
    va_end(args);
}

const char *plan_default_uplink(const struct observed *observed)
{
    const struct route *best = NULL;
    vec_foreach (&observed->routes, route) {
        if (route->to.length == 0 && route->to.ip.family == AF_INET && route->table == TABLE_MAIN &&
            route->ifname && *route->ifname && (!best || route->metric < best->metric))
            best = route;
    }
    return best ? best->ifname : NULL;
}

uint32_t plan_network_mtu(const struct network *network, const struct observed *observed)
{
    const char *uplink = network->uplink;
    if (!uplink) {
        const struct link *bridge = link_find(observed, network->name);
        if (bridge)
            return bridge->mtu;
        uplink = plan_default_uplink(observed);
    }
    const struct link *link = uplink ? link_find(observed, uplink) : NULL;
    return link ? link->mtu : MTU_DEFAULT;
}

/* --- forwarding: one setting for all nat networks
 * ------------------------------------------------------------------- */

static const char *forwarding_path(const struct planner *planner)
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

/* Record what the sysctls are, then switch forwarding on.  The disturbed ones come first, as operations that
 * change nothing: undone last, they end with their own value again. */
static void switch_forwarding_on(struct planner *planner)
{
    const struct observed *observed = planner->observed;
    bool needed = false;
    struct text record = {.arena = planner->arena};
    for (int disturbed = 0; disturbed < 2; disturbed++) {
        vec_foreach (&observed->forwarding, sysctl) {
            if ((sysctl->wanted == NULL) != disturbed)
                continue;
            needed |= sysctl->wanted && strcmp(sysctl->now, sysctl->wanted) != 0;
            struct op op = {
                .kind = OP_SYSCTL_SET, .network = "", .sysctl = {.name = sysctl->name, .value = sysctl->now}};
            text_add(&record, "%s\n", op_format(planner->arena, &op));
        }
    }
    if (!needed)
        return;
    const char *path = forwarding_path(planner);
    if (!file_find(observed, path)) {
        struct op op = {.kind = OP_FILE_WRITE, .network = ""};
        op.file = (struct file){.path = path, .content = text_get(&record), .mode = 0600};
        struct op undo = op;
        undo.kind = OP_FILE_REMOVE;
        step_add(planner, &op, &undo);
    }
    vec_foreach (&observed->forwarding, sysctl) {
        if (!sysctl->wanted)
            set_sysctl(planner, sysctl->name, sysctl->now, sysctl->now);
    }
    vec_foreach (&observed->forwarding, sysctl) {
        if (sysctl->wanted && strcmp(sysctl->now, sysctl->wanted) != 0)
            set_sysctl(planner, sysctl->name, sysctl->wanted, sysctl->now);
    }
}

static const char *sysctl_now(const struct observed *observed, const char *name)
{
    vec_foreach (&observed->forwarding, sysctl) {
        if (strcmp(sysctl->name, name) == 0)
            return sysctl->now;
    }
    return NULL;
}

static int put_forwarding_back(struct planner *planner, struct err *err)
{
    const char *path = forwarding_path(planner);
    const struct file *file = file_find(planner->observed, path);
    if (!file)
        return 0;
    for (const char *rest = file->content; *rest;) {
        size_t length = strcspn(rest, "\n");
        struct op op;
        int rc = op_parse(planner->arena, arena_strndup(planner->arena, rest, length), &op, err);
        if (rc < 0 || op.kind != OP_SYSCTL_SET)
            return err_set(err, EINVAL, "the record '%s' is damaged", path);
        const char *now = sysctl_now(planner->observed, op.sysctl.name);
        set_sysctl(planner, op.sysctl.name, op.sysctl.value, now ? now : op.sysctl.value);
        rest += length + (rest[length] == '\n');
    }
    struct op op = {
        .kind = OP_FILE_REMOVE, .network = "", .file = {.path = path, .content = "", .mode = file->mode}};
    struct op undo = {.kind = OP_FILE_WRITE, .network = "", .file = *file};
    step_add(planner, &op, &undo);
    return 0;
}

/* --- which networks
 * ------------------------------------------------------------------------------------------------- */

static bool selected(const struct planner *planner, const char *name)
{
    const char *const *names = planner->request->names;
    if (!names)
        return true;
    for (size_t i = 0; names[i]; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

struct names {
    VEC(const char *) list;
};

static void name_add(struct planner *planner, struct names *names, const char *name)
{
    vec_foreach (&names->list, known) {
        if (strcmp(*known, name) == 0)
            return;
    }
    *vec_push(planner->arena, &names->list) = name;
}

/* Every network that this host shows a trace of: a tagged bridge, rules, files. */
static void networks_here(struct planner *planner, struct names *names)
{
    const struct observed *observed = planner->observed;
    vec_foreach (&observed->links, link) {
        const char *network = owner_network(planner->arena, link->alias);
        if (network && strcmp(link->kind, "bridge") == 0)
            name_add(planner, names, network);
    }
    vec_foreach (&observed->firewall_traces, trace)
        name_add(planner, names, *trace);
    struct device_records records;
    if (device_records_read(planner->arena, observed, &records, NULL) == 0) {
        planner->devices = records.list.count > 0;
        vec_foreach (&records.list, record)
            name_add(planner, names, record->network);
    }
    const char *folder = arena_printf(planner->arena, "%s/network/", observed->run_dir);
    vec_foreach (&observed->files, file) {
        const char *name = file->path + strlen(folder), *end;
        if (strncmp(file->path, folder, strlen(folder)) == 0 && (end = strchr(name, '/')))
            name_add(planner, names, arena_strndup(planner->arena, name, (size_t)(end - name)));
    }
}

static const struct network_services *services_of(const struct planner *planner, const char *name)
{
    vec_foreach (&planner->request->services, services) {
        if (strcmp(services->network, name) == 0)
            return services;
    }
    return NULL;
}

static int passage_start(struct planner *planner, const char *name, const struct network *network,
                         struct passage *passage, struct err *err)
{
    *passage = (struct passage){.name = name, .network = network, .services = services_of(planner, name)};
    const struct link *bridge = link_find(planner->observed, name);
    const char *owner = bridge ? owner_network(planner->arena, bridge->alias) : NULL;
    if (owner && strcmp(owner, name) == 0 && strcmp(bridge->kind, "bridge") == 0)
        passage->bridge = bridge;
    return record_read(planner->arena, planner->observed, name, &passage->now, err);
}

static const struct network *desired(const struct planner *planner, const char *name)
{
    return planner->request->model ? network_find(planner->request->model, name) : NULL;
}

/* Networks that go away first, so that what they held (an uplink, a subnet) is free; then those of the file,
 * in its order.  `forward` is set when one that forwards stays or comes. */
static int plan_networks(struct planner *planner, bool *forward, struct err *err)
{
    struct names here = {0};
    networks_here(planner, &here);
    vec_foreach (&here.list, name) {
        struct passage passage;
        const struct network *network = desired(planner, *name);
        if (selected(planner, *name) && network)
            continue;
        int rc = passage_start(planner, *name, NULL, &passage, err);
        if (rc < 0)
            return rc;
        if (selected(planner, *name))
            network_steps(planner, &passage);
        else
            *forward |= passage.now.mode == NETWORK_NAT;
    }
    if (!planner->request->model)
        return 0;
    vec_foreach (&planner->request->model->networks, network) {
        struct passage passage;
        if (!selected(planner, network->name))
            continue;
        int rc = passage_start(planner, network->name, network, &passage, err);
        if (rc < 0)
            return rc;
        check_network(planner, &passage);
        want_record(planner, &passage);
        network_steps(planner, &passage);
        *forward |= passage.want.mode == NETWORK_NAT;
    }
    return 0;
}

int plan_make(struct arena *arena, const struct plan_request *request, struct problems *problems,
              struct plan *plan, struct err *err)
{
    *plan = (struct plan){.arena = arena};
    struct planner planner = {.arena = arena,
                              .request = request,
                              .observed = request->observed,
                              .problems = problems,
                              .plan = plan};
    bool forward = false;
    int rc = plan_networks(&planner, &forward, err);
    if (rc < 0)
        return rc;
    if (forward)
        switch_forwarding_on(&planner);
    else
        rc = put_forwarding_back(&planner, err);
    return rc;
}
