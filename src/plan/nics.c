/* nics.c: running guests' nics: which network each belongs on, and the steps by which it moves there.
 *
 * A nic is known by its machine, its place among the machine's nics and its MAC.  Where the file has that nic
 * on another network than its tap is tagged for, its tap goes there while the guest has it: it is down from
 * before it leaves until all that the other network asks of it is so. */
#include <stdlib.h>
#include <string.h>

#include "plan/internal.h"

static int machine_compare(const void *a, const void *b)
{
    const struct machine *const *one = a, *const *other = b;
    return strcmp((*one)->name, (*other)->name);
}

static int nic_compare(const void *a, const void *b)
{
    const struct planned_nic *one = a, *other = b;
    int names = strcmp(one->nic.machine, other->nic.machine);
    return names ? names : (int)one->nic.index - (int)other->nic.index;
}

static bool is_passed_through(const struct planner *planner, const struct nic *nic)
{
    const struct network *network = network_find(planner->request->model, nic->network);
    return network && network->mode == NETWORK_PASSTHROUGH;
}

const struct nic *nic_entry(const struct planner *planner, const struct machine *machine, unsigned index)
{
    vec_foreach (&machine->nics, nic) {
        if (!is_passed_through(planner, nic) && index-- == 0)
            return nic;
    }
    return NULL;
}

static const char *home_of(const struct planner *planner, const struct machine *machine,
                           const struct wired_nic *wired)
{
    const struct nic *nic = machine ? nic_entry(planner, machine, wired->index) : NULL;
    bool known = nic && mac_equal(&nic->mac, &wired->mac) &&
                 network_find(planner->request->model, nic->network) && plan_selects(planner, nic->network);
    return known ? nic->network : wired->network;
}

/* What a running machine lacks is attached by its user: a guest's hardware is not changed unasked. */
static void tell_missing(struct planner *planner, const struct machine *machine)
{
    unsigned index = 0;
    vec_foreach (&machine->nics, nic) {
        if (is_passed_through(planner, nic))
            continue;
        struct planned_nic key = {.nic = {.machine = machine->name, .index = index++}};
        if (!plan_selects(planner, nic->network) ||
            bsearch(&key, planner->nics.items, planner->nics.count, sizeof(key), nic_compare))
            continue;
        plan_note(planner, "machine '%s' runs without its nic %u on '%s': %s", machine->name, key.nic.index,
                  nic->network,
                  planner->observed->traits.fixed_nics
                      ? "it has that when it was stopped and started"
                      : arena_printf(planner->arena, "vmwire attach %s %s", machine->name, nic->network));
    }
}

void nics_find(struct planner *planner)
{
    vec_foreach (&planner->observed->links, link) {
        struct planned_nic nic = {.tap = link};
        if (strncmp(link->alias, OWNER_PREFIX, strlen(OWNER_PREFIX)) == 0 &&
            owner_nic(planner->arena, link, &nic.nic))
            *vec_push(planner->arena, &planner->nics) = nic;
    }
    const struct model *model = planner->request->model;
    size_t count = model ? model->machines.count : 0;
    if (!planner->nics.count)
        return;
    const struct machine **machines = arena_alloc(planner->arena, (count + 1) * sizeof(*machines));
    for (size_t i = 0; i < count; i++)
        machines[i] = &model->machines.items[i];
    qsort(machines, count, sizeof(*machines), machine_compare);
    qsort(planner->nics.items, planner->nics.count, sizeof(*planner->nics.items), nic_compare);
    const char *told = "";
    vec_foreach (&planner->nics, nic) {
        const struct machine key = {.name = nic->nic.machine}, *wanted = &key;
        const struct machine **found = bsearch(&wanted, machines, count, sizeof(*machines), machine_compare);
        nic->home = home_of(planner, found ? *found : NULL, &nic->nic);
        if (found && strcmp(told, nic->nic.machine) != 0)
            tell_missing(planner, *found);
        told = nic->nic.machine;
    }
}

bool nic_moves(const struct planned_nic *nic)
{
    return strcmp(nic->home, nic->nic.network) != 0;
}

static struct op nic_op(const struct planned_nic *nic, const char *network, unsigned fields)
{
    struct op op = {.kind = OP_LINK_SET, .network = network};
    op.link = (struct link){.name = nic->tap->name, .kind = "", .alias = "", .fields = fields, .guest = true};
    return op;
}

/* What its bridge asks of the port goes with it: a step to nowhere, before all that changes the nic, has the
 * undo that comes last. */
static void keep_rules(struct planner *planner, const char *network, const struct planned_nic *nic)
{
    const struct link *tap = nic->tap;
    uint32_t own = port_vlan_own(tap), vlan = own == VLAN_UNTAGGED ? 0 : own;
    struct op op = {.kind = OP_PORT_SET, .network = network};
    op.port = (struct port){.ifname = tap->name,
                            .bridge = tap->master,
                            .rules = tap->port,
                            .vlan = vlan,
                            .alias = vlan ? tap->alias : NULL,
                            .guest = true};
    if (tap->port.isolated || vlan)
        step_add(planner, &op, &op);
    lock_nic_release(planner, tap->name);
}

static void remove_port(struct planner *planner, const char *network, const struct planned_nic *nic)
{
    struct op op = {.kind = OP_PORT_REMOVE, .network = network}, undo;
    op.port = (struct port){.ifname = nic->tap->name, .bridge = nic->tap->master, .guest = true};
    undo = op;
    undo.kind = OP_PORT_ADD;
    step_add(planner, &op, &undo);
}

void nic_remove(struct planner *planner, const char *network, const struct planned_nic *nic)
{
    keep_rules(planner, network, nic);
    remove_port(planner, network, nic);
}

/* Down, out of its old network's shapers, off its bridge. */
static void leave(struct planner *planner, const struct planned_nic *nic)
{
    const struct link *tap = nic->tap;
    const char *from = nic->nic.network;
    struct op op = nic_op(nic, nic->home, LINK_ALIAS | LINK_UP), undo = op;
    struct wired_nic there = nic->nic;
    there.network = nic->home;
    op.link.alias = owner_nic_tag(planner->arena, &there);
    undo.link.alias = tap->alias;
    undo.link.up = tap->up;
    if (*tap->master)
        keep_rules(planner, from, nic);
    step_add(planner, &op, &undo);
    plan_note(planner, "machine '%s': its nic %u goes from '%s' to '%s', where it needs a new lease",
              nic->nic.machine, nic->nic.index, from, nic->home);
    struct op free = {.kind = OP_RATE_SET, .network = from}, shaped = free;
    free.nic_rates = (struct nic_rates){.ifname = tap->name, .mac = nic->nic.mac};
    shaped.nic_rates = free.nic_rates;
    shaped.nic_rates.in = tap->rates[RATE_IN];
    shaped.nic_rates.out = tap->rates[RATE_OUT];
    bool rated = false;
    for (int way = 0; way < RATE_WAYS; way++)
        rated |= tap->rates[way].shaped || tap->rates[way].rate.bits_s;
    if (rated)
        step_add(planner, &free, &shaped);
    if (*tap->master)
        remove_port(planner, from, nic);
}

void nics_leave(struct planner *planner)
{
    vec_foreach (&planner->nics, nic) {
        if (nic_moves(nic))
            leave(planner, nic);
    }
}

void nics_arrive(struct planner *planner, const struct passage *passage)
{
    vec_foreach (&planner->nics, nic) {
        if (!nic_moves(nic) || strcmp(nic->home, passage->name) != 0)
            continue;
        struct op op = nic_op(nic, nic->home, LINK_UP), undo = op;
        op.link.up = true;
        step_add(planner, &op, &undo);
    }
}
