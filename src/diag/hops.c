/* hops.c: which interfaces a guest's packets pass, from what is there: capture_hops of capture.h. */
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "diag/capture.h"
#include "plan/plan.h"

static void add_hop(struct arena *arena, const struct observed *observed, struct hops *hops,
                    enum hop_kind kind, const char *ifname, const char *network)
{
    if (!ifname || !link_find(observed, ifname))
        return;
    vec_foreach (&hops->list, known) {
        if (strcmp(known->ifname, ifname) == 0)
            return;
    }
    *vec_push(arena, &hops->list) =
        (struct hop){.kind = kind, .ifname = ifname, .network = network, .nic = {.machine = ""}};
}

static bool is_bridge_of(struct arena *arena, const struct link *link, const char *network)
{
    const char *owner = strcmp(link->kind, "bridge") == 0 ? owner_network(arena, link->alias) : NULL;
    return owner && strcmp(owner, network) == 0;
}

static const struct link *bridge_find(struct arena *arena, const struct observed *observed,
                                      const char *network)
{
    vec_foreach (&observed->links, link) {
        if (is_bridge_of(arena, link, network))
            return link;
    }
    return NULL;
}

const char *capture_uplink(struct arena *arena, const struct observed *observed, const struct model *model,
                           const char *network)
{
    const struct network *entry = model ? network_find(model, network) : NULL;
    struct record record = {0};
    if (entry && entry->uplink)
        return network_port(arena, entry);
    if (record_read(arena, observed, network, &record, NULL) < 0)
        record = (struct record){0};
    if (record.uplink)
        return record.port;
    enum network_mode mode = entry ? entry->mode : record.mode;
    return mode_forwards(mode) ? plan_default_uplink(observed) : NULL;
}

/* Bridge and uplink of a network, behind its nics. */
static void add_way_out(struct arena *arena, const struct observed *observed, const struct model *model,
                        const char *network, struct hops *hops)
{
    const struct link *bridge = bridge_find(arena, observed, network);
    if (!bridge)
        return;
    add_hop(arena, observed, hops, HOP_BRIDGE, bridge->name, network);
    add_hop(arena, observed, hops, HOP_UPLINK, capture_uplink(arena, observed, model, network), network);
}

enum choice { BY_NETWORK, BY_MACHINE, BY_NIC };

static bool chosen(struct arena *arena, const struct link *link, const struct wired_nic *nic,
                   enum choice choice, const char *name)
{
    switch (choice) {
    case BY_NETWORK:
        return strcmp(nic->network, name) == 0;
    case BY_MACHINE:
        return strcmp(nic->machine, name) == 0;
    default:
        return strcmp(link->name, name) == 0 ||
               strcmp(arena_printf(arena, "%s/%u", nic->machine, nic->index), name) == 0;
    }
}

static void add_nics(struct arena *arena, const struct observed *observed, enum choice choice,
                     const char *name, struct hops *hops)
{
    vec_foreach (&observed->links, link) {
        struct wired_nic nic;
        if (!owner_nic(arena, link, &nic) || !chosen(arena, link, &nic, choice, name))
            continue;
        *vec_push(arena, &hops->list) =
            (struct hop){.kind = HOP_NIC, .ifname = link->name, .network = nic.network, .nic = nic};
    }
}

/* What could have been meant. */
static int unknown(struct arena *arena, const struct observed *observed, const struct model *model,
                   const char *name, struct err *err)
{
    if (model && network_find(model, name))
        return err_set(err, ENOENT, "network '%s' is not up: vmwire up %s", name, name);
    if (model && machine_find(model, name))
        return err_set(err, ENOENT, "machine '%s' has no nic on this host: it does not run (vmwire start %s)",
                       name, name);
    struct text known = {.arena = arena};
    vec_foreach (&observed->links, link) {
        struct wired_nic nic;
        const char *network = strcmp(link->kind, "bridge") == 0 ? owner_network(arena, link->alias) : NULL;
        const char *between = known.length ? ", " : "";
        if (network)
            text_add(&known, "%s%s", between, network);
        else if (owner_nic(arena, link, &nic) && strcmp(nic.machine, "-") == 0)
            text_add(&known, "%s%s", between, link->name);
        else if (owner_nic(arena, link, &nic))
            text_add(&known, "%s%s/%u (%s)", between, nic.machine, nic.index, link->name);
    }
    return err_set(err, ENOENT, "there is no network, machine or nic '%s'; there is %s", name,
                   known.length ? text_get(&known) : "none at all");
}

int capture_hops(struct arena *arena, const struct observed *observed, const struct model *model,
                 const char *name, struct hops *hops, struct err *err)
{
    *hops = (struct hops){0};
    if (bridge_find(arena, observed, name)) {
        add_nics(arena, observed, BY_NETWORK, name, hops);
        add_way_out(arena, observed, model, name, hops);
        return 0;
    }
    if (strcmp(name, "-") != 0)
        add_nics(arena, observed, BY_MACHINE, name, hops);
    size_t nics = hops->list.count;
    for (size_t i = 0; i < nics; i++)
        add_way_out(arena, observed, model, hops->list.items[i].network, hops);
    if (!nics)
        add_nics(arena, observed, BY_NIC, name, hops);
    return hops->list.count ? 0 : unknown(arena, observed, model, name, err);
}
