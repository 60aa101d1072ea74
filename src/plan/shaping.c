/* shaping.c: what shapers stand on, where that is not theirs alone (ipfw and dummynet of FreeBSD): there
 * before the first of them, and as it was after the last.  RUN/former-rates is its record, an operation that
 * takes back what was not so before; what others do with ipfw meanwhile is left to them. */
#include <string.h>

#include "plan/internal.h"

/* Does a network stay or come that is shaped? */
bool shaping_needed(const struct planner *planner)
{
    const struct model *model = planner->request->model;
    bool needed = false;
    vec_foreach (&planner->observed->shapers, shaper)
        needed |= !plan_selects(planner, shaper->network);
    if (!model)
        return needed;
    vec_foreach (&model->networks, network)
        needed |= plan_selects(planner, network->name) && plan_shapers_wanted(network);
    return needed;
}

static bool anything(const struct shaping *shaping)
{
    return shaping->ipfw || shaping->dummynet || shaping->rules || shaping->one_pass || shaping->frames;
}

void shaping_up(struct planner *planner)
{
    const struct shaping *now = &planner->observed->shaping;
    if (!shaping_needed(planner) || !anything(now))
        return;
    struct op op = {.kind = OP_SHAPING_ENABLE, .network = "", .shaping = *now}, undo = op;
    undo.kind = OP_SHAPING_DISABLE;
    former_record(planner, FORMER_RATES, &undo);
    if (now->ipfw)
        plan_note(planner, "ipfw is loaded for rates, and lets pass what no rule is about: rules of your own "
                           "that count on the contrary must end with 'deny ip from any to any'");
    step_add(planner, &op, &undo);
}

void shaping_put_back(struct planner *planner, const struct op *former)
{
    const struct shaping *now = &planner->observed->shaping;
    struct op op = *former;
    bool loaded = op.shaping.ipfw || op.shaping.dummynet;
    op.shaping.rules &= !now->rules;
    op.shaping.one_pass &= !now->one_pass;
    op.shaping.frames &= !now->frames;
    op.shaping.dummynet &= !now->dummynet && !now->others;
    op.shaping.ipfw &= !now->ipfw && !now->others;
    op.shaping.accept &= op.shaping.ipfw;
    if (loaded && now->others)
        plan_note(planner,
                  "ipfw and dummynet stay loaded, since others use them ('%s'); what no rule is about passes",
                  now->others);
    if (!anything(&op.shaping))
        return;
    struct op undo = op;
    undo.kind = OP_SHAPING_ENABLE;
    step_add(planner, &op, &undo);
}
