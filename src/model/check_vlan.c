/* check_vlan.c: VLANs of networks and nics: what they cannot go with, and which is somebody else's. */
#include <string.h>

#include "model/check.h"

static void network_vlan_check(struct check *check, const struct network *network)
{
    if (network->vlan && network->address == ADDRESS_KEEP)
        problem_add(
            check->problems, network->address_pos,
            "network '%s' is a VLAN of '%s', which keeps its addresses; 'address' takes dhcp, none or an "
            "address there",
            network->name, network->uplink ? network->uplink : "its uplink");
}

/* The VLAN's own network on the same uplink gets its frames before the bridge does. */
static const struct network *network_of_vlan(struct check *check, const struct network *network,
                                             unsigned vlan)
{
    vec_foreach (&check->model->networks, other) {
        if (other->vlan == vlan && other->uplink && network->uplink &&
            strcmp(other->uplink, network->uplink) == 0)
            return other;
    }
    return NULL;
}

static void nic_vlan_check(struct check *check, const struct nic *nic)
{
    const struct network *network = nic->network ? network_lookup(check, nic->network) : NULL;
    if (!network)
        return;
    const struct network *other = network_of_vlan(check, network, nic->vlan);
    if (network->mode == NETWORK_PASSTHROUGH)
        problem_add(
            check->problems, nic->vlan_pos,
            "network '%s' gives the guest a device; a function's VLAN stands in the network: 'device: "
            "{parent: …, vlan: %u}'",
            network->name, nic->vlan);
    else if (network->mode != NETWORK_BRIDGED)
        problem_add(check->problems, nic->vlan_pos,
                    "network '%s' is %s%s: a nic has a VLAN on a bridged network alone", network->name,
                    network_mode_name(network->mode), on_line(check, network->mode_pos));
    else if (network->vlan)
        problem_add(check->problems, nic->vlan_pos, "network '%s' is VLAN %u of '%s' already%s; %s",
                    network->name, network->vlan, network->uplink ? network->uplink : "its uplink",
                    on_line(check, network->vlan_pos),
                    network->vlan == nic->vlan
                        ? "leave 'vlan' out"
                        : arena_printf(check->arena, "put the nic on a network with 'vlan: %u'", nic->vlan));
    else if (network->mac_shared)
        problem_add(
            check->problems, nic->vlan_pos,
            "network '%s' shares a MAC%s, by the addresses of one segment; put the nic on a network with "
            "'vlan: %u'",
            network->name, on_line(check, network->mac_pos), nic->vlan);
    else if (other)
        problem_add(check->problems, nic->vlan_pos, "VLAN %u of '%s' is network '%s'%s; put the nic there",
                    nic->vlan, network->uplink, other->name, on_line(check, other->vlan_pos));
    else if (nic->vlan == 1)
        problem_add(
            check->problems, nic->vlan_pos,
            "VLAN 1 of a nic is what a bridge calls the frames without a tag; leave 'vlan' out, or put the "
            "nic on a network with 'vlan: 1'");
}

void vlans_check(struct check *check)
{
    vec_foreach (&check->model->networks, network)
        network_vlan_check(check, network);
    vec_foreach (&check->model->machines, machine) {
        vec_foreach (&machine->nics, nic) {
            if (nic->vlan)
                nic_vlan_check(check, nic);
        }
    }
}
