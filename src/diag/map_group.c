/* map_group.c: many guests that are alike become one: map.h. */
#include <stdint.h>
#include <stdlib.h>

#include "base/text.h"
#include "diag/map.h"

/* The networks of a machine, what its nics have there (VLAN, rate), and what is wrong with it, as a word that
 * equals for equal ones.  NULL: it hangs on something that is broken, or is no bridge. */
static const char *machine_place(const struct map *map, size_t machine)
{
    struct text place = {.arena = map->arena};
    bool whole = true;
    vec_foreach (&map->nodes.items[machine].above, above) {
        const struct map_edge *edge = &map->edges.items[*above];
        const struct map_node *port = &map->nodes.items[edge->from];
        whole &= !edge->broken && port->state == MAP_FINE && port->kind == MAP_NIC;
        text_add(&place, "%s ", port->network);
        for (size_t i = port->own; i < port->lines.count; i++)
            text_add(&place, "%s ", port->lines.items[i]);
        vec_foreach (&port->above, upper)
            whole &= !map->edges.items[*upper].broken;
    }
    whole &= place.length > 0;
    vec_foreach (&map->nodes.items[machine].reasons, reason)
        text_add(&place, "%s %s ", reason->code, reason->text);
    return whole ? text_get(&place) : NULL;
}

static void group_mark(struct map *map, size_t machine, size_t group)
{
    map->nodes.items[machine].group = group;
    vec_foreach (&map->nodes.items[machine].above, edge)
        map->nodes.items[map->edges.items[*edge].from].group = group;
}

/* Machines of one place. */
struct crowd {
    size_t count, group;
};

void map_group(struct map *map, size_t most)
{
    struct names places = {0};
    VEC(struct crowd) crowds = {0};
    size_t *place_of = arena_alloc(map->arena, (map->nodes.count + 1) * sizeof(*place_of));
    for (size_t i = 0; i < map->nodes.count; i++) {
        const char *place = map->nodes.items[i].kind == MAP_MACHINE ? machine_place(map, i) : NULL;
        place_of[i] = place ? names_add(map->arena, &places, place) : SIZE_MAX;
        if (place && place_of[i] == crowds.count)
            vec_push(map->arena, &crowds);
        if (place)
            crowds.items[place_of[i]].count++;
    }
    for (size_t i = 0; i < map->nodes.count; i++) {
        struct crowd *crowd = place_of[i] == SIZE_MAX ? NULL : &crowds.items[place_of[i]];
        if (!crowd || crowd->count <= most)
            continue;
        if (!crowd->group) {
            crowd->group = ++map->groups;
            *vec_push(map->arena, &map->group_members) = i;
        }
        group_mark(map, i, crowd->group);
    }
}

size_t map_group_taps(const struct map *map, size_t bridge, size_t group)
{
    size_t count = 0;
    vec_foreach (&map->nodes.items[bridge].below, edge) {
        const struct map_node *to = &map->nodes.items[map->edges.items[*edge].to];
        count += to->group == group && to->kind == MAP_NIC;
    }
    return count;
}

static int number_compare(const void *left, const void *right)
{
    size_t a = *(const size_t *)left, b = *(const size_t *)right;
    return (a > b) - (a < b);
}

void map_groups_below(const struct map *map, size_t bridge, struct map_groups *groups)
{
    *groups = (struct map_groups){0};
    vec_foreach (&map->nodes.items[bridge].below, edge) {
        const struct map_node *to = &map->nodes.items[map->edges.items[*edge].to];
        if (to->group && to->kind == MAP_NIC)
            *vec_push(map->arena, &groups->list) = to->group;
    }
    size_t count = groups->list.count, kept = 0;
    if (count)
        qsort(groups->list.items, count, sizeof(*groups->list.items), number_compare);
    for (size_t i = 0; i < count; i++) {
        if (!kept || groups->list.items[kept - 1] != groups->list.items[i])
            groups->list.items[kept++] = groups->list.items[i];
    }
    groups->list.count = kept;
}

const struct map_node *map_group_member(const struct map *map, size_t group)
{
    size_t place = group - 1;
    return place < map->group_members.count ? &map->nodes.items[map->group_members.items[place]] : NULL;
}
