/* manager.c: programs that configure interfaces as well: told to leave the bridge and its uplink alone where
 * that can be done without a gap, or named, with what would be right.
 *
 * systemd-networkd is told last: then the uplink has no address of its own any longer that it could take
 * away.  It is given back last, too, and sets the uplink up once more as its file says.  NetworkManager
 * takes an interface back by taking its addresses away for a moment and setting them anew, whatever was put
 * back there: so when that may be is the user's to say.  (That it lets go by a file, unmanaged-devices, sets
 * the interface down at once, and the host is cut off.) */
#include <string.h>

#include "base/text.h"
#include "plan/internal.h"

static const struct unmanaged *told(const struct planner *planner, const char *network)
{
    vec_foreach (&planner->observed->unmanaged, unmanaged) {
        if (strcmp(unmanaged->network, network) == 0)
            return unmanaged;
    }
    return NULL;
}

static const struct manager *manager_of(const struct planner *planner, const char *ifname)
{
    vec_foreach (&planner->observed->managers, manager) {
        if (strcmp(manager->ifname, ifname) == 0 && strcmp(manager->name, "systemd-networkd") != 0)
            return manager;
    }
    return NULL;
}

void tell_managers(struct planner *planner, const struct passage *passage)
{
    const struct unmanaged *now = told(planner, passage->name);
    bool wanted = passage->want.mode && passage->want.mode != NETWORK_PASSTHROUGH;
    if (wanted && !planner->observed->networkd)
        return;
    struct op op = {.kind = wanted ? OP_UNMANAGE : OP_MANAGE, .network = passage->name}, undo = op;
    op.unmanaged.network = undo.unmanaged.network = passage->name;
    op.unmanaged.interfaces = wanted && passage->want.port
                                  ? arena_printf(planner->arena, "%s %s", passage->name, passage->want.port)
                                  : passage->name;
    if (!wanted && now)
        op.unmanaged.interfaces = now->interfaces;
    if (wanted ? now && strcmp(now->interfaces, op.unmanaged.interfaces) == 0 : !now)
        return;
    undo.kind = now ? OP_UNMANAGE : OP_MANAGE;
    undo.unmanaged.interfaces = now ? now->interfaces : op.unmanaged.interfaces;
    step_add(planner, &op, &undo);
}

static bool is_leased(const struct address *address, const char *ifname)
{
    return address_moves(address, ifname) && address->valid_s != 0 && address->valid_s != UINT32_MAX;
}

/* With `keep`, an address that was won for a while: nobody asks for it again on the bridge. */
static void note_leases(struct planner *planner, const struct passage *passage, const char *uplink)
{
    if (address_mode_of(passage->network, planner->observed, &passage->now) != ADDRESS_KEEP)
        return;
    vec_foreach (&planner->observed->addresses, address) {
        if (is_leased(address, uplink))
            plan_note(
                planner,
                "network '%s': address %s of '%s' is leased for another %u s, and nobody renews it on the "
                "bridge: set 'address: dhcp'",
                passage->name, PREFIX_TEXT(&address->prefix), uplink, address->valid_s);
    }
}

void note_managers(struct planner *planner, const struct passage *passage)
{
    const char *uplink = passage->want.uplink;
    if (!uplink || passage->want.vlan || text_equal(passage->now.port, uplink))
        return;
    note_leases(planner, passage, uplink);
    const struct manager *manager = manager_of(planner, uplink);
    if (!manager)
        return;
    if (strcmp(manager->name, "NetworkManager") == 0)
        plan_note(
            planner,
            "network '%s': NetworkManager manages '%s', and may take it back when its carrier or its lease "
            "ends: have it let go now, which disturbs nothing (nmcli device set %s managed no; after down: "
            "nmcli device set %s managed yes)",
            passage->name, uplink, uplink, uplink);
    else if (strcmp(manager->name, "ifupdown") == 0)
        plan_note(planner,
                  "network '%s': ifupdown has set '%s' up (interfaces(5)), and does so when the host starts: "
                  "that comes first, and 'up' takes over from there; do not run ifup or ifdown on '%s' "
                  "before 'vmwire down'",
                  passage->name, uplink, uplink);
    else
        plan_note(
            planner,
            "network '%s': %s asks for an address on '%s', and puts it back there when it renews the lease: "
            "stop it (%s %s), and set 'address: dhcp'",
            passage->name, manager->name, uplink,
            strcmp(manager->name, "dhcpcd") == 0 ? "denyinterfaces in dhcpcd.conf(5), and dhcpcd -k"
                                                 : "take the interface out of interfaces(5), and dhclient -x",
            uplink);
}
