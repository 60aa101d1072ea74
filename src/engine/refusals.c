/* refusals.c: what other firewalls refuse networks, after a change or in spite of a planned one. */
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

/* What packets leave by; of a plan, after it: a bridge that takes the uplink takes its routes too. */
static const char *way_out(struct engine *engine, const struct model *model, const struct plan *plan,
                           bool six)
{
    const char *uplink =
        six ? plan_default_uplink6(&engine->observed) : plan_default_uplink(&engine->observed);
    for (size_t i = 0; uplink && plan && i < plan->steps.count; i++) {
        const struct op *op = &plan->steps.items[i].op;
        if (op->kind == OP_PORT_ADD && strcmp(op->port.ifname, uplink) == 0 &&
            network_find(model, op->port.bridge))
            return op->port.bridge;
    }
    return uplink;
}

/* The plan hands this network to a zone of firewalld's, which decides then. */
static bool zoned(const struct plan *plan, const char *network)
{
    for (size_t i = 0; plan && i < plan->steps.count; i++) {
        const struct op *op = &plan->steps.items[i].op;
        if (op->kind == OP_ZONE_ADD && strcmp(op->network, network) == 0)
            return true;
    }
    return false;
}

static void find(struct engine *engine, const struct model *model, const struct network *network,
                 const struct plan *plan, struct engine_refusals *found)
{
    bool nat = network_has_subnet(network);
    const char *uplink = network->mode == NETWORK_ISOLATED ? NULL
                         : network->uplink                 ? network_port(engine->arena, network)
                                                           : way_out(engine, model, plan, false);
    struct refusal_request request = {.mode = network->mode,
                                      .bridge = network->name,
                                      .uplink = uplink ? uplink : "",
                                      .uplink6 = network->uplink ? NULL : way_out(engine, model, plan, true),
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
    struct refusals refusals = {0}, left = {0};
    struct firewall_lines lines = {0};
    plan_refusals(engine->arena, &engine->observed, &request, &refusals);
    bool zone = zoned(plan, network->name);
    vec_foreach (&refusals.list, refusal) {
        if (!zone || !refusal->judgement.chain || strcmp(refusal->judgement.chain->table, "firewalld") != 0)
            *vec_push(engine->arena, &left.list) = *refusal;
    }
    firewall_lines(engine->arena, network->name, &left, &lines);
    vec_foreach (&lines.list, line)
        *vec_push(engine->arena, &found->list) = (struct engine_refusal){network->name, *line};
}

static void find_all(struct engine *engine, const struct model *model, const char *const *names,
                     const struct plan *plan, struct engine_refusals *found)
{
    vec_foreach (&model->networks, network) {
        if (selected(names, network->name) && network->mode != NETWORK_PASSTHROUGH)
            find(engine, model, network, plan, found);
    }
}

int engine_planned_refusals(struct engine *engine, const struct model *model, const char *const *names,
                            const struct plan *plan, struct engine_refusals *found, struct err *err)
{
    int rc = engine->host->backend->observe(engine->host, engine->arena, HOST_OBSERVE_RULESET,
                                            &engine->observed, err);
    if (rc < 0)
        return rc;
    vec_foreach (&plan->steps, step) {
        if (step->op.kind == OP_ADMISSION_ADD)
            ruleset_admit(engine->arena, &engine->observed.ruleset, &step->op.admission);
    }
    find_all(engine, model, names, plan, found);
    return 0;
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
    struct engine_refusals found = {0};
    find_all(engine, model, names, NULL, &found);
    vec_foreach (&found.list, refusal)
        engine_note(engine, "network '%s': %s", refusal->network, refusal->text);
    return 0;
}
