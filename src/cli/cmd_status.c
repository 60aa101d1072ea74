/* cmd_status.c: `vmwire status` and `vmwire leases`.  The JSON shapes are documented in docs/JSON.md. */
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/status_lock.h"
#include "engine/doctor.h"
#include "engine/machine.h"
#include "engine/status.h"

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

static const char *utc(struct arena *arena, int64_t seconds)
{
    time_t when = (time_t)seconds;
    struct tm parts;
    char text[32] = "";
    if (seconds && gmtime_r(&when, &parts))
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return *text ? arena_strdup(arena, text) : NULL;
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

static void print_ports(struct cli *cli, const struct status *status)
{
    struct table table = {.arena = &cli->arena, .columns = 5};
    table_row(&table, "PORT", "NETWORK", "MACHINE", "MAC", "LINK");
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
            table_row(&table, port->ifname, name, machine, mac, port->carrier ? "up" : "no carrier");
            if (!port->carrier)
                table_style(&table, 4, "31");
        }
    }
    if (table.cells.count > table.columns) {
        putchar('\n');
        table_print(&table, stdout, cli->color);
    }
}

static const char *limit_text(struct arena *arena, const struct rate *rate)
{
    return rate->bits_s ? rate_format(arena, rate->bits_s) : "-";
}

/* A network's own limits, and under them those of its nics. */
static void print_rates(struct cli *cli, const struct status *status)
{
    struct arena *arena = &cli->arena;
    struct table table = {.arena = arena, .columns = 4};
    table_row(&table, "RATE", "NETWORK", "IN", "OUT");
    vec_foreach (&status->networks, network) {
        const struct rates *all = &network->rates;
        if (all->way[RATE_IN].bits_s || all->way[RATE_OUT].bits_s)
            table_row(&table, "(all)", network->name, limit_text(arena, &all->way[RATE_IN]),
                      limit_text(arena, &all->way[RATE_OUT]));
        vec_foreach (&network->ports, port) {
            if (port->rates.way[RATE_IN].bits_s || port->rates.way[RATE_OUT].bits_s)
                table_row(&table, port->ifname, network->name, limit_text(arena, &port->rates.way[RATE_IN]),
                          limit_text(arena, &port->rates.way[RATE_OUT]));
        }
    }
    if (table.cells.count > table.columns) {
        putchar('\n');
        table_print(&table, stdout, cli->color);
    }
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
    if (table.cells.count > table.columns) {
        putchar('\n');
        table_print(&table, stdout, cli->color);
    }
}

static void lease_row(struct cli *cli, struct table *table, const char *network, const struct lease *lease)
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
    if (table.cells.count > table.columns) {
        putchar('\n');
        table_print(&table, stdout, cli->color);
    }
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
    if (table.cells.count > table.columns) {
        putchar('\n');
        table_print(&table, stdout, cli->color);
    }
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
    if (table.cells.count > table.columns) {
        putchar('\n');
        table_print(&table, stdout, cli->color);
    }
}

struct machine_row {
    const char *name;
    struct machine_state state;
};

static void print_machines(struct cli *cli, const struct machine_row *machines, size_t count)
{
    struct table table = {.arena = &cli->arena, .columns = 3};
    table_row(&table, "MACHINE", "STATE", "PID");
    for (size_t i = 0; i < count; i++) {
        table_row(&table, machines[i].name, machines[i].state.running ? "running" : "stopped",
                  machines[i].state.running ? arena_printf(&cli->arena, "%d", (int)machines[i].state.pid)
                                            : "-");
        table_style(&table, 1, machines[i].state.running ? "32" : "2");
    }
    if (count) {
        putchar('\n');
        table_print(&table, stdout, cli->color);
    }
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

static void json_lease(struct json *json, const struct lease *lease)
{
    json_object_open(json, NULL);
    json_string(json, "address", IP_TEXT(&lease->ip));
    json_string(json, "mac", mac_is_zero(&lease->mac) ? NULL : MAC_TEXT(&lease->mac));
    json_string(json, "hostname", *lease->hostname ? lease->hostname : NULL);
    json_string(json, "expires", utc(json->out->arena, lease->expires));
    json_object_close(json);
}

static void json_owners(struct json *json, const struct status_network *network)
{
    if (!network->shared) {
        json_null(json, "shared");
        return;
    }
    json_object_open(json, "shared");
    json_string(json, "mac", MAC_TEXT(&network->shared->mac));
    json_array_open(json, "addresses");
    vec_foreach (&network->owners, owner) {
        const struct shared_address *address = owner->address;
        int64_t now = (int64_t)time(NULL);
        json_object_open(json, NULL);
        json_string(json, "address", IP_TEXT(&address->ip));
        json_string(json, "mac", MAC_TEXT(&address->mac));
        json_bool(json, "host", owner->host);
        json_string(json, "machine",
                    *owner->machine && strcmp(owner->machine, "-") != 0 ? owner->machine : NULL);
        json_string(json, "known", address->fixed ? "fixed" : "learned");
        json_string(json, "since", address->fixed ? NULL : utc(json->out->arena, now - address->since_s));
        json_bool(json, "live", address->live);
        json_object_close(json);
    }
    json_array_close(json);
    json_object_close(json);
}

/* {"in": {"bits_s": N, "burst": BYTES}, "out": …}, each null without a limit; null without any. */
static void json_rates(struct json *json, const struct rates *rates)
{
    if (!rates->way[RATE_IN].bits_s && !rates->way[RATE_OUT].bits_s) {
        json_null(json, "rate");
        return;
    }
    json_object_open(json, "rate");
    for (int way = 0; way < RATE_WAYS; way++) {
        const char *name = rate_way_name((enum rate_way)way);
        if (!rates->way[way].bits_s) {
            json_null(json, name);
            continue;
        }
        json_object_open(json, name);
        json_integer(json, "bits_s", (int64_t)rates->way[way].bits_s);
        json_integer(json, "burst", rates->way[way].burst);
        json_object_close(json);
    }
    json_object_close(json);
}

static void json_port(struct json *json, const struct status_network *network, const struct status_port *port)
{
    json_object_open(json, NULL);
    json_string(json, "ifname", port->ifname);
    json_string(json, "kind", port->uplink ? "uplink" : *port->nic.machine ? "nic" : "other");
    json_bool(json, "carrier", port->carrier);
    if (*port->nic.machine) {
        json_string(json, "machine", strcmp(port->nic.machine, "-") == 0 ? NULL : port->nic.machine);
        json_integer(json, "index", port->nic.index);
        json_string(json, "mac", MAC_TEXT(&port->nic.mac));
        json_rates(json, &port->rates);
        if (port->vlan)
            json_integer(json, "vlan", port->vlan);
        else
            json_null(json, "vlan");
        json_dropped(json, network, port);
    }
    json_object_close(json);
}

static void json_uplink(struct json *json, const struct status_network *network)
{
    if (!network->uplink) {
        json_null(json, "uplink");
        return;
    }
    const struct link *link = network->uplink_link;
    json_object_open(json, "uplink");
    json_string(json, "ifname", network->uplink);
    if (network->vlan)
        json_integer(json, "vlan", network->vlan);
    else
        json_null(json, "vlan");
    json_bool(json, "default_route", network->uplink_default);
    json_bool(json, "exists", link != NULL);
    json_bool(json, "up", link && link->up);
    json_bool(json, "carrier", link && link->carrier);
    json_object_close(json);
}

static void json_forward(struct json *json, const struct status_forward *row)
{
    const struct forward *forward = &row->forward;
    json_object_open(json, NULL);
    json_string(json, "protocol", forward_protocol_name(forward));
    json_string(json, "address", ip_is_set(&forward->listen) ? IP_TEXT(&forward->listen) : NULL);
    json_integer(json, "first", forward->first);
    json_integer(json, "last", forward->last);
    json_string(json, "target", IP_TEXT(&forward->target));
    json_integer(json, "target_first", forward->target_first);
    json_string(json, "machine", *row->machine ? row->machine : NULL);
    json_object_close(json);
}

static void json_network(struct json *json, const struct status_network *network)
{
    json_object_open(json, NULL);
    json_string(json, "name", network->name);
    json_string(json, "mode", network->mode ? network_mode_name(network->mode) : NULL);
    json_string(json, "state", network_state_name(network->state));
    json_string(json, "bridge", network->bridge ? network->bridge->name : NULL);
    json_string(json, "mac", network->bridge ? MAC_TEXT(&network->bridge->mac) : NULL);
    if (network->bridge)
        json_integer(json, "mtu", network->bridge->mtu);
    else
        json_null(json, "mtu");
    json_uplink(json, network);
    json_rates(json, &network->rates);
    json_array_open(json, "addresses");
    vec_foreach (&network->addresses, address)
        json_string(json, NULL, PREFIX_TEXT(&(*address)->prefix));
    json_array_close(json);
    json_array_open(json, "ports");
    vec_foreach (&network->ports, port)
        json_port(json, network, port);
    json_array_close(json);
    json_array_open(json, "devices");
    vec_foreach (&network->devices, device) {
        json_object_open(json, NULL);
        json_string(json, "address", device->address);
        json_bool(json, "exists", !device->missing);
        json_string(json, "ifname", *device->ifname ? device->ifname : NULL);
        json_string(json, "driver", *device->driver ? device->driver : NULL);
        json_string(json, "machine", *device->machine ? device->machine : NULL);
        json_object_close(json);
    }
    json_array_close(json);
    json_array_open(json, "forwards");
    vec_foreach (&network->forwards, forward)
        json_forward(json, forward);
    json_array_close(json);
    json_array_open(json, "leases");
    vec_foreach (&network->leases.list, lease)
        json_lease(json, lease);
    json_array_close(json);
    json_owners(json, network);
    json_lock(json, network);
    json_array_open(json, "drift");
    vec_foreach (&network->drift, text)
        json_string(json, NULL, *text);
    json_array_close(json);
    json_object_close(json);
}

static void print_json(struct cli *cli, const struct status *status, const struct findings *findings,
                       const struct machine_row *machines, size_t count)
{
    struct text out = {.arena = &cli->arena};
    struct json json = {.out = &out};
    json_object_open(&json, NULL);
    json_array_open(&json, "networks");
    vec_foreach (&status->networks, network)
        json_network(&json, network);
    json_array_close(&json);
    json_array_open(&json, "machines");
    for (size_t i = 0; i < count; i++) {
        json_object_open(&json, NULL);
        json_string(&json, "name", machines[i].name);
        json_bool(&json, "running", machines[i].state.running);
        if (machines[i].state.running)
            json_integer(&json, "pid", machines[i].state.pid);
        else
            json_null(&json, "pid");
        json_object_close(&json);
    }
    json_array_close(&json);
    json_array_open(&json, "drift");
    vec_foreach (&status->host_drift, text)
        json_string(&json, NULL, *text);
    json_array_close(&json);
    if (status->confirm_ms < 0)
        json_null(&json, "confirm_ms");
    else
        json_integer(&json, "confirm_ms", status->confirm_ms);
    findings_json(&json, findings);
    json_object_close(&json);
    fputs(text_get(&out), stdout);
}

static bool drifted(const struct status *status)
{
    vec_foreach (&status->networks, network) {
        if (network->state == STATE_DRIFTED || network->state == STATE_UNLISTED)
            return true;
    }
    return status->host_drift.count > 0;
}

static void show_note(void *context, const char *text)
{
    const struct cli *cli = context;
    fprintf(stderr, "%s: %s\n", cli->program, text);
}

static int collect(struct cli *cli, struct status *status, struct findings *findings, struct err *err)
{
    struct engine_listener listener = {.context = cli, .note = show_note};
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, &listener);
    if (engine_settle(&engine, err) < 0)
        return err->code;
    int rc = engine_status(&engine, &cli->model, DOCTOR_OBSERVES, &cli->problems, status, err);
    return rc < 0 ? rc : engine_doctor(&engine, &cli->model, status, NULL, findings, err);
}

int cmd_status(struct cli *cli, int argc, char **argv)
{
    bool as_json = false;
    int exit_status = cli_options(cli, &argc, argv, (struct cli_option[]){{"--json", .flag = &as_json}, {0}});
    if (exit_status == EXIT_DONE && argc > 1)
        return cli_usage(cli, "'status' takes no arguments");
    if (exit_status == EXIT_DONE)
        exit_status = cli_config_optional(cli);
    if (exit_status != EXIT_DONE)
        return exit_status;
    struct err err = {0};
    struct status status;
    struct findings findings = {.arena = &cli->arena};
    if (collect(cli, &status, &findings, &err) < 0)
        return cli_fail(cli, &err);
    cli_problems(cli);
    size_t count = cli->model.machines.count;
    struct machine_row *machines = arena_alloc(&cli->arena, (count + 1) * sizeof(*machines));
    for (size_t i = 0; i < count; i++) {
        machines[i].name = cli->model.machines.items[i].name;
        if (machine_state(cli->host, machines[i].name, true, &machines[i].state, NULL) < 0)
            machines[i].state = (struct machine_state){0};
    }
    if (as_json) {
        print_json(cli, &status, &findings, machines, count);
    } else {
        print_networks(cli, &status);
        print_ports(cli, &status);
        print_rates(cli, &status);
        print_devices(cli, &status);
        print_forwards(cli, &status);
        print_leases(cli, &status);
        print_owners(cli, &status);
        print_dropped(cli, &status);
        print_machines(cli, machines, count);
        print_drift(cli, &status);
        print_findings(cli, &findings);
    }
    return drifted(&status) ? EXIT_DRIFT : EXIT_DONE;
}

static void leases_json(struct cli *cli, const char *const *names, const struct leases *leases, size_t count)
{
    struct text out = {.arena = &cli->arena};
    struct json json = {.out = &out};
    json_object_open(&json, NULL);
    json_array_open(&json, "networks");
    for (size_t i = 0; i < count; i++) {
        json_object_open(&json, NULL);
        json_string(&json, "name", names[i]);
        json_array_open(&json, "leases");
        vec_foreach (&leases[i].list, lease)
            json_lease(&json, lease);
        json_array_close(&json);
        json_object_close(&json);
    }
    json_array_close(&json);
    json_object_close(&json);
    fputs(text_get(&out), stdout);
}

int cmd_leases(struct cli *cli, int argc, char **argv)
{
    bool as_json = false;
    int exit_status = cli_options(cli, &argc, argv, (struct cli_option[]){{"--json", .flag = &as_json}, {0}});
    if (exit_status == EXIT_DONE && argc > 2)
        return cli_usage(cli, "'leases' takes one network");
    if (exit_status == EXIT_DONE)
        exit_status = cli_config_optional(cli);
    if (exit_status != EXIT_DONE)
        return exit_status;
    if (argc == 2 && cli->model.networks.count && !network_find(&cli->model, argv[1]))
        return cli_usage(cli, "the file has no network '%s'", argv[1]);

    struct err err = {0};
    struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, NULL);
    if (engine_observe(&engine, HOST_OBSERVE_FILES, &err) < 0)
        return cli_fail(cli, &err);
    VEC(const char *) names = {0};
    VEC(struct leases) leases = {0};
    vec_foreach (&cli->model.networks, network) {
        if (!network_has_subnet(network) || (argc == 2 && strcmp(argv[1], network->name) != 0))
            continue;
        *vec_push(&cli->arena, &names) = network->name;
        engine_leases(&engine, network->name, vec_push(&cli->arena, &leases));
    }
    if (as_json) {
        leases_json(cli, names.items, leases.items, names.count);
        return EXIT_DONE;
    }
    struct table table = {.arena = &cli->arena, .columns = 5};
    table_row(&table, "LEASE", "MAC", "NAME", "NETWORK", "ENDS IN");
    for (size_t i = 0; i < names.count; i++) {
        vec_foreach (&leases.items[i].list, lease)
            lease_row(cli, &table, names.items[i], lease);
    }
    table_print(&table, stdout, cli->color);
    return EXIT_DONE;
}
