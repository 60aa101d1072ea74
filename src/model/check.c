/* check.c: model_check: what is wrong between entries, and the values that follow from others.
 *
 * A file may hold thousands of machines, so nothing here compares every entry with every other: each check
 * sorts what it compares and looks at neighbours.  Sorting is by value, then by place in the file, so that of
 * two that clash the later one is told of the earlier one, whatever order they came in. */
#include "model/check.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Near-miss suggestions cost a pass over all names; beyond this many nobody reads them. */
enum { SUGGESTIONS_MAX = 20, QUEUES_DEFAULT_MAX = 8 };

int pos_compare(struct pos a, struct pos b)
{
    if (a.line != b.line)
        return a.line < b.line ? -1 : 1;
    return (a.column > b.column) - (a.column < b.column);
}

static int number_compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

const char *on_line(struct check *check, struct pos pos)
{
    return pos.line ? arena_printf(check->arena, " (line %d)", pos.line) : "";
}

static int network_name_compare(const void *a, const void *b)
{
    return strcmp((*(const struct network *const *)a)->name, (*(const struct network *const *)b)->name);
}

static int network_key_compare(const void *key, const void *network)
{
    return strcmp(key, (*(const struct network *const *)network)->name);
}

static void networks_sort(struct check *check)
{
    size_t count = check->model->networks.count;
    check->networks = arena_alloc(check->arena, (count + 1) * sizeof(*check->networks));
    for (size_t i = 0; i < count; i++)
        check->networks[i] = &check->model->networks.items[i];
    qsort(check->networks, count, sizeof(*check->networks), network_name_compare);
}

struct network *network_lookup(struct check *check, const char *name)
{
    struct network **found = bsearch(name, check->networks, check->model->networks.count,
                                     sizeof(*check->networks), network_key_compare);
    return found ? *found : NULL;
}

/* ---- subnets ---- */

/* A range of addresses that a network lays claim to. */
struct claim {
    const struct network *network;
    struct prefix prefix;
    struct pos pos;
};

static int claim_compare(const void *left, const void *right)
{
    const struct claim *a = left, *b = right;
    struct prefix first = prefix_network(&a->prefix), second = prefix_network(&b->prefix);
    int order = ip_compare(&first.ip, &second.ip);
    if (order == 0)
        order = number_compare(first.length, second.length);
    return order ? order : pos_compare(a->pos, b->pos);
}

static void overlap_report(struct check *check, const struct claim *a, const struct claim *b)
{
    const struct claim *later = pos_compare(a->pos, b->pos) > 0 ? a : b, *earlier = later == a ? b : a;
    problem_add(check->problems, later->pos,
                "%s overlaps %s of network '%s'%s; give each network a range of its own",
                PREFIX_TEXT(&later->prefix), PREFIX_TEXT(&earlier->prefix), earlier->network->name,
                on_line(check, earlier->pos));
}

/* Prefixes nest or are apart, so in order of their first address one overlaps an earlier one just when it
 * lies in the outermost that began last.  Two bridged networks may share a segment; a nat network shares with
 * nobody. */
static void subnets_check(struct check *check)
{
    VEC(struct claim) claims = {0};
    vec_foreach (&check->model->networks, network) {
        bool nat = network_has_subnet(network);
        bool fixed = network->mode == NETWORK_BRIDGED && network->address == ADDRESS_STATIC;
        if (nat || fixed)
            *vec_push(check->arena, &claims) =
                (struct claim){network, nat ? network->subnet : network->address_prefix,
                               nat ? network->subnet_pos : network->address_pos};
        if (network_has_subnet6(network))
            *vec_push(check->arena, &claims) =
                (struct claim){network, network->subnet6, network->subnet6_pos};
    }
    if (claims.count > 1)
        qsort(claims.items, claims.count, sizeof(*claims.items), claim_compare);

    const struct claim *outer = NULL, *outer_nat = NULL;
    vec_foreach (&claims, claim) {
        bool nat = mode_behind_host(claim->network->mode);
        const struct claim *other = nat ? outer : outer_nat;
        if (other && prefix_overlaps(&other->prefix, &claim->prefix))
            overlap_report(check, claim, other);
        if (!outer || !prefix_overlaps(&outer->prefix, &claim->prefix))
            outer = claim;
        if (nat && (!outer_nat || !prefix_overlaps(&outer_nat->prefix, &claim->prefix)))
            outer_nat = claim;
    }
}

/* ---- DHCP ranges ---- */

/* What is wrong with a range in this subnet, or NULL. */
static const char *range_fault(struct check *check, const struct network *network)
{
    const struct ip *first = &network->dhcp_first, *last = &network->dhcp_last;
    struct prefix host = network_host_address(network);
    struct ip lowest = ip_add(&host.ip, 1), broadcast = prefix_last(&network->subnet);

    if (ip_compare(first, last) > 0)
        return arena_printf(check->arena, "is the wrong way round; did you mean %s-%s?", IP_TEXT(last),
                            IP_TEXT(first));
    const struct ip *outside = !prefix_contains(&network->subnet, first)  ? first
                               : !prefix_contains(&network->subnet, last) ? last
                                                                          : NULL;
    if (outside)
        return arena_printf(check->arena, "is outside the subnet %s%s: %s is not in it",
                            PREFIX_TEXT(&network->subnet), on_line(check, network->subnet_pos),
                            IP_TEXT(outside));
    if (ip_compare(first, &host.ip) <= 0 && ip_compare(&host.ip, last) <= 0)
        return arena_printf(check->arena, "contains the host's own address %s; begin at %s",
                            IP_TEXT(&host.ip), IP_TEXT(&lowest));
    if (ip_compare(first, &host.ip) < 0)
        return arena_printf(check->arena, "contains the subnet's own address; begin at %s", IP_TEXT(&lowest));
    if (ip_equal(last, &broadcast))
        return arena_printf(check->arena, "contains the broadcast address %s; end below it",
                            IP_TEXT(&broadcast));
    return NULL;
}

static void dhcp_check(struct check *check, struct network *network)
{
    if (!network->dhcp || !network_has_subnet(network))
        return;
    if (ip_is_set(&network->dhcp_first)) {
        const char *fault = range_fault(check, network);
        if (fault)
            problem_add(check->problems, network->dhcp_pos, "'%s-%s' %s", IP_TEXT(&network->dhcp_first),
                        IP_TEXT(&network->dhcp_last), fault);
        return;
    }
    /* Everything between the host's address and the broadcast address. */
    struct prefix host = network_host_address(network);
    struct ip broadcast = prefix_last(&network->subnet);
    network->dhcp_first = ip_add(&host.ip, 1);
    network->dhcp_last = broadcast;
    for (size_t i = ip_size(&broadcast); i-- > 0 && network->dhcp_last.bytes[i]-- == 0;)
        continue;
}

/* ---- subnet6: auto ---- */

static void subnet6_check(struct check *check, struct network *network, const char *mac_seed)
{
    if (network->subnet6_auto)
        network->subnet6 = network_subnet6_derive(mac_seed ? mac_seed : "", network->name);
    if (network->subnet6_pos.line && network->mtu && network->mtu < MTU_IPV6_MIN)
        problem_add(check->problems, network->mtu_pos,
                    "network '%s': 'mtu: %u' is too small for its 'subnet6'%s: IPv6 needs at least %d",
                    network->name, network->mtu, on_line(check, network->subnet6_pos), MTU_IPV6_MIN);
    if (network->subnet6_pos.line && network->host_absent)
        problem_add(check->problems, network->subnet6_pos,
                    "network '%s' is without the host ('host: no'), which then announces nothing there; "
                    "leave 'subnet6' out",
                    network->name);
}

/* ---- isolated: with the host, or without ---- */

static void isolated_check(struct check *check, struct network *network)
{
    if (network->mode != NETWORK_ISOLATED)
        return;
    bool subnet = ip_is_set(&network->subnet.ip);
    if (network->host_absent && subnet)
        problem_add(
            check->problems, network->subnet_pos,
            "network '%s' is without the host ('host: no'), which then has no subnet and serves nothing "
            "there; leave 'subnet' out",
            network->name);
    else if (!network->host_absent && !network->subnet_pos.line)
        problem_add(check->problems, network->pos,
                    "network '%s': an isolated network needs the subnet that the host shares with its "
                    "guests, such as "
                    "'subnet: 10.0.0.0/24', or 'host: no'",
                    network->name);
    if (network->host_absent)
        network->dhcp = network->dns = false;
    else if (subnet && !ip_is_set(&network->probe))
        network->probe = network_host_address(network).ip;
}

/* ---- one interface, several networks ---- */

/* A network's use of an interface or device. */
struct use {
    const struct network *network;
    const char *name; /* the interface, or the device's place in one spelling */
    const char *text; /* as written */
    struct pos pos;
};

static int use_rank(const struct network *network)
{
    return mode_forwards(network->mode) ? 2 : network->vlan ? 1 : 0;
}

static int use_compare(const void *left, const void *right)
{
    const struct use *a = left, *b = right;
    int order = strcmp(a->name, b->name);
    /* Those that take the interface for themselves stand before those that take a VLAN of it, and these
     * before those that only send through it. */
    if (order == 0)
        order = use_rank(a->network) - use_rank(b->network);
    if (order == 0)
        order = (int)a->network->vlan - (int)b->network->vlan;
    return order ? order : pos_compare(a->pos, b->pos);
}

static const char *device_place(struct check *check, const struct device_ref *device)
{
    if (device->kind == DEVICE_INTERFACE)
        return device->text;
    if (device->kind == DEVICE_FUNCTION)
        return arena_printf(check->arena, "function %d of %s", device->vf, device->text);
    return arena_printf(check->arena, "%04x:%02x:%02x.%x", device->domain, device->bus, device->slot,
                        device->function);
}

static void use_report(struct check *check, const struct use *taker, const struct use *other)
{
    const char *name = other->text;
    bool taken_whole =
        taker->network->mode == NETWORK_PASSTHROUGH || other->network->mode == NETWORK_PASSTHROUGH;

    if (mode_forwards(other->network->mode) && !taken_whole) {
        problem_warn(
            check->problems, other->pos,
            "'%s' is a port of network '%s'%s, whose bridge has its addresses then; did you mean '%s'?", name,
            taker->network->name, on_line(check, taker->pos), taker->network->name);
        return;
    }
    if (pos_compare(taker->pos, other->pos) > 0) {
        const struct use *swap = taker;
        taker = other;
        other = swap;
    }
    const char *role = taker->network->mode == NETWORK_PASSTHROUGH ? "device" : "uplink";
    bool tagged = !taken_whole && other->network->vlan;
    problem_add(check->problems, other->pos, "%s'%s' is already the %s of network '%s'%s; %s",
                tagged ? arena_printf(check->arena, "VLAN %u of ", other->network->vlan) : "", name, role,
                taker->network->name, on_line(check, taker->pos),
                taken_whole ? "a device that a guest owns is gone from the host"
                : tagged    ? "put the machines on one network"
                            : "an interface can be a port of one bridge only");
}

/* May both have the interface? */
static bool uses_share(const struct use *taker, const struct use *other)
{
    if (taker->network->mode == NETWORK_PASSTHROUGH || other->network->mode == NETWORK_PASSTHROUGH)
        return false;
    return other->network->vlan != taker->network->vlan;
}

/* An uplink that is a network of this file. */
static void uplink_network_check(struct check *check, const struct network *network)
{
    const struct network *above = network->uplink ? network_lookup(check, network->uplink) : NULL;
    if (!above)
        return;
    const char *uplink = network->uplink;
    if (above == network)
        problem_add(check->problems, network->uplink_pos,
                    "network '%s' cannot be its own uplink; name the interface that leads outside", uplink);
    else if (above->mode == NETWORK_PASSTHROUGH)
        problem_add(check->problems, network->uplink_pos,
                    "'%s' is a passthrough network%s, which the host cannot send through", uplink,
                    on_line(check, above->pos));
    else if (network->mode == NETWORK_BRIDGED)
        problem_add(check->problems, network->uplink_pos,
                    "'%s' is the bridge of another network%s, and a bridge cannot be a port of a bridge",
                    uplink, on_line(check, above->pos));
}

static void interfaces_check(struct check *check)
{
    VEC(struct use) uses = {0};
    vec_foreach (&check->model->networks, network) {
        uplink_network_check(check, network);
        bool passthrough = network->mode == NETWORK_PASSTHROUGH;
        if (passthrough && network->device.kind == DEVICE_FUNCTION && network->device.vf == FUNCTION_AUTO)
            continue; /* any number of networks may take from one pool */
        if (passthrough && network->device.kind != DEVICE_NONE)
            *vec_push(check->arena, &uses) = (struct use){network, device_place(check, &network->device),
                                                          network->device.text, network->device_pos};
        else if (!passthrough && network->uplink)
            *vec_push(check->arena, &uses) =
                (struct use){network, network->uplink, network->uplink, network->uplink_pos};
    }
    if (uses.count > 1)
        qsort(uses.items, uses.count, sizeof(*uses.items), use_compare);
    /* The first of an interface, and the first of a VLAN of it. */
    const struct use *taker = NULL, *tagged = NULL;
    vec_foreach (&uses, use) {
        bool first = !taker || strcmp(taker->name, use->name) != 0;
        if (first)
            tagged = NULL;
        if (!first && !uses_share(taker, use))
            use_report(check, taker, use);
        else if (use->network->vlan && tagged && !uses_share(tagged, use))
            use_report(check, tagged, use);
        else if (use->network->vlan)
            tagged = use;
        if (first)
            taker = mode_forwards(use->network->mode) ? NULL : use;
    }
}

/* ---- nics ---- */

static const char *network_suggest(struct check *check, const char *name)
{
    if (check->suggestions++ >= SUGGESTIONS_MAX)
        return NULL;
    size_t count = check->model->networks.count;
    const char **names = arena_alloc(check->arena, (count + 1) * sizeof(*names));
    for (size_t i = 0; i < count; i++)
        names[i] = check->networks[i]->name;
    return text_nearest(name, names);
}

static void nic_network_check(struct check *check, const struct nic *nic)
{
    if (!nic->network || network_lookup(check, nic->network))
        return;
    const char *nearest = network_suggest(check, nic->network);
    if (nearest)
        problem_add(check->problems, nic->network_pos, "no network '%s'; did you mean '%s'?", nic->network,
                    nearest);
    else
        problem_add(check->problems, nic->network_pos, "no network '%s'; it is not under 'networks:'",
                    nic->network);
}

/* A nic and where it belongs, for the duplicate check. */
struct nic_use {
    const struct nic *nic;
    const struct machine *machine;
};

static struct pos nic_mac_pos(const struct nic *nic)
{
    return nic->mac_given ? nic->mac_pos : nic->pos;
}

static int nic_use_compare(const void *left, const void *right)
{
    const struct nic_use *a = left, *b = right;
    int order = memcmp(a->nic->mac.bytes, b->nic->mac.bytes, sizeof(a->nic->mac.bytes));
    return order ? order : pos_compare(nic_mac_pos(a->nic), nic_mac_pos(b->nic));
}

static void macs_check(struct check *check)
{
    VEC(struct nic_use) uses = {0};
    vec_foreach (&check->model->machines, machine) {
        vec_foreach (&machine->nics, nic)
            *vec_push(check->arena, &uses) = (struct nic_use){nic, machine};
    }
    if (uses.count > 1)
        qsort(uses.items, uses.count, sizeof(*uses.items), nic_use_compare);
    const struct nic_use *first = NULL;
    vec_foreach (&uses, use) {
        if (!first || !mac_equal(&first->nic->mac, &use->nic->mac)) {
            first = use;
            continue;
        }
        problem_add(
            check->problems, nic_mac_pos(use->nic),
            "MAC %s is already that of a nic of machine '%s'%s; leave 'mac' out to get one of its own",
            MAC_TEXT(&use->nic->mac), first->machine->name, on_line(check, nic_mac_pos(first->nic)));
    }
}

static void nics_check(struct check *check, struct machine *machine, const char *mac_seed)
{
    for (size_t i = 0; i < machine->nics.count; i++) {
        struct nic *nic = &machine->nics.items[i];
        nic_network_check(check, nic);
        if (!nic->mac_given)
            nic->mac = nic_mac_derive(mac_seed ? mac_seed : "", machine->name, (unsigned)i);
        if (nic->queues == 0) {
            unsigned queues = machine->cpus < QUEUES_DEFAULT_MAX ? machine->cpus : QUEUES_DEFAULT_MAX;
            nic->queues = nic->model == NIC_VIRTIO && queues ? queues : 1;
        }
    }
}

/* ---- passthrough: one device, one guest ---- */

/* A card, or one numbered function of one; of a pool every nic takes another. */
static bool device_single(const struct network *network)
{
    return network->mode == NETWORK_PASSTHROUGH && network->device.kind != DEVICE_NONE &&
           !(network->device.kind == DEVICE_FUNCTION && network->device.vf == FUNCTION_AUTO);
}

static void device_nic_check(struct check *check, const struct nic *nic, const struct network *network)
{
    if (network->device.kind != DEVICE_FUNCTION && nic->mac_given)
        problem_add(check->problems, nic->mac_pos,
                    "network '%s' gives the guest a whole device, which keeps its own MAC; leave 'mac' out",
                    network->name);
    vec_foreach (&check->model->machines, other) {
        vec_foreach (&other->nics, earlier) {
            if (earlier == nic)
                return;
            if (!earlier->network || strcmp(earlier->network, network->name) != 0)
                continue;
            problem_add(check->problems, nic->network_pos,
                        "the device of network '%s' is already that of a nic of machine '%s'%s; a device can "
                        "be one guest's only",
                        network->name, other->name, on_line(check, earlier->pos));
            return;
        }
    }
}

static void devices_check(struct check *check)
{
    vec_foreach (&check->model->machines, machine) {
        vec_foreach (&machine->nics, nic) {
            const struct network *network = nic->network ? network_lookup(check, nic->network) : NULL;
            if (network && device_single(network))
                device_nic_check(check, nic, network);
        }
    }
    /* The parent of a pool stays the host's. */
    vec_foreach (&check->model->networks, pool) {
        vec_foreach (&check->model->networks, other) {
            if (pool->device.kind == DEVICE_FUNCTION && other->device.kind == DEVICE_INTERFACE &&
                strcmp(pool->device.text, other->device.text) == 0)
                problem_add(check->problems, pool->device_pos,
                            "'%s' is the device of network '%s'%s as a whole; its functions go with it",
                            pool->device.text, other->name, on_line(check, other->device_pos));
        }
    }
}

/* ---- VNC ---- */

static bool ip_is_any(const struct ip *ip)
{
    static const uint8_t zero[16];
    return memcmp(ip->bytes, zero, ip_size(ip)) == 0;
}

static int vnc_compare(const void *left, const void *right)
{
    const struct machine *a = *(const struct machine *const *)left,
                         *b = *(const struct machine *const *)right;
    int order = number_compare(a->display.vnc_port, b->display.vnc_port);
    if (order == 0)
        order = (int)ip_is_any(&b->display.vnc_ip) - (int)ip_is_any(&a->display.vnc_ip);
    if (order == 0 && !ip_is_any(&a->display.vnc_ip))
        order = ip_compare(&a->display.vnc_ip, &b->display.vnc_ip);
    return order ? order : pos_compare(a->display.vnc_pos, b->display.vnc_pos);
}

/* Do two listeners get in each other's way, ports being equal?  An unspecified address stands for all. */
static bool vnc_clash(const struct display *a, const struct display *b)
{
    return a->vnc_port == b->vnc_port &&
           (ip_is_any(&a->vnc_ip) || ip_is_any(&b->vnc_ip) || ip_equal(&a->vnc_ip, &b->vnc_ip));
}

static void vnc_check(struct check *check)
{
    VEC(const struct machine *) machines = {0};
    vec_foreach (&check->model->machines, machine) {
        if (machine->display.on && machine->display.vnc_port)
            *vec_push(check->arena, &machines) = machine;
    }
    if (machines.count > 1)
        qsort(machines.items, machines.count, sizeof(*machines.items), vnc_compare);
    const struct machine *first = NULL;
    vec_foreach (&machines, item) {
        const struct machine *machine = *item;
        if (!first || !vnc_clash(&first->display, &machine->display)) {
            first = machine;
            continue;
        }
        bool swap = pos_compare(first->display.vnc_pos, machine->display.vnc_pos) > 0;
        const struct machine *earlier = swap ? machine : first, *later = swap ? first : machine;
        problem_add(check->problems, later->display.vnc_pos,
                    "VNC port %u is already that of machine '%s'%s; give each machine a port of its own",
                    later->display.vnc_port, earlier->name, on_line(check, earlier->display.vnc_pos));
    }
}

/* Whoever is held to its addresses is held to its MAC: it is by the MAC that they are known.  Guests behind
 * the host are held to everything unless the file says what they are held to. */
static void locks_complete(struct network *network)
{
    for (int kind = 0; kind < LOCK_KIND_COUNT; kind++)
        network->lock[kind] |= network->mode == NETWORK_NAT && !network->lock_pos.line;
    network->lock[LOCK_MAC] |= network->lock[LOCK_IP] || network->lock[LOCK_ARP];
}

void model_check(struct model *model, struct arena *arena, const char *mac_seed, struct problems *problems)
{
    _cleanup_arena_ struct arena scratch = {0};
    struct check check = {.model = model, .arena = &scratch, .model_arena = arena, .problems = problems};
    networks_sort(&check);
    vec_foreach (&model->networks, network)
        subnet6_check(&check, network, mac_seed);
    vec_foreach (&model->networks, network)
        locks_complete(network);
    subnets_check(&check);
    vec_foreach (&model->networks, network) {
        isolated_check(&check, network);
        dhcp_check(&check, network);
    }
    interfaces_check(&check);
    vec_foreach (&model->machines, machine)
        nics_check(&check, machine, mac_seed);
    macs_check(&check);
    network_nics_fill(&check);
    nic_addresses_check(&check);
    forwards_check(&check);
    devices_check(&check);
    vlans_check(&check);
    vnc_check(&check);
}
