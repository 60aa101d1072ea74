/* status_lock.c: what locks dropped: status.h. */
#include "cli/status.h"

#include <inttypes.h>
#include <string.h>

void print_dropped(struct cli *cli, const struct status *status)
{
    struct arena *arena = &cli->arena;
    struct table table = {.arena = arena, .columns = 3 + LOCK_KIND_COUNT};
    table_row(&table, "DROPPED OF", "NETWORK", "MACHINE", "MAC", "IP", "ARP", "DHCP", "RA");
    vec_foreach (&status->networks, network) {
        vec_foreach (&network->ports, port) {
            const struct lock_drops *drops = port->drops;
            const char *counts[LOCK_KIND_COUNT], *machine = port->nic.machine;
            uint64_t sum = 0;
            for (int kind = 0; drops && kind < LOCK_KIND_COUNT; kind++) {
                counts[kind] =
                    drops->uncounted[kind] ? "-" : arena_printf(arena, "%" PRIu64, drops->count[kind]);
                sum += drops->count[kind];
            }
            if (!sum)
                continue;
            table_row(
                &table, port->ifname, network->name,
                strcmp(machine, "-") == 0 ? "(exec)" : arena_printf(arena, "%s/%u", machine, port->nic.index),
                counts[LOCK_MAC], counts[LOCK_IP], counts[LOCK_ARP], counts[LOCK_DHCP], counts[LOCK_RA]);
        }
    }
    table_print_rows(&table, cli);
}

void json_lock(struct json *json, const struct status_network *network)
{
    json_array_open(json, "lock");
    for (int kind = 0; network->lock && kind < LOCK_KIND_COUNT; kind++) {
        if (network->lock->kinds[kind])
            json_string(json, NULL, lock_kind_name((enum lock_kind)kind));
    }
    json_array_close(json);
}

void json_dropped(struct json *json, const struct status_network *network, const struct status_port *port)
{
    json_object_open(json, "dropped");
    for (int kind = 0; network->lock && kind < LOCK_KIND_COUNT; kind++) {
        if (network->lock->kinds[kind] && !(port->drops && port->drops->uncounted[kind]))
            json_integer(json, lock_kind_name((enum lock_kind)kind),
                         port->drops ? (int64_t)port->drops->count[kind] : 0);
    }
    json_object_close(json);
}
