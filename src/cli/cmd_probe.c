/* cmd_probe.c: `vmwire probe`: act as a guest on a network.  The JSON shape is in docs/JSON.md. */
#include "diag/probe.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/findings.h"
#include "engine/engine.h"
#include "engine/nic.h"

static void print_steps(struct cli *cli, const struct probe *probe)
{
    static const char *const marks[] = {"·", "✓", "✗"}, *const colors[] = {"2", "32", "31"};
    struct table table = {.arena = &cli->arena, .columns = 4};
    table_row(&table, " ", "STEP", "TIME", "");
    for (enum probe_step step = 0; step < PROBE_STEP_COUNT; step++) {
        const struct probe_report *report = &probe->steps[step];
        bool done = report->outcome != PROBE_SKIPPED;
        if (step >= PROBE_ROUTER6 && !done && !*report->text)
            continue; /* there is no IPv6 to be tried */
        table_row(&table, marks[report->outcome], probe_step_name(step),
                  done ? cli_milliseconds(&cli->arena, report->took_ns) : "",
                  *report->text ? report->text : "not tried");
        table_style(&table, 0, colors[report->outcome]);
    }
    table_print(&table, stdout, cli->color);
}

static void print_text(struct cli *cli, const struct probe *probe)
{
    if (probe->trace.chains)
        fprintf(stderr, "%s: firewall chains are not shown: %s\n", cli->program, probe->trace.chains);
    print_steps(cli, probe);
    printf("\n");
    trace_hops_print(cli, &probe->trace);
    findings_print(cli, &probe->trace.findings);
    if (!probe->trace.findings.list.count)
        printf("\nnothing is wrong (%s)\n", cli_milliseconds(&cli->arena, probe->took_ns));
}

static void print_json(struct cli *cli, const struct probe_request *request, const struct probe *probe)
{
    static const char *const outcomes[] = {"skipped", "passed", "failed"};
    struct text out = {.arena = &cli->arena};
    struct json json = {.out = &out};
    json_object_open(&json, NULL);
    json_string(&json, "network", request->network);
    json_string(&json, "target", IP_TEXT(&request->target));
    json_string(&json, "target6", ip_is_set(&request->target6) ? IP_TEXT(&request->target6) : NULL);
    cli_json_microseconds(&json, "took_us", probe->took_ns);
    json_string(&json, "chains_not_shown", probe->trace.chains);
    json_array_open(&json, "steps");
    for (enum probe_step step = 0; step < PROBE_STEP_COUNT; step++) {
        const struct probe_report *report = &probe->steps[step];
        json_object_open(&json, NULL);
        json_string(&json, "step", probe_step_name(step));
        json_string(&json, "outcome", outcomes[report->outcome]);
        cli_json_microseconds(&json, "took_us", report->outcome == PROBE_SKIPPED ? -1 : report->took_ns);
        json_string(&json, "what", *report->text ? report->text : NULL);
        json_object_close(&json);
    }
    json_array_close(&json);
    trace_hops_json(&json, &probe->trace);
    findings_json(&json, &probe->trace.findings);
    json_object_close(&json);
    fputs(text_get(&out), stdout);
}

/* The MAC is the same at every time, so that a probe that was killed does not cost a lease each. */
static struct mac probe_mac(struct cli *cli, const char *network)
{
    const char *name = arena_printf(&cli->arena, "probe:%s", network);
    return nic_mac_derive(cli->host->backend->identity(cli->host, &cli->arena), name, 0);
}

static int probe_do(struct cli *cli, struct probe_request *request, struct probe *probe, struct err *err)
{
    const unsigned what = HOST_OBSERVE_LINKS | HOST_OBSERVE_ADDRESSES | HOST_OBSERVE_ROUTES |
                          HOST_OBSERVE_FORWARDING | HOST_OBSERVE_SERVICES | HOST_OBSERVE_FILES;
    if (!cli->host->backend->guest)
        return err_set(err, ENOSYS,
                       "this host cannot start a guest of its own; with one of yours: vmwire trace MACHINE");
    request->mac = probe_mac(cli, request->network);
    request->program = cli->host->backend->program(cli->host, &cli->arena);
    _cleanup_nics_ struct nics nics = {.machine = "-"};
    *vec_push(&cli->arena, &nics.specs) = (struct nic_spec){.network = request->network,
                                                            .mac = request->mac,
                                                            .queues = 1,
                                                            .vhost = NIC_OFF,
                                                            .vnet_header = NIC_OFF,
                                                            .guest = true};
    int rc = nics_open(&cli->arena, cli->host, &nics, NULL, err);
    if (rc < 0)
        return rc;
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, NULL);
    struct findings known = {.arena = &cli->arena};
    rc = cli_doctor(cli, &engine, request->network, &known);
    if (rc < 0)
        rc = engine_observe(&engine, what, err);
    if (rc < 0)
        return rc;
    const struct network *entry = network_find(&cli->model, request->network);
    bool way6 = false;
    vec_foreach (&engine.observed.routes, route)
        way6 |= route->to.ip.family == AF_INET6 && route->to.length == 0 && ip_is_set(&route->gateway);
    if (entry && network_has_subnet6(entry) && mode_forwards(entry->mode) && way6 &&
        !ip_is_set(&request->target6))
        ip_parse(PROBE_TARGET6, &request->target6);
    request->known = &known;
    request->nic = &nics.open.items[0];
    request->observed = &engine.observed;
    return probe_run(&cli->arena, cli->host, request, probe, err);
}

static int target_find(struct cli *cli, struct probe_request *request, const char *text)
{
    const struct network *entry = network_find(&cli->model, request->network);
    if (!entry && machine_find(&cli->model, request->network))
        return cli_usage(cli,
                         "'%s' is a machine: probe takes a network, and brings its own guest; to follow "
                         "that machine's packets: vmwire trace %s",
                         request->network, request->network);
    if (entry && entry->mode == NETWORK_PASSTHROUGH)
        return cli_usage(cli, "network '%s' is passthrough: its guests do not go through the host",
                         request->network);
    if (entry && entry->host_absent)
        return cli_usage(cli, "network '%s' is isolated, without the host: there is nobody to ask",
                         request->network);
    ip_parse(PROBE_TARGET, &request->target);
    if (entry && ip_is_set(&entry->probe))
        request->target = entry->probe;
    struct ip target;
    if (text && ip_parse(text, &target) < 0)
        return cli_usage(cli, "'%s' is no IP address", text);
    if (text)
        *(target.family == AF_INET ? &request->target : &request->target6) = target;
    return EXIT_DONE;
}

int cmd_probe(struct cli *cli, int argc, char **argv)
{
    bool as_json = false;
    struct probe_request request = {.stopped = &cli_stopped};
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{"--json", .flag = &as_json}, {0}});
    if (status != EXIT_DONE)
        return status;
    if (argc < 2 || argc > 3)
        return cli_usage(cli, "'probe' needs a network, and takes one target");
    status = cli_config_optional(cli);
    if (status != EXIT_DONE)
        return status;
    request.network = argv[1];
    request.model = &cli->model;
    status = target_find(cli, &request, argc == 3 ? argv[2] : NULL);
    if (status != EXIT_DONE)
        return status;
    cli_catch_signals();
    struct err err = {0};
    struct probe probe;
    if (probe_do(cli, &request, &probe, &err) < 0)
        return cli_fail(cli, &err);
    if (as_json)
        print_json(cli, &request, &probe);
    else
        print_text(cli, &probe);
    return findings_any(&probe.trace.findings, FINDING_ERROR) ? EXIT_REFUSED : EXIT_DONE;
}
