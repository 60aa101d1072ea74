/* lock.c: what guests of a network may not say, and what each nic may say that it is.
 *
 * Where rules are each nic's own (traits.locks_by_nic), a network's lock is a file beside its record, by
 * which whoever opens a nic knows it, and the nic's operation has all of it (struct lock_nic's `held`).  They
 * go with the port: a step that takes them away comes before the one that takes it off its bridge, so that
 * undone they come back behind it. */
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
        passage->want.mode == NETWORK_PASSTHROUGH)
        return false;
    bool any = false, by_nic = planner->observed->traits.locks_by_nic;
    for (int kind = 0; kind < LOCK_KIND_COUNT; kind++)
        any |= want->kinds[kind] = network->lock[kind] && !(by_nic && kind == LOCK_ARP);
    if (!want->kinds[LOCK_IP] && !want->kinds[LOCK_ARP])
        return any;
    if (by_nic && network_has_subnet(network))
        want->subnet = network->subnet;
    if (network_has_subnet6(network))
        want->subnet6 = network->subnet6;
    /* Elsewhere others say which addresses there are. */
    want->any6 = network->mode == NETWORK_BRIDGED || !network_has_subnet(network);
    return any;
}

/* What a packet filter and a bridge's table of addresses cannot hold. */
static void check_by_nic(struct planner *planner, const struct passage *passage)
{
    const struct network *network = passage->network;
    const char *refusal = planner->observed->firewall_main.refusal;
    struct lock lock = {0};
    memcpy(lock.kinds, network->lock, sizeof(lock.kinds));
    lock.kinds[LOCK_ARP] = false;
    if (network->lock[LOCK_ARP] && network->lock_pos.line)
        problem_add(
            planner->problems, network->lock_pos,
            "network '%s': 'lock: arp' cannot be had on this host: its packet filter sees no ARP; what "
            "can be had is 'lock: [%s]'",
            network->name, lock_kinds_text(planner->arena, lock.kinds));
    else if (network->lock[LOCK_ARP] && !passage->bridge)
        plan_note(planner, "network '%s': the lock 'arp' is not held: this host's packet filter sees no ARP",
                  network->name);
    if (lock_filters(&lock) && refusal && !network_has_subnet(network)) /* else check_nat has said it */
        problem_add_lines(planner->problems, network->lock_pos,
                          arena_printf(planner->arena, "network '%s': %s", network->name, refusal));
    if (!lock.kinds[LOCK_IP] || passage->bridge)
        return;
    if (network_has_subnet(network))
        plan_note(planner, "network '%s': guests without 'address' may use any IPv4 address of %s",
                  network->name, PREFIX_TEXT(&network->subnet));
    else
        plan_note(planner, "network '%s': guests without 'address' may use any IPv4 address", network->name);
}

void check_lock(struct planner *planner, const struct passage *passage)
{
    const struct network *network = passage->network;
    const char *refusal = planner->observed->lock_refusal;
    if (planner->observed->traits.locks_by_nic)
        check_by_nic(planner, passage);
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

/* --- a network's */

static const char *lock_path(const struct planner *planner, const char *network)
{
    return arena_printf(planner->arena, "%s/network/%s/lock", planner->observed->run_dir, network);
}

/* That of a network that goes, goes with its folder. */
static void lock_file_remove(struct planner *planner, const struct passage *passage)
{
    struct lock want;
    const struct file *file = file_find(planner->observed, lock_path(planner, passage->name));
    if (!file || !passage->want.mode || passage->want.mode == NETWORK_PASSTHROUGH ||
        lock_wanted(planner, passage, &want))
        return;
    struct op op = op_for(passage, OP_FILE_REMOVE), undo = op_for(passage, OP_FILE_WRITE);
    op.file = undo.file = *file;
    op.file.content = "";
    step_add(planner, &op, &undo);
}

static void lock_file_write(struct planner *planner, const struct passage *passage)
{
    struct op op = op_for(passage, OP_LOCK_SET);
    if (!lock_wanted(planner, passage, &op.lock))
        return;
    planner->locks |= lock_filters(&op.lock);
    file_put(planner, passage, lock_path(planner, passage->name),
             arena_printf(planner->arena, "%s\n", op_format(planner->arena, &op)));
}

bool lock_stays(const struct planner *planner, const char *network)
{
    const struct lock *now = lock_now(planner, network);
    return planner->observed->traits.locks_by_nic && now && lock_filters(now);
}

void lock_steps_down(struct planner *planner, const struct passage *passage)
{
    if (planner->observed->traits.locks_by_nic) {
        lock_file_remove(planner, passage);
        return;
    }
    struct lock want;
    const struct lock *now = lock_now(planner, passage->name);
    if (!now || lock_wanted(planner, passage, &want))
        return;
    struct op op = op_for(passage, OP_LOCK_REMOVE), undo = op_for(passage, OP_LOCK_SET);
    op.lock = undo.lock = *now;
    step_add_at(planner, rules_stage(planner, passage), &op, &undo);
}

void lock_steps_up(struct planner *planner, const struct passage *passage)
{
    if (planner->observed->traits.locks_by_nic) {
        lock_file_write(planner, passage);
        return;
    }
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
    step_add_at(planner, rules_stage(planner, passage), &op, &undo);
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

static const struct lock_nic *nic_now(const struct planner *planner, const char *tap)
{
    const struct observed *observed = planner->observed;
    return observed->lock_nics.count ? bsearch(tap, observed->lock_nics.items, observed->lock_nics.count,
                                               sizeof(struct lock_nic), by_name)
                                     : NULL;
}

static void nic_step(struct planner *planner, enum op_kind kind, const struct lock_nic *nic,
                     enum op_kind undo_kind, const struct lock_nic *undo_nic)
{
    struct op op = {.kind = kind, .network = nic->network, .nic = *nic};
    struct op undo = {.kind = undo_kind, .network = undo_nic->network, .nic = *undo_nic};
    step_add(planner, &op, &undo);
}

/* One file of rules takes the place of the other, and nothing else changes. */
static bool replaces(const struct lock_nic *want, const struct lock_nic *now)
{
    return strcmp(want->network, now->network) == 0 && mac_equal(&want->mac, &now->mac) &&
           want->held.kinds[LOCK_MAC] == now->held.kinds[LOCK_MAC] && lock_filters(&want->held) &&
           lock_filters(&now->held);
}

static void own_rules_steps(struct planner *planner, const struct passage *passage,
                            const struct wired_nic *wired, bool moved)
{
    struct lock lock = {0};
    struct lock_nic want = nic_wanted(planner, passage, wired);
    bool wanted = lock_wanted(planner, passage, &lock);
    lock_nic_hold(&want, wanted ? &lock : &(struct lock){0});
    wanted = lock_nic_held(&want);
    const struct lock_nic *now = moved ? NULL : nic_now(planner, wired->tap);
    if (now && wanted && lock_nic_equal(now, &want))
        return;
    if (now && wanted && replaces(&want, now)) {
        nic_step(planner, OP_NIC_SET, &want, OP_NIC_SET, now);
        return;
    }
    if (now)
        nic_step(planner, OP_NIC_REMOVE, now, OP_NIC_SET, now);
    if (wanted)
        nic_step(planner, OP_NIC_SET, &want, OP_NIC_REMOVE, &want);
}

void lock_nic_release(struct planner *planner, const char *tap)
{
    const struct lock_nic *now = planner->observed->traits.locks_by_nic ? nic_now(planner, tap) : NULL;
    if (now)
        nic_step(planner, OP_NIC_REMOVE, now, OP_NIC_SET, now);
}

void lock_nics_forget(struct planner *planner)
{
    if (!planner->observed->traits.locks_by_nic)
        return;
    vec_foreach (&planner->observed->lock_nics, nic) {
        struct wired_nic wired;
        const struct link *tap = link_find(planner->observed, nic->ifname);
        if (!tap || !owner_nic(planner->arena, tap, &wired))
            nic_step(planner, OP_NIC_REMOVE, nic, OP_NIC_SET, nic);
    }
}

void lock_nic_steps(struct planner *planner, const struct passage *passage, const struct wired_nic *wired,
                    bool moved)
{
    struct lock lock;
    if (planner->observed->traits.locks_by_nic) {
        own_rules_steps(planner, passage, wired, moved);
        return;
    }
    if (!lock_wanted(planner, passage, &lock))
        return;
    const struct lock_nic *now = nic_now(planner, wired->tap);
    struct op op = op_for(passage, OP_NIC_SET), undo = op_for(passage, OP_NIC_REMOVE);
    op.nic = undo.nic = nic_wanted(planner, passage, wired);
    if (now && lock_nic_equal(now, &op.nic))
        return;
    if (now)
        nic_step(planner, OP_NIC_REMOVE, now, OP_NIC_SET, now);
    /* Where nothing is known of the nic, nobody saw its lease go by. */
    for (size_t i = 0; !now && i < planner->request->leases.count; i++) {
        const struct lock_lease *lease = &planner->request->leases.items[i];
        if (mac_equal(&lease->mac, &wired->mac) && prefix_contains(&passage->network->subnet, &lease->ip))
            op.nic.leased = lease->ip;
    }
    step_add(planner, &op, &undo);
}
