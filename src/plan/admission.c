/* admission.c: the rules that a network needs in the chains of other firewalls.
 *
 * As little as will do, and behind everything that the other firewall has decided itself: what its owner
 * refused by name stays refused, only what would fall to "everything else is dropped" is let through.
 *
 *  - Docker: at the end of FORWARD, before its policy.  In DOCKER-USER, which is looked at first, an accept
 * would also open the containers that Docker keeps from its neighbours.
 *  - ufw: in its after-chains, which its own documentation leaves to others' rules: behind the user's, before
 *    the default.
 *
 *  - firewalld: in front of its chains, which end in a refusal.  Where its table is its own (`owned`) or
 * iptables keeps it, the bridge of a nat network goes into a zone that gives guests just this: vmwire's,
 * where it is installed, or those of NetworkManager's shared connections and of libvirt.  The zone comes
 * second since firewalld keeps its chains when the bridge has left it.  The bridge of a bridged network
 * follows its uplink into the zone that the administrator put that in: what the host serves there stays
 * reachable, and no more. A bridge that is in a zone already stays there.
 *
 * A rule towards guests need not say more than the bridge: vmwire's own table refuses what was not asked for,
 * and its refusal is final.  The rules use what iptables-nft can show (no `ct`, no sets): with others it
 * would call its table incompatible, and Docker and ufw could not change it any longer. */
#include <string.h>

#include "plan/internal.h"

struct wanted {
    VEC(struct admission) list;
};

static const char *const nat_zones[] = {"vmwire", "nm-shared", "libvirt", NULL};

static const char *nat_zone(const struct foreign_firewalls *foreign)
{
    for (size_t i = 0; nat_zones[i]; i++) {
        vec_foreach (&foreign->zones, zone) {
            if (strcmp(*zone, nat_zones[i]) == 0)
                return nat_zones[i];
        }
    }
    return NULL;
}

static const struct op *zone_made(const struct record *record)
{
    vec_foreach (&record->made, op) {
        if (op->kind == OP_ZONE_ADD)
            return op;
    }
    return NULL;
}

/* As long as firewalld does not answer, the record says what it said. */
void want_zone(struct planner *planner, struct passage *passage)
{
    const struct foreign_firewalls *foreign = &planner->observed->foreign;
    const struct op *made = zone_made(&passage->now);
    const char *zone = made ? made->zone.zone : NULL, *now = zone_of(foreign, passage->name);
    if (foreign->zones_known && now && !(zone && strcmp(now, zone) == 0))
        zone = NULL; /* somebody else's word */
    else if (foreign->zones_known && mode_behind_host(passage->want.mode))
        zone = foreign->firewalld_owned ? nat_zone(foreign) : NULL;
    else if (foreign->zones_known)
        zone = passage->want.port ? zone_of(foreign, passage->want.port) : NULL;
    if (!zone)
        return;
    *vec_push(planner->arena, &passage->want.made) =
        (struct op){.kind = OP_ZONE_ADD, .network = passage->name, .zone = {passage->name, zone}};
}

static void zone_step(struct planner *planner, const struct passage *passage, const char *zone, bool add)
{
    struct op op = {.kind = add ? OP_ZONE_ADD : OP_ZONE_REMOVE, .network = passage->name};
    op.zone = (struct zone_member){.ifname = passage->name, .zone = zone};
    struct op undo = op;
    undo.kind = add ? OP_ZONE_REMOVE : OP_ZONE_ADD;
    step_add(planner, &op, &undo);
}

static bool in_zone(const struct planner *planner, const struct passage *passage, const struct op *made)
{
    const char *now = zone_of(&planner->observed->foreign, passage->name);
    return made && now && strcmp(now, made->zone.zone) == 0;
}

void leave_zone(struct planner *planner, const struct passage *passage)
{
    const struct op *made = zone_made(&passage->now), *want = zone_made(&passage->want);
    if (in_zone(planner, passage, made) && !(want && strcmp(want->zone.zone, made->zone.zone) == 0))
        zone_step(planner, passage, made->zone.zone, false);
}

void enter_zone(struct planner *planner, const struct passage *passage)
{
    const struct op *want = zone_made(&passage->want);
    if (want && planner->observed->foreign.zones_known && !in_zone(planner, passage, want))
        zone_step(planner, passage, want->zone.zone, true);
}

static void want(struct planner *planner, const struct passage *passage, struct wanted *wanted, int filter,
                 const char *chain, bool last, enum admission_kind kind)
{
    *vec_push(planner->arena, &wanted->list) =
        (struct admission){.network = passage->name,
                           .family = filter == FILTER_IPV6 ? "ip6" : "ip",
                           .table = "filter",
                           .chain = chain,
                           .last = last,
                           .kind = admission_name(kind)};
}

/* The filter table of iptables. */
static void want_in_filter(struct planner *planner, const struct passage *passage, int which,
                           struct wanted *wanted)
{
    const struct iptables_filter *filter = &planner->observed->foreign.filters[which];
    bool six = which == FILTER_IPV6;
    bool served = six ? network_has_subnet6(passage->network) : network_has_subnet(passage->network);
    const char *input = six ? "ufw6-after-input" : "ufw-after-input";
    bool routed = served && passage->want.mode != NETWORK_ISOLATED;
    bool last = !filter->ufw;
    const char *chain = !filter->ufw ? "FORWARD" : six ? "ufw6-after-forward" : "ufw-after-forward";
    if (!filter->docker && !filter->ufw)
        return;
    if (filter->forward_closed && routed) {
        want(planner, passage, wanted, which, chain, last, ADMISSION_FROM);
        want(planner, passage, wanted, which, chain, last, ADMISSION_TO);
    } else if (filter->forward_closed && planner->observed->foreign.bridged[which]) {
        want(planner, passage, wanted, which, chain, last, ADMISSION_INSIDE);
    }
    if (!filter->input_closed || !filter->ufw || !served)
        return;
    if (passage->network->dhcp)
        want(planner, passage, wanted, which, input, false, six ? ADMISSION_DHCP6 : ADMISSION_DHCP);
    want(planner, passage, wanted, which, input, false, ADMISSION_DNS_UDP);
    want(planner, passage, wanted, which, input, false, ADMISSION_DNS_TCP);
}

/* firewalld's table, where no zone does. */
static void want_in_firewalld(struct planner *planner, const struct passage *passage, struct wanted *wanted)
{
    const struct foreign_firewalls *foreign = &planner->observed->foreign;
    bool served = network_has_subnet(passage->network);
    bool routed = served && passage->want.mode != NETWORK_ISOLATED;
    if (!foreign->firewalld || foreign->firewalld_owned || zone_made(&passage->want) ||
        zone_of(foreign, passage->name) || (!served && !foreign->bridged[FILTER_IPV4]))
        return;
    const struct {
        const char *chain;
        enum admission_kind kind;
        bool wanted;
    } rules[] = {
        {"filter_FORWARD", ADMISSION_FROM, routed},
        {"filter_FORWARD", ADMISSION_INSIDE, !routed},
        {"filter_INPUT", ADMISSION_DHCP, served && passage->network->dhcp},
        {"filter_INPUT", ADMISSION_DHCP6, network_has_subnet6(passage->network) && passage->network->dhcp},
        {"filter_INPUT", ADMISSION_DNS_UDP, served},
        {"filter_INPUT", ADMISSION_DNS_TCP, served}};
    for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
        if (rules[i].wanted)
            *vec_push(planner->arena, &wanted->list) =
                (struct admission){.network = passage->name,
                                   .family = "inet",
                                   .table = "firewalld",
                                   .chain = rules[i].chain,
                                   .kind = admission_name(rules[i].kind)};
    }
}

static void want_all(struct planner *planner, const struct passage *passage, struct wanted *wanted)
{
    if (!passage->want.mode || passage->want.mode == NETWORK_PASSTHROUGH)
        return;
    for (int which = 0; which < FILTER_COUNT; which++)
        want_in_filter(planner, passage, which, wanted);
    want_in_firewalld(planner, passage, wanted);
}

static bool among(const struct admission *items, size_t count, const struct admission *admission)
{
    for (size_t i = 0; i < count; i++) {
        if (admission_equal(&items[i], admission))
            return true;
    }
    return false;
}

static void step(struct planner *planner, const struct passage *passage, const struct admission *admission,
                 bool add)
{
    struct op op = {.kind = add ? OP_ADMISSION_ADD : OP_ADMISSION_REMOVE, .network = passage->name};
    op.admission = *admission;
    struct op undo = op;
    undo.kind = add ? OP_ADMISSION_REMOVE : OP_ADMISSION_ADD;
    step_add(planner, &op, &undo);
}

void remove_admissions(struct planner *planner, const struct passage *passage)
{
    struct wanted wanted = {0};
    want_all(planner, passage, &wanted);
    vec_foreach (&planner->observed->admissions, admission) {
        if (strcmp(admission->network, passage->name) == 0 &&
            !among(wanted.list.items, wanted.list.count, admission))
            step(planner, passage, admission, false);
    }
}

void add_admissions(struct planner *planner, const struct passage *passage)
{
    struct wanted wanted = {0};
    want_all(planner, passage, &wanted);
    vec_foreach (&wanted.list, admission) {
        if (!among(planner->observed->admissions.items, planner->observed->admissions.count, admission))
            step(planner, passage, admission, true);
    }
}
