/* learning.c: what a host learns from router advertisements, and from whom.
 *
 * A host that forwards IPv6 ignores them, and loses the default route that it learned.  So, before
 * forwarding, what keeps it (accept_ra=2 on Linux, of each interface that learns) is set; and behind
 * forwarding on the way back.  Bridges that have taken an uplink learn in its place; theirs goes with them,
 * and needs no record.  From guests behind it the host learns nothing. */
#include <string.h>

#include "plan/internal.h"

/* The host takes no address and no route from a guest's router advertisements.  A bridge that becomes that of
 * a bridged network learns as any interface does. */
void learning_wanted(const struct passage *passage, struct link *bridge)
{
    bool never = network_has_subnet(passage->network);
    bool again = passage->network->mode == NETWORK_BRIDGED && mode_behind_host(passage->now.mode) &&
                 passage->bridge && passage->bridge->accept_ra == 0;
    bridge->accept_ra = never ? 0 : 1;
    bridge->fields |= never || again ? LINK_ACCEPT_RA : 0;
}

/* The interface that a setting of router advertisements is of; NULL when it is another setting. */
const char *learning_interface(const struct planner *planner, const char *name)
{
    static const char folder[] = "net.ipv6.conf.", entry[] = ".accept_ra";
    size_t length = strlen(name);
    if (strncmp(name, folder, strlen(folder)) != 0 || length <= strlen(folder) + strlen(entry) ||
        strcmp(name + length - strlen(entry), entry) != 0)
        return NULL;
    char *ifname =
        arena_strndup(planner->arena, name + strlen(folder), length - strlen(folder) - strlen(entry));
    for (char *c = ifname; *c; c++)
        *c = *c == '/' ? '.' : *c;
    return ifname;
}

/* What vmwire set for an interface, and somebody has set back. */
int learning_mend(struct planner *planner, const struct file *old, struct err *err)
{
    for (const char *rest = old ? old->content : ""; *rest;) {
        size_t length = strcspn(rest, "\n");
        struct op op;
        int rc = op_parse(planner->arena, arena_strndup(planner->arena, rest, length), &op, err);
        if (rc < 0)
            return rc;
        const char *ifname = op.kind == OP_SYSCTL_SET ? learning_interface(planner, op.sysctl.name) : NULL;
        const struct link *link = ifname ? link_find(planner->observed, ifname) : NULL;
        bool listed = false;
        vec_foreach (&planner->observed->forwarding, sysctl)
            listed |= strcmp(sysctl->name, op.sysctl.name) == 0;
        if (link && link->accept_ra == 1 && !listed)
            host_sysctl_set(planner, op.sysctl.name, "2", "1");
        rest += length + (rest[length] == '\n');
    }
    return 0;
}

/* Bridges that have taken an uplink. */
void learning_bridges(struct planner *planner)
{
    for (size_t i = 0; i < planner->plan->steps.count; i++) {
        const struct op op = planner->plan->steps.items[i].op;
        const struct network *network =
            op.kind == OP_LINK_CREATE ? network_find(planner->request->model, op.network) : NULL;
        if (network && network->mode == NETWORK_BRIDGED && op.link.ipv6)
            host_sysctl_set(planner, interface_sysctl(planner, 6, network->name, "accept_ra"), "2", "1");
    }
    vec_foreach (&planner->observed->links, link) {
        const char *name = owner_network(planner->arena, link->alias);
        struct record record;
        if (!name || strcmp(name, link->name) != 0 || link->accept_ra != 1 || !link->ipv6 ||
            record_read(planner->arena, planner->observed, name, &record, NULL) < 0)
            continue;
        bool going = plan_selects(planner, name) && !network_find(planner->request->model, name);
        if (record.mode == NETWORK_BRIDGED && !going)
            host_sysctl_set(planner, interface_sysctl(planner, 6, name, "accept_ra"), "2", "1");
    }
}
