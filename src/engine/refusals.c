/* refusals.c: after a change, what other firewalls still refuse its networks. */
#include <string.h>

#include "diag/firewall_text.h"
#include "engine/engine.h"
#include "plan/refusal.h"

static bool selected(const char *const *names, const char *name)
{
    for (size_t i = 0; names && names[i]; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return !names;
}

static void tell(struct engine *engine, const struct network *network)
{
    bool nat = network_has_subnet(network);
    const char *uplink = network->mode == NETWORK_ISOLATED ? NULL
                         : network->uplink                 ? network_port(engine->arena, network)
                                                           : plan_default_uplink(&engine->observed);
    struct refusal_request request = {.mode = network->mode,
                                      .bridge = network->name,
                                      .uplink = uplink ? uplink : "",
                                      .uplink6 =
                                          network->uplink ? NULL : plan_default_uplink6(&engine->observed),
                                      .dhcp = nat && network->dhcp,
                                      .dns = nat && network->dns};
    if (nat) {
        request.subnet = network->subnet;
        request.host = network_host_address(network).ip;
    }
    if (network_has_subnet6(network)) {
        request.subnet6 = network->subnet6;
        request.host6 = network_host_address6(network).ip;
    }
    struct refusals refusals = {0};
    struct firewall_lines lines = {0};
    plan_refusals(engine->arena, &engine->observed, &request, &refusals);
    firewall_lines(engine->arena, network->name, &refusals, &lines);
    vec_foreach (&lines.list, line)
        engine_note(engine, "network '%s': %s", network->name, *line);
}

int engine_tell_refusals(struct engine *engine, const struct model *model, const char *const *names,
                         bool changed, struct err *err)
{
    int rc =
        changed ? engine_observe(engine, HOST_OBSERVE_LINKS | HOST_OBSERVE_ROUTES | HOST_OBSERVE_RULESET, err)
                : engine->host->backend->observe(engine->host, engine->arena, HOST_OBSERVE_RULESET,
                                                 &engine->observed, err);
    if (rc < 0)
        return rc;
    vec_foreach (&model->networks, network) {
        if (selected(names, network->name) && network->mode != NETWORK_PASSTHROUGH)
            tell(engine, network);
    }
    return 0;
}
