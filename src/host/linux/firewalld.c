/* firewalld.c: which zone an interface is in, and putting it there: firewalld's own D-Bus interface, at run
 * time only.  Source: firewalld.dbus(5). */
#include <errno.h>
#include <string.h>

#include "host/linux/bus.h"
#include "host/linux/linux.h"

static struct bus_call zone_call(const char *member, const char *zone, const char *ifname)
{
    return (struct bus_call){.destination = "org.fedoraproject.FirewallD1",
                             .path = "/org/fedoraproject/FirewallD1",
                             .interface = "org.fedoraproject.FirewallD1.zone",
                             .member = member,
                             .strings = {zone, ifname}};
}

/* getZones() -> as */
static int zones_read(struct bus *bus, struct arena *arena, struct foreign_firewalls *foreign,
                      struct err *err)
{
    struct bus_call call = zone_call("getZones", NULL, NULL);
    struct bus_reply reply;
    int rc = bus_call(bus, arena, &call, &reply, err);
    if (rc < 0)
        return rc;
    size_t end = bus_read_array(&reply, 4);
    while (reply.at < end && !reply.failed)
        *vec_push(arena, &foreign->zones) = bus_read_string(&reply, arena);
    return reply.failed ? -EPROTO : 0;
}

/* getActiveZones() -> a{sa{sas}}: of each zone, "interfaces" and "sources". */
static int members_read(struct bus *bus, struct arena *arena, struct foreign_firewalls *foreign,
                        struct err *err)
{
    struct bus_call call = zone_call("getActiveZones", NULL, NULL);
    struct bus_reply reply;
    int rc = bus_call(bus, arena, &call, &reply, err);
    if (rc < 0)
        return rc;
    size_t end = bus_read_array(&reply, 8);
    while (reply.at < end && !reply.failed) {
        bus_read_align(&reply, 8);
        const char *zone = bus_read_string(&reply, arena);
        size_t kinds_end = bus_read_array(&reply, 8);
        while (reply.at < kinds_end && !reply.failed) {
            bus_read_align(&reply, 8);
            bool interfaces = strcmp(bus_read_string(&reply, arena), "interfaces") == 0;
            size_t names_end = bus_read_array(&reply, 4);
            while (reply.at < names_end && !reply.failed) {
                const char *name = bus_read_string(&reply, arena);
                if (interfaces)
                    *vec_push(arena, &foreign->members) = (struct zone_member){.ifname = name, .zone = zone};
            }
        }
    }
    return reply.failed ? -EPROTO : 0;
}

void firewalld_observe(struct arena *arena, struct observed *observed)
{
    struct foreign_firewalls *foreign = &observed->foreign;
    _cleanup_bus_ struct bus bus = {.fd = -1};
    struct err ignored;
    if (bus_open(&bus, &ignored) < 0 || zones_read(&bus, arena, foreign, &ignored) < 0 ||
        members_read(&bus, arena, foreign, &ignored) < 0)
        return;
    foreign->zones_known = true;
}

int zone_apply(const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_bus_ struct bus bus = {.fd = -1};
    struct bus_call ask = zone_call("getZoneOfInterface", op->zone.ifname, NULL);
    struct bus_reply reply;
    bool add = op->kind == OP_ZONE_ADD, tolerant = flags & HOST_APPLY_TOLERANT;
    int rc = bus_open(&bus, err);
    if (rc == 0)
        rc = bus_call(&bus, &arena, &ask, &reply, err);
    /* Where firewalld is gone, so is what it was told. */
    if ((rc == -ENOENT || rc == -ECONNREFUSED) && tolerant)
        return 0;
    if (rc < 0)
        return err_wrap(err, "asking firewalld");
    bool there = strcmp(bus_read_string(&reply, &arena), op->zone.zone) == 0;
    if (there == add && (tolerant || add))
        return 0;
    struct bus_call call =
        zone_call(add ? "addInterface" : "removeInterface", op->zone.zone, op->zone.ifname);
    rc = bus_call(&bus, &arena, &call, &reply, err);
    return rc < 0 ? err_wrap(err, "firewalld") : 0;
}
