/* renamed.c: an uplink that has another name than when it was taken: the port of the network's bridge that
 * has its MAC and is no guest's.  What is to be put back on it is then meant for that name. */
#include <string.h>

#include "plan/internal.h"

static const struct link *renamed_uplink(const struct planner *planner, const struct passage *passage)
{
    const struct link *found = NULL;
    vec_foreach (&planner->observed->links, link) {
        struct wired_nic nic;
        if (strcmp(link->master, passage->name) != 0 || !mac_equal(&link->mac, &passage->bridge->mac) ||
            owner_nic(planner->arena, link, &nic))
            continue;
        if (found)
            return NULL;
        found = link;
    }
    return found;
}

void follow_renamed_uplink(struct planner *planner, struct passage *passage)
{
    struct record *now = &passage->now;
    if (!passage->bridge || !now->uplink || now->vlan || link_find(planner->observed, now->uplink))
        return;
    const struct link *uplink = renamed_uplink(planner, passage);
    if (!uplink)
        return;
    plan_note(planner, "network '%s': its uplink '%s' is called '%s' now", passage->name, now->uplink,
              uplink->name);
    vec_foreach (&now->former, op) {
        if (op->kind == OP_LINK_SET)
            op->link.name = uplink->name;
        else if (op->kind == OP_ADDRESS_ADD)
            op->address.ifname = uplink->name, op->address.label = "";
        else if (op->kind == OP_ROUTE_ADD)
            op->route.ifname = uplink->name;
        else if (op->kind == OP_NEIGHBOUR_ADD)
            op->neighbour.ifname = uplink->name;
    }
    now->uplink = now->port = uplink->name;
}
