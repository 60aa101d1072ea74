/* cmd_trace.c: `vmwire trace`: follow a guest's packets hop by hop.  The JSON shape is in docs/JSON.md. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/findings.h"
#include "diag/probe.h"
#include "diag/trace.h"
#include "engine/machine.h"
#include "engine/status.h"

enum { SECONDS_DEFAULT = 10, ADDRESSES_MAX = 16 };

/* The guest's addresses as far as the network's DHCP server knows them. */
static size_t leased(struct engine *engine, const char *name, struct ip addresses[ADDRESSES_MAX])
{
    size_t count = 0;
    vec_foreach (&engine->observed.links, link) {
        struct wired_nic nic;
        struct leases leases;
        if (!owner_nic(engine->arena, link, &nic))
            continue;
        const char *full = arena_printf(engine->arena, "%s/%u", nic.machine, nic.index);
        if (strcmp(nic.machine, name) != 0 && strcmp(link->name, name) != 0 && strcmp(full, name) != 0)
            continue;
        engine_leases(engine, nic.network, &leases);
        vec_foreach (&leases.list, lease) {
            if (mac_equal(&lease->mac, &nic.mac) && lease->ip.family == AF_INET && count < ADDRESSES_MAX)
                addresses[count++] = lease->ip;
        }
    }
    return count;
}

static void print_text(struct cli *cli, const struct trace *trace)
{
    if (trace->chains)
        fprintf(stderr, "%s: firewall chains are not shown: %s\n", cli->program, trace->chains);
    trace_hops_print(cli, trace);
    if (trace->answered)
        printf("\nanswered in %s\n", cli_milliseconds(&cli->arena, trace->round_trip_ns));
    findings_print(cli, &trace->findings);
}

static void print_json(struct cli *cli, const char *name, const struct trace *trace)
{
    struct text out = {.arena = &cli->arena};
    struct json json = {.out = &out};
    json_object_open(&json, NULL);
    json_string(&json, "name", name);
    json_string(&json, "flow", trace->flow);
    json_bool(&json, "answered", trace->answered);
    cli_json_microseconds(&json, "round_trip_us", trace->round_trip_ns);
    json_integer(&json, "frames", (int64_t)trace->frames);
    json_string(&json, "chains_not_shown", trace->chains);
    trace_hops_json(&json, trace);
    findings_json(&json, &trace->findings);
    json_object_close(&json);
    fputs(text_get(&out), stdout);
}

/* A machine of the file that does not run has no nic to watch: that is a finding, not a failure. */
static bool is_stopped(struct cli *cli, const char *name, struct trace *trace)
{
    struct machine_state state;
    if (!machine_find(&cli->model, name))
        return false;
    if (machine_state(cli->host, name, false, &state, NULL) < 0 || state.running)
        return false;
    *trace = (struct trace){.findings.arena = &cli->arena, .round_trip_ns = -1};
    finding_add(&trace->findings, "machine-stopped", arena_printf(&cli->arena, "machine '%s'", name));
    struct finding *finding = &trace->findings.list.items[0];
    finding_cure(&trace->findings, finding, "vmwire start %s", name);
    return true;
}

/* --ping: a guest with an agent is told to ping the target, as the host pings the guest. */
struct agent_request {
    struct cli *cli;
    struct trace_request *trace;
};

static void agent_ask(void *context)
{
    const struct agent_request *request = context;
    struct cli *cli = request->cli;
    const struct machine *machine = machine_find(&cli->model, request->trace->name);
    const struct network *network =
        machine && machine->nics.count ? network_find(&cli->model, machine->nics.items[0].network) : NULL;
    struct ip target = request->trace->target;
    struct err err = {0};
    if (!ip_is_set(&target) && network)
        target = network->probe;
    if (!ip_is_set(&target))
        ip_parse(PROBE_TARGET, &target);
    int rc = machine_agent_ping(cli->host, request->trace->name, &target, &err);
    if (rc < 0 && rc != -ENOENT && rc != -EINVAL)
        fprintf(stderr, "%s: %s\n", cli->program, err.text);
}

static int trace_do(struct cli *cli, struct trace_request *request, struct trace *trace, struct err *err)
{
    struct ip addresses[ADDRESSES_MAX];
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, NULL);
    const unsigned what = HOST_OBSERVE_LINKS | HOST_OBSERVE_ADDRESSES | HOST_OBSERVE_ROUTES |
                          HOST_OBSERVE_FORWARDING | HOST_OBSERVE_SERVICES | HOST_OBSERVE_FILES;
    struct findings known = {.arena = &cli->arena};
    int rc = cli_doctor(cli, &engine, NULL, &known);
    if (rc < 0)
        rc = engine_observe(&engine, what, err);
    if (rc < 0)
        return rc;
    request->known = &known;
    request->observed = &engine.observed;
    request->addresses = addresses;
    request->address_count = leased(&engine, request->name, addresses);
    rc = trace_run(&cli->arena, cli->host, request, trace, err);
    return rc == -ENOENT && is_stopped(cli, request->name, trace) ? 0 : rc;
}

int cmd_trace(struct cli *cli, int argc, char **argv)
{
    bool as_json = false;
    long seconds = SECONDS_DEFAULT;
    struct trace_request request = {.stopped = &cli_stopped};
    const struct cli_option options[] = {
        {"--json", .flag = &as_json},
        {"--ping", .flag = &request.ping},
        {"--seconds", .number = &seconds, .unit = "seconds", .low = 1, .high = 86400},
        {0}};
    int status = cli_options(cli, &argc, argv, options);
    if (status != EXIT_DONE)
        return status;
    if (argc < 2 || argc > 3)
        return cli_usage(cli, "'trace' needs a machine or nic, and takes one target");
    if (argc == 3 && ip_parse(argv[2], &request.target) < 0)
        return cli_usage(cli, "'%s' is no IP address", argv[2]);
    request.seconds = (int)seconds;
    status = cli_config_optional(cli);
    if (status != EXIT_DONE)
        return status;
    request.name = argv[1];
    request.model = &cli->model;
    struct agent_request agent = {cli, &request};
    if (request.ping) {
        request.watching = agent_ask;
        request.context = &agent;
    }
    cli_catch_signals();
    struct err err = {0};
    struct trace trace;
    if (trace_do(cli, &request, &trace, &err) < 0)
        return cli_fail(cli, &err);
    if (as_json)
        print_json(cli, request.name, &trace);
    else
        print_text(cli, &trace);
    return findings_any(&trace.findings, FINDING_WARNING) ? EXIT_REFUSED : EXIT_DONE;
}
