/* shared.c: a bridged network whose guests have the host's MAC on the wire: its rules, and the addresses that
 * are known before anybody speaks. */
#include <string.h>
#include <sys/socket.h>

#include "plan/internal.h"

static const struct shared *shared_observed(const struct planner *planner, const char *network)
{
    vec_foreach (&planner->observed->shareds, shared) {
        if (strcmp(shared->network, network) == 0)
            return shared;
    }
    return NULL;
}

static bool shared_traced(const struct planner *planner, const char *network)
{
    vec_foreach (&planner->observed->shared_traces, name) {
        if (strcmp(*name, network) == 0)
            return true;
    }
    return false;
}

/* False: it shares no MAC, or its uplink is not there. */
static bool shared_wanted(const struct planner *planner, const struct passage *passage, struct shared *want)
{
    const struct network *network = passage->network;
    if (passage->want.mode != NETWORK_BRIDGED || !network->mac_shared)
        return false;
    const struct link *uplink = link_find(planner->observed, network->uplink);
    if (!uplink || !passage->want.port)
        return false;
    *want = (struct shared){
        .network = passage->name, .bridge = passage->name, .uplink = passage->want.port, .mac = uplink->mac};
    return true;
}

static bool shared_equal(const struct shared *a, const struct shared *b)
{
    return strcmp(a->uplink, b->uplink) == 0 && mac_equal(&a->mac, &b->mac);
}

struct fixed {
    VEC(struct shared_address) list;
};

static void fixed_add(struct planner *planner, struct fixed *fixed, const char *network, const struct ip *ip,
                      const struct mac *mac)
{
    *vec_push(planner->arena, &fixed->list) =
        (struct shared_address){.network = network, .ip = *ip, .mac = *mac, .fixed = true};
}

/* The host's own, where the record says them, and the nics' in the file.  The host's own by DHCP are learned.
 */
static void fixed_wanted(struct planner *planner, const struct passage *passage, const struct shared *shared,
                         struct fixed *fixed)
{
    vec_foreach (&passage->want.made, op) {
        if (op->kind == OP_ADDRESS_ADD && op->address.prefix.ip.family == AF_INET)
            fixed_add(planner, fixed, passage->name, &op->address.prefix.ip, &shared->mac);
    }
    vec_foreach (&passage->network->nics, wired) {
        if (ip_is_set(&wired->nic->address))
            fixed_add(planner, fixed, passage->name, &wired->nic->address, &wired->nic->mac);
    }
}

static bool fixed_has(const struct fixed *fixed, const struct shared_address *wanted)
{
    vec_foreach (&fixed->list, address) {
        if (ip_equal(&address->ip, &wanted->ip) && mac_equal(&address->mac, &wanted->mac))
            return true;
    }
    return false;
}

static bool fixed_observed(const struct planner *planner, const struct shared_address *wanted)
{
    vec_foreach (&planner->observed->shared_addresses, address) {
        if (address->fixed && strcmp(address->network, wanted->network) == 0 &&
            ip_equal(&address->ip, &wanted->ip))
            return mac_equal(&address->mac, &wanted->mac) && address->held && address->live;
    }
    return false;
}

static void change_address(struct planner *planner, const struct passage *passage,
                           const struct shared_address *address, bool add)
{
    struct op op = {.kind = add ? OP_SHARED_ADDRESS_ADD : OP_SHARED_ADDRESS_REMOVE,
                    .network = passage->name,
                    .shared_address = {.network = passage->name, .ip = address->ip, .mac = address->mac}};
    struct op undo = op;
    undo.kind = add ? OP_SHARED_ADDRESS_REMOVE : OP_SHARED_ADDRESS_ADD;
    step_add(planner, &op, &undo);
}

void remove_shared(struct planner *planner, const struct passage *passage)
{
    struct shared want = {0};
    bool wanted = shared_wanted(planner, passage, &want);
    const struct shared *now = shared_observed(planner, passage->name);
    struct fixed fixed = {0};
    if (!shared_traced(planner, passage->name))
        return;
    bool stays = wanted && now && shared_equal(&want, now);
    if (stays)
        fixed_wanted(planner, passage, &want, &fixed);
    vec_foreach (&planner->observed->shared_addresses, address) {
        if (now && address->fixed && strcmp(address->network, passage->name) == 0 &&
            !fixed_has(&fixed, address))
            change_address(planner, passage, address, false);
    }
    if (stays || (wanted && !now))
        return;
    const struct shared rest = {.network = passage->name, .bridge = passage->name, .uplink = ""};
    struct op op = {.kind = OP_SHARED_REMOVE, .network = passage->name, .shared = now ? *now : rest};
    op.shared.network = passage->name;
    struct op undo = op;
    undo.kind = OP_SHARED_SET;
    step_add(planner, &op, now ? &undo : &(struct op){0});
}

void set_shared(struct planner *planner, const struct passage *passage)
{
    struct shared want = {0};
    if (!shared_wanted(planner, passage, &want))
        return;
    const struct shared *now = shared_observed(planner, passage->name);
    bool stays = planner->observed->shared_base && now && shared_equal(&want, now);
    if (!stays) {
        struct op op = {.kind = OP_SHARED_SET, .network = passage->name, .shared = want};
        struct op undo = op;
        undo.kind = OP_SHARED_REMOVE;
        step_add(planner, &op, &undo);
    }
    struct fixed fixed = {0};
    fixed_wanted(planner, passage, &want, &fixed);
    vec_foreach (&fixed.list, address) {
        if (!stays || !fixed_observed(planner, address))
            change_address(planner, passage, address, true);
    }
}

void check_shared(struct planner *planner, const struct passage *passage)
{
    const struct network *network = passage->network;
    if (planner->observed->traits.no_shared_mac)
        problem_add(planner->problems, network->mac_pos,
                    "network '%s': 'mac: shared' needs Linux; use mode nat where the switch passes one MAC",
                    network->name);
    else if (planner->observed->shared_refusal)
        problem_add(
            planner->problems, network->mac_pos,
            "network '%s': 'mac: shared' cannot be had: %s; use mode nat where the switch passes one MAC",
            network->name, planner->observed->shared_refusal);
    struct shared want = {0};
    struct passage asked = *passage;
    want_record(planner, &asked);
    if (!shared_wanted(planner, &asked, &want))
        return;
    vec_foreach (&asked.want.made, op) {
        vec_foreach (&network->nics, wired) {
            if (op->kind == OP_ADDRESS_ADD && ip_is_set(&wired->nic->address) &&
                ip_equal(&op->address.prefix.ip, &wired->nic->address))
                problem_add(planner->problems, wired->nic->address_pos,
                            "%s is the host's own address on network '%s'; choose another",
                            IP_TEXT(&wired->nic->address), network->name);
        }
    }
}
