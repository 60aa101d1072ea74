/* rate.c: `rate`: a shaper for each way that is limited, made before a nic is told to go through it and taken
 * away after none does.  What they stand on is shaping.c's. */
#include <inttypes.h>
#include <string.h>

#include "plan/internal.h"

static const struct shaper *shaper_now(const struct planner *planner, const char *network, bool outward)
{
    vec_foreach (&planner->observed->shapers, shaper) {
        if (strcmp(shaper->network, network) == 0 && shaper->outward == outward)
            return shaper;
    }
    return NULL;
}

/* False: this way is not limited. */
static bool shaper_wanted(const struct network *network, enum rate_way way, struct shaper *want)
{
    *want = (struct shaper){
        .network = network->name, .outward = way == RATE_OUT, .rate = network->rates.way[way]};
    vec_foreach (&network->nics, wired)
        want->nics |= wired->nic->rates.way[way].bits_s != 0;
    return network->mode != NETWORK_PASSTHROUGH && (want->nics || want->rate.bits_s);
}

size_t plan_shapers_wanted(const struct network *network)
{
    struct shaper want;
    return (size_t)shaper_wanted(network, RATE_IN, &want) + shaper_wanted(network, RATE_OUT, &want);
}

/* The lowest that no shaper has; planner->shaper_number is the last one given. */
static uint32_t shaper_number(struct planner *planner)
{
    bool taken = true;
    while (taken) {
        planner->shaper_number++;
        taken = false;
        vec_foreach (&planner->observed->shapers, shaper)
            taken |= shaper->number == planner->shaper_number;
    }
    return planner->shaper_number;
}

static void make_shapers(struct planner *planner, const struct passage *passage)
{
    for (int way = 0; way < RATE_WAYS; way++) {
        const struct shaper *now = shaper_now(planner, passage->name, way == RATE_OUT);
        struct op op = op_for(passage, OP_SHAPER_SET), undo = op_for(passage, OP_SHAPER_REMOVE);
        if (!shaper_wanted(passage->network, (enum rate_way)way, &op.shaper))
            continue;
        if (now)
            op.shaper.number = now->number;
        if (now && now->whole && now->nics == op.shaper.nics && rate_equal(&now->rate, &op.shaper.rate))
            continue;
        if (!op.shaper.number && planner->observed->traits.shapers_max)
            op.shaper.number = shaper_number(planner);
        undo.shaper = op.shaper;
        if (now && now->whole) {
            undo.kind = OP_SHAPER_SET;
            undo.shaper = *now;
        }
        step_add(planner, &op, &undo);
    }
}

/* One that moves here has left its old network's. */
static void nic_rates_change(struct planner *planner, const struct passage *passage,
                             const struct planned_nic *nic, const struct nic_rate want[RATE_WAYS])
{
    static const struct nic_rate none[RATE_WAYS];
    const struct nic_rate *now = nic_moves(nic) ? none : nic->tap->rates;
    bool same = true, by_port = !planner->observed->traits.routed_rates;
    for (int way = 0; way < RATE_WAYS; way++)
        same = same && (want[way].shaped == now[way].shaped || !by_port) &&
               rate_equal(&want[way].rate, &now[way].rate);
    if (same)
        return;
    struct op op = op_for(passage, OP_RATE_SET), undo = op_for(passage, OP_RATE_SET);
    op.nic_rates = undo.nic_rates = (struct nic_rates){.ifname = nic->tap->name, .mac = nic->nic.mac};
    op.nic_rates.in = want[RATE_IN];
    op.nic_rates.out = want[RATE_OUT];
    undo.nic_rates.in = now[RATE_IN];
    undo.nic_rates.out = now[RATE_OUT];
    step_add(planner, &op, &undo);
}

static void remove_shapers(struct planner *planner, const struct passage *passage,
                           const struct network *network)
{
    for (int way = 0; way < RATE_WAYS; way++) {
        const struct shaper *now = shaper_now(planner, passage->name, way == RATE_OUT);
        struct op op = op_for(passage, OP_SHAPER_REMOVE), undo = op_for(passage, OP_SHAPER_SET);
        struct shaper want;
        if (!now || (network && shaper_wanted(network, (enum rate_way)way, &want)))
            continue;
        op.shaper = undo.shaper = *now;
        step_add(planner, &op, &undo);
    }
}

/* A nic of the file is known by its machine and MAC; one of `exec` keeps what it was opened with. */
static const struct rates *own_rates(const struct network *network, const struct wired_nic *nic)
{
    vec_foreach (&network->nics, wired) {
        if (wired->nic->rate_pos.line && mac_equal(&wired->nic->mac, &nic->mac) &&
            strcmp(wired->machine->name, nic->machine) == 0)
            return &wired->nic->rates;
    }
    return NULL;
}

/* `network` NULL: none is to be limited any longer. */
static void change_nics(struct planner *planner, const struct passage *passage, const struct network *network)
{
    bool wanted = network && plan_shapers_wanted(network) > 0;
    vec_foreach (&planner->nics, nic) {
        const struct link *link = nic->tap;
        struct nic_rate want[RATE_WAYS] = {0};
        if ((!wanted && !link->rates[RATE_IN].shaped && !link->rates[RATE_OUT].shaped) ||
            strcmp(nic->home, passage->name) != 0)
            continue;
        const struct rates *own = wanted ? own_rates(network, &nic->nic) : NULL;
        for (int way = 0; wanted && way < RATE_WAYS; way++) {
            want[way].rate = strcmp(nic->nic.machine, "-") == 0 ? link->rates[way].rate
                             : own                              ? own->way[way]
                                                                : (struct rate){0};
            want[way].shaped = want[way].rate.bits_s || network->rates.way[way].bits_s;
        }
        nic_rates_change(planner, passage, nic, want);
    }
}

void rate_steps_up(struct planner *planner, const struct passage *passage)
{
    make_shapers(planner, passage);
    change_nics(planner, passage, passage->network);
    remove_shapers(planner, passage, passage->network);
}

void rate_steps_down(struct planner *planner, const struct passage *passage)
{
    if (passage->want.mode && passage->want.mode != NETWORK_PASSTHROUGH)
        return;
    change_nics(planner, passage, NULL);
    remove_shapers(planner, passage, NULL);
}

void stray_rates_remove(struct planner *planner)
{
    vec_foreach (&planner->observed->stray_rates, tap) {
        struct op op = {.kind = OP_RATE_SET, .network = "", .nic_rates = {.ifname = *tap}};
        step_add(planner, &op, &op);
    }
}

/* Of the network and of each of its nics. */
static void check_each(struct planner *planner, const struct network *network, const struct rates *rates,
                       struct pos pos)
{
    uint64_t max = planner->observed->traits.rate_max, most = 0;
    for (int way = 0; way < RATE_WAYS; way++)
        most = rates->way[way].bits_s > most ? rates->way[way].bits_s : most;
    if (max && most > max)
        problem_add(planner->problems, pos,
                    "network '%s': a rate of %s is more than a pipe of dummynet can have, %s", network->name,
                    rate_format(planner->arena, most), rate_format(planner->arena, max));
}

static void check_numbers(struct planner *planner, const struct network *network, struct pos pos)
{
    uint32_t max = planner->observed->traits.shapers_max;
    size_t wanted = 0;
    vec_foreach (&planner->request->model->networks, other) {
        wanted += plan_shapers_wanted(other);
        if (other == network)
            break;
    }
    if (max && wanted > max)
        problem_add(planner->problems, pos,
                    "network '%s': this host limits the rates of %" PRIu32
                    " networks at most, one way each; the file has more",
                    network->name, max);
}

void check_rates(struct planner *planner, const struct network *network)
{
    struct pos pos = network->rate_pos;
    const struct host_traits *traits = &planner->observed->traits;
    vec_foreach (&network->nics, wired) {
        if (!pos.line)
            pos = wired->nic->rate_pos;
    }
    if (!plan_shapers_wanted(network))
        return;
    if (traits->routed_rates && !mode_forwards(network->mode)) {
        problem_add(
            planner->problems, pos,
            "network '%s': on FreeBSD 'rate' limits what the host routes, on nat and routed networks: "
            "dummynet delays frames from one port of a bridge to another only with net.link.bridge.ipfw=1, "
            "which leads those of every bridge of this host through ipfw; limit them at the %s, or use mode "
            "routed",
            network->name, network->mode == NETWORK_BRIDGED ? "switch" : "guests");
        return;
    }
    if (planner->observed->rate_refusal)
        problem_add(planner->problems, pos, "network '%s': 'rate' cannot be had: %s", network->name,
                    planner->observed->rate_refusal);
    check_each(planner, network, &network->rates, network->rate_pos);
    vec_foreach (&network->nics, wired)
        check_each(planner, network, &wired->nic->rates, wired->nic->rate_pos);
    check_numbers(planner, network, pos);
}
