/* mtu.c: how large the packets of a network are: bridge and taps have one MTU, the file's or the uplink's.
 *
 * A bridge of Linux has the smallest MTU of its ports, and 1500 without any, until one is set on it: it is
 * set on the bridge first, and then on the taps.  FreeBSD's refuses one that a port does not have: there the
 * taps come first, on the way there as on the way back. */
#include <string.h>
#include <sys/socket.h>

#include "plan/internal.h"

/* The bridged network whose bridge or uplink this interface is, NULL: none. */
static const struct network *bridged_over(const struct model *model, const char *ifname)
{
    for (size_t i = 0; model && i < model->networks.count; i++) {
        const struct network *network = &model->networks.items[i];
        if (network->mode == NETWORK_BRIDGED &&
            (strcmp(network->name, ifname) == 0 || text_equal(network->uplink, ifname)))
            return network;
    }
    return NULL;
}

uint32_t plan_network_mtu(const struct model *model, const struct network *network,
                          const struct observed *observed)
{
    if (network->mtu)
        return network->mtu;
    const char *uplink = network->uplink;
    if (!uplink && mode_forwards(network->mode))
        uplink = plan_default_uplink(observed);
    const struct network *below =
        uplink && network->mode != NETWORK_BRIDGED ? bridged_over(model, uplink) : NULL;
    if (below)
        return plan_network_mtu(model, below, observed);
    const struct link *link = uplink ? link_find(observed, uplink) : NULL;
    if (!link && network->mode != NETWORK_ISOLATED)
        link = link_find(observed, network->name); /* the way out is gone for a moment: it stays */
    uint32_t mtu = !link ? MTU_DEFAULT : link->mtu < NETWORK_MTU_MAX ? link->mtu : NETWORK_MTU_MAX;
    return mtu < MTU_IPV6_MIN && network_has_subnet6(network) ? MTU_IPV6_MIN : mtu;
}

static const char *set_command(const struct planner *planner, const char *ifname, uint32_t mtu)
{
    return arena_printf(planner->arena,
                        planner->observed->traits.equal_mtus ? "ifconfig %s mtu %u"
                                                             : "ip link set dev %s mtu %u",
                        ifname, mtu);
}

void check_mtu(struct planner *planner, const struct passage *passage)
{
    const struct network *network = passage->network;
    if (!network->mtu || network->mode != NETWORK_BRIDGED)
        return;
    const struct link *uplink = link_find(planner->observed, network->uplink);
    if (uplink && network->mtu > uplink->mtu)
        problem_add(planner->problems, network->mtu_pos,
                    "network '%s': 'mtu: %u' is more than its uplink '%s' carries (%u bytes): larger packets "
                    "would be lost there; give '%s' that MTU first (%s), where the switch takes it, or write "
                    "at most %u",
                    network->name, network->mtu, uplink->name, uplink->mtu, uplink->name,
                    set_command(planner, uplink->name, network->mtu), uplink->mtu);
    else if (uplink && network->mtu < uplink->mtu && planner->observed->traits.equal_mtus)
        problem_add(planner->problems, network->mtu_pos,
                    "network '%s': 'mtu: %u' is not that of its uplink '%s' (%u), and all ports of a bridge "
                    "have the same MTU here; leave it out, or give '%s' that MTU first (%s)",
                    network->name, network->mtu, uplink->name, uplink->mtu, uplink->name,
                    set_command(planner, uplink->name, network->mtu));
    else if (uplink && network->mtu < uplink->mtu)
        problem_warn(
            planner->problems, network->mtu_pos,
            "network '%s': 'mtu: %u' is less than its uplink '%s' carries (%u bytes): larger packets "
            "from its segment do not reach guests, and nobody tells the sender",
            network->name, network->mtu, uplink->name, uplink->mtu);
}

/* Known only once what moves to the bridge is. */
void check_mtu_ipv6(struct planner *planner, const struct passage *passage)
{
    const struct network *network = passage->network;
    vec_foreach (&passage->want.made, op) {
        if (!network->mtu || network->mtu >= MTU_IPV6_MIN || op->kind != OP_ADDRESS_ADD ||
            op->address.prefix.ip.family != AF_INET6)
            continue;
        problem_add(planner->problems, network->mtu_pos,
                    "network '%s': with 'mtu: %u' the host would lose %s on '%s': IPv6 needs at least %d",
                    network->name, network->mtu, PREFIX_TEXT(&op->address.prefix), network->name,
                    MTU_IPV6_MIN);
        return;
    }
}

static struct op mtu_op(const struct passage *passage, const char *ifname, uint32_t mtu, bool guest)
{
    struct op op = op_for(passage, OP_LINK_SET);
    op.link = (struct link){
        .name = ifname, .kind = "", .alias = "", .fields = LINK_MTU, .mtu = mtu, .guest = guest};
    return op;
}

void tap_mtu_set(struct planner *planner, const struct passage *passage, const struct link *tap)
{
    struct op op = mtu_op(passage, tap->name, passage->mtu, true),
              undo = mtu_op(passage, tap->name, tap->mtu, true);
    if (tap->mtu != passage->mtu)
        step_add(planner, &op, &undo);
}

/* A step to nowhere comes before the taps' and has the bridge's undo, so that it follows theirs. */
void tap_mtus_first(struct planner *planner, struct passage *passage)
{
    const struct link *bridge = passage->bridge;
    if (!planner->observed->traits.equal_mtus)
        return;
    vec_foreach (&planner->nics, nic) {
        if (nic->tap->mtu == passage->mtu || strcmp(nic->home, passage->name) != 0)
            continue;
        struct op old = mtu_op(passage, passage->name, bridge ? bridge->mtu : 0, false);
        if (bridge && bridge->mtu != passage->mtu && !passage->mtu_set)
            step_add(planner, &old, &old);
        passage->mtu_set = bridge && bridge->mtu != passage->mtu;
        tap_mtu_set(planner, passage, nic->tap);
    }
    struct op op = mtu_op(passage, passage->name, passage->mtu, false);
    if (passage->mtu_set)
        step_add(planner, &op, &(struct op){0});
}

void bridge_mtu_keep(struct planner *planner, const struct passage *passage, const struct link *uplink)
{
    struct op op = mtu_op(passage, passage->name, passage->mtu, false);
    if (uplink->mtu != passage->mtu && !planner->observed->traits.equal_mtus)
        step_add(planner, &op, &op);
}
