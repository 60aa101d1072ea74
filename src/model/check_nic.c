/* check_nic.c: which nics a network has, and the addresses that nics are given: each in its network, and
 * nobody else's there. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "model/check.h"

/* A nic with an address, and where it belongs. */
struct address_use {
    const struct nic *nic;
    const struct machine *machine;
    struct ip ip;
    struct pos pos;
};

static int address_use_compare(const void *left, const void *right)
{
    const struct address_use *a = left, *b = right;
    int order = strcmp(a->nic->network, b->nic->network);
    if (order == 0)
        order = ip_compare(&a->ip, &b->ip);
    return order ? order : pos_compare(a->pos, b->pos);
}

const char *guest_address_fault(struct arena *arena, const struct network *network, const struct ip *ip)
{
    bool six = ip->family == AF_INET6;
    struct prefix subnet = six ? network->subnet6 : network->subnet;
    struct prefix host = six ? network_host_address6(network) : network_host_address(network);
    struct prefix clean = prefix_network(&subnet);
    struct ip last = prefix_last(&subnet);
    if (!ip_is_set(&subnet.ip))
        return arena_printf(arena, "is IPv6, and network '%s' has no 'subnet6'", network->name);
    if (!prefix_contains(&subnet, ip))
        return arena_printf(arena, "is not in the subnet %s of network '%s'", PREFIX_TEXT(&subnet),
                            network->name);
    if (ip_equal(ip, &host.ip))
        return arena_printf(arena, "is the host's own on network '%s'", network->name);
    if (ip_equal(ip, &clean.ip))
        return arena_printf(arena, "is the address of the subnet %s itself", PREFIX_TEXT(&subnet));
    if (ip_equal(ip, &last) && !six)
        return arena_printf(arena, "is the broadcast address of network '%s'", network->name);
    return NULL;
}

static const char *guests_range(struct arena *arena, const struct prefix *subnet)
{
    struct ip last = prefix_last(subnet), first = ip_add(&subnet->ip, 2);
    last.bytes[3]--;
    const char *text = arena_strdup(arena, IP_TEXT(&first));
    return ip_equal(&first, &last) ? arena_printf(arena, "; a guest's is %s", text)
                                   : arena_printf(arena, "; guests' are %s to %s", text, IP_TEXT(&last));
}

/* True when it can be a guest's there. */
static bool address_fits(struct check *check, const struct address_use *use, const struct network *network)
{
    bool six = use->ip.family == AF_INET6;
    const char *text = arena_strdup(check->arena, IP_TEXT(&use->ip));
    if (network->mode == NETWORK_PASSTHROUGH) {
        problem_add(check->problems, use->pos,
                    "network '%s' gives the guest a device, whose addresses the host does not see; leave "
                    "'%s' out",
                    network->name, six ? "address6" : "address");
        return false;
    }
    if (network->mode == NETWORK_BRIDGED) {
        bool fixed = network->address == ADDRESS_STATIC;
        if (fixed && ip_equal(&use->ip, &network->address_prefix.ip))
            problem_add(check->problems, use->pos, "%s is the host's own on network '%s'%s", text,
                        network->name, on_line(check, network->address_pos));
        return true;
    }
    const char *fault =
        ip_is_set(&network->subnet.ip) ? guest_address_fault(check->arena, network, &use->ip) : NULL;
    if (fault)
        problem_add(check->problems, use->pos, "%s %s%s%s", text, fault,
                    on_line(check, six ? network->subnet6_pos : network->subnet_pos),
                    six ? "" : guests_range(check->arena, &network->subnet));
    return !fault;
}

void network_nics_fill(struct check *check)
{
    vec_foreach (&check->model->machines, machine) {
        vec_foreach (&machine->nics, nic) {
            struct network *network = nic->network ? network_lookup(check, nic->network) : NULL;
            if (!network)
                continue;
            size_t count = network->nics.count;
            bool first = !count || network->nics.items[count - 1].machine != machine;
            *vec_push(check->model_arena, &network->nics) =
                (struct network_nic){.machine = machine, .nic = nic, .first = first};
        }
    }
}

void nic_addresses_check(struct check *check)
{
    VEC(struct address_use) uses = {0};
    vec_foreach (&check->model->machines, machine) {
        vec_foreach (&machine->nics, nic) {
            const struct network *network = nic->network ? network_lookup(check, nic->network) : NULL;
            if (network && network->mode == NETWORK_PASSTHROUGH && nic->rate_pos.line)
                problem_add(check->problems, nic->rate_pos,
                            "network '%s' gives the guest a device, whose traffic the host does not see; "
                            "leave 'rate' out (a function's device can be told one: 'device: {parent, vf, "
                            "rate}')",
                            network->name);
            const struct address_use both[] = {{nic, machine, nic->address, nic->address_pos},
                                               {nic, machine, nic->address6, nic->address6_pos}};
            for (int i = 0; i < 2; i++) {
                if (ip_is_set(&both[i].ip) && network && address_fits(check, &both[i], network))
                    *vec_push(check->arena, &uses) = both[i];
            }
        }
    }
    if (uses.count > 1)
        qsort(uses.items, uses.count, sizeof(*uses.items), address_use_compare);
    const struct address_use *first = NULL;
    vec_foreach (&uses, use) {
        if (!first || strcmp(first->nic->network, use->nic->network) != 0 ||
            !ip_equal(&first->ip, &use->ip)) {
            first = use;
            continue;
        }
        problem_add(check->problems, use->pos,
                    "%s is already the address of a nic of machine '%s'%s; give each its own",
                    IP_TEXT(&use->ip), first->machine->name, on_line(check, first->pos));
    }
}
