/* command.c: operations as the programs that carry them out.  Source: ifconfig(8), route(8), pfctl(8),
 * devctl(8) of FreeBSD 12.1.
 *
 * A bridge is made by one command and set by others: ifconfig(8) cannot do both at once (`create name X addm
 * N` fails and leaves X).  An address is always an alias: without the word it would take the place of the
 * first one. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "host/freebsd/freebsd.h"

enum { ROUTE_BLACKHOLE = 6, ROUTE_UNREACHABLE = 7, ROUTE_PROHIBIT = 8 };

static const char *const programs[] = {
    "/sbin/dhclient", "/sbin/ifconfig",    "/sbin/ipfw",        "/sbin/kldload", "/sbin/kldunload",
    "/sbin/pfctl",    "/sbin/resolvconf",  "/sbin/route",       "/sbin/sysctl",  "/bin/kenv",
    "/bin/pgrep",     "/usr/bin/netstat",  "/usr/bin/sockstat", "/usr/sbin/arp", "/usr/sbin/devctl",
    "/usr/sbin/ndp",  "/usr/sbin/pciconf",
};

static const char *program_path(const char *name)
{
    for (size_t i = 0; i < sizeof(programs) / sizeof(*programs); i++) {
        if (strcmp(strrchr(programs[i], '/') + 1, name) == 0)
            return programs[i];
    }
    return name;
}

struct freebsd_command freebsd_command(struct arena *arena, const char *const words[])
{
    VEC(const char *) argv = {0};
    *vec_push(arena, &argv) = program_path(words[0]);
    for (size_t i = 1; words[i]; i++)
        *vec_push(arena, &argv) = words[i];
    *vec_push(arena, &argv) = NULL;
    return (struct freebsd_command){.argv = argv.items};
}

struct builder {
    struct arena *arena;
    struct freebsd_commands *commands;
};

static void add(const struct builder *builder, const char *const words[])
{
    *vec_push(builder->arena, &builder->commands->list) = freebsd_command(builder->arena, words);
}
#define ADD(builder, ...) add((builder), (const char *const[]){__VA_ARGS__, NULL})

static void add_input(const struct builder *builder, const char *const words[], const char *input)
{
    struct freebsd_command command = freebsd_command(builder->arena, words);
    command.input = input;
    *vec_push(builder->arena, &builder->commands->list) = command;
}
#define ADD_INPUT(builder, input, ...) add_input((builder), (const char *const[]){__VA_ARGS__, NULL}, (input))

static void link_commands(const struct builder *builder, const struct op *op)
{
    const struct link *link = &op->link;
    if (op->kind == OP_LINK_DELETE) {
        ADD(builder, "ifconfig", link->name, "destroy");
        return;
    }
    if (op->kind == OP_LINK_CREATE && link->vlan)
        ADD(builder, "ifconfig", "vlan", "create", "vlan", arena_printf(builder->arena, "%u", link->vlan),
            "vlandev", link->lower, "name", link->name);
    else if (op->kind == OP_LINK_CREATE)
        ADD(builder, "ifconfig", "bridge", "create", "name", link->name);
    if ((link->fields & LINK_ALIAS) && *link->alias)
        ADD(builder, "ifconfig", link->name, "description", link->alias);
    else if (link->fields & LINK_ALIAS)
        ADD(builder, "ifconfig", link->name, "-description");
    if (link->fields & LINK_MAC)
        ADD(builder, "ifconfig", link->name, "ether", arena_strdup(builder->arena, MAC_TEXT(&link->mac)));
    if (link->fields & LINK_IPV6) /* a bridge's is off, if_bridge(4) */
        ADD(builder, "ifconfig", link->name, "inet6", "-ifdisabled",
            link->ipv6 ? "auto_linklocal" : "-auto_linklocal");
    /* A new bridge has 1500, and its first port's from then on. */
    if ((link->fields & LINK_MTU) && (op->kind == OP_LINK_SET || link->mtu != MTU_DEFAULT))
        ADD(builder, "ifconfig", link->name, "mtu", arena_printf(builder->arena, "%u", link->mtu));
    if (link->fields & LINK_UP)
        ADD(builder, "ifconfig", link->name, link->up ? "up" : "down");
}

/* Nobody has the tap open yet. */
static void port_commands(const struct builder *builder, const struct link *bridge, const char *port)
{
    ADD(builder, "ifconfig", bridge->name, "addm", port);
    if (owner_port_rules(bridge->alias).isolated)
        ADD(builder, "ifconfig", bridge->name, "private", port);
}

void freebsd_nic_commands(struct arena *arena, const char *tap, const struct link *bridge, const char *tag,
                          struct freebsd_commands *commands)
{
    struct builder builder = {.arena = arena, .commands = commands};
    *commands = (struct freebsd_commands){0};
    ADD(&builder, "ifconfig", tap, "description", tag);
    if (bridge->mtu != MTU_DEFAULT)
        ADD(&builder, "ifconfig", tap, "mtu", arena_printf(arena, "%u", bridge->mtu));
    ADD(&builder, "ifconfig", tap, "link0");
    ADD(&builder, "ifconfig", tap, "up");
    port_commands(&builder, bridge, tap);
}

void freebsd_epair_commands(struct arena *arena, const char *epair, const struct link *bridge,
                            const char *tag, const struct mac *mac, struct freebsd_commands *commands)
{
    struct builder builder = {.arena = arena, .commands = commands};
    const char *other = freebsd_epair_other(arena, epair);
    *commands = (struct freebsd_commands){0};
    ADD(&builder, "ifconfig", epair, "description", tag);
    if (bridge->mtu != MTU_DEFAULT) {
        const char *mtu = arena_printf(arena, "%u", bridge->mtu);
        ADD(&builder, "ifconfig", epair, "mtu", mtu);
        ADD(&builder, "ifconfig", other, "mtu", mtu);
    }
    ADD(&builder, "ifconfig", other, "ether", arena_strdup(arena, MAC_TEXT(mac)));
    ADD(&builder, "ifconfig", epair, "up");
    port_commands(&builder, bridge, epair);
}

static void address_commands(const struct builder *builder, const struct op *op)
{
    const struct address *address = &op->address;
    const struct prefix *prefix = &address->prefix;
    struct ip broadcast = prefix_last(prefix);
    const char *family = prefix->ip.family == AF_INET6 ? "inet6" : "inet";
    if (op->kind == OP_ADDRESS_REMOVE)
        ADD(builder, "ifconfig", address->ifname, family, arena_strdup(builder->arena, IP_TEXT(&prefix->ip)),
            "delete");
    else if (ip_is_set(&address->peer))
        ADD(builder, "ifconfig", address->ifname, family, arena_strdup(builder->arena, PREFIX_TEXT(prefix)),
            arena_strdup(builder->arena, IP_TEXT(&address->peer)), "alias");
    else if (prefix->ip.family == AF_INET && prefix->length < 31 && ip_is_set(&address->broadcast) &&
             !ip_equal(&broadcast, &address->broadcast))
        ADD(builder, "ifconfig", address->ifname, family, arena_strdup(builder->arena, PREFIX_TEXT(prefix)),
            "broadcast", arena_strdup(builder->arena, IP_TEXT(&address->broadcast)), "alias");
    else
        ADD(builder, "ifconfig", address->ifname, family, arena_strdup(builder->arena, PREFIX_TEXT(prefix)),
            "alias");
}

static void route_commands(const struct builder *builder, const struct op *op)
{
    const struct route *route = &op->route;
    struct arena *arena = builder->arena;
    const char *words[12] = {"route", "-n",
                             op->kind == OP_ROUTE_ADD      ? "add"
                             : op->kind == OP_ROUTE_REMOVE ? "delete"
                                                           : "change"};
    size_t count = 3;
    bool v6 = route->to.ip.family == AF_INET6;
    if (v6)
        words[count++] = "-inet6";
    if (route->to.length == 0) {
        words[count++] = "default";
    } else if (route->to.length == (v6 ? 128 : 32)) {
        words[count++] = "-host";
        words[count++] = arena_strdup(arena, IP_TEXT(&route->to.ip));
    } else {
        words[count++] = "-net";
        words[count++] = arena_strdup(arena, PREFIX_TEXT(&route->to));
    }
    if (op->kind == OP_ROUTE_REMOVE) {
        /* what it leads to is in its slot, and there is one of it */
    } else if (route->type >= ROUTE_BLACKHOLE && route->type <= ROUTE_PROHIBIT) {
        words[count++] = v6 ? "::1" : "127.0.0.1";
        words[count++] = route->type == ROUTE_BLACKHOLE ? "-blackhole" : "-reject";
    } else if (ip_is_set(&route->gateway)) {
        words[count++] = ip_is_link_local(&route->gateway) && v6
                             ? arena_printf(arena, "%s%%%s", IP_TEXT(&route->gateway), route->ifname)
                             : arena_strdup(arena, IP_TEXT(&route->gateway));
    } else {
        words[count++] = "-iface";
        words[count++] = route->ifname;
    }
    add(builder, words);
}

/* Neither program takes an interface: it is that of the route to the address.  `-S` takes the place of what
 * is known of it; ndp(8) overwrites. */
static void neighbour_commands(const struct builder *builder, const struct op *op)
{
    const struct fixed_neighbour *neighbour = &op->neighbour;
    bool add_it = op->kind == OP_NEIGHBOUR_ADD, v6 = neighbour->ip.family == AF_INET6;
    const char *ip = v6 && ip_is_link_local(&neighbour->ip)
                         ? arena_printf(builder->arena, "%s%%%s", IP_TEXT(&neighbour->ip), neighbour->ifname)
                         : arena_strdup(builder->arena, IP_TEXT(&neighbour->ip));
    const char *program = v6 ? "ndp" : "arp", *mac = arena_strdup(builder->arena, MAC_TEXT(&neighbour->mac));
    if (!add_it && neighbour->proxy && !v6)
        ADD(builder, program, "-d", ip, "pub");
    else if (!add_it)
        ADD(builder, program, "-d", ip);
    else if (neighbour->proxy)
        ADD(builder, program, v6 ? "-s" : "-S", ip, mac, v6 ? "proxy" : "pub");
    else
        ADD(builder, program, v6 ? "-s" : "-S", ip, mac);
}

void freebsd_guest_up_commands(struct arena *arena, const char *ifname, struct freebsd_commands *may_fail,
                               struct freebsd_commands *commands)
{
    struct builder ipv6 = {.arena = arena, .commands = may_fail},
                   builder = {.arena = arena, .commands = commands};
    *may_fail = *commands = (struct freebsd_commands){0};
    ADD(&ipv6, "sysctl", "net.inet6.ip6.dad_count=0");
    ADD(&ipv6, "ifconfig", ifname, "inet6", "-ifdisabled", "auto_linklocal", "accept_rtadv");
    ADD(&builder, "ifconfig", ifname, "up");
}

void freebsd_guest_address_commands(struct arena *arena, const char *ifname, const struct prefix *address,
                                    const struct ip *gateway, struct freebsd_commands *commands)
{
    struct builder builder = {.arena = arena, .commands = commands};
    struct op op = {.kind = OP_ADDRESS_ADD, .address = {.ifname = ifname, .prefix = *address}};
    *commands = (struct freebsd_commands){0};
    address_commands(&builder, &op);
    op = (struct op){.kind = OP_ROUTE_ADD,
                     .route = {.to.ip.family = AF_INET, .ifname = ifname, .gateway = *gateway}};
    if (ip_is_set(gateway))
        route_commands(&builder, &op);
}

bool freebsd_guest_files(struct arena *arena, const char *name, struct freebsd_guest_files *files)
{
    if (!freebsd_epair_other(arena, name))
        return false;
    int stem = (int)strlen(name) - 1;
    files->config = arena_printf(arena, FREEBSD_RUN_DIR "/nic/%.*s.conf", stem, name);
    files->leases = arena_printf(arena, FREEBSD_RUN_DIR "/nic/%.*s.leases", stem, name);
    files->pid = arena_printf(arena, FREEBSD_RUN_DIR "/nic/%.*s.pid", stem, name);
    return true;
}

const char *freebsd_guest_dhclient_conf(void)
{
    return "timeout 10;\nretry 10;\ninitial-interval 1;\nbackoff-cutoff 2;\n"
           "request subnet-mask, routers, domain-name-servers;\n"
           "script \"/usr/bin/true\";\n";
}

static void firewall_commands(const struct builder *builder, const struct op *op)
{
    switch (op->kind) {
    case OP_FIREWALL_SET:
        ADD(builder, "kldload", "-n", "pf");
        ADD_INPUT(builder, freebsd_anchor_text(builder->arena, &op->firewall), "pfctl", "-a",
                  freebsd_anchor(builder->arena, op->firewall.network), "-f", "-");
        break;
    case OP_FIREWALL_REMOVE: /* an anchor without rules is gone */
        ADD(builder, "pfctl", "-a", freebsd_anchor(builder->arena, op->firewall.network), "-f", "/dev/null");
        break;
    case OP_FIREWALL_ENABLE:
        ADD(builder, "kldload", "-n", "pf");
        if (op->main.load)
            ADD_INPUT(builder, freebsd_main_text(), "pfctl", "-f", "-");
        if (op->main.enable)
            ADD(builder, "pfctl", "-e");
        break;
    default:
        if (op->main.enable)
            ADD(builder, "pfctl", "-d");
        if (op->main.load) {
            ADD(builder, "pfctl", "-F", "nat");
            ADD(builder, "pfctl", "-F", "rules");
        }
        break;
    }
}

static bool address_scan(const char *address, unsigned part[4])
{
    int end = 0;
    return sscanf(address, "%x:%x:%x.%x%n", &part[0], &part[1], &part[2], &part[3], &end) == 4 &&
           !address[end];
}

const char *freebsd_selector(struct arena *arena, const char *address)
{
    unsigned part[4];
    if (!address_scan(address, part))
        return NULL;
    return arena_printf(arena, "pci%u:%u:%u:%u", part[0], part[1], part[2], part[3]);
}

const char *freebsd_pptdevs_word(struct arena *arena, const char *address)
{
    unsigned part[4];
    if (!address_scan(address, part) || part[0] != 0)
        return NULL;
    return arena_printf(arena, "%u/%u/%u", part[1], part[2], part[3]);
}

const char *freebsd_pptdevs_line(struct arena *arena, const char *now, const char *address)
{
    const char *word = freebsd_pptdevs_word(arena, address);
    struct text out = {.arena = arena};
    bool there = false;
    text_add(&out, "pptdevs=\"");
    for (const char *at = now; *at;) {
        size_t length = strcspn(at, " \t\n");
        if (length) {
            there |= strlen(word ? word : "") == length && strncmp(at, word, length) == 0;
            text_add(&out, "%.*s ", (int)length, at);
        }
        at += length;
        at += strspn(at, " \t\n");
    }
    if (there || !word)
        out.data[--out.length] = '\0';
    else
        text_add(&out, "%s", word);
    text_add(&out, "\"");
    return text_get(&out);
}

/* vmm has the driver ppt. */
static void device_commands(const struct builder *builder, const struct op *op)
{
    const char *selector = freebsd_selector(builder->arena, op->device.address);
    if (!selector)
        selector = op->device.address;
    if (op->kind == OP_DEVICE_BIND) {
        ADD(builder, "kldload", "-n", "vmm");
        ADD(builder, "devctl", "set", "driver", "-f", selector, op->device.driver);
    } else {
        ADD(builder, "devctl", "clear", "driver", "-f", selector);
    }
}

void freebsd_commands(struct arena *arena, const struct op *op, struct freebsd_commands *commands)
{
    struct builder builder = {.arena = arena, .commands = commands};
    *commands = (struct freebsd_commands){0};
    switch (op->kind) {
    case OP_LINK_CREATE:
    case OP_LINK_DELETE:
    case OP_LINK_SET:
        link_commands(&builder, op);
        break;
    case OP_PORT_ADD:
    case OP_PORT_REMOVE:
        ADD(&builder, "ifconfig", op->port.bridge, op->kind == OP_PORT_ADD ? "addm" : "deletem",
            op->port.ifname);
        break;
    case OP_PORT_SET:
        ADD(&builder, "ifconfig", op->port.bridge, op->port.rules.isolated ? "private" : "-private",
            op->port.ifname);
        break;
    case OP_ADDRESS_ADD:
    case OP_ADDRESS_REMOVE:
        address_commands(&builder, op);
        break;
    case OP_ROUTE_ADD:
    case OP_ROUTE_REMOVE:
    case OP_ROUTE_REPLACE:
        route_commands(&builder, op);
        break;
    case OP_NEIGHBOUR_ADD:
    case OP_NEIGHBOUR_REMOVE:
        neighbour_commands(&builder, op);
        break;
    case OP_SYSCTL_SET:
        ADD(&builder, "sysctl", arena_printf(arena, "%s=%s", op->sysctl.name, op->sysctl.value));
        break;
    case OP_FIREWALL_SET:
    case OP_FIREWALL_REMOVE:
    case OP_FIREWALL_ENABLE:
    case OP_FIREWALL_DISABLE:
        firewall_commands(&builder, op);
        break;
    case OP_NIC_SET:
    case OP_NIC_REMOVE:
        freebsd_lock_commands(arena, &op->nic, op->kind == OP_NIC_SET, false, commands);
        break;
    case OP_DEVICE_BIND:
    case OP_DEVICE_UNBIND:
        device_commands(&builder, op);
        break;
    case OP_SHAPER_SET:
    case OP_SHAPER_REMOVE:
    case OP_RATE_SET:
    case OP_SHAPING_ENABLE:
    case OP_SHAPING_DISABLE:
        freebsd_rate_commands(arena, op, commands);
        break;
    case OP_SERVICE_STOP: /* dhclient-script(8) gave resolvconf(8) what the lease said of DNS */
        if (op->service.kind && strcmp(op->service.kind, "dhcp-client") == 0)
            ADD(&builder, "resolvconf", "-f", "-d", op->network);
        break;
    default:
        break;
    }
}
