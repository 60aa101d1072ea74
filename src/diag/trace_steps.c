/* trace_steps.c: the rows of the table: where what was followed passed, and where it ended: trace.h. */
#include <string.h>

#include "base/text.h"
#include "diag/pcapng.h"
#include "diag/trace_internal.h"

static struct trace_step *step_add(struct tracer *tracer, enum trace_mark mark, bool back, const char *where,
                                   const char *what, int64_t after_ns)
{
    struct trace_step *step = vec_push(tracer->arena, &tracer->trace->steps);
    *step = (struct trace_step){.mark = mark,
                                .back = back,
                                .where = arena_strdup(tracer->arena, where),
                                .what = what,
                                .after_ns = after_ns};
    return step;
}

static const char *hop_name(const struct tracer *tracer, size_t hop)
{
    return hop == SIZE_MAX ? "" : tracer->hops.list.items[hop].ifname;
}

/* The frame that passed there, with its MACs and addresses. */
static void frame_add(struct tracer *tracer, struct trace_step *step, const struct ask *ask, enum stage stage)
{
    if (ask->times[stage])
        step->frame = arena_strdup(tracer->arena, PACKET_TEXT(&ask->seen[stage]));
}

static int64_t after(const struct ask *ask, enum stage stage)
{
    int64_t start = ask->kind == ASK_ECHO ? ask->times[AT_BRIDGE] : ask->times[AT_NIC];
    return ask->times[stage] ? ask->times[stage] - start : -1;
}

/* The chains of one direction: a row for each verdict that ends a chain, with the rule that gave it. */
static void chain_steps(struct tracer *tracer, const struct ask *ask, bool back)
{
    struct arena *arena = tracer->arena;
    for (size_t i = 0; i < ask->chain_count; i++) {
        const struct judged *judged = &ask->chains[i];
        if (judged->back != back || (judged->verdict != CHAIN_ACCEPT && judged->verdict != CHAIN_DROP))
            continue;
        const char *rule = tracer->host->backend->chain_trace->rule_text(
            tracer->chains, arena, judged->family, judged->table, judged->chain, judged->handle);
        const char *where = arena_printf(arena, "%s %s %s", judged->family, judged->table, judged->chain);
        bool drop = judged->verdict == CHAIN_DROP;
        bool lock = drop && ask->locked && strcmp(judged->table, "vmwire_lock") == 0;
        const char *what =
            lock ? arena_printf(arena, "dropped by the network's lock '%s'", lock_kind_name(ask->lock))
                 : arena_printf(arena, "%s%s%s", drop ? "dropped" : "accepted", *rule ? " by: " : "", rule);
        step_add(tracer, drop ? TRACE_LOST : TRACE_PASSED, back, where, what, -1);
    }
}

static const char *uplink_text(struct tracer *tracer, const struct ask *ask)
{
    if (ask->kind != ASK_IP || ip_equal(&ask->outside.source, &ask->packet.flow.source))
        return "leaves";
    return arena_printf(tracer->arena, "leaves as %s > %s", IP_TEXT(&ask->outside.source),
                        IP_TEXT(&ask->outside.target));
}

/* A hop that has to be passed: seen, or the end when the one before was seen. */
static bool hop_step(struct tracer *tracer, const struct ask *ask, enum stage stage, size_t hop,
                     const char *seen, const char *missing)
{
    bool back = stage >= BACK_UPLINK;
    if (hop == SIZE_MAX)
        return true;
    bool passed = ask->times[stage] != 0;
    struct trace_step *step = step_add(tracer, passed ? TRACE_PASSED : TRACE_LOST, back,
                                       hop_name(tracer, hop), passed ? seen : missing, after(ask, stage));
    frame_add(tracer, step, ask, stage);
    return passed;
}

static void host_ping_steps(struct tracer *tracer, const struct ask *ask)
{
    struct trace_step *step =
        step_add(tracer, TRACE_PASSED, false, hop_name(tracer, tracer->bridge_hop), "the host sends", 0);
    frame_add(tracer, step, ask, AT_BRIDGE);
    if (hop_step(tracer, ask, AT_NIC, ask->nic, "towards the guest", "never sent to the guest") &&
        hop_step(tracer, ask, BACK_NIC, ask->nic, "the guest answers", "the guest does not answer"))
        hop_step(tracer, ask, BACK_BRIDGE, tracer->bridge_hop, "the host has the answer",
                 "the answer never came to the host");
}

static void error_step(struct tracer *tracer, const struct ask *ask)
{
    if (ask->has_error && !(ask->error.layers & PACKET_TCP))
        step_add(tracer, TRACE_LOST, true, hop_name(tracer, ask->error_hop),
                 arena_strdup(tracer->arena, PACKET_SUMMARY(&ask->error)), -1);
}

static void way_back(struct tracer *tracer, const struct ask *ask)
{
    bool outside = ask->side == SIDE_OUTSIDE;
    if (outside &&
        !hop_step(tracer, ask, BACK_UPLINK, tracer->uplink_hop, "the answer arrives", "no answer came"))
        return;
    chain_steps(tracer, ask, true);
    /* A bridge shows frames between two of its ports only when somebody switched that on: no proof. */
    if (ask->times[BACK_BRIDGE])
        hop_step(tracer, ask, BACK_BRIDGE, tracer->bridge_hop, "towards the guest", "");
    hop_step(tracer, ask, BACK_NIC, ask->nic, "the guest is answered",
             outside ? "the answer never reached the guest" : "no answer came");
}

void trace_steps(struct tracer *tracer, const struct ask *ask)
{
    if (!ask)
        return;
    if (ask->kind == ASK_ECHO) {
        host_ping_steps(tracer, ask);
        return;
    }
    const struct hop *nic = &tracer->hops.list.items[ask->nic];
    const char *what = arena_printf(tracer->arena, "%s sends", hop_label(tracer->arena, nic));
    frame_add(tracer, step_add(tracer, TRACE_PASSED, false, nic->ifname, what, 0), ask, AT_NIC);
    if (ask->times[AT_BRIDGE] || !ask->dropped)
        hop_step(tracer, ask, AT_BRIDGE, tracer->bridge_hop, "arrives", "never arrived");
    chain_steps(tracer, ask, false);
    if (ask->side == SIDE_OUTSIDE &&
        !hop_step(tracer, ask, AT_UPLINK, tracer->uplink_hop, uplink_text(tracer, ask), "never left")) {
        error_step(tracer, ask);
        return;
    }
    way_back(tracer, ask);
    error_step(tracer, ask);
}
