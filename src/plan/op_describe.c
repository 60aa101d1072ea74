/* op_describe.c: what an operation does, for people: op.h. */
#include "plan/op.h"

static const char *route_text(struct arena *arena, const struct route *route)
{
    struct text out = {.arena = arena};
    text_add(&out, "%s", route->to.length ? PREFIX_TEXT(&route->to) : "default");
    if (ip_is_set(&route->gateway))
        text_add(&out, " via %s", IP_TEXT(&route->gateway));
    return text_get(&out);
}

static const char *admission_words(const char *kind)
{
    switch (admission_kind_find(kind)) {
    case ADMISSION_FROM:
        return "packets from guests";
    case ADMISSION_TO:
        return "packets to guests";
    case ADMISSION_INSIDE:
        return "bridged frames";
    case ADMISSION_DHCP:
    case ADMISSION_DHCP6:
        return "DHCP requests";
    case ADMISSION_DNS_UDP:
    case ADMISSION_DNS_TCP:
        return "DNS requests";
    case ADMISSION_NONE:
    case ADMISSION_KIND_COUNT:
        break;
    }
    return "packets";
}

static const char *nic_rate_words(struct arena *arena, const struct nic_rate *rate, enum rate_way way)
{
    return arena_printf(arena, "%s %s", rate_way_name(way),
                        rate->rate.bits_s ? rate_format(arena, rate->rate.bits_s)
                        : rate->shaped    ? "as its network"
                                          : "without a limit");
}

const char *op_describe(struct arena *arena, const struct op *op)
{
    switch (op->kind) {
    case OP_LINK_CREATE:
        return op->link.vlan ? arena_printf(arena, "creating '%s', VLAN %u of '%s'", op->link.name,
                                            op->link.vlan, op->link.lower)
                             : arena_printf(arena, "creating bridge '%s'", op->link.name);
    case OP_LINK_DELETE:
        return arena_printf(arena, "deleting %s '%s'", op->link.vlan ? "VLAN" : "bridge", op->link.name);
    case OP_LINK_SET:
        if (op->link.guest && (op->link.fields & LINK_ALIAS))
            return arena_printf(arena, "moving nic '%s' to network '%s'", op->link.name,
                                owner_network(arena, op->link.alias));
        return arena_printf(
            arena, "setting interface '%s'%s%s", op->link.name,
            op->link.fields & LINK_UP ? op->link.up ? " up" : " down" : "",
            op->link.fields & LINK_MTU ? arena_printf(arena, " to an MTU of %u bytes", op->link.mtu) : "");
    case OP_PORT_ADD:
        return arena_printf(arena, "adding port '%s' to bridge '%s'", op->port.ifname, op->port.bridge);
    case OP_PORT_REMOVE:
        return arena_printf(arena, "removing port '%s' from bridge '%s'", op->port.ifname, op->port.bridge);
    case OP_PORT_SET:
        return arena_printf(arena, "setting port '%s' of '%s': %sisolated%s", op->port.ifname,
                            op->port.bridge, op->port.rules.isolated ? "" : "not ",
                            op->port.vlan ? arena_printf(arena, ", in VLAN %u", op->port.vlan) : "");
    case OP_PORT_VLAN_ADD:
    case OP_PORT_VLAN_REMOVE:
        return arena_printf(arena, "%s VLAN %u %s port '%s' of '%s'",
                            op->kind == OP_PORT_VLAN_ADD ? "adding" : "removing", op->port.vlan,
                            op->kind == OP_PORT_VLAN_ADD ? "to" : "from", op->port.ifname, op->port.bridge);
    case OP_ADDRESS_ADD:
        return arena_printf(arena, "adding address %s to '%s'", PREFIX_TEXT(&op->address.prefix),
                            op->address.ifname);
    case OP_ADDRESS_REMOVE:
        return arena_printf(arena, "removing address %s from '%s'", PREFIX_TEXT(&op->address.prefix),
                            op->address.ifname);
    case OP_ROUTE_ADD:
        return arena_printf(arena, "adding route %s on '%s'", route_text(arena, &op->route),
                            op->route.ifname);
    case OP_ROUTE_REMOVE:
        return arena_printf(arena, "removing route %s from '%s'", route_text(arena, &op->route),
                            op->route.ifname);
    case OP_ROUTE_REPLACE:
        return arena_printf(arena, "moving route %s to '%s'", route_text(arena, &op->route),
                            op->route.ifname);
    case OP_NEIGHBOUR_ADD:
        return arena_printf(arena, "entering %s %s on '%s'", op->neighbour.proxy ? "proxy" : "neighbour",
                            IP_TEXT(&op->neighbour.ip), op->neighbour.ifname);
    case OP_NEIGHBOUR_REMOVE:
        return arena_printf(arena, "removing %s %s from '%s'", op->neighbour.proxy ? "proxy" : "neighbour",
                            IP_TEXT(&op->neighbour.ip), op->neighbour.ifname);
    case OP_SYSCTL_SET:
        return arena_printf(arena, "setting sysctl %s to '%s'", op->sysctl.name, op->sysctl.value);
    case OP_FIREWALL_SET:
        return arena_printf(arena, "setting the firewall rules of '%s'", op->network);
    case OP_FIREWALL_REMOVE:
        return arena_printf(arena, "removing the firewall rules of '%s'", op->network);
    case OP_FIREWALL_ENABLE:
        return arena_printf(arena, "%s%s%s", op->main.load ? "loading a minimal main ruleset" : "",
                            op->main.load && op->main.enable ? " and " : "",
                            op->main.enable ? "switching the firewall on" : "");
    case OP_FIREWALL_DISABLE:
        return arena_printf(arena, "%s%s%s", op->main.enable ? "switching the firewall off" : "",
                            op->main.load && op->main.enable ? " and " : "",
                            op->main.load ? "removing the minimal main ruleset" : "");
    case OP_ADMISSION_ADD:
    case OP_ADMISSION_REMOVE:
        return arena_printf(
            arena, "%s in the firewall's chain '%s' (table '%s %s') that lets %s of '%s' pass",
            op->kind == OP_ADMISSION_ADD ? "adding the rule" : "removing the rule", op->admission.chain,
            op->admission.family, op->admission.table, admission_words(op->admission.kind), op->network);
    case OP_ZONE_ADD:
        return arena_printf(arena, "adding '%s' to the firewall's zone '%s'", op->zone.ifname, op->zone.zone);
    case OP_ZONE_REMOVE:
        return arena_printf(arena, "removing '%s' from the firewall's zone '%s'", op->zone.ifname,
                            op->zone.zone);
    case OP_SHARED_SET:
        return arena_printf(arena, "setting the rules by which '%s' shares the MAC of '%s'", op->network,
                            op->shared.uplink);
    case OP_SHARED_REMOVE:
        return arena_printf(arena, "removing the rules by which '%s' shares a MAC", op->network);
    case OP_SHARED_ADDRESS_ADD:
        return arena_printf(arena, "reserving address %s for %s", IP_TEXT(&op->shared_address.ip),
                            MAC_TEXT(&op->shared_address.mac));
    case OP_SHARED_ADDRESS_REMOVE:
        return arena_printf(arena, "releasing address %s of %s", IP_TEXT(&op->shared_address.ip),
                            MAC_TEXT(&op->shared_address.mac));
    case OP_UNMANAGE:
        return arena_printf(arena, "telling systemd-networkd to leave '%s' alone", op->unmanaged.interfaces);
    case OP_MANAGE:
        return arena_printf(arena, "giving '%s' back to systemd-networkd", op->unmanaged.interfaces);
    case OP_SERVICE_START:
        return arena_printf(arena, "starting %s for '%s'", op->service.kind, op->network);
    case OP_SERVICE_STOP:
        return arena_printf(arena, "stopping %s of '%s'", op->service.kind, op->network);
    case OP_LOCK_SET:
        return arena_printf(arena, "locking guests of '%s': %s", op->network,
                            lock_kinds_text(arena, op->lock.kinds));
    case OP_LOCK_REMOVE:
        return arena_printf(arena, "letting guests of '%s' send what they will", op->network);
    case OP_SHAPER_SET:
        return arena_printf(arena, "limiting what guests of '%s' %s%s%s", op->network,
                            op->shaper.outward ? "send" : "receive", op->shaper.rate.bits_s ? " to " : "",
                            op->shaper.rate.bits_s ? rate_format(arena, op->shaper.rate.bits_s)
                                                   : ", each its own");
    case OP_SHAPER_REMOVE:
        return arena_printf(arena, "no longer limiting what guests of '%s' %s", op->network,
                            op->shaper.outward ? "send" : "receive");
    case OP_RATE_SET:
        return arena_printf(arena, "limiting '%s': %s, %s", op->nic_rates.ifname,
                            nic_rate_words(arena, &op->nic_rates.in, RATE_IN),
                            nic_rate_words(arena, &op->nic_rates.out, RATE_OUT));
    case OP_SHAPING_ENABLE:
        return arena_printf(arena, "%sleading frames through the rules that limit rates",
                            op->shaping.ipfw ? "loading ipfw, which lets everything pass, and " : "");
    case OP_SHAPING_DISABLE:
        return arena_printf(arena, "no longer leading frames through the rules that limit rates%s",
                            op->shaping.ipfw ? ", and unloading ipfw" : "");
    case OP_NIC_SET:
        return arena_printf(arena, "holding nic '%s' of '%s' to %s%s%s", op->nic.ifname, op->network,
                            op->nic.any || mac_is_zero(&op->nic.mac) ? "no MAC" : MAC_TEXT(&op->nic.mac),
                            ip_is_set(&op->nic.ip) ? " and " : "",
                            ip_is_set(&op->nic.ip) ? IP_TEXT(&op->nic.ip) : "");
    case OP_NIC_REMOVE:
        return arena_printf(arena, "forgetting what nic '%s' of '%s' is held to", op->nic.ifname,
                            op->network);
    case OP_RESOLVER_SET:
        return arena_printf(arena, "having the host's resolver ask '%s' for names in '%s'",
                            op->resolver.ifname, op->resolver.domain);
    case OP_RESOLVER_CLEAR:
        return arena_printf(arena, "having the host's resolver forget '%s'", op->resolver.ifname);
    case OP_SERVICE_RELOAD:
        return arena_printf(arena, "writing '%s' and having %s of '%s' read it", op->reload.path,
                            op->reload.kind, op->network);
    case OP_DEVICE_BIND:
        return arena_printf(arena, "giving device %s to %s", op->device.address, op->device.driver);
    case OP_DEVICE_UNBIND:
        return arena_printf(arena, "giving device %s back to %s", op->device.address,
                            op->device.driver && *op->device.driver ? op->device.driver : "its driver");
    case OP_FUNCTIONS_SET:
        return arena_printf(arena, "setting the number of functions of device %s to %u",
                            op->functions.address, op->functions.count);
    case OP_FUNCTION_SET:
        return arena_printf(arena, "setting function %u of '%s'", op->function.index, op->function.ifname);
    case OP_FILE_WRITE:
        return arena_printf(arena, "writing '%s'", op->file.path);
    case OP_FILE_REMOVE:
        return arena_printf(arena, "removing '%s'", op->file.path);
    case OP_NONE:
    case OP_KIND_COUNT:
        break;
    }
    return "doing nothing";
}
