/* port_vlan.c: VLANs of single nics: a bridge that filters VLANs.
 *
 * The nic's port is in its VLAN alone, without tags; the uplink's port is in each of them, with tags.  Frames
 * without a tag are of VLAN_UNTAGGED, in which every port is that nobody has put elsewhere: so the network is
 * what it was without VLANs, and a bridge that begins to filter cuts no guest off. */
#include <string.h>

#include "base/text.h"
#include "plan/internal.h"

bool filters_vlans(const struct network *network)
{
    for (size_t i = 0; network && i < network->nics.count; i++) {
        if (network->nics.items[i].nic->vlan)
            return true;
    }
    return false;
}

static bool filtered(const struct passage *passage)
{
    return passage->bridge && passage->bridge->filters_vlans;
}

/* Are a port's VLANs known?  Else it is as nobody has touched it. */
static bool known(const struct passage *passage, const struct link *port)
{
    return filtered(passage) || port->vlans.count;
}

/* --- the uplink's port */

static bool vlan_wanted(const struct passage *passage, uint32_t id)
{
    for (size_t i = 0; filters_vlans(passage->network) && i < passage->network->nics.count; i++) {
        if (passage->network->nics.items[i].nic->vlan == id)
            return true;
    }
    return false;
}

/* As it is to be: VLAN_UNTAGGED without tags, others with. */
static bool is_in(const struct link *port, uint32_t id)
{
    vec_foreach (&port->vlans, vlan) {
        if (vlan->id == id && vlan->own == (id == VLAN_UNTAGGED) && vlan->untagged == vlan->own)
            return true;
    }
    return false;
}

static void change_vlan(struct planner *planner, const struct passage *passage, const char *ifname,
                        uint32_t id, bool add)
{
    struct op op = op_for(passage, add ? OP_PORT_VLAN_ADD : OP_PORT_VLAN_REMOVE);
    op.port = (struct port){.ifname = ifname, .bridge = passage->name, .vlan = id};
    struct op undo = op;
    undo.kind = add ? OP_PORT_VLAN_REMOVE : OP_PORT_VLAN_ADD;
    step_add(planner, &op, &undo);
}

/* The uplink, where it is a port and stays one as far as `now` and `want` go. */
static const struct link *uplink_port(const struct planner *planner, const struct passage *passage)
{
    const struct link *port = passage->now.port ? link_find(planner->observed, passage->now.port) : NULL;
    return port && passage->bridge && strcmp(port->master, passage->name) == 0 && known(passage, port) ? port
                                                                                                       : NULL;
}

void port_vlans_down(struct planner *planner, const struct passage *passage)
{
    const struct link *port = uplink_port(planner, passage);
    if (!port)
        return;
    bool leaves = !text_equal(passage->now.port, passage->want.port);
    vec_foreach (&port->vlans, vlan) {
        if (vlan->id != VLAN_UNTAGGED && (leaves || !vlan_wanted(passage, vlan->id)))
            change_vlan(planner, passage, port->name, vlan->id, false);
    }
}

void port_vlans_up(struct planner *planner, const struct passage *passage)
{
    const struct link *port = uplink_port(planner, passage);
    uint64_t added[VLAN_ID_MAX / 64 + 1] = {0};
    bool stays = port && text_equal(passage->now.port, passage->want.port);
    if (!filters_vlans(passage->network) || !passage->want.port)
        return;
    if (stays && !is_in(port, VLAN_UNTAGGED))
        change_vlan(planner, passage, port->name, VLAN_UNTAGGED, true);
    for (size_t i = 0; i < passage->network->nics.count; i++) {
        uint32_t id = passage->network->nics.items[i].nic->vlan;
        bool before = added[id / 64] & (UINT64_C(1) << id % 64);
        added[id / 64] |= UINT64_C(1) << id % 64;
        if (id && !before && !(stays && is_in(port, id)))
            change_vlan(planner, passage, passage->want.port, id, true);
    }
}

/* --- guests' ports */

/* The file's, and of a nic that is not in the file what it was opened with. */
static uint32_t nic_vlan(const struct passage *passage, const struct wired_nic *nic)
{
    uint32_t id = nic->vlan;
    vec_foreach (&passage->network->nics, member) {
        if (mac_equal(&member->nic->mac, &nic->mac) && strcmp(member->machine->name, nic->machine) == 0)
            id = member->nic->vlan;
    }
    return id && filters_vlans(passage->network) ? id : VLAN_UNTAGGED;
}

bool port_vlan_differs(const struct planner *planner, const struct passage *passage, const struct link *tap,
                       const struct wired_nic *nic, struct port *now, struct port *want)
{
    bool attached = passage->bridge && strcmp(tap->master, passage->name) == 0 && known(passage, tap);
    if (!filters_vlans(passage->network) && !filtered(passage))
        return false;
    want->vlan = nic_vlan(passage, nic);
    now->vlan = attached ? port_vlan_own(tap) : VLAN_UNTAGGED;
    if (now->vlan == want->vlan) {
        now->vlan = want->vlan = 0;
        return false;
    }
    now->alias = tap->alias;
    want->alias = owner_nic_vlan_tag(planner->arena, nic, want->vlan == VLAN_UNTAGGED ? 0 : want->vlan);
    return true;
}

/* --- what the host cannot give */

void check_port_vlans(struct planner *planner, const struct passage *passage)
{
    const struct network *network = passage->network;
    const char *why = planner->observed->traits.no_port_vlans ? "this host's bridges know no VLANs"
                                                              : planner->observed->port_vlan_refusal;
    for (size_t i = 0; why && filters_vlans(network) && i < network->nics.count; i++) {
        const struct nic *nic = network->nics.items[i].nic;
        if (!nic->vlan)
            continue;
        problem_add(
            planner->problems, nic->vlan_pos,
            "network '%s': a nic's 'vlan' cannot be had: %s; put the nic on a network with 'vlan: %u'",
            network->name, why, nic->vlan);
    }
}
