/* forward.c: port forwards against the listeners of this host.  One look at all listeners a protocol,
 * whatever the number of forwards, and none when all forwards are in force. */
#include "engine/forward.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { DNS_PORT = 53, DHCP_PORT = 67, TFTP_PORT = 69, DHCP6_PORT = 547 };

static int listener_compare(const void *left, const void *right)
{
    const struct listener *a = left, *b = right;
    return (a->port > b->port) - (a->port < b->port);
}

/* The first listener at this port or above. */
static size_t listener_from(const struct listeners *listeners, uint16_t port)
{
    size_t low = 0, high = listeners->list.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (listeners->list.items[middle].port < port)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* DHCP and DNS on a network's own address are vmwire's, and no forward of every address takes them. */
static bool own_service(const struct engine *engine, const struct model *model,
                        const struct listener *listener)
{
    if (listener->port != DNS_PORT && listener->port != DHCP_PORT && listener->port != TFTP_PORT &&
        listener->port != DHCP6_PORT)
        return false;
    vec_foreach (&engine->observed.firewalls, firewall) {
        struct ip host = ip_add(&firewall->subnet.ip, 1), host6 = ip_add(&firewall->subnet6.ip, 1);
        if (ip_equal(&host, &listener->address) || ip_equal(&host6, &listener->address))
            return true;
    }
    vec_foreach (&model->networks, network) {
        struct ip host = network_host_address(network).ip, host6 = network_host_address6(network).ip;
        if ((network_has_subnet(network) && ip_equal(&host, &listener->address)) ||
            (network_has_subnet6(network) && ip_equal(&host6, &listener->address)))
            return true;
    }
    return false;
}

/* Would packets for the forward's ports have reached this listener?  One of every IPv6 address has IPv4's
 * too, unless it said otherwise, which is not seen here. */
static bool shadows(const struct forward *forward, const struct listener *listener)
{
    struct ip any = {.family = listener->address.family};
    if (ip_equal(&listener->address, &any))
        return any.family == AF_INET6 || forward->family != AF_INET6;
    return (!forward->family || listener->address.family == forward->family) &&
           (!ip_is_set(&forward->listen) || ip_equal(&forward->listen, &listener->address));
}

static void report(struct engine *engine, const struct network *network, const struct forward *forward,
                   const struct listener *seen, struct pos pos, struct problems *problems)
{
    struct listener listener = *seen;
    const char *place = arena_strdup(problems->arena, IP_TEXT(&seen->address));
    if (!*listener.program &&
        engine->host->backend->listener_find(engine->host, engine->arena, forward->protocol, &seen->address,
                                             seen->port, &listener, NULL) < 0)
        listener.program = "";
    problem_add(
        problems, pos,
        "network '%s': %s port %u is taken by '%s' (pid %d), which listens at %s; forward another port%s",
        network->name, forward_protocol_name(forward), seen->port, *listener.program ? listener.program : "?",
        (int)listener.pid, place,
        ip_is_set(&forward->listen) ? "" : ", or that of one address ('192.168.87.9:2222')");
}

static void check_entry(struct engine *engine, const struct model *model, const struct network *network,
                        const struct forward_entry *entry, const struct listeners listeners[2],
                        struct problems *problems)
{
    const struct forward *forward = &entry->forward;
    const struct listeners *all = &listeners[forward->protocol == IPPROTO_UDP];
    for (size_t i = listener_from(all, forward->first); i < all->list.count; i++) {
        const struct listener *listener = &all->list.items[i];
        if (listener->port > forward->last)
            return;
        if (!shadows(forward, listener) ||
            (!ip_is_set(&forward->listen) && own_service(engine, model, listener)))
            continue;
        report(engine, network, forward, listener, entry->pos, problems);
        return;
    }
}

/* Is all that the entry asks for among what is in force? */
static bool in_force(const struct engine *engine, const struct network *network,
                     const struct forward *forward)
{
    vec_foreach (&engine->observed.firewalls, firewall) {
        if (strcmp(firewall->network, network->name) != 0)
            continue;
        vec_foreach (&firewall->forwards.list, now) {
            if ((!forward->family || now->family == forward->family) && now->protocol == forward->protocol &&
                ip_equal(&now->listen, &forward->listen) && now->first <= forward->first &&
                forward->last <= now->last)
                return true;
        }
    }
    return false;
}

static bool all_in_force(const struct engine *engine, const struct network *network)
{
    if (!network->forwards.list.count)
        return true;
    vec_foreach (&engine->observed.firewalls, firewall) {
        if (strcmp(firewall->network, network->name) == 0)
            return forwards_equal(&firewall->forwards, &network->forwards);
    }
    return false;
}

struct fresh {
    VEC(const struct forward_entry *) list;
};

static void collect(struct engine *engine, const struct network *network,
                    const struct forward_entries *entries, struct fresh *fresh)
{
    vec_foreach (&entries->list, entry) {
        if (!in_force(engine, network, &entry->forward))
            *vec_push(engine->arena, &fresh->list) = entry;
    }
}

static int look(struct engine *engine, struct listeners listeners[2], struct err *err)
{
    for (int udp = 0; udp < 2; udp++) {
        struct listeners *all = &listeners[udp];
        int rc = engine->host->backend->listeners_list(engine->host, engine->arena,
                                                       udp ? IPPROTO_UDP : IPPROTO_TCP, all, err);
        if (rc < 0)
            return err_wrap(err, "looking who listens on this host");
        if (all->list.count > 1)
            qsort(all->list.items, all->list.count, sizeof(*all->list.items), listener_compare);
    }
    return 0;
}

static bool selected(const char *const *names, const char *name)
{
    for (size_t i = 0; names && names[i]; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return !names;
}

int forwards_check_listeners(struct engine *engine, const struct model *model, const char *const *names,
                             struct problems *problems, struct err *err)
{
    struct listeners listeners[2];
    bool looked = false;
    vec_foreach (&model->networks, network) {
        struct fresh fresh = {0};
        if (!selected(names, network->name) || all_in_force(engine, network))
            continue;
        collect(engine, network, &network->forward_entries, &fresh);
        vec_foreach (&network->nics, member)
            collect(engine, network, &member->nic->forward_entries, &fresh);
        int rc = fresh.list.count && !looked ? look(engine, listeners, err) : 0;
        if (rc < 0)
            return rc;
        looked |= fresh.list.count > 0;
        vec_foreach (&fresh.list, entry)
            check_entry(engine, model, network, *entry, listeners, problems);
    }
    return 0;
}
