/* status_text.c: a status as tables (status.h). */
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/text.h"
#include "cli/status.h"

static const char *lease_end(struct arena *arena, const struct lease *lease)
{
    int64_t left = lease->expires - (int64_t)time(NULL);
    if (lease->expires == 0)
        return "for ever";
    if (left <= 0)
        return "over";
    return left < 120 ? arena_printf(arena, "%lld s", (long long)left)
                      : arena_printf(arena, "%lld min", (long long)left / 60);
}

/* Behind an empty line, where there is any row. */
void table_print_rows(struct table *table, const struct cli *cli)
{
    if (table->cells.count <= table->columns)
        return;
    putchar('\n');
    table_print(table, stdout, cli->color);
}

static const char *joined_addresses(struct arena *arena, const struct status_network *network)
{
    struct text out = {.arena = arena};
    vec_foreach (&network->addresses, address) {
        if (!(*address)->kernel)
            text_add(&out, "%s%s", out.length ? " " : "", PREFIX_TEXT(&(*address)->prefix));
    }
    return out.length ? text_get(&out) : "-";
}

static const char *uplink_text(struct arena *arena, const struct status_network *network)
{
    if (!network->uplink)
        return "-";
    const struct link *link = network->uplink_link;
    const char *state = !link ? " (missing)" : !link->up ? " (down)" : !link->carrier ? " (no carrier)" : "";
    const char *vlan = network->vlan ? arena_printf(arena, " VLAN %u", network->vlan) : "";
    return arena_printf(arena, "%s%s%s%s", network->uplink, vlan,
                        network->uplink_default ? " (default route)" : "", state);
}

static const char *state_color(enum network_state state)
{
    return state == STATE_UP ? "32" : state == STATE_DOWN ? "2" : "31";
}

static void print_networks(struct cli *cli, const struct status *status)
{
    struct table table = {.arena = &cli->arena, .columns = 6};
    table_row(&table, "NETWORK", "MODE", "STATE", "UPLINK", "ADDRESS", "MTU");
    vec_foreach (&status->networks, network) {
        table_row(&table, network->name, network->mode ? network_mode_name(network->mode) : "?",
                  network_state_name(network->state), uplink_text(&cli->arena, network),
                  joined_addresses(&cli->arena, network),
                  network->bridge ? arena_printf(&cli->arena, "%u", network->bridge->mtu) : "-");
        table_style(&table, 2, state_color(network->state));
        if (network->uplink && (!network->uplink_link || !network->uplink_link->carrier))
            table_style(&table, 3, "31");
    }
    table_print(&table, stdout, cli->color);
}

static const char *port_addresses(struct arena *arena, const struct status_port *port)
{
    struct text out = {.arena = arena};
    vec_foreach (&port->addresses, ip)
        text_add(&out, "%s%s", out.length ? " " : "", IP_TEXT(ip));
    return out.length ? text_get(&out) : "-";
}

static void print_ports(struct cli *cli, const struct status *status)
{
    struct table table = {.arena = &cli->arena, .columns = 6};
    table_row(&table, "PORT", "NETWORK", "MACHINE", "MAC", "ADDRESS", "LINK");
    vec_foreach (&status->networks, network) {
        vec_foreach (&network->ports, port) {
            const char *machine = port->uplink         ? "(uplink)"
                                  : *port->nic.machine ? port->nic.machine
                                                       : "(not vmwire's)";
            if (strcmp(machine, "-") == 0)
                machine = "(exec)";
            else if (*port->nic.machine)
                machine = arena_printf(&cli->arena, "%s/%u", port->nic.machine, port->nic.index);
            const char *mac = *port->nic.machine ? arena_strdup(&cli->arena, MAC_TEXT(&port->nic.mac)) : "-";
            const char *name = port->vlan ? arena_printf(&cli->arena, "%s VLAN %u", network->name, port->vlan)
                                          : network->name;
            table_row(&table, port->ifname, name, machine, mac, port_addresses(&cli->arena, port),
                      port->carrier ? "up" : "no carrier");
            if (!port->carrier)
                table_style(&table, 5, "31");
        }
    }
    table_print_rows(&table, cli);
}

static const char *limit_text(struct arena *arena, const struct rate *rate)
{
    return rate->bits_s ? rate_format(arena, rate->bits_s) : "-";
}

/* A network's own limits, and under them those of its nics. */
static void print_rates(struct cli *cli, const struct status *status)
{
    struct arena *arena = &cli->arena;
    struct table table = {.arena = arena, .columns = 5};
    table_row(&table, "RATE", "NETWORK", "IN", "OUT", "BURST");
    vec_foreach (&status->networks, network) {
        const struct rates *all = &network->rates;
        if (all->way[RATE_IN].bits_s || all->way[RATE_OUT].bits_s)
            table_row(&table, "(all)", network->name, limit_text(arena, &all->way[RATE_IN]),
                      limit_text(arena, &all->way[RATE_OUT]), rates_burst(arena, all));
        vec_foreach (&network->ports, port) {
            if (port->rates.way[RATE_IN].bits_s || port->rates.way[RATE_OUT].bits_s)
                table_row(&table, port->ifname, network->name, limit_text(arena, &port->rates.way[RATE_IN]),
                          limit_text(arena, &port->rates.way[RATE_OUT]), rates_burst(arena, &port->rates));
        }
    }
    table_print_rows(&table, cli);
}

static void print_devices(struct cli *cli, const struct status *status)
{
    struct table table = {.arena = &cli->arena, .columns = 5};
    table_row(&table, "DEVICE", "INTERFACE", "NETWORK", "DRIVER", "MACHINE");
    vec_foreach (&status->networks, network) {
        vec_foreach (&network->devices, device) {
            table_row(&table, device->address, *device->ifname ? device->ifname : "-", network->name,
                      device->missing   ? "missing"
                      : *device->driver ? device->driver
                                        : "-",
                      *device->machine ? device->machine : "-");
            if (device->missing)
                table_style(&table, 3, "31");
        }
    }
    table_print_rows(&table, cli);
}

void lease_row(struct cli *cli, struct table *table, const char *network, const struct lease *lease)
{
    table_row(table, arena_strdup(&cli->arena, IP_TEXT(&lease->ip)),
              mac_is_zero(&lease->mac) ? "-" : arena_strdup(&cli->arena, MAC_TEXT(&lease->mac)),
              *lease->hostname ? lease->hostname : "-", network, lease_end(&cli->arena, lease));
}

static void print_leases(struct cli *cli, const struct status *status)
{
    struct table table = {.arena = &cli->arena, .columns = 5};
    table_row(&table, "LEASE", "MAC", "NAME", "NETWORK", "ENDS IN");
    vec_foreach (&status->networks, network) {
        vec_foreach (&network->leases.list, lease)
            lease_row(cli, &table, network->name, lease);
    }
    table_print_rows(&table, cli);
}

static void print_forwards(struct cli *cli, const struct status *status)
{
    struct arena *arena = &cli->arena;
    struct table table = {.arena = arena, .columns = 5};
    table_row(&table, "FORWARD", "AT", "TO", "MACHINE", "NETWORK");
    vec_foreach (&status->networks, network) {
        vec_foreach (&network->forwards, row) {
            const struct forward *forward = &row->forward;
            table_row(
                &table,
                arena_printf(arena, "%s %s", forward_protocol_name(forward), forward_ports(arena, forward)),
                ip_is_set(&forward->listen)   ? arena_strdup(arena, IP_TEXT(&forward->listen))
                : forward->family == AF_INET6 ? "[::]"
                                              : "*",
                arena_printf(arena, "%s:%s", ip_before_port(arena, &forward->target),
                             forward_target_ports(arena, forward)),
                *row->machine ? row->machine : "-", network->name);
        }
    }
    table_print_rows(&table, cli);
}

static const char *since_text(struct arena *arena, const struct shared_address *address)
{
    if (address->fixed)
        return "fixed";
    return address->since_s < 120 ? arena_printf(arena, "%u s", address->since_s)
                                  : arena_printf(arena, "%u min", address->since_s / 60);
}

static const char *owner_text(const struct status_owner *owner)
{
    return owner->host                        ? "(the host)"
           : strcmp(owner->machine, "-") == 0 ? "(exec)"
           : *owner->machine                  ? owner->machine
                                              : "-";
}

static void print_owners(struct cli *cli, const struct status *status)
{
    struct table table = {.arena = &cli->arena, .columns = 6};
    table_row(&table, "OWNER", "ADDRESS", "MAC", "NETWORK", "SINCE", "HEARD");
    vec_foreach (&status->networks, network) {
        vec_foreach (&network->owners, owner)
            table_row(&table, owner_text(owner), arena_strdup(&cli->arena, IP_TEXT(&owner->address->ip)),
                      arena_strdup(&cli->arena, MAC_TEXT(&owner->address->mac)), network->name,
                      since_text(&cli->arena, owner->address),
                      owner->address->fixed  ? "-"
                      : owner->address->live ? "lately"
                                             : "not lately");
    }
    table_print_rows(&table, cli);
}

static void print_machines(struct cli *cli, const struct machine_rows *machines)
{
    struct table table = {.arena = &cli->arena, .columns = 3};
    table_row(&table, "MACHINE", "STATE", "PID");
    vec_foreach (&machines->list, machine) {
        bool running = machine->state.running;
        table_row(&table, machine->name, running ? "running" : "stopped",
                  running ? arena_printf(&cli->arena, "%d", (int)machine->state.pid) : "-");
        table_style(&table, 1, running ? "32" : "2");
    }
    table_print_rows(&table, cli);
}

static void print_drift(struct cli *cli, const struct status *status)
{
    const char *on = cli->color ? "\033[31m" : "", *off = cli->color ? "\033[0m" : "";
    bool any = false;
    vec_foreach (&status->networks, network) {
        vec_foreach (&network->drift, text) {
            printf("%s%sdrift: network '%s': mended by %s%s\n", any ? "" : "\n", on, network->name, *text,
                   off);
            any = true;
        }
    }
    vec_foreach (&status->host_drift, text) {
        printf("%s%sdrift: the host: mended by %s%s\n", any ? "" : "\n", on, *text, off);
        any = true;
    }
}

/* A line each; the evidence and the cure are doctor's. */
static void print_findings(struct cli *cli, const struct findings *findings)
{
    bool any = false;
    vec_foreach (&findings->list, finding) {
        bool down = strcmp(finding->code, "network-down") == 0,
             drift = strcmp(finding->code, "network-drifted") == 0;
        if (finding->severity == FINDING_NOTE || down || drift) /* the table and the lines above say that */
            continue;
        const char *on = !cli->color ? "" : finding->severity == FINDING_ERROR ? "\033[31m" : "\033[33m";
        printf("%s%s%s: %s: %s%s  [%s]\n", any ? "" : "\n", on, finding_severity_name(finding->severity),
               finding->subject, finding->title, *on ? "\033[0m" : "", finding->code);
        any = true;
    }
    if (any)
        printf("%s doctor tells more\n", cli->program);
}

void status_print(struct cli *cli, const struct status *status, const struct findings *findings,
                  const struct machine_rows *machines)
{
    print_networks(cli, status);
    print_ports(cli, status);
    print_guests(cli, status);
    print_rates(cli, status);
    print_devices(cli, status);
    print_forwards(cli, status);
    print_leases(cli, status);
    print_owners(cli, status);
    print_dropped(cli, status);
    print_machines(cli, machines);
    print_drift(cli, status);
    print_findings(cli, findings);
}
