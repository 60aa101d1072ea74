/* lock.c: what guests of a network may not say, and what each nic may say that it is. */
#include <stdlib.h>
#include <string.h>

#include "plan/internal.h"

static const struct lock *lock_now(const struct planner *planner, const char *network)
{
    vec_foreach (&planner->observed->locks, lock) {
        if (strcmp(lock->network, network) == 0)
            return lock;
    }
    return NULL;
}

static bool lock_wanted(const struct planner *planner, const struct passage *passage, struct lock *want)
{
    const struct network *network = passage->network;
    *want = (struct lock){.network = passage->name};
    if (!passage->want.mode || !network || planner->observed->lock_refusal ||
        planner->observed->traits.no_locks)
        return false;
    bool any = false;
    for (int kind = 0; kind < LOCK_KIND_COUNT; kind++)
        any |= want->kinds[kind] = network->lock[kind];
    if (!want->kinds[LOCK_IP] && !want->kinds[LOCK_ARP])
        return any;
    if (network_has_subnet6(network))
        want->subnet6 = network->subnet6;
    /* Elsewhere others say which addresses there are. */
    want->any6 = network->mode == NETWORK_BRIDGED || !network_has_subnet(network);
    return any;
}

void check_lock(struct planner *planner, const struct passage *passage)
{
    const struct network *network = passage->network;
    const char *refusal = planner->observed->traits.no_locks ? "it is not there on this host in this version"
                                                             : planner->observed->lock_refusal;
    bool any = false;
    for (int kind = 0; kind < LOCK_KIND_COUNT; kind++)
        any |= network->lock[kind];
    if (!refusal || !any)
        return;
    if (network->lock_pos.line)
        problem_add(planner->problems, network->lock_pos, "network '%s': 'lock' cannot be had: %s",
                    network->name, refusal);
    else if (!passage->bridge)
        plan_note(planner, "network '%s': guests may use any MAC and address: 'lock' cannot be had: %s",
                  network->name, refusal);
}

void lock_steps_down(struct planner *planner, const struct passage *passage)
{
    struct lock want;
    const struct lock *now = lock_now(planner, passage->name);
    if (!now || lock_wanted(planner, passage, &want))
        return;
    struct op op = op_for(passage, OP_LOCK_REMOVE), undo = op_for(passage, OP_LOCK_SET);
    op.lock = undo.lock = *now;
    step_add(planner, &op, &undo);
}

void lock_steps_up(struct planner *planner, const struct passage *passage)
{
    struct op op = op_for(passage, OP_LOCK_SET), undo = op_for(passage, OP_LOCK_REMOVE);
    const struct lock *now = lock_now(planner, passage->name);
    if (!lock_wanted(planner, passage, &op.lock))
        return;
    undo.lock = op.lock;
    if (planner->observed->lock_base && now && lock_equal(now, &op.lock))
        return;
    if (now) {
        undo.kind = OP_LOCK_SET;
        undo.lock = *now;
    }
    step_add(planner, &op, &undo);
}

/* What the file, or `exec`, gave it. */
static struct lock_nic nic_wanted(const struct planner *planner, const struct passage *passage,
                                  const struct wired_nic *wired)
{
    struct lock_nic want = {.ifname = wired->tap,
                            .network = passage->name,
                            .mac = wired->mac,
                            .any = wired->mac_any,
                            .ip = wired->address,
                            .ip6 = wired->address6};
    vec_foreach (&passage->network->nics, member) {
        if (strcmp(member->machine->name, wired->machine) != 0)
            continue;
        /* One that was chosen for a forward is leased: nobody else could know it. */
        const struct nic *nic = nic_entry(planner, member->machine, wired->index);
        if (nic && strcmp(nic->network, passage->name) == 0 && ip_is_set(&nic->address) &&
            !nic->address_chosen)
            want.ip = nic->address;
        if (nic && strcmp(nic->network, passage->name) == 0 && ip_is_set(&nic->address6) &&
            !nic->address6_chosen)
            want.ip6 = nic->address6;
        break;
    }
    return want;
}

static int by_name(const void *name, const void *nic)
{
    return strcmp(name, ((const struct lock_nic *)nic)->ifname);
}

void lock_nic_steps(struct planner *planner, const struct passage *passage, const struct wired_nic *wired)
{
    struct lock lock;
    if (!lock_wanted(planner, passage, &lock))
        return;
    const struct observed *observed = planner->observed;
    const struct lock_nic *now =
        observed->lock_nics.count
            ? bsearch(wired->tap, observed->lock_nics.items, observed->lock_nics.count, sizeof(*now), by_name)
            : NULL;
    struct op op = op_for(passage, OP_NIC_SET), undo = op_for(passage, OP_NIC_REMOVE);
    op.nic = undo.nic = nic_wanted(planner, passage, wired);
    if (now && lock_nic_equal(now, &op.nic))
        return;
    if (now) {
        struct op before = {.kind = OP_NIC_REMOVE, .network = now->network, .nic = *now}, again = before;
        again.kind = OP_NIC_SET;
        step_add(planner, &before, &again);
    }
    /* Where nothing is known of the nic, nobody saw its lease go by. */
    for (size_t i = 0; !now && i < planner->request->leases.count; i++) {
        const struct lock_lease *lease = &planner->request->leases.items[i];
        if (mac_equal(&lease->mac, &wired->mac) && prefix_contains(&passage->network->subnet, &lease->ip))
            op.nic.leased = lease->ip;
    }
    step_add(planner, &op, &undo);
}
