/* map_dot.c: the picture as text for graphviz's dot(1), in the manner of docs/schemes.svg: the outside on
 * top, the host in its frame, guests below.
 *
 * A bridge is one table whose last row are its ports, so that a tap sits on its bridge as in the article's
 * drawings and takes no room of its own.  Names of nodes are numbers, and whatever somebody called something
 * is only ever inside a label, escaped.  Source: graphviz.org, "HTML-Like Labels". */
#include <string.h>

#include "base/text.h"
#include "diag/map.h"

enum { WRAP = 34, PITCH = 104, MARGIN = 5, GROUP_ROWS = 12, LEGEND_WIDTH = 90 };

struct colors {
    const char *fill, *stroke;
};

static struct colors colors_of(const struct map_node *node)
{
    static const struct colors kinds[] = {
        [MAP_ROUTER] = {"#e2e8f0", "#475569"}, [MAP_SEGMENT] = {"#f8fafc", "#94a3b8"},
        [MAP_UPLINK] = {"#dbeafe", "#1d4ed8"}, [MAP_NAT] = {"#ffedd5", "#c2410c"},
        [MAP_BRIDGE] = {"#dcfce7", "#15803d"}, [MAP_NIC] = {"#ffffff", "#15803d"},
        [MAP_PORT] = {"#f8fafc", "#64748b"},   [MAP_DEVICE] = {"#dbeafe", "#1d4ed8"},
        [MAP_MACHINE] = {"#ede9fe", "#6d28d9"}};
    if (node->state == MAP_BROKEN)
        return (struct colors){"#fee2e2", "#dc2626"};
    if (node->state == MAP_WARNED)
        return (struct colors){"#fef9c3", "#ca8a04"};
    return kinds[node->kind];
}

/* How many bytes the UTF-8 character at `text` has; 0 when it is none. */
static size_t character(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    size_t length = *c < 0x80 ? 1 : *c >= 0xf0 && *c < 0xf5 ? 4 : *c >= 0xe0 ? 3 : *c >= 0xc2 ? 2 : 0;
    for (size_t i = 1; i < length; i++) {
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    }
    return *c >= 0xf5 ? 0 : length;
}

/* Text of an HTML-like label, which is XML: no markup, no control character, valid UTF-8. */
static void escaped(struct text *out, const char *text, size_t length)
{
    for (const char *end = text + length; text < end;) {
        size_t size = character(text);
        if (*text == '&')
            text_add(out, "&amp;");
        else if (*text == '<')
            text_add(out, "&lt;");
        else if (*text == '>')
            text_add(out, "&gt;");
        else if (*text == '"')
            text_add(out, "&quot;");
        else if (size == 0 || (unsigned char)*text < 0x20 || *text == 0x7f)
            text_add(out, "\xef\xbf\xbd");
        else
            text_add_bytes(out, text, size);
        text += size ? size : 1;
    }
}

/* A sentence, broken between words. */
static void wrapped(struct text *out, const char *text)
{
    while (*text) {
        size_t length = strlen(text), take = length;
        if (length > WRAP) {
            take = WRAP;
            while (take && text[take] != ' ')
                take--;
            if (!take)
                take = strcspn(text, " ");
        }
        escaped(out, text, take);
        text += take + strspn(text + take, " ");
        if (*text)
            text_add(out, "<BR/>");
    }
}

/* A row of a box; empty cells at its sides keep text off the frame, also where a viewer's font is wider than
 * the one that dot measured. */
static void row_start(struct text *out, unsigned height, unsigned points, const char *color)
{
    text_add(out,
             "<TR><TD WIDTH=\"%d\"></TD><TD WIDTH=\"%d\" HEIGHT=\"%u\"><FONT POINT-SIZE=\"%u\" COLOR=\"%s\">",
             MARGIN, PITCH, height, points, color);
}

static void row_end(struct text *out)
{
    text_add(out, "</FONT></TD><TD WIDTH=\"%d\"></TD></TR>", MARGIN);
}

static void table_end(struct text *out)
{
    text_add(out, "<TR><TD HEIGHT=\"%d\"></TD></TR></TABLE>>]\n", MARGIN);
}

static void small_row(struct text *out, const char *line)
{
    row_start(out, 0, 10, "#334155");
    escaped(out, line, strlen(line));
    row_end(out);
}

static const char *reason_color(const struct map_reason *reason)
{
    return reason->state == MAP_BROKEN ? "#b91c1c" : "#854d0e";
}

static void reason_rows(struct text *out, const struct map_node *node)
{
    vec_foreach (&node->reasons, reason) {
        row_start(out, 0, 10, reason_color(reason));
        wrapped(out, reason->text);
        row_end(out);
    }
}

static const char *title_of(const struct map *map, const struct map_node *node)
{
    static const char *const words[] = {
        [MAP_ROUTER] = "router", [MAP_SEGMENT] = "segment of ", [MAP_UPLINK] = "uplink ",
        [MAP_NAT] = "NAT",       [MAP_BRIDGE] = "bridge ",      [MAP_NIC] = "",
        [MAP_PORT] = "",         [MAP_DEVICE] = "device ",      [MAP_MACHINE] = ""};
    bool nameless = node->kind == MAP_ROUTER || node->kind == MAP_NAT;
    return arena_printf(map->arena, "%s%s", words[node->kind], nameless ? "" : node->name);
}

static void table_start(struct text *out, const struct map_node *node)
{
    struct colors colors = colors_of(node);
    text_add(out,
             "<TABLE BORDER=\"%d\" STYLE=\"ROUNDED\" CELLBORDER=\"0\" CELLSPACING=\"0\" CELLPADDING=\"2\" "
             "COLOR=\"%s\" BGCOLOR=\"%s\">",
             node->state == MAP_BROKEN ? 2 : 1, colors.stroke, colors.fill);
}

static void head_rows(struct text *out, const struct map *map, const struct map_node *node)
{
    const char *title = title_of(map, node);
    row_start(out, 24, 13, "#0f172a");
    text_add(out, "<B>");
    escaped(out, title, strlen(title));
    text_add(out, "</B>");
    row_end(out);
    if (node->kind == MAP_ROUTER)
        small_row(out, node->name);
    vec_foreach (&node->lines, line)
        small_row(out, *line);
    reason_rows(out, node);
}

static void plain_node(struct text *out, const struct map *map, size_t index)
{
    text_add(out, "n%zu [label=<", index);
    table_start(out, &map->nodes.items[index]);
    head_rows(out, map, &map->nodes.items[index]);
    table_end(out);
}

/* ---- a bridge and its ports ---- */

static bool is_port_kind(enum map_kind kind)
{
    return kind == MAP_NIC || kind == MAP_PORT;
}

/* The bridge that this tap or port sits on; SIZE_MAX: it hangs loose. */
static size_t seat_of(const struct map *map, size_t port)
{
    vec_foreach (&map->nodes.items[port].above, above) {
        const struct map_edge *edge = &map->edges.items[*above];
        if (!edge->broken)
            return edge->from;
    }
    return SIZE_MAX;
}

static void port_cell(struct text *out, const struct map *map, size_t index)
{
    const struct map_node *node = &map->nodes.items[index];
    struct colors colors = colors_of(node);
    text_add(out, "<TD PORT=\"p%zu\" BORDER=\"1\" WIDTH=\"%d\" COLOR=\"%s\" BGCOLOR=\"%s\">", index,
             PITCH - 36, colors.stroke, colors.fill);
    escaped(out, node->name, strlen(node->name));
    for (size_t i = node->own; i < node->lines.count; i++) {
        text_add(out, "<BR/><FONT POINT-SIZE=\"9\">");
        escaped(out, node->lines.items[i], strlen(node->lines.items[i]));
        text_add(out, "</FONT>");
    }
    vec_foreach (&node->reasons, reason) {
        text_add(out, "<BR/><FONT POINT-SIZE=\"10\" COLOR=\"#b91c1c\">");
        wrapped(out, reason->text);
        text_add(out, "</FONT>");
    }
    text_add(out, "</TD>");
}

static void bridge_node(struct text *out, const struct map *map, size_t index)
{
    struct text cells = {.arena = map->arena};
    struct map_groups groups;
    map_groups_below(map, index, &groups);
    vec_foreach (&groups.list, group)
        text_add(&cells,
                 "<TD PORT=\"g%zu\" BORDER=\"1\" WIDTH=\"%d\" COLOR=\"#15803d\" "
                 "BGCOLOR=\"#ffffff\">%zu taps</TD>",
                 *group, PITCH - 36, map_group_taps(map, index, *group));
    vec_foreach (&map->nodes.items[index].below, below) {
        const struct map_edge *edge = &map->edges.items[*below];
        const struct map_node *to = &map->nodes.items[edge->to];
        if (!edge->broken && is_port_kind(to->kind) && !to->group)
            port_cell(&cells, map, edge->to);
    }
    text_add(out, "n%zu [label=<", index);
    table_start(out, &map->nodes.items[index]);
    text_add(out, "<TR><TD><TABLE BORDER=\"0\" CELLSPACING=\"0\" CELLPADDING=\"2\">");
    head_rows(out, map, &map->nodes.items[index]);
    text_add(out, "</TABLE></TD></TR>");
    if (cells.length)
        text_add(
            out,
            "<TR><TD><TABLE BORDER=\"0\" CELLSPACING=\"6\" CELLPADDING=\"4\"><TR>%s</TR></TABLE></TD></TR>",
            text_get(&cells));
    table_end(out);
}

/* ---- many guests in one box ---- */

static void group_row(struct text *out, const struct map_node *node)
{
    text_add(out, "<TD ALIGN=\"LEFT\"><FONT POINT-SIZE=\"10\"><B>");
    escaped(out, node->name, strlen(node->name));
    text_add(out,
             "</B>&nbsp;&nbsp;</FONT></TD><TD ALIGN=\"LEFT\"><FONT POINT-SIZE=\"10\" COLOR=\"#334155\">");
    vec_foreach (&node->lines, line) {
        escaped(out, *line, strlen(*line));
        text_add(out, "&nbsp;&nbsp;");
    }
    text_add(out, "</FONT></TD>");
}

/* In columns, read from top to bottom. */
static void group_node(struct text *out, const struct map *map, size_t group)
{
    VEC(const struct map_node *) members = {0};
    vec_foreach (&map->nodes, node) {
        if (node->group == group && node->kind == MAP_MACHINE)
            *vec_push(map->arena, &members) = node;
    }
    size_t count = members.count;
    size_t columns = 1;
    while (columns * columns * GROUP_ROWS / 3 < count)
        columns++;
    size_t rows = (count + columns - 1) / columns;
    text_add(out, "g%zu [label=<", group);
    table_start(out, members.items[0]);
    text_add(out, "<TR><TD COLSPAN=\"%zu\" HEIGHT=\"24\"><B>%zu guests</B></TD></TR>", columns * 2 + 2,
             count);
    vec_foreach (&members.items[0]->above, above) {
        const struct map_node *tap = &map->nodes.items[map->edges.items[*above].from];
        for (size_t i = tap->own; i < tap->lines.count; i++) {
            text_add(out, "<TR><TD COLSPAN=\"%zu\"><FONT POINT-SIZE=\"10\" COLOR=\"#334155\">",
                     columns * 2 + 2);
            escaped(out, tap->network, strlen(tap->network));
            text_add(out, ": ");
            escaped(out, tap->lines.items[i], strlen(tap->lines.items[i]));
            text_add(out, "</FONT></TD></TR>");
        }
    }
    vec_foreach (&members.items[0]->reasons, reason) {
        text_add(out, "<TR><TD COLSPAN=\"%zu\"><FONT POINT-SIZE=\"10\" COLOR=\"%s\">", columns * 2 + 2,
                 reason_color(reason));
        escaped(out, reason->text, strlen(reason->text));
        text_add(out, "</FONT></TD></TR>");
    }
    for (size_t row = 0; row < rows; row++) {
        text_add(out, "<TR><TD WIDTH=\"%d\"></TD>", MARGIN);
        for (size_t i = row; i < count; i += rows)
            group_row(out, members.items[i]);
        text_add(out, "<TD WIDTH=\"%d\"></TD></TR>", MARGIN);
    }
    table_end(out);
}

/* ---- edges ---- */

static void edge_end(struct text *out, const struct map_edge *edge, const char *from, const char *to)
{
    text_add(out, "%s -> %s%s\n", from, to, edge->broken ? " [color=\"#dc2626\", style=dashed]" : "");
}

static void edge_draw(struct text *out, const struct map *map, const struct map_edge *edge)
{
    const struct map_node *from = &map->nodes.items[edge->from], *to = &map->nodes.items[edge->to];
    struct arena *arena = map->arena;
    bool seated = is_port_kind(to->kind) && seat_of(map, edge->to) == edge->from;
    if (to->group || seated)
        return;
    const char *tail = arena_printf(arena, "n%zu", edge->from);
    size_t seat = is_port_kind(from->kind) ? seat_of(map, edge->from) : SIZE_MAX;
    if (seat != SIZE_MAX)
        tail = arena_printf(arena, "n%zu:p%zu:s", seat, edge->from);
    edge_end(out, edge, tail, arena_printf(arena, "n%zu:n", edge->to));
}

/* One line from each bridge to each group on it. */
static void group_edges(struct text *out, const struct map *map)
{
    for (size_t i = 0; i < map->nodes.count; i++) {
        struct map_groups groups = {0};
        if (map->nodes.items[i].kind == MAP_BRIDGE)
            map_groups_below(map, i, &groups);
        vec_foreach (&groups.list, group)
            text_add(out, "n%zu:g%zu:s -> g%zu:n\n", i, *group, *group);
    }
}

static bool in_host(enum map_kind kind)
{
    return kind != MAP_ROUTER && kind != MAP_SEGMENT && kind != MAP_MACHINE;
}

static void nodes_draw(struct text *out, const struct map *map, bool host)
{
    for (size_t i = 0; i < map->nodes.count; i++) {
        const struct map_node *node = &map->nodes.items[i];
        if (in_host(node->kind) != host || node->group)
            continue;
        if (node->kind == MAP_BRIDGE)
            bridge_node(out, map, i);
        else if (!is_port_kind(node->kind) || seat_of(map, i) == SIZE_MAX)
            plain_node(out, map, i);
    }
}

/* ---- layers ---- */

enum layer { LAYER_OUTSIDE, LAYER_UPLINK, LAYER_NAT, LAYER_BRIDGE, LAYER_LOOSE, LAYER_GUEST, LAYER_COUNT };

static enum layer layer_of(enum map_kind kind)
{
    static const enum layer layers[] = {
        [MAP_ROUTER] = LAYER_OUTSIDE, [MAP_SEGMENT] = LAYER_OUTSIDE, [MAP_UPLINK] = LAYER_UPLINK,
        [MAP_NAT] = LAYER_NAT,        [MAP_BRIDGE] = LAYER_BRIDGE,   [MAP_NIC] = LAYER_LOOSE,
        [MAP_PORT] = LAYER_LOOSE,     [MAP_DEVICE] = LAYER_BRIDGE,   [MAP_MACHINE] = LAYER_GUEST};
    return layers[kind];
}

/* Like things at one height, also where no line holds them there. */
static void layers_draw(struct text *out, const struct map *map)
{
    size_t former = SIZE_MAX;
    for (enum layer layer = 0; layer < LAYER_COUNT; layer++) {
        size_t first = SIZE_MAX;
        for (size_t i = 0; i < map->nodes.count; i++) {
            const struct map_node *node = &map->nodes.items[i];
            if (layer_of(node->kind) != layer || node->group ||
                (is_port_kind(node->kind) && seat_of(map, i) != SIZE_MAX))
                continue;
            text_add(out, "%sn%zu;", first == SIZE_MAX ? "{rank=same; " : " ", i);
            first = first == SIZE_MAX ? i : first;
        }
        for (size_t group = 1; layer == LAYER_GUEST && group <= map->groups; group++)
            text_add(out, "%sg%zu;", first == SIZE_MAX && group == 1 ? "{rank=same; " : " ", group);
        if (first != SIZE_MAX || (layer == LAYER_GUEST && map->groups))
            text_add(out, "}\n");
        if (first != SIZE_MAX && former != SIZE_MAX)
            text_add(out, "n%zu -> n%zu [style=invis, weight=0]\n", former, first);
        former = first == SIZE_MAX ? former : first;
    }
}

static void line_of_names_add(struct text *out, const char *what, const char *const *names, size_t count)
{
    size_t at = strlen(what);
    if (!count)
        return;
    text_add(out, "<FONT COLOR=\"#64748b\">%s", what);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(names[i]) + 1;
        bool full = at + length > LEGEND_WIDTH;
        text_add(out, "%s ", full ? "<BR ALIGN=\"LEFT\"/>&nbsp;" : "");
        escaped(out, names[i], length - 1);
        at = full ? 1 + length : at + length;
    }
    text_add(out, "</FONT><BR ALIGN=\"LEFT\"/>");
}

/* What has no place in the picture stands below it. */
static void legend(struct text *out, const struct map *map)
{
    if (!map->networks_down.count && !map->machines_stopped.count && !map->elsewhere.count)
        return;
    text_add(out, "labelloc=b\nlabeljust=l\nlabel=<<BR/>");
    vec_foreach (&map->elsewhere, reason) {
        text_add(out, "<FONT COLOR=\"#b91c1c\">");
        escaped(out, reason->text, strlen(reason->text));
        text_add(out, "</FONT><BR ALIGN=\"LEFT\"/>");
    }
    line_of_names_add(out, "not up:", map->networks_down.items, map->networks_down.count);
    line_of_names_add(out, "not running:", map->machines_stopped.items, map->machines_stopped.count);
    text_add(out, ">\n");
}

const char *map_dot(const struct map *map)
{
    struct text out = {.arena = map->arena};
    text_add(&out, "digraph vmwire {\n"
                   "graph [rankdir=TB, newrank=true, nodesep=0.3, ranksep=0.4, bgcolor=white, pad=0.2, "
                   "fontname=\"Helvetica,Arial,sans-serif\", fontsize=11]\n"
                   "node [shape=plain, fontname=\"Helvetica,Arial,sans-serif\", fontsize=13, "
                   "fontcolor=\"#0f172a\"]\n"
                   "edge [dir=none, color=\"#475569\", penwidth=1.6]\n");
    legend(&out, map);
    text_add(&out, "subgraph cluster_host {\nlabel=host\nlabeljust=l\nlabelloc=t\nstyle=\"rounded,dashed\"\n"
                   "color=\"#64748b\"\nfontcolor=\"#334155\"\nbgcolor=\"#f1f5f9\"\nmargin=14\n");
    nodes_draw(&out, map, true);
    text_add(&out, "}\n");
    nodes_draw(&out, map, false);
    for (size_t group = 1; group <= map->groups; group++)
        group_node(&out, map, group);
    vec_foreach (&map->edges, edge)
        edge_draw(&out, map, edge);
    group_edges(&out, map);
    layers_draw(&out, map);
    text_add(&out, "}\n");
    return text_get(&out);
}
