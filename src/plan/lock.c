/* lock.c: what guests of a network may not say to each other. */
#include <string.h>

#include "plan/internal.h"

static const struct lock *lock_now(const struct planner *planner, const char *network)
{
    vec_foreach (&planner->observed->locks, lock) {
        if (strcmp(lock->network, network) == 0)
            return lock;
    }
    return NULL;
}

static bool wanted(const struct passage *passage)
{
    return passage->want.mode && passage->network &&
           (passage->network->lock_dhcp || passage->network->lock_ra);
}

void lock_steps_down(struct planner *planner, const struct passage *passage)
{
    const struct lock *now = lock_now(planner, passage->name);
    if (!now || wanted(passage))
        return;
    struct op op = op_for(passage, OP_LOCK_REMOVE), undo = op_for(passage, OP_LOCK_SET);
    op.lock = undo.lock = *now;
    step_add(planner, &op, &undo);
}

void lock_steps_up(struct planner *planner, const struct passage *passage)
{
    if (!wanted(passage))
        return;
    const struct lock *now = lock_now(planner, passage->name);
    struct op op = op_for(passage, OP_LOCK_SET), undo = op_for(passage, OP_LOCK_REMOVE);
    op.lock = undo.lock = (struct lock){
        .network = passage->name, .dhcp = passage->network->lock_dhcp, .ra = passage->network->lock_ra};
    if (planner->observed->lock_base && now && now->dhcp == op.lock.dhcp && now->ra == op.lock.ra)
        return;
    if (now) {
        undo.kind = OP_LOCK_SET;
        undo.lock = *now;
    }
    step_add(planner, &op, &undo);
}
