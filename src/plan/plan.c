/* plan.c: the whole host's plan: every network's passage, then what they share (forwarding). */
#include "plan/plan.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "plan/device.h"
#include "plan/internal.h"

enum { TABLE_MAIN = 254 };

void step_add_at(struct planner *planner, enum stage stage, const struct op *op, const struct op *undo)
{
    *vec_push(planner->arena, &planner->plan->steps) =
        (struct step){.op = *op, .undo = *undo, .stage = stage};
}

void step_add(struct planner *planner, const struct op *op, const struct op *undo)
{
    step_add_at(planner, planner->stage, op, undo);
}

enum stage rules_stage(const struct planner *planner, const struct passage *passage)
{
    bool bare = passage->want.mode ? !passage->bridge : planner->stage == STAGE_GO;
    return bare && !planner->observed->traits.rules_in_turn ? STAGE_RULES : planner->stage;
}

static void steps_order(struct planner *planner)
{
    struct plan *plan = planner->plan;
    struct step *steps = arena_alloc(planner->arena, plan->steps.count * sizeof(*steps)), *next = steps;
    for (unsigned stage = 0; stage < STAGE_COUNT; stage++) {
        vec_foreach (&plan->steps, step) {
            if (step->stage == stage)
                *next++ = *step;
        }
    }
    if (plan->steps.count)
        memcpy(plan->steps.items, steps, plan->steps.count * sizeof(*steps));
}

void plan_note(struct planner *planner, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    *vec_push(planner->arena, &planner->plan->notes) = arena_vprintf(planner->arena, format, args);
    va_end(args);
}

const char *interface_sysctl(const struct planner *planner, int version, const char *ifname,
                             const char *entry)
{
    char *text = arena_strdup(planner->arena, ifname);
    for (char *c = text; *c; c++)
        *c = *c == '.' ? '/' : *c;
    return arena_printf(planner->arena, "net.ipv%d.conf.%s.%s", version, text, entry);
}

static const char *default_route_interface(const struct observed *observed, uint8_t family)
{
    const struct route *best = NULL;
    vec_foreach (&observed->routes, route) {
        if (route->to.length == 0 && route->to.ip.family == family && route->table == TABLE_MAIN &&
            route->ifname && *route->ifname && (!best || route->metric < best->metric))
            best = route;
    }
    return best ? best->ifname : NULL;
}

const char *plan_default_uplink(const struct observed *observed)
{
    return default_route_interface(observed, AF_INET);
}

const char *plan_default_uplink6(const struct observed *observed)
{
    return default_route_interface(observed, AF_INET6);
}

/* --- which networks
 * ------------------------------------------------------------------------------------------------- */

bool plan_selects(const struct planner *planner, const char *name)
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

/* Every network that this host shows a trace of: a tagged bridge, rules, files. */
static void networks_here(struct planner *planner, struct names *names)
{
    const struct observed *observed = planner->observed;
    vec_foreach (&observed->links, link) {
        const char *network = owner_network(planner->arena, link->alias);
        if (network && (strcmp(link->kind, "bridge") == 0 || strcmp(link->kind, "vlan") == 0))
            names_add(planner->arena, names, network);
    }
    vec_foreach (&observed->firewall_traces, trace)
        names_add(planner->arena, names, *trace);
    vec_foreach (&observed->locks, lock)
        names_add(planner->arena, names, lock->network);
    vec_foreach (&observed->shapers, shaper)
        names_add(planner->arena, names, shaper->network);
    vec_foreach (&observed->shared_traces, trace)
        names_add(planner->arena, names, *trace);
    struct device_records records;
    if (device_records_read(planner->arena, observed, &records, NULL) == 0) {
        planner->devices = records.list.count > 0;
        vec_foreach (&records.list, record)
            names_add(planner->arena, names, record->network);
    }
    vec_foreach (&observed->admissions, admission)
        names_add(planner->arena, names, admission->network);
    vec_foreach (&observed->unmanaged, unmanaged)
        names_add(planner->arena, names, unmanaged->network);
    const char *folder = arena_printf(planner->arena, "%s/network/", observed->run_dir);
    vec_foreach (&observed->files, file) {
        const char *name = file->path + strlen(folder), *end;
        if (strncmp(file->path, folder, strlen(folder)) == 0 && (end = strchr(name, '/')))
            names_add(planner->arena, names, arena_strndup(planner->arena, name, (size_t)(end - name)));
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
    if (network)
        passage->mtu = plan_network_mtu(planner->request->model, network, planner->observed);
    int rc = record_read(planner->arena, planner->observed, name, &passage->now, err);
    if (rc == 0 && !network)
        follow_renamed_uplink(planner, passage);
    return rc;
}

static const struct network *desired(const struct planner *planner, const char *name)
{
    return planner->request->model ? network_find(planner->request->model, name) : NULL;
}

/* What networks that stay or come ask of the host. */
struct shared_needs {
    bool forward, forward6, servers;
    bool filter; /* a main ruleset, where there is one */
};

static bool has_ipv6(const struct record *record)
{
    vec_foreach (&record->made, op) {
        if (op->kind == OP_ADDRESS_ADD && op->address.prefix.ip.family == AF_INET6)
            return true;
    }
    return false;
}

static void needs_add(struct shared_needs *needs, const struct observed *observed,
                      const struct record *record)
{
    needs->forward |= mode_forwards(record->mode);
    needs->servers |= mode_behind_host(record->mode);
    needs->forward6 |= mode_forwards(record->mode) && has_ipv6(record);
    /* A network has rules where the host has an address; an isolated one's are for a host that forwards for
     * others. */
    const struct firewall_main *main = &observed->firewall_main;
    needs->filter |= mode_behind_host(record->mode) && record->made.count > 0 &&
                     (main->load || main->enable || main->ours);
}

/* Networks that go away first, so that what they held (an uplink, a subnet) is free; then those of the file,
 * in its order. */
static int plan_networks(struct planner *planner, struct shared_needs *needs, struct err *err)
{
    struct names here = {0};
    networks_here(planner, &here);
    planner->stage = STAGE_GO;
    vec_foreach (&here.list, name) {
        struct passage passage;
        const struct network *network = desired(planner, *name);
        if (plan_selects(planner, *name) && network)
            continue;
        int rc = passage_start(planner, *name, NULL, &passage, err);
        if (rc < 0)
            return rc;
        if (plan_selects(planner, *name)) {
            note_cut(planner, &passage);
            network_steps(planner, &passage);
        } else {
            needs_add(needs, planner->observed, &passage.now);
            planner->locks |= lock_stays(planner, *name);
        }
    }
    if (!planner->request->model)
        return 0;
    planner->stage = STAGE_COME;
    vlans_release(planner);
    vec_foreach (&planner->request->model->networks, network) {
        struct passage passage;
        if (!plan_selects(planner, network->name))
            continue;
        int rc = passage_start(planner, network->name, network, &passage, err);
        if (rc < 0)
            return rc;
        check_network(planner, &passage);
        want_record(planner, &passage);
        check_mtu_ipv6(planner, &passage);
        want_zone(planner, &passage);
        note_cut(planner, &passage);
        network_steps(planner, &passage);
        needs_add(needs, planner->observed, &passage.want);
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
    struct shared_needs needs = {0};
    uplink_uses_read(&planner);
    nics_find(&planner);
    nics_leave(&planner);
    firewall_ports_release(&planner);
    watches_up(&planner);
    shaping_up(&planner);
    stray_rates_remove(&planner);
    int rc = plan_networks(&planner, &needs, err);
    planner.stage = STAGE_LAST;
    lock_nics_forget(&planner);
    const struct firewall_main *main = &request->observed->firewall_main;
    needs.filter |= planner.locks && (main->load || main->enable || main->ours);
    if (rc == 0 && !planner.locks)
        rc = host_steps_down(&planner, FORMER_LOCKS, err);
    if (rc == 0 && !needs.forward6)
        rc = host_steps_down(&planner, FORMER_IPV6, err);
    if (rc == 0 && !needs.servers)
        rc = host_steps_down(&planner, FORMER_WATCHES, err);
    if (rc == 0 && !shaping_needed(&planner))
        rc = host_steps_down(&planner, FORMER_RATES, err);
    if (rc < 0)
        return rc;
    if (needs.forward || needs.filter)
        host_steps_up(&planner, needs.forward);
    else
        rc = host_steps_down(&planner, FORMER_IPV4, err);
    if (rc == 0 && needs.forward6)
        rc = host_steps6_up(&planner, err);
    if (rc == 0 && planner.locks)
        lock_sysctls_up(&planner);
    steps_order(&planner);
    return rc;
}
