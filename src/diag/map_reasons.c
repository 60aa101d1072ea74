/* map_reasons.c: which part of the picture a finding is about: map.h. */
#include <assert.h>
#include <string.h>

#include "base/text.h"
#include "diag/map.h"

#define NONE SIZE_MAX
enum { DRIFT_SHOWN = 3 };

/* By the beginning of its code; the first that fits.  What is not here is its bridge's or machine's. */
static const struct {
    const char *prefix;
    enum map_kind kind;
} places[] = {
    {"uplink-", MAP_UPLINK},
    {"no-default-route", MAP_ROUTER},
    {"vlan-", MAP_UPLINK},
    {"router-", MAP_ROUTER},
    {"target-", MAP_ROUTER},
    {"switch-", MAP_ROUTER},
    {"dns-upstream-", MAP_ROUTER},
    {"tcp-", MAP_ROUTER},
    {"mtu-black-hole", MAP_ROUTER},
    {"ra-missing", MAP_ROUTER},
    {"forward", MAP_NAT},
    {"masquerade-", MAP_NAT},
    {"conntrack-", MAP_NAT},
    {"rp-filter", MAP_NAT},
    {"route-", MAP_NAT},
};

static enum map_kind place_of(const char *code)
{
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (strncmp(code, places[i].prefix, strlen(places[i].prefix)) == 0)
            return places[i].kind;
    }
    return MAP_BRIDGE;
}

static const char *title_of(const char *code)
{
    const struct finding_code *row = finding_codes;
    while (row->code && strcmp(row->code, code) != 0)
        row++;
    assert(row->code);
    return row->title;
}

/* One reason a code: a finding that says the same with more words takes the place of what was there. */
void map_reason_add(struct map *map, struct map_node *node, const char *code, enum map_state state,
                    const char *text)
{
    struct map_reason *reason = NULL;
    vec_foreach (&node->reasons, known) {
        if (strcmp(known->code, code) == 0)
            reason = known;
    }
    if (!reason)
        reason = vec_push(map->arena, &node->reasons);
    *reason = (struct map_reason){code, text ? text : title_of(code), state};
    if (state > node->state)
        node->state = state;
}

/* What is not there is told at the next thing inwards. */
static size_t part_node(const struct map_part *part, enum map_kind kind)
{
    if (kind == MAP_ROUTER && part->router != NONE)
        return part->router;
    if ((kind == MAP_ROUTER || kind == MAP_UPLINK) && part->uplink != NONE)
        return part->uplink;
    return kind != MAP_BRIDGE && part->nat != NONE ? part->nat : part->bridge;
}

/* "machine 'vm0'": is it about one of these, and which? */
static const char *subject_name(struct arena *arena, const char *subject, const char *what)
{
    size_t length = strlen(what);
    if (strncmp(subject, what, length) != 0 || strncmp(subject + length, " '", 2) != 0)
        return NULL;
    const char *name = subject + length + 2;
    return arena_strndup(arena, name, strcspn(name, "'"));
}

/* The first of the map's taps that stand in `text` in quotes. */
static size_t quoted_nic(const struct map *map, const char *text)
{
    size_t first = NONE;
    for (const char *quote = strchr(text, '\''), *next; quote; quote = next) {
        next = strchr(quote + 1, '\'');
        if (!next)
            break;
        const char *name = arena_strndup(map->arena, quote + 1, (size_t)(next - quote) - 1);
        size_t nic = map_node_find(map, MAP_NIC, name);
        first = nic < first ? nic : first;
    }
    return first;
}

/* What is about a tap names it in its evidence. */
static bool attach_nic(struct map *map, const char *name, const struct finding *finding, enum map_state state)
{
    bool about = strncmp(finding->code, "nic-", 4) == 0 || strncmp(finding->code, "port-", 5) == 0;
    size_t nic = name ? map_node_find(map, MAP_NIC, name) : about ? quoted_nic(map, finding->evidence) : NONE;
    if (nic == NONE)
        return false;
    map_reason_add(map, &map->nodes.items[nic], finding->code, state, finding->title);
    return true;
}

static bool attach_machine(struct map *map, const char *name, const struct finding *finding,
                           enum map_state state)
{
    size_t machine = map_node_find(map, MAP_MACHINE, name);
    if (machine == NONE)
        return false;
    map_reason_add(map, &map->nodes.items[machine], finding->code, state, finding->title);
    return true;
}

/* A finding about the host is about every NAT, where it is about what NAT needs. */
static bool attach_parts(struct map *map, const struct map_parts *parts, const char *network,
                         const struct finding *finding, enum map_state state)
{
    enum map_kind kind = place_of(finding->code);
    bool attached = false;
    size_t first = network ? names_find(&parts->networks, network) : 0;
    size_t end = network && first < parts->list.count ? first + 1 : parts->list.count;
    for (size_t i = first; i < end; i++) {
        const struct map_part *part = &parts->list.items[i];
        size_t node = network ? part_node(part, kind) : kind == MAP_NAT ? part->nat : NONE;
        if (node == NONE)
            continue;
        map_reason_add(map, &map->nodes.items[node], finding->code, state, finding->title);
        attached = true;
    }
    return attached;
}

/* A finding of a network whose device the picture has. */
static bool attach_device(struct map *map, const char *network, const struct finding *finding,
                          enum map_state state)
{
    vec_foreach (&map->nodes, node) {
        if (node->kind == MAP_DEVICE && strcmp(node->network, network) == 0) {
            map_reason_add(map, node, finding->code, state, finding->title);
            return true;
        }
    }
    return false;
}

static void attach(struct map *map, const struct map_parts *parts, const struct finding *finding)
{
    enum map_state state = finding->severity == FINDING_ERROR ? MAP_BROKEN : MAP_WARNED;
    const char *machine = subject_name(map->arena, finding->subject, "machine");
    const char *network = subject_name(map->arena, finding->subject, "network");
    const char *nic = subject_name(map->arena, finding->subject, "nic");
    if (finding->severity == FINDING_NOTE || strcmp(finding->code, "network-down") == 0 ||
        strcmp(finding->code, "machine-stopped") == 0)
        return; /* not there is not broken: the map lists it below */
    if (strcmp(finding->code, "network-drifted") == 0)
        return; /* request->drift has it, with what mends it */
    if ((nic || machine) && attach_nic(map, nic, finding, state))
        return;
    if (machine && attach_machine(map, machine, finding, state))
        return;
    if (!machine && !nic && attach_parts(map, parts, network, finding, state))
        return;
    if (network && attach_device(map, network, finding, state))
        return;
    *vec_push(map->arena, &map->elsewhere) = (struct map_reason){
        finding->code, arena_printf(map->arena, "%s: %s", finding->subject, finding->title), state};
}

static void drift_attach(struct map *map, struct map_node *node, const struct map_request *request,
                         const char *network)
{
    struct text out = {.arena = map->arena};
    size_t count = 0;
    vec_foreach (&request->drift, drift) {
        if (strcmp(drift->network, network) == 0 && ++count <= DRIFT_SHOWN)
            text_add(&out, "%s%s", count > 1 ? "; " : "drifted: vmwire up mends it by ", drift->text);
    }
    if (count > DRIFT_SHOWN)
        text_add(&out, "; and %zu more", count - DRIFT_SHOWN);
    if (count && node)
        map_reason_add(map, node, "network-drifted", MAP_BROKEN, text_get(&out));
    else if (count)
        *vec_push(map->arena, &map->elsewhere) = (struct map_reason){
            "network-drifted", arena_printf(map->arena, "the host: %s", text_get(&out)), MAP_BROKEN};
}

/* Errors before warnings; else as they came. */
static void reasons_sort(struct map_node *node)
{
    for (size_t i = 1; i < node->reasons.count; i++) {
        struct map_reason reason = node->reasons.items[i];
        size_t at = i;
        for (; at > 0 && node->reasons.items[at - 1].state < reason.state; at--)
            node->reasons.items[at] = node->reasons.items[at - 1];
        node->reasons.items[at] = reason;
    }
}

void map_reasons_attach(struct map *map, const struct map_request *request, const struct map_parts *parts)
{
    for (size_t i = 0; request->findings && i < request->findings->list.count; i++)
        attach(map, parts, &request->findings->list.items[i]);
    vec_foreach (&parts->list, part)
        drift_attach(map, &map->nodes.items[part->bridge], request, part->network);
    drift_attach(map, NULL, request, "");
    vec_foreach (&map->nodes, node)
        reasons_sort(node);
}
