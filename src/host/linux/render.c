/* render.c: operations as ip(8), nft(8), sysctl(8) and sh would have them.  Pure. */
#include "host/render.h"

#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "host/linux/rate.h"
#include "host/linux/text.h"
#include "host/render_file.h"

static const char *quote(struct arena *arena, const char *word)
{
    return shell_quote(arena, word);
}

/* "ip" or "ip -6": ip(8) takes the family of an address from its form, but not that of a default route. */
static const char *ip_command(int family)
{
    return family == AF_INET6 ? "ip -6" : "ip";
}

static void link_attributes(struct text *out, const struct link *link)
{
    if (link->fields & LINK_MAC)
        text_add(out, " address %s", MAC_TEXT(&link->mac));
    if (link->fields & LINK_MTU)
        text_add(out, " mtu %u", link->mtu);
}

static void bridge_attributes(struct text *out, const struct link *link)
{
    if (link->fields & LINK_STP)
        text_add(out, " stp_state %d", link->stp);
    if (link->fields & LINK_FORWARD_DELAY)
        text_add(out, " forward_delay %u", link->forward_delay);
    if (link->fields & LINK_FILTERS_VLANS)
        text_add(out, " vlan_filtering %d", link->filters_vlans);
}

/* `name` and `dev` in front of every name: what follows them is never taken for a keyword. */
static void render_link(struct arena *arena, struct text *out, const struct op *op)
{
    const struct link *link = &op->link;
    const char *name = quote(arena, link->name);
    if (op->kind == OP_LINK_DELETE) {
        text_add(out, "ip link delete dev %s\n", name);
        return;
    }
    if (op->kind == OP_LINK_CREATE) {
        /* Only an MTU that is set stays, whatever the ports' are. */
        bool apart = (link->fields & LINK_MTU) && link->mtu != MTU_DEFAULT;
        struct link made = *link;
        made.fields &= ~(unsigned)(apart ? LINK_MTU : 0);
        text_add(out, "ip link add");
        if (link->vlan)
            text_add(out, " link %s", quote(arena, link->lower));
        text_add(out, " name %s", name);
        link_attributes(out, &made);
        if (link->vlan)
            text_add(out, " type vlan id %u", link->vlan);
        else
            text_add(out, " type bridge");
        bridge_attributes(out, link);
        text_add(out, "\n");
        if (apart)
            text_add(out, "ip link set dev %s mtu %u\n", name, link->mtu);
    } else if (link->fields & (LINK_MAC | LINK_MTU)) {
        text_add(out, "ip link set dev %s", name);
        link_attributes(out, link);
        text_add(out, "\n");
    }
    if (op->kind == OP_LINK_SET && (link->fields & (LINK_STP | LINK_FORWARD_DELAY | LINK_FILTERS_VLANS))) {
        text_add(out, "ip link set dev %s type bridge", name);
        bridge_attributes(out, link);
        text_add(out, "\n");
    }
    const char *network =
        link->guest && (link->fields & LINK_ALIAS) ? owner_network(arena, link->alias) : NULL;
    if (link->fields & LINK_ALIAS)
        text_add(out, "ip link set dev %s alias %s\n", name, quote(arena, link->alias));
    if (network)
        text_add(out, "ip link set dev %s group %u\n", name, owner_group(network));
    if (link->fields & LINK_IPV6)
        text_add(out, "ip link set dev %s addrgenmode %s\n", name, link->ipv6 ? "eui64" : "none");
    if (link->fields & LINK_ACCEPT_RA) {
        char *ifname = arena_strdup(arena, link->name);
        for (char *c = ifname; *c; c++)
            *c = *c == '.' ? '/' : *c;
        text_add(out, "sysctl -w net.ipv6.conf.%s.accept_ra=%u\n", ifname, link->accept_ra);
    }
    if (link->fields & LINK_UP)
        text_add(out, "ip link set dev %s %s\n", name, link->up ? "up" : "down");
}

/* It is never in none. */
static void render_port_vlan(struct arena *arena, struct text *out, const struct port *port)
{
    const char *name = quote(arena, port->ifname);
    if (!port->vlan)
        return;
    text_add(out, "bridge vlan add dev %s vid %u pvid untagged\n", name, port->vlan);
    for (int above = 0; above < 2; above++) {
        unsigned first = above ? port->vlan + 1 : 1, last = above ? VLAN_ID_MAX : port->vlan - 1;
        if (first < last)
            text_add(out, "bridge vlan del dev %s vid %u-%u\n", name, first, last);
        else if (first == last)
            text_add(out, "bridge vlan del dev %s vid %u\n", name, first);
    }
    text_add(out, "ip link set dev %s alias %s\n", name, quote(arena, port->alias));
}

static void render_port(struct arena *arena, struct text *out, const struct op *op)
{
    const char *name = quote(arena, op->port.ifname);
    if (op->kind == OP_PORT_VLAN_ADD || op->kind == OP_PORT_VLAN_REMOVE) {
        bool add = op->kind == OP_PORT_VLAN_ADD;
        text_add(out, "bridge vlan %s dev %s vid %u%s\n", add ? "add" : "del", name, op->port.vlan,
                 add && op->port.vlan == VLAN_UNTAGGED ? " pvid untagged" : "");
    } else if (op->kind == OP_PORT_SET) {
        render_port_vlan(arena, out, &op->port);
        text_add(out, "bridge link set dev %s isolated %s\n", name, op->port.rules.isolated ? "on" : "off");
    } else if (op->kind == OP_PORT_ADD)
        text_add(out, "ip link set dev %s master %s\n", name, quote(arena, op->port.bridge));
    else
        text_add(out, "ip link set dev %s nomaster\n", name);
}

static void address_flags(struct text *out, const struct address *address)
{
    const struct {
        uint32_t flag;
        const char *word;
    } flags[] = {{0x02, "nodad"}, {0x10, "home"}, {0x100, "mngtmpaddr"}, {0x200, "noprefixroute"}};
    for (size_t i = 0; i < 4; i++) {
        if (address->flags & flags[i].flag)
            text_add(out, " %s", flags[i].word);
    }
}

static void render_address(struct arena *arena, struct text *out, const struct op *op)
{
    const struct address *address = &op->address;
    bool add = op->kind == OP_ADDRESS_ADD;
    text_add(out, "ip address %s ", add ? "add" : "delete");
    if (ip_is_set(&address->peer))
        text_add(out, "%s peer %s/%u", IP_TEXT(&address->prefix.ip), IP_TEXT(&address->peer),
                 address->prefix.length);
    else
        text_add(out, "%s", PREFIX_TEXT(&address->prefix));
    if (add && ip_is_set(&address->broadcast))
        text_add(out, " broadcast %s", IP_TEXT(&address->broadcast));
    text_add(out, " dev %s", quote(arena, address->ifname));
    if (add) {
        if (address->label && *address->label)
            text_add(out, " label %s", quote(arena, address->label));
        if (address->scope)
            text_add(out, " scope %u", address->scope);
        if (address->metric)
            text_add(out, " metric %u", address->metric);
        if (address->valid_s && (address->valid_s != UINT32_MAX || address->preferred_s != UINT32_MAX))
            text_add(out, " valid_lft %u preferred_lft %u", address->valid_s, address->preferred_s);
        address_flags(out, address);
    }
    text_add(out, "\n");
}

static const char *route_type(uint8_t type)
{
    static const char *const names[] = {"",           "",           "local ",       "broadcast ", "anycast ",
                                        "multicast ", "blackhole ", "unreachable ", "prohibit ",  "throw "};
    return type < sizeof(names) / sizeof(*names) ? names[type] : "";
}

static void render_route(struct arena *arena, struct text *out, const struct op *op)
{
    const struct route *route = &op->route;
    const char *verb = op->kind == OP_ROUTE_ADD ? "add" : op->kind == OP_ROUTE_REMOVE ? "delete" : "replace";
    text_add(out, "%s route %s %s%s", ip_command(route->to.ip.family), verb, route_type(route->type),
             route->to.length ? PREFIX_TEXT(&route->to) : "default");
    if (ip_is_set(&route->gateway))
        text_add(out, " via %s", IP_TEXT(&route->gateway));
    if (route->ifname && *route->ifname)
        text_add(out, " dev %s", quote(arena, route->ifname));
    if (route->table != 254)
        text_add(out, " table %u", route->table);
    text_add(out, " proto %u", route->protocol);
    if (route->to.ip.family == AF_INET)
        text_add(out, " scope %u", route->scope);
    if (route->tos)
        text_add(out, " tos 0x%02x", route->tos);
    if (route->metric)
        text_add(out, " metric %u", route->metric);
    if (ip_is_set(&route->source))
        text_add(out, " src %s", IP_TEXT(&route->source));
    if (route->onlink)
        text_add(out, " onlink");
    if (route->mtu)
        text_add(out, " mtu %u", route->mtu);
    if (route->advmss)
        text_add(out, " advmss %u", route->advmss);
    if (route->preference)
        text_add(out, " pref %s", route->preference == 1 ? "high" : "low");
    text_add(out, "\n");
}

static void render_neighbour(struct arena *arena, struct text *out, const struct op *op)
{
    const struct fixed_neighbour *neighbour = &op->neighbour;
    bool add = op->kind == OP_NEIGHBOUR_ADD;
    text_add(out, "ip neighbour %s%s %s", add ? "replace" : "delete", neighbour->proxy ? " proxy" : "",
             IP_TEXT(&neighbour->ip));
    if (add && !mac_is_zero(&neighbour->mac))
        text_add(out, " lladdr %s", MAC_TEXT(&neighbour->mac));
    text_add(out, " dev %s", quote(arena, neighbour->ifname));
    if (add && !neighbour->proxy)
        text_add(out, " nud permanent");
    if (add && neighbour->router)
        text_add(out, " router");
    if (add && neighbour->protocol)
        text_add(out, " protocol %u", neighbour->protocol);
    text_add(out, "\n");
}

/* The base is safe to add when it is there, but its rules are not: they come only with a new table. */
static void render_firewall(struct arena *arena, struct text *out, const struct op *op)
{
    if (op->kind == OP_FIREWALL_SET) {
        text_add(out, "nft list table inet vmwire >/dev/null 2>&1 || nft -f - <<'EOF'\n%sEOF\n",
                 nft_base_text(arena));
        text_add(out, "nft -f - <<'EOF'\n%sEOF\n", nft_set_text(arena, &op->firewall));
        return;
    }
    text_add(out, "nft -f - <<'EOF'\n%sEOF\n", nft_remove_text(arena, &op->firewall));
    text_add(out, "nft list map inet vmwire forward_to | grep -q goto || nft delete table inet vmwire\n");
}

/* A rule is deleted by its handle, which the listing shows behind its comment. */
static void render_admission(struct arena *arena, struct text *out, const struct op *op)
{
    const struct admission *admission = &op->admission;
    if (op->kind == OP_ADMISSION_ADD) {
        text_add(out, "nft %s\n", quote(arena, admission_add_text(arena, admission)));
        return;
    }
    text_add(out, "nft %s\n",
             admission_remove_text(
                 arena, admission,
                 arena_printf(arena,
                              "\"$(nft -a list chain %s %s %s | sed -n 's/.*comment \"%s\" # handle //p')\"",
                              admission->family, admission->table, admission->chain,
                              admission_tag(arena, admission))));
}

static void render_shared(struct arena *arena, struct text *out, const struct op *op)
{
    const char *text = "";
    if (op->kind == OP_SHARED_SET)
        text_add(out, "nft list map bridge vmwire wire_in >/dev/null 2>&1 || nft -f - <<'EOF'\n%sEOF\n",
                 nft_shared_base_text(arena));
    if (op->kind == OP_SHARED_SET)
        text = nft_shared_set_text(arena, &op->shared);
    else if (op->kind == OP_SHARED_REMOVE)
        text = nft_shared_remove_text(arena, &op->shared, 0);
    else
        text = nft_shared_address_text(arena, &op->shared_address, op->kind == OP_SHARED_ADDRESS_ADD);
    text_add(out, "nft -f - <<'EOF'\n%sEOF\n", text);
    if (op->kind == OP_SHARED_REMOVE)
        text_add(out,
                 "nft list map bridge vmwire wire_in | grep -q goto || nft -f - <<'EOF'\n%sEOF\n"
                 "nft list table bridge vmwire | grep -q '^[[:space:]]' || nft delete table bridge vmwire\n",
                 nft_shared_base_remove_text(arena));
}

static void render_unmanaged(struct arena *arena, struct text *out, const struct op *op)
{
    const char *path =
        quote(arena, arena_printf(arena, "/run/systemd/network/00-vmwire-%s.network", op->network));
    if (op->kind == OP_UNMANAGE)
        text_add(out, "mkdir -p /run/systemd/network\ncat > %s <<'EOF'\n%sEOF\n", path,
                 unmanaged_text(arena, &op->unmanaged));
    else
        text_add(out, "rm %s\n", path);
    text_add(out, "networkctl reload\n");
}

/* Source: Documentation/ABI/testing/sysfs-bus-pci of the kernel. */
static void render_device(struct arena *arena, struct text *out, const struct op *op)
{
    bool bind = op->kind == OP_DEVICE_BIND;
    const char *device = quote(arena, arena_printf(arena, "/sys/bus/pci/devices/%s", op->device.address));
    const char *address = quote(arena, op->device.address);
    if (bind && strcmp(op->device.driver, "vfio-pci") == 0)
        text_add(out, "modprobe vfio-pci\n");
    text_add(out, "echo %s > %s/driver_override\n", bind ? quote(arena, op->device.driver) : "", device);
    text_add(out, "[ ! -e %s/driver ] || echo %s > %s/driver/unbind\n", device, address, device);
    text_add(out, "echo %s > /sys/bus/pci/drivers_probe\n", address);
    if (bind)
        return;
    if (op->device.override && *op->device.override)
        text_add(out, "echo %s > %s/driver_override\n", quote(arena, op->device.override), device);
    if (op->device.ifname && *op->device.ifname) {
        const char *ifname = quote(arena, op->device.ifname);
        const char *net = strcmp(op->device.driver, "virtio-pci") == 0 ? "virtio*/net" : "net";
        text_add(out, "[ -e %s/%s/%s ] || ip link set dev \"$(ls %s/%s)\" name %s\n", device, net, ifname,
                 device, net, ifname);
    }
}

static void render_function(struct arena *arena, struct text *out, const struct op *op)
{
    if (op->kind == OP_FUNCTIONS_SET) {
        const char *device =
            quote(arena, arena_printf(arena, "/sys/bus/pci/devices/%s", op->functions.address));
        text_add(out, "echo 0 > %s/sriov_numvfs\n", device);
        text_add(out, "echo %d > %s/sriov_drivers_autoprobe\n", op->functions.probe, device);
        if (op->functions.count)
            text_add(out, "echo %u > %s/sriov_numvfs\n", op->functions.count, device);
        return;
    }
    static const char *const links[] = {"auto", "enable", "disable"};
    const struct function *function = &op->function;
    text_add(out, "ip link set dev %s vf %u", quote(arena, function->ifname), function->index);
    if (function->fields & FUNCTION_MAC)
        text_add(out, " mac %s", MAC_TEXT(&function->mac));
    if (function->fields & FUNCTION_VLAN)
        text_add(out, " vlan %u", function->vlan);
    if (function->fields & FUNCTION_RATE)
        text_add(out, " max_tx_rate %u", function->rate_mbps);
    if (function->fields & FUNCTION_SPOOF_CHECK)
        text_add(out, " spoofchk %s", function->spoof_check ? "on" : "off");
    if (function->fields & FUNCTION_TRUST)
        text_add(out, " trust %s", function->trust ? "on" : "off");
    if (function->fields & FUNCTION_LINK)
        text_add(out, " state %s", links[function->link < 3 ? function->link : 0]);
    text_add(out, "\n");
}

const char *linux_render(struct arena *arena, const struct op *op)
{
    struct text out = {.arena = arena};
    switch (op->kind) {
    case OP_LINK_CREATE:
    case OP_LINK_DELETE:
    case OP_LINK_SET:
        render_link(arena, &out, op);
        break;
    case OP_PORT_ADD:
    case OP_PORT_REMOVE:
    case OP_PORT_SET:
    case OP_PORT_VLAN_ADD:
    case OP_PORT_VLAN_REMOVE:
        render_port(arena, &out, op);
        break;
    case OP_ADDRESS_ADD:
    case OP_ADDRESS_REMOVE:
        render_address(arena, &out, op);
        break;
    case OP_ROUTE_ADD:
    case OP_ROUTE_REMOVE:
    case OP_ROUTE_REPLACE:
        render_route(arena, &out, op);
        break;
    case OP_NEIGHBOUR_ADD:
    case OP_NEIGHBOUR_REMOVE:
        render_neighbour(arena, &out, op);
        break;
    case OP_SYSCTL_SET:
        text_add(&out, "sysctl -w %s\n",
                 quote(arena, arena_printf(arena, "%s=%s", op->sysctl.name, op->sysctl.value)));
        break;
    case OP_FIREWALL_SET:
    case OP_FIREWALL_REMOVE:
        render_firewall(arena, &out, op);
        break;
    case OP_ADMISSION_ADD:
    case OP_ADMISSION_REMOVE:
        render_admission(arena, &out, op);
        break;
    case OP_UNMANAGE:
    case OP_MANAGE:
        render_unmanaged(arena, &out, op);
        break;
    case OP_ZONE_ADD:
    case OP_ZONE_REMOVE:
        text_add(&out, "firewall-cmd --quiet --zone=%s --%s-interface=%s\n", quote(arena, op->zone.zone),
                 op->kind == OP_ZONE_ADD ? "add" : "remove", quote(arena, op->zone.ifname));
        break;
    case OP_SHARED_SET:
    case OP_SHARED_REMOVE:
    case OP_SHARED_ADDRESS_ADD:
    case OP_SHARED_ADDRESS_REMOVE:
        render_shared(arena, &out, op);
        break;
    case OP_SERVICE_START:
        text_add(&out, "%s\n", shell_join(arena, op->service.argv));
        break;
    case OP_SERVICE_STOP:
        text_add(&out, "kill \"$(cat %s)\"\n", quote(arena, op->service.pid_path));
        break;
    case OP_LOCK_SET:
    case OP_LOCK_REMOVE:
        text_add(&out, "%s", nft_lock_commands(arena, &op->lock, op->kind == OP_LOCK_SET));
        break;
    case OP_SHAPER_SET:
    case OP_SHAPER_REMOVE:
        text_add(&out, "%s", shaper_commands(arena, &op->shaper, op->kind == OP_SHAPER_SET));
        break;
    case OP_RATE_SET:
        text_add(&out, "%s", nic_rate_commands(arena, op->network, &op->nic_rates));
        break;
    case OP_NIC_SET:
    case OP_NIC_REMOVE:
        text_add(&out, "nft -f - <<'EOF'\n%sEOF\n",
                 nft_lock_nic_text(arena, &op->nic, op->kind == OP_NIC_SET));
        break;
    case OP_RESOLVER_SET:
        text_add(&out, "resolvectl dns %s %s\n", quote(arena, op->resolver.ifname),
                 IP_TEXT(&op->resolver.server));
        text_add(&out, "resolvectl domain %s '~%s'\n", quote(arena, op->resolver.ifname),
                 op->resolver.domain);
        text_add(&out, "resolvectl default-route %s no\n", quote(arena, op->resolver.ifname));
        break;
    case OP_RESOLVER_CLEAR:
        text_add(&out, "resolvectl revert %s\n", quote(arena, op->resolver.ifname));
        break;
    case OP_SERVICE_RELOAD:
        render_reload(arena, &out, &op->reload, LINUX_RUN_DIR);
        break;
    case OP_FILE_WRITE:
        render_file_write(arena, &out, &op->file, LINUX_RUN_DIR);
        break;
    case OP_FILE_REMOVE:
        render_file_remove(arena, &out, &op->file, LINUX_RUN_DIR, "--ignore-fail-on-non-empty ", "");
        break;
    case OP_DEVICE_BIND:
    case OP_DEVICE_UNBIND:
        render_device(arena, &out, op);
        break;
    case OP_FUNCTIONS_SET:
    case OP_FUNCTION_SET:
        render_function(arena, &out, op);
        break;
    case OP_FIREWALL_ENABLE: /* Linux has no main ruleset: never planned */
    case OP_FIREWALL_DISABLE:
    case OP_SHAPING_ENABLE:
    case OP_SHAPING_DISABLE:
    case OP_NONE:
    case OP_KIND_COUNT:
        break;
    }
    return text_get(&out);
}
