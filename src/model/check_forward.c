/* check_forward.c: port forwards: the address that each leads to, and which want the same port.
 *
 * A forward must lead to the same address after every boot of the guest.  A nic that a forward leads to and
 * that the file gives no address is given one of the DHCP range, made from its MAC, so that it stays the same
 * whatever else is in the file: its static lease.  Its IPv6 address is then the one that SLAAC makes of the
 * MAC: guests that ask no DHCPv6 server have it too, unless they hide their MAC. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "model/check.h"

static uint32_t ip_number(const struct ip *ip)
{
    return (uint32_t)ip->bytes[0] << 24 | (uint32_t)ip->bytes[1] << 16 | (uint32_t)ip->bytes[2] << 8 |
           ip->bytes[3];
}

static bool address_taken(const struct network *network, const struct ip *ip)
{
    vec_foreach (&network->nics, member) {
        if (ip_equal(ip->family == AF_INET6 ? &member->nic->address6 : &member->nic->address, ip))
            return true;
    }
    return false;
}

/* False when every address of the range is somebody's. */
static bool address_choose(const struct network *network, struct nic *nic)
{
    uint32_t size = ip_number(&network->dhcp_last) - ip_number(&network->dhcp_first) + 1, hash = 2166136261;
    for (size_t i = 0; i < sizeof(nic->mac.bytes); i++)
        hash = (hash ^ nic->mac.bytes[i]) * 16777619; /* FNV-1a 32 */
    for (uint32_t tried = 0; size && tried < size; tried++) {
        struct ip ip = ip_add(&network->dhcp_first, (hash + tried) % size);
        if (address_taken(network, &ip))
            continue;
        nic->address = ip;
        nic->address_chosen = true;
        return true;
    }
    return false;
}

/* The address that forwards to this nic lead to, given to it when it has none; NULL after a problem. */
static const struct ip *nic_target(struct check *check, const struct network *network, struct nic *nic,
                                   struct pos pos)
{
    if (ip_is_set(&nic->address))
        return &nic->address;
    if (!network->dhcp) {
        problem_add(check->problems, pos,
                    "the nic%s has no address that is known, and network '%s' has no DHCP to give it one; "
                    "write its 'address'",
                    on_line(check, nic->pos), network->name);
        return NULL;
    }
    if (!ip_is_set(&network->dhcp_last) || ip_compare(&network->dhcp_first, &network->dhcp_last) > 0)
        return NULL; /* said already */
    if (!address_choose(network, nic)) {
        problem_add(check->problems, pos,
                    "every address of the DHCP range of network '%s' is a nic's already; make it larger",
                    network->name);
        return NULL;
    }
    return &nic->address;
}

/* Likewise its IPv6 address; NULL without a problem when the entry asks for whichever there is. */
static const struct ip *nic_target6(struct check *check, const struct network *network, struct nic *nic,
                                    const struct forward_entry *entry)
{
    if (ip_is_set(&nic->address6))
        return &nic->address6;
    bool asked = entry->forward.family == AF_INET6;
    if (!network_has_subnet6(network) || !network->dhcp) {
        if (asked && !network_has_subnet6(network))
            problem_add(check->problems, entry->pos, "network '%s' has no 'subnet6'", network->name);
        else if (asked)
            problem_add(
                check->problems, entry->pos,
                "the nic%s has no IPv6 address that is known, and network '%s' has no DHCP to give it "
                "one; write its 'address6'",
                on_line(check, nic->pos), network->name);
        return NULL;
    }
    struct ip ip = slaac_address(&network->subnet6, &nic->mac);
    while (address_taken(network, &ip))
        ip = ip_add(&ip, 1);
    nic->address6 = ip;
    nic->address6_chosen = true;
    return &nic->address6;
}

static struct nic *machine_nic(const struct network *network, const char *name)
{
    vec_foreach (&network->nics, member) {
        if (strcmp(member->machine->name, name) == 0)
            return member->nic;
    }
    return NULL;
}

static void entry_add(struct check *check, struct network *network, const struct forward_entry *entry,
                      const struct ip *target)
{
    struct forward *forward = vec_push(check->model_arena, &network->forwards.list);
    *forward = entry->forward;
    forward->target = *target;
    forward->family = target->family;
}

/* To a nic, by the families that the entry asks for. */
static void nic_entry_add(struct check *check, struct network *network, const struct forward_entry *entry,
                          struct nic *nic)
{
    const struct ip *target =
        entry->forward.family == AF_INET6 ? NULL : nic_target(check, network, nic, entry->pos);
    if (target)
        entry_add(check, network, entry, target);
    target = entry->forward.family == AF_INET ? NULL : nic_target6(check, network, nic, entry);
    if (target)
        entry_add(check, network, entry, target);
}

/* An entry of the network's own list. */
static void network_entry_check(struct check *check, struct network *network, struct forward_entry *entry)
{
    if (ip_is_set(&entry->forward.target)) {
        const char *fault = guest_address_fault(check->arena, network, &entry->forward.target);
        if (fault)
            problem_add(check->problems, entry->pos, "%s %s", IP_TEXT(&entry->forward.target), fault);
        else
            entry_add(check, network, entry, &entry->forward.target);
        return;
    }
    struct nic *nic = machine_nic(network, entry->name);
    if (!nic && !machine_find(check->model, entry->name))
        problem_add(check->problems, entry->pos, "no machine '%s'; it is not under 'machines:'", entry->name);
    else if (!nic)
        problem_add(check->problems, entry->pos, "machine '%s' has no nic on network '%s'", entry->name,
                    network->name);
    if (nic)
        nic_entry_add(check, network, entry, nic);
}

static void nic_entries_check(struct check *check, const struct machine *machine, struct nic *nic)
{
    struct network *network = nic->network ? network_lookup(check, nic->network) : NULL;
    if (!network)
        return;
    vec_foreach (&nic->forward_entries.list, entry) {
        if (network->mode != NETWORK_NAT) {
            problem_add(check->problems, entry->pos,
                        "network '%s' is %s, not nat: its guests are reached at their own addresses; leave "
                        "'forward' out",
                        network->name, network_mode_name(network->mode));
            return;
        }
        if (ip_is_set(&entry->forward.target) || (*entry->name && strcmp(entry->name, machine->name) != 0)) {
            problem_add(check->problems, entry->pos,
                        "a nic's forward leads to the nic itself, so that only ports stand behind '->'; one "
                        "to '%s' is the network's",
                        *entry->name ? entry->name : IP_TEXT(&entry->forward.target));
            continue;
        }
        nic_entry_add(check, network, entry, nic);
    }
}

/* --- one port, several users
 * ---------------------------------------------------------------------------------------- */

/* A port of the host that the file uses: a forward's, or a machine's VNC (`machine` set). */
struct port_use {
    struct forward forward;
    const struct machine *machine;
    struct pos pos;
};

struct port_uses {
    VEC(struct port_use) list;
};

static int port_use_compare(const void *left, const void *right)
{
    const struct port_use *a = left, *b = right;
    int order = (a->forward.protocol > b->forward.protocol) - (a->forward.protocol < b->forward.protocol);
    if (order == 0)
        order = (a->forward.first > b->forward.first) - (a->forward.first < b->forward.first);
    return order ? order : pos_compare(a->pos, b->pos);
}

static void clash_report(struct check *check, const struct port_use *a, const struct port_use *b)
{
    const struct port_use *later = pos_compare(a->pos, b->pos) > 0 ? a : b, *earlier = later == a ? b : a;
    const char *protocol = forward_protocol_name(&later->forward);
    unsigned port =
        later->forward.first > earlier->forward.first ? later->forward.first : earlier->forward.first;
    if (later->machine)
        problem_add(check->problems, later->pos, "VNC port %u is already forwarded%s; take another", port,
                    on_line(check, earlier->pos));
    else if (earlier->machine)
        problem_add(check->problems, later->pos, "%s port %u is the VNC port of machine '%s'%s; take another",
                    protocol, port, earlier->machine->name, on_line(check, earlier->pos));
    else
        problem_add(check->problems, later->pos, "%s port %u is already forwarded%s; take another", protocol,
                    port, on_line(check, earlier->pos));
}

static void uses_add(struct check *check, const struct forward_entries *entries, struct port_uses *uses)
{
    vec_foreach (&entries->list, entry)
        *vec_push(check->arena, &uses->list) =
            (struct port_use){.forward = entry->forward, .pos = entry->pos};
}

static void uses_collect(struct check *check, struct port_uses *uses)
{
    vec_foreach (&check->model->networks, network)
        uses_add(check, &network->forward_entries, uses);
    bool forwards = uses->list.count > 0;
    vec_foreach (&check->model->machines, machine) {
        vec_foreach (&machine->nics, nic)
            uses_add(check, &nic->forward_entries, uses);
        forwards |= uses->list.count > 0;
    }
    vec_foreach (&check->model->machines, machine) {
        const struct display *display = &machine->display;
        if (!forwards || !display->on || !display->vnc_port)
            continue;
        struct forward port = {
            .family = display->vnc_ip.family, .protocol = IPPROTO_TCP, .listen = display->vnc_ip};
        if (ip_equal(&port.listen, &(struct ip){.family = port.family})) {
            /* [::] takes IPv4 too (bindv6only, ip(7)) */
            port.family = port.family == AF_INET6 ? 0 : port.family;
            port.listen = (struct ip){0};
        }
        port.first = port.last = display->vnc_port;
        *vec_push(check->arena, &uses->list) =
            (struct port_use){.forward = port, .machine = machine, .pos = display->vnc_pos};
    }
}

/* In order of their first port, one clashes with those before it that have not ended: mostly none. */
static void clashes_check(struct check *check)
{
    struct port_uses uses = {0}, open = {0};
    uses_collect(check, &uses);
    if (uses.list.count < 2)
        return;
    qsort(uses.list.items, uses.list.count, sizeof(*uses.list.items), port_use_compare);
    vec_foreach (&uses.list, use) {
        const struct port_use *clash = NULL;
        size_t kept = 0;
        for (size_t i = 0; i < open.list.count; i++) {
            struct port_use *other = &open.list.items[i];
            if (other->forward.protocol != use->forward.protocol || other->forward.last < use->forward.first)
                continue;
            if (!clash && !(other->machine && use->machine) && forward_clash(&other->forward, &use->forward))
                clash = other;
            open.list.items[kept++] = *other;
        }
        open.list.count = kept;
        if (clash)
            clash_report(check, clash, use);
        else
            *vec_push(check->arena, &open.list) = *use;
    }
}

/* What a network's own servers have at the host's address there leads nowhere else, whether they run or not.
 */
static void own_port_check(struct check *check, const struct forward_entry *entry)
{
    static const uint16_t ports[2][3] = {{FORWARD_OWN_PORTS}, {FORWARD_OWN_PORTS6}};
    const struct forward *forward = &entry->forward;
    bool six = forward->listen.family == AF_INET6;
    for (size_t i = 0; ip_is_set(&forward->listen) && i < check->model->networks.count; i++) {
        const struct network *network = &check->model->networks.items[i];
        struct prefix own = {0};
        if (six ? network_has_subnet6(network) : network_has_subnet(network))
            own = six ? network_host_address6(network) : network_host_address(network);
        for (size_t j = 0; ip_equal(&own.ip, &forward->listen) && j < 3; j++) {
            if (ports[six][j] < forward->first || ports[six][j] > forward->last)
                continue;
            problem_add(
                check->problems, entry->pos,
                "%s port %u of %s is that of the servers of network '%s'; take another port, or another "
                "of the host's addresses",
                forward_protocol_name(forward), ports[six][j], IP_TEXT(&forward->listen), network->name);
            return;
        }
    }
}

static void own_ports_check(struct check *check)
{
    vec_foreach (&check->model->networks, network) {
        vec_foreach (&network->forward_entries.list, entry)
            own_port_check(check, entry);
    }
    vec_foreach (&check->model->machines, machine) {
        vec_foreach (&machine->nics, nic) {
            vec_foreach (&nic->forward_entries.list, entry)
                own_port_check(check, entry);
        }
    }
}

void forwards_check(struct check *check)
{
    vec_foreach (&check->model->networks, network) {
        if (network->mode != NETWORK_NAT || !ip_is_set(&network->subnet.ip))
            continue;
        vec_foreach (&network->forward_entries.list, entry)
            network_entry_check(check, network, entry);
    }
    vec_foreach (&check->model->machines, machine) {
        vec_foreach (&machine->nics, nic)
            nic_entries_check(check, machine, nic);
    }
    vec_foreach (&check->model->networks, network)
        forwards_settle(&network->forwards);
    clashes_check(check);
    own_ports_check(check);
}
