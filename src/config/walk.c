/* walk.c: the walker and the general takers of walk.h. */
#include "config/walk.h"

#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"

const struct section *const sections[] = {
    &section_file,     &section_network, &section_machine, &section_disk, &section_display, &section_nic,
    &section_function, &section_dhcp,    &section_dns,     &section_boot, &section_rate,    NULL};

enum { KEYS_MAX = 31 }; /* of one section */

/* A text for a message: cut when long, control characters as '?'. */
static const char *text_show(struct walk *walk, const char *text, size_t length)
{
    const size_t limit = 60;
    size_t shown = length < limit ? length : limit;
    while (shown > 0 && shown < length && ((unsigned char)text[shown] & 0xc0) == 0x80)
        shown--;
    char *copy = arena_strndup(walk->problems->arena, text, shown);
    for (size_t i = 0; i < shown; i++) {
        unsigned char byte = (unsigned char)copy[i], next = (unsigned char)copy[i + 1];
        if (byte < 0x20 || byte == 0x7f)
            copy[i] = '?';
        else if (byte == 0xc2 && next >= 0x80 && next < 0xa0) /* U+0080 to U+009F */
            copy[i] = copy[i + 1] = '?';
    }
    return shown < length ? arena_printf(walk->problems->arena, "%s…", copy) : copy;
}

static const char *value_show(struct walk *walk, const struct yaml_node *value)
{
    switch (value->kind) {
    case YAML_NULL:
        return "empty";
    case YAML_SEQUENCE:
        return "a list";
    case YAML_MAPPING:
        return "a mapping";
    case YAML_SCALAR:
        break;
    }
    return arena_printf(walk->problems->arena, "'%s'", text_show(walk, value->text, value->length));
}

void value_refuse(struct walk *walk, const struct key *key, const struct yaml_node *value, const char *hint,
                  ...)
{
    const char *more = "";
    if (value->kind == YAML_NULL && walk->partial)
        return; /* what stood there may be what was not read */
    if (hint) {
        va_list args;
        va_start(args, hint);
        more = arena_printf(walk->problems->arena, "; %s", arena_vprintf(walk->problems->arena, hint, args));
        va_end(args);
    }
    if (value->kind == YAML_NULL)
        problem_add(walk->problems, value->pos, "'%s' is empty; it takes %s%s", key->name, key->takes, more);
    else
        problem_add(walk->problems, value->pos, "'%s' takes %s, not %s%s", key->name, key->takes,
                    value_show(walk, value), more);
}

const char *value_text(struct walk *walk, const struct key *key, const struct yaml_node *value)
{
    if (value->kind != YAML_SCALAR || value->length == 0) {
        value_refuse(walk, key, value, NULL);
        return NULL;
    }
    if (!yaml_text_is_plain(value->text, value->length)) {
        value_refuse(walk, key, value, "it holds a control character");
        return NULL;
    }
    return value->text;
}

bool number_parse(const char *text, unsigned long max, unsigned long *number)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 18 || text[digits] || (digits > 1 && text[0] == '0'))
        return false;
    *number = strtoul(text, NULL, 10);
    return *number <= max;
}

bool bool_parse(const char *text, bool *value)
{
    static const struct word words[] = {{"yes", 1}, {"no", 0},   {"on", 1},
                                        {"off", 0}, {"true", 1}, {"false", 0}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasecmp(text, words[i].text) == 0) {
            *value = words[i].value;
            return true;
        }
    }
    return false;
}

/* ---- general takers ---- */

void key_path(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    if (*text == '-') {
        value_refuse(walk, key, value, "it would be read as an option; write './%s'",
                     text_show(walk, text, value->length));
    } else if (value->length >= PATH_MAX) {
        value_refuse(walk, key, value, "it has %zu bytes, and a path has at most %d", value->length,
                     PATH_MAX - 1);
    } else {
        *KEY_MEMBER(const char *, target, key) = arena_strdup(walk->arena, text);
    }
}

void key_interface(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    const char *fault = name_fault(walk->problems->arena, text);
    if (fault)
        value_refuse(walk, key, value, "it %s", fault);
    else
        *KEY_MEMBER(const char *, target, key) = arena_strdup(walk->arena, text);
}

void key_bool(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    const char *text = value_text(walk, key, value);
    if (text && !bool_parse(text, KEY_MEMBER(bool, target, key)))
        value_refuse(walk, key, value, NULL);
}

void key_number(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    unsigned long number;
    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    if (!number_parse(text, key->max, &number) || number < key->min)
        value_refuse(walk, key, value, NULL);
    else
        *KEY_MEMBER(unsigned, target, key) = (unsigned)number;
}

void key_word(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    const char *names[16] = {NULL};
    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    for (size_t i = 0; key->words[i].text; i++) {
        if (strcmp(text, key->words[i].text) == 0) {
            *KEY_MEMBER(int, target, key) = key->words[i].value;
            return;
        }
        names[i] = key->words[i].text;
    }
    const char *nearest = text_nearest(text, names);
    if (nearest)
        value_refuse(walk, key, value, "did you mean '%s'?", nearest);
    else
        value_refuse(walk, key, value, NULL);
}

/* ---- the walker ---- */

bool walk_enough(struct walk *walk, struct pos pos)
{
    if (walk->problems->list.count < WALK_PROBLEMS_MAX)
        return false;
    if (walk->problems->list.count == WALK_PROBLEMS_MAX)
        problem_add(walk->problems, pos, "that is %d mistakes; the rest of the file was not looked at",
                    WALK_PROBLEMS_MAX);
    walk->partial = true;
    return true;
}

const struct yaml_node *walk_child(const struct yaml_node *node, const char *name)
{
    if (node->kind != YAML_MAPPING)
        return NULL;
    yaml_foreach(node, child)
    {
        if (child->key->kind == YAML_SCALAR && strcmp(child->key->text, name) == 0)
            return child;
    }
    return NULL;
}

static const struct key *key_find(const struct section *section, const char *name)
{
    for (const struct key *key = section->keys; key->name; key++) {
        if (strcmp(key->name, name) == 0)
            return key;
    }
    return NULL;
}

/* "bridged, nat and routed" for the bits of a key's modes. */
static const char *modes_show(struct walk *walk, unsigned modes)
{
    struct text out = {.arena = walk->problems->arena};
    for (enum network_mode mode = NETWORK_BRIDGED; mode < NETWORK_MODE_COUNT; mode++) {
        if (modes & 1u << mode)
            text_add(&out, "%s%s",
                     !out.length           ? ""
                     : modes >> (mode + 1) ? ", "
                                           : " and ",
                     network_mode_name(mode));
    }
    return text_get(&out);
}

/* Reports an unknown key, and returns the one that was probably meant, or NULL. */
static const struct key *key_unknown(struct walk *walk, const struct section *section, unsigned mode,
                                     const struct yaml_node *name)
{
    const char *names[KEYS_MAX + 1] = {NULL};
    struct text list = {.arena = walk->problems->arena};
    const char *shown = text_show(walk, name->text, name->length);
    size_t count = 0;

    if (name->kind == YAML_NULL && walk->partial)
        return NULL;
    if (name->kind != YAML_SCALAR) {
        problem_add(walk->problems, name->pos, "a key of %s is a word; this one is %s", section->what,
                    value_show(walk, name));
        return NULL;
    }
    for (const struct key *key = section->keys; key->name; key++) {
        if (mode && key->modes && !(key->modes & 1u << mode))
            continue;
        names[count++] = key->name;
        text_add(&list, "%s%s", list.length ? ", " : "", key->name);
    }
    const char *nearest = text_nearest(name->text, names);
    if (nearest) {
        problem_add(walk->problems, name->pos, "unknown key '%s'; did you mean '%s'?", shown, nearest);
        return key_find(section, nearest);
    }
    for (size_t i = 0; sections[i]; i++) {
        if (sections[i] == section || !key_find(sections[i], name->text))
            continue;
        problem_add(walk->problems, name->pos, "unknown key '%s'; it belongs to %s, not to %s", shown,
                    sections[i]->what, section->what);
        return NULL;
    }
    problem_add(walk->problems, name->pos, "unknown key '%s'; %s has %s", shown, section->what,
                text_get(&list));
    return NULL;
}

/* What was found of each key of a section, by its place in the table. */
struct found {
    const struct yaml_node *first; /* the first of that name */
    bool meant;                    /* a misspelt one was probably this: not missing too */
};

/* One key of a section with its value. */
static void child_take(struct walk *walk, const struct section *section, unsigned mode, void *target,
                       struct found *found, const struct yaml_node *child)
{
    const struct yaml_node *name = child->key;
    const struct key *key = NULL;
    if (name->kind == YAML_SCALAR && strlen(name->text) == name->length)
        key = key_find(section, name->text);
    if (!key) {
        key = key_unknown(walk, section, mode, name);
        if (key)
            found[key - section->keys].meant = true;
        return;
    }
    const struct yaml_node **first = &found[key - section->keys].first;
    if (*first) {
        problem_add(walk->problems, name->pos, "'%s' is here twice; the first is on line %d", key->name,
                    (*first)->key->pos.line);
        return;
    }
    *first = child;
    if (mode && key->modes && !(key->modes & 1u << mode)) {
        problem_add(walk->problems, name->pos, "'%s' belongs to mode %s; this network is %s%s%s", key->name,
                    modes_show(walk, key->modes), network_mode_name(mode), key->why ? ": " : "",
                    key->why ? key->why : "");
        return;
    }
    if (key->pos_offset)
        *(struct pos *)(void *)((char *)target + key->pos_offset) = child->pos;
    key->take(walk, target, key, child);
}

/* What a lonely word was meant to be: "mode:nat" lacks a blank. */
static const char *pair_meant(struct walk *walk, const struct section *section, const struct yaml_node *node)
{
    const char *colon = node->kind == YAML_SCALAR ? strchr(node->text, ':') : NULL;
    const char *name =
        colon ? arena_strndup(walk->problems->arena, node->text, (size_t)(colon - node->text)) : NULL;
    return name && colon[1] && key_find(section, name)
               ? arena_printf(walk->problems->arena, "'%s: %s', with a blank behind the ':'", name,
                              text_show(walk, colon + 1, strlen(colon + 1)))
               : "'key: value'";
}

void walk_section(struct walk *walk, const struct section *section, const char *subject, unsigned mode,
                  void *target, const struct yaml_node *node)
{
    struct found found[KEYS_MAX] = {0};
    if (node->kind == YAML_NULL && walk->partial)
        return;
    if (node->kind != YAML_MAPPING) {
        problem_add(walk->problems, node->pos, "%s is %s; write its keys below it, as %s", subject,
                    value_show(walk, node), pair_meant(walk, section, node));
        return;
    }
    yaml_foreach(node, child)
    {
        if (walk_enough(walk, child->pos))
            return;
        child_take(walk, section, mode, target, found, child);
    }
    for (const struct key *key = section->keys; key->name && !walk->partial; key++) {
        unsigned modes = key->missing_modes ? key->missing_modes : key->modes;
        bool wanted = key->missing && (!modes || (mode && modes & 1u << mode));
        if (wanted && !found[key - section->keys].first && !found[key - section->keys].meant)
            problem_add(walk->problems, node->key ? node->key->pos : node->pos, "%s has no '%s'; %s", subject,
                        key->name, key->missing);
    }
}

static int entry_compare(const void *left, const void *right)
{
    const struct yaml_node *a = *(const struct yaml_node *const *)left,
                           *b = *(const struct yaml_node *const *)right;
    int order = strcmp(a->key->text, b->key->text);
    if (order)
        return order;
    if (a->pos.line != b->pos.line)
        return a->pos.line < b->pos.line ? -1 : 1;
    return (a->pos.column > b->pos.column) - (a->pos.column < b->pos.column);
}

/* Marks the second and later of each name: those are not taken. */
static void duplicates_find(struct walk *walk, const char *what, const struct yaml_node *node,
                            struct arena *scratch, bool *duplicate)
{
    struct place {
        const struct yaml_node *node;
        size_t index;
    } *places = arena_alloc(scratch, (node->count + 1) * sizeof(*places));
    size_t count = 0;
    yaml_foreach(node, child)
    {
        places[count] = (struct place){child, count};
        count++;
    }
    qsort(places, count, sizeof(*places), entry_compare);
    size_t first = 0;
    for (size_t i = 1; i < count; i++) {
        const struct yaml_node *name = places[i].node->key;
        if (strcmp(places[first].node->key->text, name->text) != 0 || name->kind != YAML_SCALAR) {
            first = i;
            continue;
        }
        duplicate[places[i].index] = true;
        if (!walk_enough(walk, name->pos))
            problem_add(walk->problems, name->pos, "%s '%s' is here twice; the first is on line %d", what,
                        text_show(walk, name->text, name->length), places[first].node->key->pos.line);
    }
}

void walk_entries(struct walk *walk, const char *what, const char *(*fault)(struct arena *, const char *),
                  const struct yaml_node *node, entry_take *take)
{
    _cleanup_arena_ struct arena scratch = {0};
    bool *duplicate = arena_alloc(&scratch, node->count + 1);
    size_t index = 0;
    duplicates_find(walk, what, node, &scratch, duplicate);
    yaml_foreach(node, child)
    {
        const struct yaml_node *name = child->key;
        if (walk_enough(walk, child->pos))
            return;
        if (duplicate[index++] || (name->kind == YAML_NULL && walk->partial))
            continue;
        if (name->kind != YAML_SCALAR) {
            problem_add(walk->problems, name->pos, "a %s's name is a word; this one is %s", what,
                        value_show(walk, name));
            continue;
        }
        const char *wrong = strlen(name->text) == name->length ? fault(walk->problems->arena, name->text)
                                                               : "holds the byte 0x00";
        if (wrong)
            problem_add(walk->problems, name->pos, "%s name '%s' %s", what,
                        text_show(walk, name->text, name->length), wrong);
        take(walk, arena_strdup(walk->arena, name->text), child);
    }
}
