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
 * A rule towards guests need not say more than the bridge: vmwire's own table refuses what was not asked for,
 * and its refusal is final.  The rules use what iptables-nft can show (no `ct`, no sets): with others it
 * would call its table incompatible, and Docker and ufw could not change it any longer. */
#include <string.h>

#include "plan/internal.h"

struct wanted {
    VEC(struct admission) list;
};

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
    bool routed = passage->want.mode == NETWORK_NAT && !six;
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
    if (!filter->input_closed || !filter->ufw || !routed)
        return;
    if (passage->network->dhcp)
        want(planner, passage, wanted, which, "ufw-after-input", false, ADMISSION_DHCP);
    want(planner, passage, wanted, which, "ufw-after-input", false, ADMISSION_DNS_UDP);
    want(planner, passage, wanted, which, "ufw-after-input", false, ADMISSION_DNS_TCP);
}

static void want_all(struct planner *planner, const struct passage *passage, struct wanted *wanted)
{
    if (passage->want.mode != NETWORK_NAT && passage->want.mode != NETWORK_BRIDGED)
        return;
    for (int which = 0; which < FILTER_COUNT; which++)
        want_in_filter(planner, passage, which, wanted);
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
