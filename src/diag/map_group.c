/* map_group.c: many guests that are alike become one: map.h. */
#include <string.h>

#include "base/text.h"
#include "diag/map.h"

/* The networks of a machine and what is wrong with it, as a word that equals for equal ones.  NULL: it hangs
 * on something that is broken, or is no bridge. */
static const char *machine_place(const struct map *map, size_t machine)
{
    struct text place = {.arena = map->arena};
    bool whole = true;
    vec_foreach (&map->edges, edge) {
        const struct map_node *port = &map->nodes.items[edge->from];
        if (edge->to != machine)
            continue;
        whole &= !edge->broken && port->state == MAP_FINE && port->kind == MAP_NIC;
        text_add(&place, "%s ", port->network);
        vec_foreach (&map->edges, upper) {
            if (upper->to == edge->from)
                whole &= !upper->broken;
        }
    }
    whole &= place.length > 0;
    vec_foreach (&map->nodes.items[machine].reasons, reason)
        text_add(&place, "%s %s ", reason->code, reason->text);
    return whole ? text_get(&place) : NULL;
}

static void group_mark(struct map *map, size_t machine)
{
    map->nodes.items[machine].group = map->groups;
    vec_foreach (&map->edges, edge) {
        if (edge->to == machine)
            map->nodes.items[edge->from].group = map->groups;
    }
}

void map_group(struct map *map, size_t most)
{
    const char **places = arena_alloc(map->arena, (map->nodes.count + 1) * sizeof(*places));
    for (size_t i = 0; i < map->nodes.count; i++)
        places[i] = map->nodes.items[i].kind == MAP_MACHINE ? machine_place(map, i) : NULL;
    for (size_t i = 0; i < map->nodes.count; i++) {
        size_t count = 0;
        for (size_t j = i; places[i] && j < map->nodes.count; j++)
            count += places[j] && strcmp(places[i], places[j]) == 0;
        if (!places[i] || count <= most)
            continue;
        map->groups++;
        const char *place = places[i];
        for (size_t j = i; j < map->nodes.count; j++) {
            if (places[j] && strcmp(place, places[j]) == 0) {
                group_mark(map, j);
                places[j] = NULL;
            }
        }
    }
}

size_t map_group_taps(const struct map *map, size_t bridge, size_t group)
{
    size_t count = 0;
    vec_foreach (&map->edges, edge) {
        const struct map_node *to = &map->nodes.items[edge->to];
        count += edge->from == bridge && to->group == group && to->kind == MAP_NIC;
    }
    return count;
}

const struct map_node *map_group_member(const struct map *map, size_t group)
{
    vec_foreach (&map->nodes, node) {
        if (node->kind == MAP_MACHINE && node->group == group)
            return node;
    }
    return NULL;
}
