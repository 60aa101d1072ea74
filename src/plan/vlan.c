/* vlan.c: networks that are a VLAN of their uplink (802.1Q), and what several networks on one uplink share.
 *
 * The VLAN is an interface on the uplink, with the network's tag, and the bridge's port in the uplink's
 * place. The uplink keeps its addresses, may be another network's port, which then has the frames without a
 * tag, and must only be up. */
#include <string.h>

#include "base/text.h"
#include "plan/internal.h"

bool is_vlan_of(const struct planner *planner, const struct link *link, const char *network)
{
    return strcmp(link->kind, "vlan") == 0 && text_equal(owner_network(planner->arena, link->alias), network);
}

static bool is_that_vlan(const struct link *link, const char *uplink, uint32_t vlan)
{
    return vlan && link->vlan == vlan && text_equal(link->lower, uplink);
}

/* --- several networks on one uplink */

void uplink_uses_read(struct planner *planner)
{
    static const char bridged[] = "mode bridged\n";
    const struct observed *observed = planner->observed;
    size_t folder = strlen(observed->run_dir) + strlen("/network/");
    vec_foreach (&observed->links, link) {
        if (strcmp(link->kind, "vlan") == 0)
            *vec_push(planner->arena, &planner->vlans) = link;
    }
    vec_foreach (&observed->files, file) {
        struct record record;
        const char *end = strlen(file->path) > folder ? strchr(file->path + folder, '/') : NULL;
        if (!end || strcmp(end, "/record") != 0 || strncmp(file->content, bridged, strlen(bridged)) != 0 ||
            record_parse(planner->arena, file->content, &record, NULL) < 0 || !record.uplink)
            continue;
        const char *name =
            arena_strndup(planner->arena, file->path + folder, (size_t)(end - file->path) - folder);
        bool up = false;
        vec_foreach (&record.former, op)
            up |= op->kind == OP_LINK_SET && op->link.up;
        *vec_push(planner->arena, &planner->uplink_uses) =
            (struct uplink_use){.network = name, .uplink = record.uplink, .formerly_up = up};
    }
}

bool uplink_formerly_up(const struct planner *planner, const struct passage *passage,
                        const struct link *uplink)
{
    (void)passage;
    vec_foreach (&planner->uplink_uses, use) {
        if (strcmp(use->uplink, uplink->name) == 0)
            return use->formerly_up;
    }
    return uplink->up;
}

/* A network of the file that this plan brings to it. */
static bool uplink_wanted(const struct planner *planner, const char *uplink)
{
    const struct model *model = planner->request->model;
    for (size_t i = 0; model && i < model->networks.count; i++) {
        const struct network *network = &model->networks.items[i];
        if (network->mode == NETWORK_BRIDGED && text_equal(network->uplink, uplink) &&
            plan_selects(planner, network->name))
            return true;
    }
    return false;
}

void uplink_leave(struct planner *planner, const struct passage *passage)
{
    struct uplink_use *mine = NULL;
    vec_foreach (&planner->uplink_uses, use) {
        if (strcmp(use->network, passage->name) == 0)
            mine = use;
    }
    if (!mine)
        return;
    mine->left = true;
    const struct link *uplink = link_find(planner->observed, mine->uplink);
    bool wanted = uplink_wanted(planner, mine->uplink);
    vec_foreach (&planner->uplink_uses, use)
        wanted |= !use->left && strcmp(use->uplink, mine->uplink) == 0;
    if (uplink && uplink->up && !mine->formerly_up && !wanted)
        set_up(planner, passage, uplink->name, false);
}

/* --- the VLAN's interface */

/* It is in the way of another network of the file, to which this plan brings it. */
static bool is_handed_on(const struct planner *planner, const struct link *link)
{
    const char *owner = strcmp(link->kind, "vlan") == 0 ? owner_network(planner->arena, link->alias) : NULL;
    const struct model *model = planner->request->model;
    const struct network *from = owner && model ? network_find(model, owner) : NULL;
    if (!from || !plan_selects(planner, owner) || is_that_vlan(link, from->uplink, from->vlan))
        return false;
    vec_foreach (&model->networks, to) {
        if (to != from && is_that_vlan(link, to->uplink, to->vlan) && plan_selects(planner, to->name))
            return true;
    }
    return false;
}

static void delete_vlan(struct planner *planner, const struct passage *passage, const struct link *vlan)
{
    struct op op = op_for(passage, OP_LINK_DELETE), undo = op_for(passage, OP_LINK_CREATE);
    op.link = undo.link = *vlan;
    op.link.fields = 0;
    undo.link.fields =
        (LINK_MTU | LINK_UP | LINK_ALIAS | LINK_IPV6) & ~planner->observed->traits.no_link_fields;
    step_add(planner, &op, &undo);
}

void vlans_release(struct planner *planner)
{
    vec_foreach (&planner->observed->links, link) {
        if (!is_handed_on(planner, link))
            continue;
        struct passage passage = {.name = owner_network(planner->arena, link->alias)};
        const struct network *from = network_find(planner->request->model, passage.name);
        if (from->mac_shared) /* its rules name the interface, and would have to go before it */
            problem_add(
                planner->problems, from->vlan_pos.line ? from->vlan_pos : from->pos,
                "network '%s' shares a MAC and hands its VLAN %u on to another network: take it down first "
                "(vmwire down %s)",
                from->name, link->vlan, from->name);
        if (text_equal(link->master, passage.name))
            change_port(planner, &passage, link->name, false);
        delete_vlan(planner, &passage, link);
    }
}

static bool is_stale(const struct planner *planner, const struct passage *passage, const struct link *link)
{
    return is_vlan_of(planner, link, passage->name) && !is_handed_on(planner, link) &&
           !(text_equal(link->name, passage->want.port) &&
             is_that_vlan(link, passage->want.uplink, passage->want.vlan));
}

void vlan_detach(struct planner *planner, const struct passage *passage)
{
    vec_foreach (&planner->vlans, link) {
        if (is_stale(planner, passage, *link) && strcmp((*link)->master, passage->name) == 0)
            change_port(planner, passage, (*link)->name, false);
    }
}

void vlan_remove(struct planner *planner, const struct passage *passage)
{
    vec_foreach (&planner->vlans, link) {
        if (is_stale(planner, passage, *link))
            delete_vlan(planner, passage, *link);
    }
    if (passage->now.vlan && !text_equal(passage->now.uplink, passage->want.uplink))
        uplink_leave(planner, passage);
}

static bool is_set_up(const struct planner *planner, const char *ifname)
{
    vec_foreach (&planner->plan->steps, step) {
        if (step->op.kind == OP_LINK_SET && (step->op.link.fields & LINK_UP) && step->op.link.up &&
            strcmp(step->op.link.name, ifname) == 0)
            return true;
    }
    return false;
}

/* A VLAN goes down with its uplink, and cannot come up before it. */
void vlan_make(struct planner *planner, const struct passage *passage)
{
    const struct record *want = &passage->want;
    const struct link *uplink = want->vlan ? link_find(planner->observed, want->uplink) : NULL;
    if (!uplink)
        return;
    if (!uplink->up && !is_set_up(planner, uplink->name))
        set_up(planner, passage, uplink->name, true);
    struct op op = op_for(passage, OP_LINK_CREATE), undo = op_for(passage, OP_LINK_DELETE);
    op.link = (struct link){.name = want->port,
                            .kind = "vlan",
                            .lower = want->uplink,
                            .vlan = want->vlan,
                            .alias = owner_tag(planner->arena, passage->name),
                            .fields = (LINK_MTU | LINK_UP | LINK_ALIAS | LINK_IPV6) &
                                      ~planner->observed->traits.no_link_fields,
                            .mtu = passage->mtu,
                            .up = true};
    const struct link *now = link_find(planner->observed, want->port);
    if (now && is_vlan_of(planner, now, passage->name) && is_that_vlan(now, want->uplink, want->vlan)) {
        op.kind = undo.kind = OP_LINK_SET;
        undo.link = *now;
        op.link.fields = undo.link.fields = link_differences(&op.link, now);
        if (op.link.fields)
            step_add(planner, &op, &undo);
        return;
    }
    undo.link = op.link;
    undo.link.fields = 0;
    step_add(planner, &op, &undo);
}

/* --- what the host cannot give */

/* Somebody has the VLAN already, and this plan does not take it from him. */
static void check_taken(struct planner *planner, const struct network *network, const struct link *link)
{
    const char *owner = owner_network(planner->arena, link->alias);
    const struct model *model = planner->request->model;
    if (!owner) {
        problem_add(
            planner->problems, network->vlan_pos,
            "network '%s': this host has VLAN %u of '%s' already, as '%s': write 'uplink: %s', and leave "
            "'vlan' out",
            network->name, network->vlan, network->uplink, link->name, link->name);
        return;
    }
    bool goes = is_handed_on(planner, link) || (plan_selects(planner, owner) && !network_find(model, owner));
    if (strcmp(owner, network->name) != 0 && !goes)
        problem_add(
            planner->problems, network->vlan_pos,
            "network '%s': VLAN %u of '%s' is that of network '%s', as long as that is up as it is: vmwire "
            "up, or vmwire down %s",
            network->name, network->vlan, network->uplink, owner, owner);
}

/* On such a host the bridge has an uplink's frames before its VLANs do. */
static void check_tags(struct planner *planner, const struct passage *passage, const struct link *uplink)
{
    const struct network *network = passage->network;
    const char *taker = *uplink->master ? uplink->master : NULL;
    vec_foreach (&planner->request->model->networks, other) {
        if (other->mode == NETWORK_BRIDGED && !other->vlan && text_equal(other->uplink, network->uplink))
            taker = other->name;
    }
    if (planner->observed->traits.ports_take_tags && taker)
        problem_add(
            planner->problems, network->vlan_pos,
            "network '%s': '%s' is a port of '%s', and on this host a bridge takes its ports' tagged frames "
            "too: VLAN %u would have none; use VLANs for all networks of that uplink",
            network->name, network->uplink, taker, network->vlan);
}

void check_vlan(struct planner *planner, const struct passage *passage)
{
    const struct network *network = passage->network;
    const char *name = network_port(planner->arena, network);
    const struct link *uplink = link_find(planner->observed, network->uplink);
    if (planner->observed->vlan_refusal)
        problem_add(planner->problems, network->vlan_pos, "network '%s': 'vlan' cannot be had: %s",
                    network->name, planner->observed->vlan_refusal);
    check_tags(planner, passage, uplink);
    vec_foreach (&planner->observed->links, link) {
        if (is_that_vlan(link, network->uplink, network->vlan))
            check_taken(planner, network, link);
        else if (text_equal(link->name, name) && !is_vlan_of(planner, link, network->name) &&
                 !is_handed_on(planner, link))
            problem_add(planner->problems, network->vlan_pos,
                        "network '%s': its VLAN is to be interface '%s', and this host has one of that name "
                        "already; rename that",
                        network->name, name);
    }
}
