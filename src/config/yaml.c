/* yaml.c: text to tree behind yaml.h.
 *
 * 1. scan: bytes that libfyaml would report badly or let pass (not UTF-8, control characters, tabs as
 * indentation) are found here.  The text is then cut before the first line that has one.
 * 2. events: libfyaml reads what is left, no further ahead than it can need; its diagnostics are collected,
 * never printed.
 * 3. build: events become nodes; `stack` holds the open collections.  Whatever this format has no use for
 * (aliases, anchors, tags, a second document) ends the reading. */
#include "config/yaml.h"

#include <libfyaml.h>
#include <stdint.h>
#include <string.h>

/* Mistakes of one kind that are listed one by one. */
enum { SCAN_REPORT_MAX = 20 };

/* ---- 1. scan ---- */

/* The bytes of the UTF-8 sequence at `bytes` (RFC 3629, 4), or 0 when it is not one. */
static size_t utf8_length(const unsigned char *bytes, size_t rest)
{
    unsigned char first = bytes[0];
    if (first < 0x80)
        return 1;
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || rest < length)
        return 0;
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (bytes[1] < low || bytes[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    }
    return length;
}

/* A character that YAML forbids (YAML 1.2.2, 5.1), or that this format does. */
static bool is_control(const unsigned char *bytes, size_t length)
{
    if (length == 1)
        return (bytes[0] < 0x20 && bytes[0] != '\t') || bytes[0] == 0x7f;
    return length == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0;
}

bool yaml_text_is_plain(const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    for (size_t i = 0, step; i < length; i += step) {
        step = utf8_length(bytes + i, length - i);
        if (step == 0 || bytes[i] == '\t' || is_control(bytes + i, step))
            return false;
    }
    return true;
}

/* One line without its end.  Returns false after reporting the first thing that is wrong with it.  `open`
 * counts opening less closing brackets, wherever they stand: in quotes too, which hardly matters for a bound
 * that is never near. */
static bool line_scan(const char *line, size_t length, int number, long *open, struct problems *problems)
{
    const unsigned char *bytes = (const unsigned char *)line;
    size_t indent = 0, blank;
    while (indent < length && line[indent] == ' ')
        indent++;
    for (blank = indent; blank < length && (line[blank] == ' ' || line[blank] == '\t');)
        blank++;
    int column = 1;
    if (length > YAML_LINE_MAX) {
        problem_add(problems, (struct pos){number, 1}, "a line of %zu bytes; %d is the most, so break it",
                    length, YAML_LINE_MAX);
        return false;
    }
    for (size_t i = 0, step; i < length; i += step, column++) {
        struct pos pos = {number, column};
        step = utf8_length(bytes + i, length - i);
        if (step == 0) {
            problem_add(problems, pos, "byte 0x%02x is not UTF-8; save the file as UTF-8", bytes[i]);
            return false;
        }
        if (bytes[i] == 0) {
            problem_add(problems, pos, "a NUL byte; this is no text file");
            return false;
        }
        if (is_control(bytes + i, step)) {
            problem_add(problems, pos, "control character 0x%02x; remove it", bytes[i + step - 1]);
            return false;
        }
        if (bytes[i] == '\t' && i >= indent && i < blank && blank < length && line[blank] != '#') {
            problem_add(problems, pos, "a tab cannot indent; use spaces");
            return false;
        }
        *open += (bytes[i] == '[' || bytes[i] == '{') - (bytes[i] == ']' || bytes[i] == '}');
        if (*open > YAML_OPEN_MAX) {
            problem_add(problems, pos, "%d brackets are open here; close them", YAML_OPEN_MAX);
            *open = 0;
            return false;
        }
    }
    return true;
}

/* The length of the text before the first bad line: all of it when there is none. */
static size_t text_scan(const char *text, size_t length, struct problems *problems)
{
    size_t good = length, bad_lines = 0;
    int number = 1;
    long open = 0;
    for (size_t at = 0; at < length; number++) {
        const char *newline = memchr(text + at, '\n', length - at);
        size_t line = newline ? (size_t)(newline - text) - at : length - at;
        size_t next = at + line + 1;
        if (line > 0 && text[at + line - 1] == '\r')
            line--;
        if (!line_scan(text + at, line, number, &open, problems)) {
            good = at < good ? at : good;
            if (++bad_lines == SCAN_REPORT_MAX)
                break;
        }
        at = next;
    }
    return good;
}

/* ---- 3. build ---- */

struct open_node {
    struct yaml_node *node, *last;
    const struct yaml_node *key; /* read, and waiting for its value */
};

struct builder {
    struct arena *arena;
    struct problems *problems;
    struct fy_parser *parser;
    struct open_node stack[YAML_DEPTH_MAX];
    size_t depth, nodes;
    struct yaml_node *root;
    const char *text;
    size_t length, offset; /* `offset` in `text` is where last_pos is */
    size_t line_offset;    /* where line `line` (from 0) begins */
    int line;
    struct pos last_pos;
    struct yaml_node *last_key;
    struct yaml_node *last_scalar; /* NULL when something else came behind it */
    unsigned documents;
};

/* libfyaml has no mark for an item of a block sequence that has no value ("-" alone): the dash is then the
 * first thing on the next line that holds anything, unless it is what began the sequence. */
static void dash_find(struct builder *builder)
{
    struct open_node *open = builder->depth ? &builder->stack[builder->depth - 1] : NULL;
    if (!open || open->node->kind != YAML_SEQUENCE || !open->last)
        return;
    int line = builder->last_pos.line;
    const char *end = builder->text + builder->length;
    const char *at = memchr(builder->text + builder->offset, '\n', builder->length - builder->offset);
    while (at) {
        const char *start = ++at;
        line++;
        while (at < end && *at == ' ')
            at++;
        if (at < end && *at == '-') {
            builder->offset = (size_t)(at - builder->text);
            builder->last_pos = (struct pos){line, (int)(at - start) + 1};
            return;
        }
        if (at < end && *at != '#' && *at != '\n' && *at != '\r')
            return;
        at = memchr(at, '\n', (size_t)(end - at));
    }
}

/* Moves `offset` on to a mark.  The mark's own input_pos counts from the start of libfyaml's buffer, which
 * moves.  On a line with characters of several bytes the offset falls short of the mark, which does no harm.
 */
static void offset_follow(struct builder *builder, const struct fy_mark *mark)
{
    while (builder->line < mark->line) {
        const char *rest = builder->text + builder->line_offset;
        const char *newline = memchr(rest, '\n', builder->length - builder->line_offset);
        if (!newline)
            break;
        builder->line_offset += (size_t)(newline - rest) + 1;
        builder->line++;
    }
    builder->offset = builder->line_offset + (size_t)mark->column;
    if (builder->offset > builder->length)
        builder->offset = builder->length;
}

static struct pos event_pos(struct builder *builder, struct fy_event *event)
{
    const struct fy_mark *mark = fy_event_start_mark(event);
    if (mark) {
        builder->last_pos = (struct pos){mark->line + 1, mark->column + 1};
        offset_follow(builder, mark);
    } else if (event->type == FYET_SCALAR) {
        dash_find(builder);
    }
    return builder->last_pos;
}

/* Hangs a node into the open collection.  A key of a mapping waits for its value. */
static void node_place(struct builder *builder, struct yaml_node *node)
{
    if (builder->depth == 0) {
        builder->root = node;
        return;
    }
    struct open_node *open = &builder->stack[builder->depth - 1];
    if (open->node->kind == YAML_MAPPING && !open->key) {
        open->key = builder->last_key = node;
        return;
    }
    node->key = open->key;
    open->key = NULL;
    if (node->kind == YAML_NULL && node->key)
        node->pos = node->key->pos;
    if (open->last)
        open->last->next = node;
    else
        open->node->first = node;
    open->last = node;
    open->node->count++;
}

static struct yaml_node *node_new(struct builder *builder, enum yaml_kind kind, struct pos pos)
{
    if (++builder->nodes > YAML_NODES_MAX) {
        problem_add(builder->problems, pos, "more than %d values; this is no vmwire file", YAML_NODES_MAX);
        return NULL;
    }
    struct yaml_node *node = arena_new(builder->arena, struct yaml_node);
    node->kind = kind;
    node->pos = pos;
    node->text = "";
    return node;
}

static bool collection_open(struct builder *builder, enum yaml_kind kind, struct pos pos)
{
    if (builder->depth == YAML_DEPTH_MAX) {
        problem_add(builder->problems, pos,
                    "nested more than %d deep; no value of this file goes deeper than 6", YAML_DEPTH_MAX);
        return false;
    }
    struct yaml_node *node = node_new(builder, kind, pos);
    if (!node)
        return false;
    builder->last_scalar = NULL;
    node_place(builder, node);
    builder->stack[builder->depth++] = (struct open_node){.node = node};
    return true;
}

static bool scalar_add(struct builder *builder, struct fy_token *value, struct pos pos)
{
    enum fy_scalar_style style = value ? fy_token_scalar_style(value) : FYSS_PLAIN;
    /* libfyaml's mark of a quoted scalar stands behind the quote. */
    if ((style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED) && pos.column > 1)
        pos.column--;
    struct yaml_node *node = node_new(builder, YAML_SCALAR, pos);
    if (!node)
        return false;
    size_t length = 0;
    const char *text = value ? fy_token_get_text(value, &length) : NULL;
    node->quoted = style != FYSS_PLAIN;
    if (text && length) {
        node->text = arena_strndup(builder->arena, text, length);
        node->length = length;
    }
    if (!node->quoted && (!length || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0))
        node->kind = YAML_NULL;
    builder->last_scalar = node;
    node_place(builder, node);
    return true;
}

/* Something of YAML that this format has no use for.  Always false. */
static bool token_refuse(struct builder *builder, struct fy_token *token, const char *kind, const char *cure)
{
    size_t length = 0;
    const char *text = fy_token_get_text(token, &length);
    const struct fy_mark *mark = fy_token_start_mark(token);
    struct pos pos = mark ? (struct pos){mark->line + 1, mark->column + 1} : builder->last_pos;
    problem_add(builder->problems, pos, "%s '%.*s': %s", kind, (int)(length < 40 ? length : 40),
                text ? text : "", cure);
    return false;
}

static bool anchor_refuse(struct builder *builder, struct fy_token *anchor, const char *kind)
{
    return token_refuse(builder, anchor, kind, "anchors and aliases are not taken here; write the value out");
}

/* Anchors and tags; an anchor is of no use without aliases. */
static bool is_plain(struct builder *builder, struct fy_token *anchor, struct fy_token *tag)
{
    if (anchor)
        return anchor_refuse(builder, anchor, "anchor");
    return tag ? token_refuse(builder, tag, "tag", "tags are not taken here; write the value alone") : true;
}

/* Takes one event.  False ends the reading, with a problem added. */
static bool event_take(struct builder *builder, struct fy_event *event)
{
    struct pos pos = event_pos(builder, event);
    switch (event->type) {
    case FYET_DOCUMENT_START:
        if (++builder->documents > 1) {
            problem_add(builder->problems, pos, "a second document; the file is one document");
            return false;
        }
        return true;
    case FYET_ALIAS:
        return anchor_refuse(builder, event->alias.anchor, "alias");
    case FYET_SCALAR:
        return is_plain(builder, event->scalar.anchor, event->scalar.tag) &&
               scalar_add(builder, event->scalar.value, pos);
    case FYET_SEQUENCE_START:
        return is_plain(builder, event->sequence_start.anchor, event->sequence_start.tag) &&
               collection_open(builder, YAML_SEQUENCE, pos);
    case FYET_MAPPING_START:
        return is_plain(builder, event->mapping_start.anchor, event->mapping_start.tag) &&
               collection_open(builder, YAML_MAPPING, pos);
    case FYET_SEQUENCE_END:
    case FYET_MAPPING_END:
        builder->depth--;
        return true;
    default:
        return true;
    }
}

/* ---- 2. events ---- */

static void diag_discard(struct fy_diag *diag, void *user, const char *text, size_t length)
{
    (void)diag;
    (void)user;
    (void)text;
    (void)length;
}

/* The text before a break may have been swallowed by what is wrong (a missing comma joins two lines), or be
 * cut in two: the last scalar is not to be complained about as well.  An empty last value doubts its key too.
 */
static void tail_doubt(struct builder *builder)
{
    struct yaml_node *last = builder->last_scalar;
    if (last && last->kind == YAML_NULL && last->key && last->key == builder->last_key)
        builder->last_key->kind = YAML_NULL;
    if (last)
        last->kind = YAML_NULL;
}

/* What would be right, where libfyaml's words do not say it. */
static const char *syntax_cure(const char *words)
{
    static const struct {
        const char *part, *cure;
    } cures[] = {
        {"missing comma in flow", "; entries are parted by ',', and the last is followed by '}' or ']'"},
        {"multiline plain key", "; is a ':' missing behind the key?"},
        {"expected ':'", "; is a ':' missing behind the key?"},
        {"indent",
         "; keys that belong together begin in the same column, and what is below one further right"},
        {"without closing quote", "; end it with the quote that it began with"},
        {"invalid value after mapping", "; a text that has ': ' in it stands in quotes"},
        {"key on same line", "; a text that has ': ' in it stands in quotes"},
        {"cannot start with", "; put the text in quotes"}};
    for (size_t i = 0; i < sizeof(cures) / sizeof(cures[0]); i++) {
        if (strstr(words, cures[i].part))
            return cures[i].cure;
    }
    return "";
}

/* libfyaml's first complaint; those behind it follow from it. */
static void syntax_report(struct builder *builder, struct fy_diag *diag)
{
    void *iterator = NULL;
    const struct fy_diag_error *error = fy_diag_errors_iterate(diag, &iterator);
    struct pos pos = builder->last_pos;
    if (error && error->line > 0)
        pos = (struct pos){error->line, error->column > 0 ? error->column : 1};
    const char *words = error && error->msg ? error->msg : "the parser gives no reason";
    problem_add(builder->problems, pos, "not YAML: %s%s", words, syntax_cure(words));
    tail_doubt(builder);
}

static bool events_read(struct builder *builder, const char *text, size_t length)
{
    struct fy_diag_cfg diag_config;
    fy_diag_cfg_default(&diag_config);
    diag_config.fp = NULL;
    diag_config.output_fn = diag_discard;
    diag_config.colorize = false;
    struct fy_diag *diag = fy_diag_create(&diag_config);
    if (!diag)
        return false;
    fy_diag_set_collect_errors(diag, true);
    builder->text = text;
    builder->length = length;

    const struct fy_parse_cfg config = {.flags = FYPCF_QUIET | FYPCF_JSON_NONE |
                                                 FYPCF_SLOPPY_FLOW_INDENTATION | FYPCF_ALLOW_DUPLICATE_KEYS,
                                        .diag = diag};
    bool whole = true;
    builder->parser = fy_parser_create(&config);
    if (!builder->parser || fy_parser_set_string(builder->parser, text, length) < 0)
        whole = false;
    while (whole) {
        struct fy_event *event = fy_parser_parse(builder->parser);
        if (!event)
            break;
        whole = event_take(builder, event);
        fy_parser_event_free(builder->parser, event);
    }
    if (whole && fy_diag_got_error(diag)) {
        syntax_report(builder, diag);
        whole = false;
    }
    if (builder->parser)
        fy_parser_destroy(builder->parser);
    fy_diag_destroy(diag);
    return whole;
}

bool yaml_parse(struct arena *arena, const char *text, size_t length, struct problems *problems,
                const struct yaml_node **root)
{
    struct builder builder = {.arena = arena, .problems = problems};
    static const char mark[] = "\xef\xbb\xbf"; /* a byte order mark says nothing in UTF-8 */

    *root = NULL;
    if (length >= 3 && memcmp(text, mark, 3) == 0) {
        text += 3;
        length -= 3;
    }
    size_t good = text_scan(text, length, problems);
    if (good == 0)
        return length == 0;
    bool whole = events_read(&builder, text, good);
    *root = builder.root;
    return whole && good == length;
}
