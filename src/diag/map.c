/* map.c: what is wired to what, out of what was observed: map.h. */
#include "diag/map.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "diag/capture.h"
#include "plan/device.h"

enum { NOWHERE_SCOPE = 254, TABLE_MAIN = 254, FORWARDS_SHOWN = 4 };
#define NONE SIZE_MAX

/* Addresses by MAC, and as they came. */
struct known {
    struct mac mac;
    const struct ip *ip;
    size_t place;
};
struct known_list {
    VEC(struct known) list;
};

struct builder {
    struct arena *arena;
    const struct map_request *request;
    const struct observed *observed;
    struct map *map;
    struct map_parts parts;
    struct device_records records;
    struct known_list leases, neighbours;
};

const char *map_kind_name(enum map_kind kind)
{
    static const char *const names[] = {"router", "segment", "uplink", "nat",    "bridge",
                                        "nic",    "port",    "device", "machine"};
    return names[kind];
}

/* Interface names may hold any byte but '/', ':' and white space, and guests choose their own. */
static const char *clean(struct arena *arena, const char *text)
{
    char *copy = arena_strdup(arena, text);
    for (char *c = copy; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    return copy;
}

/* ---- nodes and edges ---- */

static const char *node_id(struct arena *arena, enum map_kind kind, const char *name)
{
    return arena_printf(arena, "%s:%s", map_kind_name(kind), name);
}

size_t map_node_find(const struct map *map, enum map_kind kind, const char *name)
{
    size_t place = names_find(&map->ids, node_id(map->arena, kind, name));
    return place < map->id_nodes.count ? map->id_nodes.items[place] : NONE;
}

static size_t node_add(struct builder *builder, enum map_kind kind, const char *name, const char *network)
{
    struct map_node *node = vec_push(builder->arena, &builder->map->nodes);
    node->kind = kind;
    node->name = clean(builder->arena, name);
    node->network = network;
    node->id = node_id(builder->arena, kind, node->name);
    size_t index = builder->map->nodes.count - 1;
    if (names_add(builder->arena, &builder->map->ids, node->id) == builder->map->id_nodes.count)
        *vec_push(builder->arena, &builder->map->id_nodes) = index;
    return index;
}

static void line_add(struct builder *builder, size_t node, const char *text)
{
    *vec_push(builder->arena, &builder->map->nodes.items[node].lines) = clean(builder->arena, text);
}

static void edge_add(struct builder *builder, size_t from, size_t to, bool broken)
{
    struct map *map = builder->map;
    if (from == NONE || to == NONE)
        return;
    *vec_push(builder->arena, &map->nodes.items[from].below) = map->edges.count;
    *vec_push(builder->arena, &map->nodes.items[to].above) = map->edges.count;
    *vec_push(builder->arena, &map->edges) = (struct map_edge){from, to, broken};
}

/* What the picture itself shows to be wrong; the words are the finding's. */
static void shown(struct builder *builder, size_t node, const char *code)
{
    map_reason_add(builder->map, &builder->map->nodes.items[node], code, MAP_BROKEN, NULL);
}

static void addresses_add(struct builder *builder, size_t node, const char *ifname)
{
    vec_foreach (&builder->observed->addresses, address) {
        if (strcmp(address->ifname, ifname) == 0 && !ip_is_link_local(&address->prefix.ip) &&
            address->scope != NOWHERE_SCOPE)
            line_add(builder, node, PREFIX_TEXT(&address->prefix));
    }
}

static bool mac_add(struct builder *builder, size_t node, const struct link *link)
{
    if (link && !mac_is_zero(&link->mac))
        line_add(builder, node, MAC_TEXT(&link->mac));
    return link != NULL;
}

/* ---- the outside ---- */

static const struct route *default_route(const struct observed *observed, const char *ifname)
{
    const struct route *best = NULL;
    vec_foreach (&observed->routes, route) {
        if (route->to.length || route->table != TABLE_MAIN || !ip_is_set(&route->gateway) ||
            !text_equal(route->ifname, ifname))
            continue;
        bool first = !best || (route->to.ip.family == AF_INET && best->to.ip.family == AF_INET6);
        if (first || (route->to.ip.family == best->to.ip.family && route->metric < best->metric))
            best = route;
    }
    return best;
}

/* The router that the host knows beyond `uplink`; two uplinks on one subnet lead to one router. */
static size_t router_of(struct builder *builder, const char *uplink)
{
    const struct link *link = link_find(builder->observed, uplink);
    const char *ifname = link && *link->master ? link->master : uplink;
    const struct route *route = default_route(builder->observed, ifname);
    if (!route && ifname != uplink)
        route = default_route(builder->observed, uplink);
    if (!route) {
        size_t node = node_add(builder, MAP_SEGMENT, uplink, "");
        line_add(builder, node, "the host has no router there");
        return node;
    }
    const char *name = arena_printf(builder->arena, "%s", IP_TEXT(&route->gateway));
    size_t node = ip_is_link_local(&route->gateway) ? NONE : map_node_find(builder->map, MAP_ROUTER, name);
    if (node != NONE)
        return node;
    node = node_add(builder, MAP_ROUTER, name, "");
    vec_foreach (&builder->observed->health.neighbours, neighbour) {
        if (ip_equal(&neighbour->ip, &route->gateway) && !neighbour->failed &&
            text_equal(neighbour->ifname, route->ifname))
            line_add(builder, node, MAC_TEXT(&neighbour->mac));
    }
    return node;
}

static const char *lower_text(struct builder *builder, const struct link *link)
{
    if (link->vlan)
        return arena_printf(builder->arena, "VLAN %u on %s", link->vlan, link->lower);
    if (link->lower && *link->lower && strcmp(link->kind, "veth") != 0)
        return arena_printf(builder->arena, "%s on %s", link->kind, link->lower);
    return *link->kind && strcmp(link->kind, "veth") != 0 ? link->kind : NULL;
}

static size_t uplink_of(struct builder *builder, struct map_part *part, const char *uplink, bool vlan)
{
    size_t node = map_node_find(builder->map, MAP_UPLINK, uplink);
    if (node != NONE) {
        vec_foreach (&builder->map->nodes.items[node].above, edge)
            part->router = builder->map->edges.items[*edge].from;
        return node;
    }
    const struct link *link = link_find(builder->observed, uplink);
    node = node_add(builder, MAP_UPLINK, uplink, "");
    addresses_add(builder, node, uplink);
    if (mac_add(builder, node, link) && lower_text(builder, link))
        line_add(builder, node, lower_text(builder, link));
    if (!link)
        shown(builder, node, vlan ? "vlan-missing" : "uplink-missing");
    else if (!link->up)
        shown(builder, node, vlan ? "vlan-down" : "uplink-down");
    else if (!link->carrier)
        shown(builder, node, "uplink-no-carrier");
    part->router = router_of(builder, uplink);
    edge_add(builder, part->router, node, !link || !link->up || !link->carrier);
    return node;
}

/* ---- nat ---- */

static const struct address *first_ipv4(const struct observed *observed, const char *ifname)
{
    vec_foreach (&observed->addresses, address) {
        if (ifname && strcmp(address->ifname, ifname) == 0 && address->prefix.ip.family == AF_INET)
            return address;
    }
    return NULL;
}

static bool forwards(const struct observed *observed)
{
    vec_foreach (&observed->forwarding, sysctl) {
        bool it = strcmp(sysctl->name, "net.ipv4.ip_forward") == 0 ||
                  strcmp(sysctl->name, "net.inet.ip.forwarding") == 0;
        if (it && sysctl->wanted && strcmp(sysctl->now, "0") == 0)
            return false;
    }
    return true;
}

/* The first of them; a firewall has as many as one likes. */
static void forwards_add(struct builder *builder, size_t node, const struct forwards *forwards)
{
    for (size_t i = 0; i < forwards->list.count && i < FORWARDS_SHOWN; i++)
        line_add(builder, node, forward_format(builder->arena, &forwards->list.items[i]));
    if (forwards->list.count > FORWARDS_SHOWN)
        line_add(builder, node,
                 arena_printf(builder->arena, "and %zu more", forwards->list.count - FORWARDS_SHOWN));
}

static size_t nat_of(struct builder *builder, const char *network, const char *uplink)
{
    const struct observed *observed = builder->observed;
    const struct address *inside = first_ipv4(observed, network), *outside = first_ipv4(observed, uplink);
    size_t node = node_add(builder, MAP_NAT, network, network);
    if (inside) {
        struct prefix subnet = prefix_network(&inside->prefix);
        const char *as = outside ? IP_TEXT(&outside->prefix.ip) : NULL;
        line_add(
            builder, node,
            arena_printf(builder->arena, "%s%s%s", PREFIX_TEXT(&subnet), as ? " as " : "", as ? as : ""));
    }
    bool masquerades = false;
    vec_foreach (&observed->firewalls, firewall) {
        if (strcmp(firewall->network, network) != 0)
            continue;
        if (ip_is_set(&firewall->subnet6.ip))
            line_add(builder, node, PREFIX_TEXT(&firewall->subnet6));
        masquerades |= observed->firewall_base;
        forwards_add(builder, node, &firewall->forwards);
    }
    vec_foreach (&observed->firewall_translates, translated)
        masquerades |= strcmp(*translated, network) == 0;
    if (!masquerades)
        shown(builder, node, "masquerade-missing");
    if (!uplink)
        shown(builder, node, "no-default-route");
    if (!forwards(observed))
        shown(builder, node, "forwarding-off");
    return node;
}

/* ---- bridges ---- */

/* By the name that the file has for it: what guests may, and get. */
static void guests_add(struct builder *builder, size_t node, const char *network)
{
    struct arena *arena = builder->arena;
    struct rates rates = {0};
    vec_foreach (&builder->request->guests, guests) {
        if (guests->isolate && strcmp(guests->network, network) == 0)
            line_add(builder, node, "isolate");
    }
    vec_foreach (&builder->observed->locks, lock) {
        if (strcmp(lock->network, network) == 0)
            line_add(builder, node, arena_printf(arena, "lock %s", lock_kinds_text(arena, lock->kinds)));
    }
    vec_foreach (&builder->observed->shapers, shaper) {
        if (shaper->whole && strcmp(shaper->network, network) == 0)
            rates.way[shaper->outward ? RATE_OUT : RATE_IN] = shaper->rate;
    }
    if (*rates_text(arena, &rates))
        line_add(builder, node, arena_printf(arena, "rate %s", rates_text(arena, &rates)));
}

static void served_add(struct builder *builder, size_t node, const char *network)
{
    vec_foreach (&builder->request->guests, guests) {
        if (strcmp(guests->network, network) != 0)
            continue;
        if (*guests->served)
            line_add(builder, node, guests->served);
        if (guests->domain && strcmp(guests->domain, network) != 0)
            line_add(builder, node, arena_printf(builder->arena, "domain %s", guests->domain));
    }
}

static const struct link *bridge_link(struct builder *builder, const char *network)
{
    const struct link *link = link_find(builder->observed, network);
    const char *owner = link ? owner_network(builder->arena, link->alias) : NULL;
    return owner && strcmp(owner, network) == 0 ? link : NULL;
}

/* From the outside in: router, uplink, NAT, bridge. */
static void network_add(struct builder *builder, const char *network)
{
    const struct network *entry =
        builder->request->model ? network_find(builder->request->model, network) : NULL;
    struct map_part part = {.network = network, .router = NONE, .uplink = NONE, .nat = NONE, .bridge = NONE};
    struct record record;
    if (record_read(builder->arena, builder->observed, network, &record, NULL) < 0)
        record = (struct record){0};
    const struct link *bridge = bridge_link(builder, network);
    enum network_mode mode = record.mode ? record.mode : entry ? entry->mode : NETWORK_BRIDGED;
    const char *uplink = capture_uplink(builder->arena, builder->observed, builder->request->model, network);
    if (uplink)
        part.uplink = uplink_of(builder, &part, uplink, entry ? entry->vlan : record.vlan);
    if (mode == NETWORK_NAT) {
        part.nat = nat_of(builder, network, uplink);
        edge_add(builder, part.uplink, part.nat, builder->map->nodes.items[part.nat].state == MAP_BROKEN);
    }
    part.bridge = node_add(builder, MAP_BRIDGE, network, network);
    if (mode == NETWORK_ROUTED || mode == NETWORK_ISOLATED)
        line_add(builder, part.bridge, network_mode_name(mode));
    addresses_add(builder, part.bridge, network);
    served_add(builder, part.bridge, network);
    mac_add(builder, part.bridge, bridge);
    vec_foreach (&builder->observed->shareds, shared) {
        if (strcmp(shared->network, network) == 0)
            line_add(builder, part.bridge,
                     arena_printf(builder->arena, "the wire sees %s alone", MAC_TEXT(&shared->mac)));
    }
    if (bridge && bridge->mtu != 1500)
        line_add(builder, part.bridge, arena_printf(builder->arena, "MTU %u", bridge->mtu));
    guests_add(builder, part.bridge, network);
    if (!bridge)
        shown(builder, part.bridge, "bridge-missing");
    else if (!bridge->up)
        shown(builder, part.bridge, "bridge-down");
    if (mode == NETWORK_NAT) {
        edge_add(builder, part.nat, part.bridge, !bridge || !bridge->up);
    } else if (part.uplink != NONE) {
        const struct link *link = link_find(builder->observed, uplink);
        bool plugged = mode_behind_host(mode) || (link && strcmp(link->master, network) == 0);
        if (link && !plugged)
            shown(builder, part.uplink, "uplink-unplugged");
        edge_add(builder, part.uplink, part.bridge, !plugged);
    }
    *vec_push(builder->arena, &builder->parts.list) = part;
    names_add(builder->arena, &builder->parts.networks, network);
}

static bool network_known(const struct builder *builder, const char *network)
{
    return names_find(&builder->parts.networks, network) < builder->parts.list.count;
}

/* Those with a bridge, and those with a record whose bridge is gone. */
static void networks_add(struct builder *builder)
{
    struct arena *arena = builder->arena;
    vec_foreach (&builder->observed->links, link) {
        const char *owner = strcmp(link->kind, "bridge") == 0 ? owner_network(arena, link->alias) : NULL;
        if (owner && strcmp(owner, link->name) == 0)
            network_add(builder, owner);
    }
    const char *folder = arena_printf(arena, "%s/network/", builder->observed->run_dir);
    size_t length = strlen(folder);
    vec_foreach (&builder->observed->files, file) {
        const char *name = file->path + length;
        const char *end = strncmp(file->path, folder, length) == 0 ? strchr(name, '/') : NULL;
        if (!end || strcmp(end, "/record") != 0)
            continue;
        const char *network = arena_strndup(arena, name, (size_t)(end - name));
        struct record record;
        bool bridged = record_read(arena, builder->observed, network, &record, NULL) < 0 ||
                       record.mode != NETWORK_PASSTHROUGH;
        if (bridged && !network_known(builder, network))
            network_add(builder, network);
    }
}

/* ---- guests ---- */

static int known_compare(const void *left, const void *right)
{
    const struct known *a = left, *b = right;
    int order = memcmp(a->mac.bytes, b->mac.bytes, sizeof(a->mac.bytes));
    return order ? order : (a->place > b->place) - (a->place < b->place);
}

static void known_add(struct builder *builder, struct known_list *known, const struct mac *mac,
                      const struct ip *ip)
{
    size_t place = known->list.count;
    *vec_push(builder->arena, &known->list) = (struct known){*mac, ip, place};
}

static void known_collect(struct builder *builder)
{
    vec_foreach (&builder->request->leases, lease)
        known_add(builder, &builder->leases, &lease->mac, &lease->ip);
    vec_foreach (&builder->observed->health.neighbours, neighbour) {
        if (!neighbour->failed && !ip_is_link_local(&neighbour->ip))
            known_add(builder, &builder->neighbours, &neighbour->mac, &neighbour->ip);
    }
    struct known_list *lists[] = {&builder->leases, &builder->neighbours};
    for (size_t i = 0; i < 2; i++) {
        if (lists[i]->list.count > 1)
            qsort(lists[i]->list.items, lists[i]->list.count, sizeof(*lists[i]->list.items), known_compare);
    }
}

/* Whether there were any. */
static bool addresses_of(struct builder *builder, const struct known_list *known, const struct mac *mac,
                         size_t tap, size_t machine)
{
    size_t low = 0, high = known->list.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(known->list.items[middle].mac.bytes, mac->bytes, sizeof(mac->bytes)) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; high < known->list.count && mac_equal(&known->list.items[high].mac, mac); high++) {
        line_add(builder, tap, IP_TEXT(known->list.items[high].ip));
        line_add(builder, machine, IP_TEXT(known->list.items[high].ip));
    }
    return high > low;
}

/* The addresses that this host's kernel knows a MAC by, where no lease tells: guests of a bridged network. */
static bool neighbours_add(struct builder *builder, size_t tap, size_t machine, const struct mac *mac)
{
    bool any = false;
    vec_foreach (&builder->observed->shared_addresses, address) {
        if (!address->held || !mac_equal(&address->mac, mac))
            continue;
        line_add(builder, tap, IP_TEXT(&address->ip));
        line_add(builder, machine, IP_TEXT(&address->ip));
        any = true;
    }
    return any || addresses_of(builder, &builder->neighbours, mac, tap, machine);
}

static size_t machine_of(struct builder *builder, const struct wired_nic *nic)
{
    struct arena *arena = builder->arena;
    if (strcmp(nic->machine, "-") == 0)
        return node_add(builder, MAP_MACHINE, arena_printf(arena, "exec on %s", nic->tap), "");
    size_t node = map_node_find(builder->map, MAP_MACHINE, nic->machine);
    return node == NONE ? node_add(builder, MAP_MACHINE, nic->machine, "") : node;
}

static void nic_add(struct builder *builder, const struct link *link, const struct wired_nic *nic,
                    size_t bridge)
{
    size_t tap = node_add(builder, MAP_NIC, link->name, nic->network);
    size_t machine = machine_of(builder, nic);
    bool leased = addresses_of(builder, &builder->leases, &nic->mac, tap, machine) ||
                  neighbours_add(builder, tap, machine, &nic->mac);
    line_add(builder, tap, MAC_TEXT(&nic->mac));
    builder->map->nodes.items[tap].own = builder->map->nodes.items[tap].lines.count;
    if (port_vlan_own(link) > VLAN_UNTAGGED)
        line_add(builder, tap, arena_printf(builder->arena, "VLAN %u", port_vlan_own(link)));
    struct rates rates = {.way = {link->rates[RATE_IN].rate, link->rates[RATE_OUT].rate}};
    if (*rates_text(builder->arena, &rates))
        line_add(builder, tap, arena_printf(builder->arena, "rate %s", rates_text(builder->arena, &rates)));
    if (!leased)
        line_add(builder, machine, MAC_TEXT(&nic->mac));
    bool plugged = bridge != NONE && strcmp(link->master, nic->network) == 0;
    if (!plugged)
        shown(builder, tap, "nic-unplugged");
    if (!link->up)
        shown(builder, tap, "nic-down");
    else if (!link->carrier)
        map_reason_add(builder->map, &builder->map->nodes.items[tap], "guest-driver-down", MAP_BROKEN,
                       "no hypervisor has it open");
    edge_add(builder, bridge, tap, !plugged);
    edge_add(builder, tap, machine, !link->up || !link->carrier);
}

/* Taps and other ports, in one walk over the links. */
static void ports_add(struct builder *builder)
{
    vec_foreach (&builder->observed->links, link) {
        struct wired_nic nic;
        bool is_nic = owner_nic(builder->arena, link, &nic);
        const char *network = is_nic ? nic.network : link->master;
        size_t place = names_find(&builder->parts.networks, network);
        const struct map_part *part =
            place < builder->parts.list.count ? &builder->parts.list.items[place] : NULL;
        if (is_nic) {
            nic_add(builder, link, &nic, part ? part->bridge : NONE);
        } else if (part && map_node_find(builder->map, MAP_UPLINK, link->name) == NONE) {
            size_t port = node_add(builder, MAP_PORT, link->name, network);
            line_add(builder, port, "not vmwire's");
            if (!link->up || !link->carrier)
                line_add(builder, port, link->up ? "no carrier" : "down");
            edge_add(builder, part->bridge, port, false);
        }
    }
}

/* ---- passthrough ---- */

static void device_add(struct builder *builder, const struct device_record *record)
{
    const struct device *device = device_find(builder->observed, record->address);
    const char *ifname = device ? device->ifname : "";
    bool pool = false;
    vec_foreach (&record->former, op) {
        pool |= op->kind == OP_FUNCTIONS_SET;
        if (op->kind == OP_DEVICE_UNBIND && !*ifname)
            ifname = op->device.ifname;
    }
    if (pool)
        return;
    /* Functions share the wire of their parent. */
    const struct device *parent = device ? device_find(builder->observed, device->parent) : NULL;
    const char *wire = parent && *parent->ifname ? parent->ifname : *ifname ? ifname : record->address;
    size_t segment = map_node_find(builder->map, MAP_SEGMENT, wire);
    if (segment == NONE) {
        segment = node_add(builder, MAP_SEGMENT, wire, "");
        line_add(builder, segment, "the host does not see it");
    }
    size_t node = node_add(builder, MAP_DEVICE, *ifname ? ifname : record->address, record->network);
    if (*ifname)
        line_add(builder, node, arena_printf(builder->arena, "PCI %s", record->address));
    if (device && *device->parent)
        line_add(builder, node, arena_printf(builder->arena, "function of %s", device->parent));
    if (device && *device->driver)
        line_add(builder, node, arena_printf(builder->arena, "driver %s", device->driver));
    if (!device)
        map_reason_add(builder->map, &builder->map->nodes.items[node], "device-missing", MAP_BROKEN,
                       "this host has no such device any more");
    edge_add(builder, segment, node, !device);
    if (!*record->machine)
        return;
    size_t machine = map_node_find(builder->map, MAP_MACHINE, record->machine);
    if (machine == NONE)
        machine = node_add(builder, MAP_MACHINE, record->machine, "");
    edge_add(builder, node, machine, !device);
}

/* ---- what the file has, and the host has not ---- */

static void absent_add(struct builder *builder)
{
    const struct model *model = builder->request->model;
    for (size_t i = 0; model && i < model->networks.count; i++) {
        const struct network *network = &model->networks.items[i];
        if (network->mode != NETWORK_PASSTHROUGH && !network_known(builder, network->name))
            *vec_push(builder->arena, &builder->map->networks_down) = network->name;
    }
    for (size_t i = 0; model && i < model->machines.count; i++) {
        const char *name = model->machines.items[i].name;
        bool runs = builder->request->runs && builder->request->runs(builder->request->context, name);
        if (runs && map_node_find(builder->map, MAP_MACHINE, name) == NONE)
            node_add(builder, MAP_MACHINE, name, ""); /* without a nic */
        else if (!runs && map_node_find(builder->map, MAP_MACHINE, name) == NONE)
            *vec_push(builder->arena, &builder->map->machines_stopped) = name;
    }
}

void map_build(struct arena *arena, const struct map_request *request, struct map *map)
{
    *map = (struct map){.arena = arena};
    struct builder builder = {.arena = arena, .request = request, .observed = request->observed, .map = map};
    known_collect(&builder);
    networks_add(&builder);
    ports_add(&builder);
    if (device_records_read(arena, request->observed, &builder.records, NULL) == 0) {
        vec_foreach (&builder.records.list, record)
            device_add(&builder, record);
    }
    absent_add(&builder);
    map_reasons_attach(map, request, &builder.parts);
}
