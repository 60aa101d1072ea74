/* resolved.c: the host's own resolver, where that is systemd-resolved: a network's names are asked of the
 * network's DNS server, and nothing else is.  Source: org.freedesktop.resolve1(5). */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "host/linux/bus.h"
#include "host/linux/linux.h"

static struct bus_call manager_call(const char *member)
{
    return (struct bus_call){.destination = "org.freedesktop.resolve1",
                             .path = "/org/freedesktop/resolve1",
                             .interface = "org.freedesktop.resolve1.Manager",
                             .member = member};
}

static int property_get(struct bus *bus, struct arena *arena, const char *name, struct bus_reply *reply)
{
    struct bus_call call = manager_call("Get");
    call.interface = "org.freedesktop.DBus.Properties";
    call.strings[0] = "org.freedesktop.resolve1.Manager";
    call.strings[1] = name;
    struct err ignored;
    return bus_call(bus, arena, &call, reply, &ignored);
}

static struct resolver *resolver_of(struct arena *arena, struct observed *observed, uint32_t index)
{
    const struct link *link = index ? link_by_index(observed, (int)index) : NULL;
    if (!link)
        return NULL;
    vec_foreach (&observed->resolvers, known) {
        if (strcmp(known->ifname, link->name) == 0)
            return known;
    }
    struct resolver *fresh = vec_push(arena, &observed->resolvers);
    *fresh = (struct resolver){.ifname = link->name, .domain = ""};
    return fresh;
}

/* a(iiay): interface, family, address. */
static void servers_read(struct arena *arena, struct observed *observed, struct bus_reply *reply)
{
    bus_read_variant(reply, "a(iiay)");
    size_t end = bus_read_array(reply, 8);
    while (reply->at < end && !reply->failed) {
        bus_read_align(reply, 8);
        uint32_t index = bus_read_u32(reply), family = bus_read_u32(reply), length = bus_read_u32(reply);
        const uint8_t *bytes = bus_read_bytes(reply, length);
        struct resolver *resolver = bytes ? resolver_of(arena, observed, index) : NULL;
        if (!resolver || family != AF_INET || length != 4)
            continue;
        resolver->server = (struct ip){.family = AF_INET};
        memcpy(resolver->server.bytes, bytes, 4);
    }
}

/* a(isb): interface, domain, for routing only. */
static void domains_read(struct arena *arena, struct observed *observed, struct bus_reply *reply)
{
    bus_read_variant(reply, "a(isb)");
    size_t end = bus_read_array(reply, 8);
    while (reply->at < end && !reply->failed) {
        bus_read_align(reply, 8);
        uint32_t index = bus_read_u32(reply);
        const char *domain = bus_read_string(reply, arena);
        bool routing = bus_read_u32(reply) != 0;
        struct resolver *resolver = reply->failed ? NULL : resolver_of(arena, observed, index);
        if (resolver && routing)
            resolver->domain = domain;
    }
}

void resolver_observe(struct arena *arena, struct observed *observed)
{
    _cleanup_bus_ struct bus bus = {.fd = -1};
    struct err ignored;
    struct bus_reply servers, domains;
    if (bus_open(&bus, &ignored) < 0 || property_get(&bus, arena, "DNS", &servers) < 0 ||
        property_get(&bus, arena, "Domains", &domains) < 0)
        return;
    observed->resolver_runs = true;
    servers_read(arena, observed, &servers);
    domains_read(arena, observed, &domains);
}

static int link_call(struct bus *bus, const char *member, const struct bus_writer *body,
                     const char *signature, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct bus_reply reply;
    struct bus_call call = manager_call(member);
    call.body = body;
    call.signature = signature;
    int rc = bus_call(bus, &arena, &call, &reply, err);
    return rc < 0 ? err_wrap(err, "systemd-resolved") : 0;
}

static int resolver_set(struct bus *bus, uint32_t index, const struct resolver *resolver, struct err *err)
{
    struct bus_writer dns = {.length = 0}, domains = {.length = 0}, route = {.length = 0};
    bus_put_u32(&dns, index);
    size_t start = bus_put_array_open(&dns, 8);
    bus_put_u32(&dns, resolver->server.family);
    size_t bytes = bus_put_array_open(&dns, 1);
    bus_put_bytes(&dns, resolver->server.bytes, ip_size(&resolver->server));
    bus_put_array_close(&dns, bytes, 1);
    bus_put_array_close(&dns, start, 8);
    bus_put_u32(&domains, index);
    start = bus_put_array_open(&domains, 8);
    bus_put_string(&domains, resolver->domain);
    bus_put_u32(&domains, 1);
    bus_put_array_close(&domains, start, 8);
    bus_put_u32(&route, index);
    bus_put_u32(&route, 0);
    int rc = link_call(bus, "SetLinkDNS", &dns, "ia(iay)", err);
    if (rc == 0)
        rc = link_call(bus, "SetLinkDomains", &domains, "ia(sb)", err);
    return rc == 0 ? link_call(bus, "SetLinkDefaultRoute", &route, "ib", err) : rc;
}

int resolver_apply(const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_bus_ struct bus bus = {.fd = -1};
    bool tolerant = flags & HOST_APPLY_TOLERANT;
    int index = link_index(op->resolver.ifname, err);
    if (index == -ENODEV && tolerant)
        return 0; /* what was known of it went with it */
    if (index < 0)
        return index;
    int rc = bus_open(&bus, err);
    if (rc == 0 && op->kind == OP_RESOLVER_SET) {
        rc = resolver_set(&bus, (uint32_t)index, &op->resolver, err);
    } else if (rc == 0) {
        struct bus_writer body = {.length = 0};
        bus_put_u32(&body, (uint32_t)index);
        rc = link_call(&bus, "RevertLink", &body, "i", err);
    }
    return tolerant && (rc == -ENOENT || rc == -ECONNREFUSED) ? 0 : rc;
}
