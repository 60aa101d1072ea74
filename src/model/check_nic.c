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
};

static int address_use_compare(const void *left, const void *right)
{
    const struct address_use *a = left, *b = right;
    int order = strcmp(a->nic->network, b->nic->network);
    if (order == 0)
        order = ip_compare(&a->nic->address, &b->nic->address);
    return order ? order : pos_compare(a->nic->address_pos, b->nic->address_pos);
}

const char *guest_address_fault(struct arena *arena, const struct network *network, const struct ip *ip)
{
    struct prefix host = network_host_address(network), clean = prefix_network(&network->subnet);
    struct ip last = prefix_last(&network->subnet);
    if (!prefix_contains(&network->subnet, ip))
        return arena_printf(arena, "is not in the subnet %s of network '%s'", PREFIX_TEXT(&network->subnet),
                            network->name);
    if (ip_equal(ip, &host.ip))
        return arena_printf(arena, "is the host's own on network '%s'", network->name);
    if (ip_equal(ip, &clean.ip))
        return arena_printf(arena, "is the address of the subnet %s itself", PREFIX_TEXT(&network->subnet));
    if (ip_equal(ip, &last))
        return arena_printf(arena, "is the broadcast address of network '%s'", network->name);
    return NULL;
}

/* True when it can be a guest's there. */
static bool address_fits(struct check *check, const struct nic *nic, const struct network *network)
{
    const char *text = arena_strdup(check->arena, IP_TEXT(&nic->address));
    if (network->mode == NETWORK_PASSTHROUGH) {
        problem_add(check->problems, nic->address_pos,
                    "network '%s' gives the guest a device, whose addresses the host does not see; leave "
                    "'address' out",
                    network->name);
        return false;
    }
    if (network->mode == NETWORK_BRIDGED) {
        bool fixed = network->address == ADDRESS_STATIC;
        if (fixed && ip_equal(&nic->address, &network->address_prefix.ip))
            problem_add(check->problems, nic->address_pos, "%s is the host's own on network '%s'%s", text,
                        network->name, on_line(check, network->address_pos));
        return true;
    }
    const char *fault =
        ip_is_set(&network->subnet.ip) ? guest_address_fault(check->arena, network, &nic->address) : NULL;
    if (fault)
        problem_add(check->problems, nic->address_pos, "%s %s%s", text, fault,
                    on_line(check, network->subnet_pos));
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
            if (ip_is_set(&nic->address) && network && address_fits(check, nic, network))
                *vec_push(check->arena, &uses) = (struct address_use){nic, machine};
        }
    }
    if (uses.count > 1)
        qsort(uses.items, uses.count, sizeof(*uses.items), address_use_compare);
    const struct address_use *first = NULL;
    vec_foreach (&uses, use) {
        if (!first || strcmp(first->nic->network, use->nic->network) != 0 ||
            !ip_equal(&first->nic->address, &use->nic->address)) {
            first = use;
            continue;
        }
        problem_add(check->problems, use->nic->address_pos,
                    "%s is already the address of a nic of machine '%s'%s; give each its own",
                    IP_TEXT(&use->nic->address), first->machine->name,
                    on_line(check, first->nic->address_pos));
    }
}
