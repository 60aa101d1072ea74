/* neighbour.c: neighbours that somebody entered by hand.  They hang on an interface, and the kernel forgets
 * those of IPv4 with the interface's last address: so they move with the addresses, and are removed by name,
 * that their undo is known. */
#include <string.h>

#include "plan/internal.h"

static const struct fixed_neighbour *observed_in(const struct planner *planner,
                                                 const struct fixed_neighbour *wanted)
{
    vec_foreach (&planner->observed->neighbours, neighbour) {
        if (neighbour_same_slot(neighbour, wanted))
            return neighbour;
    }
    return NULL;
}

static bool makes(const struct record *record, const struct fixed_neighbour *wanted)
{
    vec_foreach (&record->made, op) {
        if (op->kind == OP_NEIGHBOUR_ADD && neighbour_same_slot(&op->neighbour, wanted))
            return true;
    }
    return false;
}

/* Is an address of its family among those that leave the bridge?  The last one takes the neighbours along. */
static bool goes_with_an_address(const struct passage *passage, const struct fixed_neighbour *neighbour)
{
    if (!passage->bridge || strcmp(neighbour->ifname, passage->name) != 0)
        return false;
    vec_foreach (&passage->now.made, old) {
        bool stays = false;
        if (old->kind != OP_ADDRESS_ADD || old->address.prefix.ip.family != neighbour->ip.family)
            continue;
        vec_foreach (&passage->want.made, op)
            stays |= op->kind == OP_ADDRESS_ADD && address_equal(&op->address, &old->address);
        if (!stays)
            return true;
    }
    return false;
}

static void enter(struct planner *planner, const struct passage *passage,
                  const struct fixed_neighbour *wanted)
{
    const struct fixed_neighbour *there =
        goes_with_an_address(passage, wanted) ? NULL : observed_in(planner, wanted);
    if (there && neighbour_equal(there, wanted))
        return;
    struct op op = op_for(passage, OP_NEIGHBOUR_ADD),
              undo = op_for(passage, there ? OP_NEIGHBOUR_ADD : OP_NEIGHBOUR_REMOVE);
    op.neighbour = *wanted;
    undo.neighbour = there ? *there : *wanted;
    step_add(planner, &op, &undo);
}

static void forget(struct planner *planner, const struct passage *passage,
                   const struct fixed_neighbour *neighbour)
{
    struct op op = op_for(passage, OP_NEIGHBOUR_REMOVE), undo = op_for(passage, OP_NEIGHBOUR_ADD);
    op.neighbour = undo.neighbour = *neighbour;
    step_add(planner, &op, &undo);
}

void give_neighbours_back(struct planner *planner, const struct passage *passage, const char *uplink)
{
    vec_foreach (&passage->now.former, op) {
        if (op->kind == OP_NEIGHBOUR_ADD)
            enter(planner, passage, &op->neighbour);
    }
    vec_foreach (&planner->observed->neighbours, neighbour) {
        if (passage->want.mode || strcmp(neighbour->ifname, passage->name) != 0 ||
            makes(&passage->now, neighbour))
            continue;
        struct fixed_neighbour moved = *neighbour;
        moved.ifname = uplink;
        plan_note(planner, "network '%s': neighbour %s was entered on '%s' by hand: it is kept, on '%s'",
                  passage->name, IP_TEXT(&neighbour->ip), passage->name, uplink);
        enter(planner, passage, &moved);
    }
}

void strip_neighbours(struct planner *planner, const struct passage *passage)
{
    vec_foreach (&planner->observed->neighbours, neighbour) {
        bool goes = !passage->want.mode || goes_with_an_address(passage, neighbour) ||
                    (makes(&passage->now, neighbour) && !makes(&passage->want, neighbour));
        if (goes && strcmp(neighbour->ifname, passage->name) == 0)
            forget(planner, passage, neighbour);
    }
}

void add_made_neighbours(struct planner *planner, const struct passage *passage)
{
    vec_foreach (&passage->want.made, op) {
        if (op->kind == OP_NEIGHBOUR_ADD)
            enter(planner, passage, &op->neighbour);
    }
    vec_foreach (&planner->observed->neighbours, neighbour) {
        if (goes_with_an_address(passage, neighbour) && !makes(&passage->now, neighbour) &&
            !makes(&passage->want, neighbour))
            enter(planner, passage, neighbour);
    }
}

void clear_neighbours(struct planner *planner, const struct passage *passage)
{
    vec_foreach (&passage->want.former, op) {
        const struct fixed_neighbour *there =
            op->kind == OP_NEIGHBOUR_ADD ? observed_in(planner, &op->neighbour) : NULL;
        if (there)
            forget(planner, passage, there);
    }
}
