/* cut.c: whose connections a change ends: all else is changed under running guests without their noticing. */
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "plan/internal.h"

enum { NAMED = 3 };

/* "'vm0'" and `one`, "'vm0', 'vm1', 'vm2' and 4 more" and `many`; NULL: nobody is on it. */
static const char *guests_of(const struct planner *planner, const char *network, const char *one,
                             const char *many)
{
    struct text names = {.arena = planner->arena};
    const char *last = "";
    size_t count = 0;
    vec_foreach (&planner->nics, nic) {
        const char *machine = nic->nic.machine;
        if (strcmp(nic->tap->master, network) != 0 || nic_moves(nic) || strcmp(machine, last) == 0)
            continue;
        last = machine;
        if (++count > NAMED)
            continue;
        bool program = strcmp(machine, "-") == 0;
        text_add(&names, program ? "%sa program of exec" : "%s'%s'", count > 1 ? ", " : "", machine);
    }
    if (count > NAMED)
        text_add(&names, " and %zu more", count - NAMED);
    return count ? arena_printf(planner->arena, "%s%s", text_get(&names), count > 1 ? many : one) : NULL;
}

/* The subnet that the guests have addresses of; unset: none of vmwire's. */
static struct prefix subnet_now(const struct record *record)
{
    vec_foreach (&record->made, op) {
        if (mode_behind_host(record->mode) && op->kind == OP_ADDRESS_ADD &&
            op->address.prefix.ip.family == AF_INET)
            return prefix_network(&op->address.prefix);
    }
    return (struct prefix){0};
}

/* The interface that guests' packets leave by; NULL: not known. */
static const char *way_now(const struct planner *planner, const char *network)
{
    vec_foreach (&planner->observed->firewalls, firewall) {
        if (strcmp(firewall->network, network) == 0 && *firewall->uplink)
            return firewall->uplink;
    }
    return plan_default_uplink(planner->observed);
}

static const char *why(const struct planner *planner, const struct passage *passage)
{
    const struct network *network = passage->network;
    const struct record *now = &passage->now;
    struct prefix subnet = subnet_now(now);
    if (!network || network->mode == NETWORK_PASSTHROUGH)
        return "the network goes away; once it is up again, they are on it again";
    if ((now->mode == NETWORK_BRIDGED) != (network->mode == NETWORK_BRIDGED))
        return "the segment is another one now, and a new lease is needed";
    if (now->mode == NETWORK_BRIDGED && now->uplink && !text_equal(now->uplink, network->uplink))
        return arena_printf(planner->arena, "the segment is that of '%s' now, and a new lease is needed",
                            network->uplink);
    if (now->mode == NETWORK_BRIDGED) /* elsewhere the host, which routes, tells the sender */
        return network->mtu && passage->bridge && network->mtu < passage->bridge->mtu
                   ? arena_printf(
                         planner->arena,
                         "packets of more than %u bytes from the segment do not get there any longer, "
                         "and nobody tells the sender",
                         network->mtu)
                   : NULL;
    if (ip_is_set(&subnet.ip) && !network_has_subnet(network))
        return "the host is not on it any longer, and gives no leases";
    if (ip_is_set(&subnet.ip) && !prefix_equal(&subnet, &network->subnet))
        return arena_printf(planner->arena, "addresses of %s lead nowhere now, and a new lease is needed",
                            PREFIX_TEXT(&subnet));
    if (mode_forwards(now->mode) && !mode_forwards(network->mode))
        return "nothing outside is reached from there any longer";
    const char *way = way_now(planner, passage->name);
    if (mode_forwards(now->mode) && network->uplink && way && strcmp(way, network->uplink) != 0)
        return arena_printf(planner->arena, "what left by '%s' does not leave by '%s'", way, network->uplink);
    return NULL;
}

/* The kernel forgets translated connections when the address that they leave under goes from an interface:
 * those whose guest sends before anything comes for it are found again. */
static void note_moved(struct planner *planner, const char *from, const char *to)
{
    vec_foreach (&planner->observed->firewalls, firewall) {
        const char *way = *firewall->way ? NULL : way_now(planner, firewall->network);
        const char *guests = text_equal(way, from) ? guests_of(planner, firewall->network, "", "") : NULL;
        if (guests)
            plan_note(planner,
                      "network '%s': %s may be cut off: the host's address, under which connections leave, "
                      "moves from '%s' to '%s'",
                      firewall->network, guests, from, to);
    }
}

void note_cut(struct planner *planner, const struct passage *passage)
{
    const char *now = passage->now.uplink, *want = passage->want.uplink;
    if (want && !text_equal(now, want))
        note_moved(planner, want, passage->name);
    if (now && !text_equal(now, want))
        note_moved(planner, passage->name, now);
    const char *reason = passage->now.mode ? why(planner, passage) : NULL;
    const char *guests = reason ? guests_of(planner, passage->name, " is", " are") : NULL;
    if (guests)
        plan_note(planner, "network '%s': %s cut off: %s", passage->name, guests, reason);
}
