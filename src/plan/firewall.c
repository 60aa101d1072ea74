/* firewall.c: the rules of a nat network, and what its port forwards need besides.
 *
 * Theory of operation.  A forward of the host's own loopback (127.0.0.1) sends packets with a loopback
 * address over the bridge's routing, which the kernel refuses unless route_localnet is set on the bridge; and
 * with it set, guests could reach what listens on the loopback alone.  The rules that shut them out come
 * with the network's first forward, so: rules, then the setting; and the setting goes before the rules do.
 * It needs no record: it goes with the bridge.
 *
 * A port has one owner.  Where a port moves between two networks of one plan, its former owner lets go of it
 * first (firewall_ports_release), so that every moment, and every moment of rolling back, has one owner. */
#include <string.h>

#include "base/text.h"
#include "plan/internal.h"

static struct firewall *firewall_now(struct planner *planner, const char *network)
{
    vec_foreach (&planner->firewalls, firewall) {
        if (strcmp(firewall->network, network) == 0)
            return firewall;
    }
    return NULL;
}

static bool firewall_traced(const struct planner *planner, const char *network)
{
    vec_foreach (&planner->observed->firewall_traces, name) {
        if (strcmp(*name, network) == 0)
            return true;
    }
    return false;
}

static struct firewall firewall_wanted(const struct planner *planner, const struct network *network)
{
    const char *uplink = network->uplink;
    if (!uplink && planner->observed->traits.nat_names_uplink)
        uplink = plan_default_uplink(planner->observed);
    return (struct firewall){.network = network->name,
                             .bridge = network->name,
                             .uplink = uplink && network->mode != NETWORK_ISOLATED ? uplink : "",
                             .isolate = network->ports.isolated,
                             .way = network->mode == NETWORK_ROUTED     ? "routed"
                                    : network->mode == NETWORK_ISOLATED ? "isolated"
                                                                        : "",
                             .subnet = network->subnet,
                             .subnet6 = network->subnet6,
                             .forwards = network->forwards};
}

static bool firewall_equal(const struct firewall *a, const struct firewall *b)
{
    return strcmp(a->uplink, b->uplink) == 0 && strcmp(a->way, b->way) == 0 && a->isolate == b->isolate &&
           prefix_equal(&a->subnet, &b->subnet) && prefix_equal(&a->subnet6, &b->subnet6) &&
           forwards_equal(&a->forwards, &b->forwards);
}

/* --- the loopback's forwards
 * ---------------------------------------------------------------------------------------- */

static bool wants_loopback(const struct planner *planner, const struct firewall *firewall)
{
    if (planner->observed->traits.loopback_closed)
        return false;
    vec_foreach (&firewall->forwards.list, forward) {
        if (forward_has_loopback(forward))
            return true;
    }
    return false;
}

static void set_localnet(struct planner *planner, const struct passage *passage, bool on)
{
    const char *name = interface_sysctl(planner, 4, passage->name, "route_localnet");
    struct op op = op_for(passage, OP_SYSCTL_SET), undo = op_for(passage, OP_SYSCTL_SET);
    op.sysctl = (struct sysctl){.name = name, .value = on ? "1" : "0"};
    undo.sysctl = (struct sysctl){.name = name, .value = on ? "0" : "1"};
    step_add(planner, &op, &undo);
}

/* --- steps
 * -----------------------------------------------------------------------------------------------------------
 */

void firewall_steps_down(struct planner *planner, const struct passage *passage)
{
    const struct firewall *now = firewall_now(planner, passage->name);
    bool stays = passage->want.mode && network_has_subnet(passage->network);
    struct firewall want = {0};
    if (stays)
        want = firewall_wanted(planner, passage->network);
    if (now && passage->bridge && passage->bridge->localnet && wants_loopback(planner, now) &&
        !wants_loopback(planner, &want))
        set_localnet(planner, passage, false);
    if (stays || (!now && !firewall_traced(planner, passage->name)))
        return;
    struct op op = op_for(passage, OP_FIREWALL_REMOVE), undo = op_for(passage, OP_FIREWALL_SET);
    struct firewall rest = {.network = passage->name, .bridge = passage->name, .uplink = "", .way = ""};
    op.firewall = now ? *now : rest;
    undo.firewall = op.firewall;
    step_add_at(planner, rules_stage(planner, passage), &op, now ? &undo : &(struct op){0});
}

void firewall_steps_up(struct planner *planner, const struct passage *passage)
{
    if (!network_has_subnet(passage->network))
        return;
    struct firewall want = firewall_wanted(planner, passage->network);
    const struct firewall *now = firewall_now(planner, passage->name);
    if (!planner->observed->firewall_base || !now || !firewall_equal(now, &want)) {
        struct op op = op_for(passage, OP_FIREWALL_SET);
        op.firewall = want;
        struct op undo = op;
        undo.kind = now ? OP_FIREWALL_SET : OP_FIREWALL_REMOVE;
        if (now)
            undo.firewall = *now;
        step_add_at(planner, rules_stage(planner, passage), &op, &undo);
    }
    if (wants_loopback(planner, &want) && !(passage->bridge && passage->bridge->localnet))
        set_localnet(planner, passage, true);
}

/* --- one owner a port
 * ------------------------------------------------------------------------------------------------ */

/* Keep those of `now` that no other network of the file wants. */
static bool lets_go(const struct planner *planner, const struct firewall *now, struct forwards *kept)
{
    vec_foreach (&now->forwards.list, forward) {
        bool moves = false;
        vec_foreach (&planner->request->model->networks, network) {
            if (strcmp(network->name, now->network) == 0 || !plan_selects(planner, network->name))
                continue;
            vec_foreach (&network->forwards.list, wanted)
                moves |= forward_clash(forward, wanted);
        }
        if (!moves)
            *vec_push(planner->arena, &kept->list) = *forward;
    }
    return kept->list.count < now->forwards.list.count;
}

/* The network stays as it is, with ports that others of the file want. */
static void refuse_clashes(struct planner *planner, const struct firewall *now)
{
    vec_foreach (&planner->request->model->networks, network) {
        if (strcmp(network->name, now->network) == 0 || !plan_selects(planner, network->name))
            continue;
        vec_foreach (&network->forwards.list, wanted) {
            vec_foreach (&now->forwards.list, forward) {
                if (forward_clash(forward, wanted))
                    problem_add(planner->problems, network->forward_pos,
                                "network '%s': '%s' wants a port that network '%s' of this host has already "
                                "(%s); take that one down, or bring it up in the same command",
                                network->name, forward_format(planner->arena, wanted), now->network,
                                forward_format(planner->arena, forward));
            }
        }
    }
}

void firewall_ports_release(struct planner *planner)
{
    vec_foreach (&planner->observed->firewalls, firewall)
        *vec_push(planner->arena, &planner->firewalls) = *firewall;
    if (!planner->request->model)
        return;
    vec_foreach (&planner->firewalls, now) {
        struct forwards kept = {0};
        const struct network *entry = network_find(planner->request->model, now->network);
        if (entry && forwards_equal(&entry->forwards, &now->forwards))
            continue; /* model_check: nobody else in the file wants one of them */
        if (!now->forwards.list.count || !lets_go(planner, now, &kept))
            continue;
        if (!plan_selects(planner, now->network)) {
            refuse_clashes(planner, now);
            continue;
        }
        struct op op = {.kind = OP_FIREWALL_SET, .network = now->network, .firewall = *now}, undo = op;
        op.firewall.forwards = kept;
        step_add(planner, &op, &undo);
        now->forwards = kept;
    }
}
