/* map_text.c: the map as a tree for a terminal, the outside at its root: map_text.h. */
#include "cli/map_text.h"

#include <stdint.h>
#include <string.h>

#include "base/text.h"

enum { PREFIX_SIZE = 256, WIDTH_LEAST = 60 };

struct tree {
    struct cli *cli;
    const struct map *map;
    size_t width;
    bool *drawn; /* this node's children have been printed: a loop ends here */
    char prefix[PREFIX_SIZE];
};

static const char *paint(const struct tree *tree, const char *sgr)
{
    return tree->cli->color ? arena_printf(&tree->cli->arena, "\033[%sm", sgr) : "";
}

static const char *state_paint(const struct tree *tree, enum map_state state)
{
    return state == MAP_FINE ? "" : paint(tree, state == MAP_BROKEN ? "31" : "33");
}

static const char *title_of(struct arena *arena, const struct map_node *node)
{
    static const char *const
        before[] = {[MAP_ROUTER] = "router ", [MAP_SEGMENT] = "segment of "},
        *const after[] = {
            [MAP_UPLINK] = "uplink", [MAP_BRIDGE] = "bridge", [MAP_DEVICE] = "device", [MAP_MACHINE] = ""};
    if (node->kind == MAP_NAT)
        return "NAT";
    if (node->kind <= MAP_SEGMENT)
        return arena_printf(arena, "%s%s", before[node->kind], node->name);
    const char *word = node->kind < MAP_MACHINE ? after[node->kind] : NULL;
    return arena_printf(arena, "%s%s%s", node->name, word ? "  " : "", word ? word : "");
}

static void lines_print(const struct tree *tree, const struct map_node *node)
{
    vec_foreach (&node->lines, line)
        printf("%s  %s%s", paint(tree, "2"), *line, paint(tree, "0"));
}

/* Continuation lines of a node: what is wrong with it. */
static void reasons_print(const struct tree *tree, const struct map_node *node, bool more)
{
    vec_foreach (&node->reasons, reason)
        printf("%s%s%s%s %s%s\n", tree->prefix, more ? "│   " : "    ", state_paint(tree, reason->state),
               reason->state == MAP_BROKEN ? "✗" : "!", reason->text, paint(tree, "0"));
}

/* "vm0  10.0.0.10": who is behind a tap or device; NULL: nobody. */
static const struct map_node *machine_behind(const struct map *map, size_t port)
{
    vec_foreach (&map->nodes.items[port].below, edge) {
        const struct map_node *node = &map->nodes.items[map->edges.items[*edge].to];
        if (node->kind == MAP_MACHINE)
            return node;
    }
    return NULL;
}

static void node_print(const struct tree *tree, size_t index, bool broken_edge, bool last, bool root)
{
    const struct map_node *node = &tree->map->nodes.items[index];
    bool port = node->kind == MAP_NIC || node->kind == MAP_DEVICE;
    const struct map_node *machine = port ? machine_behind(tree->map, index) : NULL;
    enum map_state state = machine && machine->state > node->state ? machine->state : node->state;
    if (!root)
        printf("%s%s%s%s%s ", tree->prefix, last ? "└─" : "├─", broken_edge ? paint(tree, "31") : "",
               broken_edge ? "✗" : "─", broken_edge ? paint(tree, "0") : "");
    const char *on = state == MAP_FINE ? paint(tree, "1") : state_paint(tree, state);
    printf("%s%s%s%s%s", on, title_of(&tree->cli->arena, node), machine ? "  " : "",
           machine ? machine->name : "", paint(tree, "0"));
    lines_print(tree, node);
    putchar('\n');
}

/* The members of a group below one bridge: tap, machine, address. */
struct members {
    struct member {
        const char *cells[3];
    } * items;
    size_t count, widths[3];
};

static void members_collect(const struct tree *tree, size_t bridge, size_t group, struct members *members)
{
    const struct map *map = tree->map;
    *members =
        (struct members){.items = arena_alloc(&tree->cli->arena, (map_group_taps(map, bridge, group) + 1) *
                                                                     sizeof(*members->items))};
    vec_foreach (&map->nodes.items[bridge].below, edge) {
        size_t index = map->edges.items[*edge].to;
        const struct map_node *tap = &map->nodes.items[index];
        if (tap->group != group || tap->kind != MAP_NIC)
            continue;
        const struct map_node *machine = machine_behind(map, index);
        struct member *member = &members->items[members->count++];
        *member = (struct member){
            {tap->name, machine ? machine->name : "-", tap->lines.count ? tap->lines.items[0] : ""}};
        for (size_t i = 0; i < 3; i++) {
            size_t width = cli_width(member->cells[i]);
            members->widths[i] = width > members->widths[i] ? width : members->widths[i];
        }
    }
}

static void member_print(const struct tree *tree, const struct members *members, size_t index, bool last)
{
    const struct member *member = &members->items[index];
    for (size_t i = 0; i < 3; i++) {
        size_t pad = members->widths[i] - cli_width(member->cells[i]) + (i == 2 ? 4 : 2);
        printf("%s%s%s%*s", i == 1 ? "" : paint(tree, "2"), member->cells[i], i == 1 ? "" : paint(tree, "0"),
               last && i == 2 ? 0 : (int)pad, "");
    }
}

/* What each of them has on this bridge: VLAN, rate. */
static void shared_print(const struct tree *tree, size_t bridge, const struct map_node *member)
{
    const struct map *map = tree->map;
    vec_foreach (&member->above, above) {
        const struct map_node *tap = &map->nodes.items[map->edges.items[*above].from];
        bool here = strcmp(tap->network, map->nodes.items[bridge].network) == 0;
        for (size_t i = tap->own; here && i < tap->lines.count; i++)
            printf("%s  %s%s", paint(tree, "2"), tap->lines.items[i], paint(tree, "0"));
    }
}

/* In as many columns as the terminal has room for. */
static void group_print(struct tree *tree, size_t bridge, size_t group, bool last)
{
    struct members members;
    members_collect(tree, bridge, group, &members);
    size_t each = members.widths[0] + members.widths[1] + members.widths[2] + 8;
    size_t indent = cli_width(tree->prefix) + 4;
    size_t columns = tree->width > indent + each ? (tree->width - indent + 4) / each : 1;
    size_t rows = (members.count + columns - 1) / columns;
    printf("%s%s %s%zu guests%s", tree->prefix, last ? "└──" : "├──", paint(tree, "1"), members.count,
           paint(tree, "0"));
    shared_print(tree, bridge, map_group_member(tree->map, group));
    putchar('\n');
    vec_foreach (&map_group_member(tree->map, group)->reasons, reason)
        printf("%s%s%s%s %s%s\n", tree->prefix, last ? "    " : "│   ", state_paint(tree, reason->state),
               reason->state == MAP_BROKEN ? "✗" : "!", reason->text, paint(tree, "0"));
    for (size_t row = 0; row < rows; row++) {
        printf("%s%s", tree->prefix, last ? "    " : "│   ");
        for (size_t i = row; i < members.count; i += rows)
            member_print(tree, &members, i, i + rows >= members.count);
        putchar('\n');
    }
}

static bool shown_below(const struct map_node *node)
{
    return node->kind != MAP_MACHINE && !node->group;
}

/* How many rows a node has below it: children of their own, and a group each. */
static size_t rows_below(const struct map *map, size_t index)
{
    struct map_groups groups;
    map_groups_below(map, index, &groups);
    size_t count = groups.list.count;
    vec_foreach (&map->nodes.items[index].below, edge)
        count += shown_below(&map->nodes.items[map->edges.items[*edge].to]);
    return count;
}

static void prefix_push(struct tree *tree, const char *more)
{
    size_t length = strlen(tree->prefix);
    if (length + strlen(more) < PREFIX_SIZE)
        memcpy(tree->prefix + length, more, strlen(more) + 1);
}

static void below_print(struct tree *tree, size_t index);

static void child_print(struct tree *tree, const struct map_edge *edge, bool last)
{
    size_t length = strlen(tree->prefix);
    const struct map_node *node = &tree->map->nodes.items[edge->to];
    node_print(tree, edge->to, edge->broken, last, false);
    prefix_push(tree, last ? "    " : "│   ");
    bool more = rows_below(tree->map, edge->to) > 0;
    reasons_print(tree, node, more);
    const struct map_node *machine = machine_behind(tree->map, edge->to);
    if (machine)
        reasons_print(tree, machine, false);
    below_print(tree, edge->to);
    tree->prefix[length] = '\0';
}

static void below_print(struct tree *tree, size_t index)
{
    const struct map *map = tree->map;
    size_t left = rows_below(map, index);
    if (tree->drawn[index])
        return;
    tree->drawn[index] = true;
    vec_foreach (&map->nodes.items[index].below, below) {
        const struct map_edge *edge = &map->edges.items[*below];
        if (shown_below(&map->nodes.items[edge->to]))
            child_print(tree, edge, --left == 0);
    }
    struct map_groups groups;
    map_groups_below(map, index, &groups);
    vec_foreach (&groups.list, group)
        group_print(tree, index, *group, --left == 0);
}

/* "not running: vm0 vm1 …", over as many lines as it takes. */
static const char *names_print(const struct tree *tree, const char *between, const char *what,
                               const char *const *names, size_t count)
{
    size_t at = strlen(what);
    if (!count)
        return between;
    printf("%s%s%s", between, paint(tree, "2"), what);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(names[i]) + 1;
        bool full = at + length > tree->width;
        printf("%s%s", full ? "\n  " : " ", names[i]);
        at = full ? 1 + length : at + length;
    }
    printf("%s\n", paint(tree, "0"));
    return "";
}

static void loose_print(struct tree *tree, bool any)
{
    const char *between = any ? "\n" : "";
    vec_foreach (&tree->map->elsewhere, reason) {
        printf("%s%s%s %s%s\n", between, state_paint(tree, reason->state),
               reason->state == MAP_BROKEN ? "✗" : "!", reason->text, paint(tree, "0"));
        between = "";
    }
    between =
        names_print(tree, between, "not up:", tree->map->networks_down.items, tree->map->networks_down.count);
    names_print(tree, between, "not running:", tree->map->machines_stopped.items,
                tree->map->machines_stopped.count);
}

void map_text_print(struct cli *cli, const struct map *map, size_t width)
{
    struct tree tree = {.cli = cli, .map = map, .width = width < WIDTH_LEAST ? WIDTH_LEAST : width};
    tree.drawn = arena_alloc(&cli->arena, map->nodes.count + 1);
    bool any = false;
    for (size_t i = 0; i < map->nodes.count; i++) {
        const struct map_node *node = &map->nodes.items[i];
        if (node->above.count || node->group)
            continue;
        node_print(&tree, i, false, false, true);
        tree.prefix[0] = '\0';
        bool more = rows_below(map, i) > 0;
        reasons_print(&tree, node, more);
        below_print(&tree, i);
        any = true;
    }
    loose_print(&tree, any);
    if (!any && !map->networks_down.count && !map->machines_stopped.count && !map->elsewhere.count)
        puts("nothing is wired");
}
