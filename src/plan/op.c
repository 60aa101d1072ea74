/* op.c: operations as text (op.h), driven by the table of members a kind in op_fields.c. */
#include "plan/op_fields.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

const char *op_kind_name(enum op_kind kind)
{
    return kind > OP_NONE && kind < OP_KIND_COUNT ? op_members[kind].name : "none";
}

/* Percent-encoding.  ',' is encoded too, since it separates the words of an argv. */
static void encode(struct text *out, const char *value)
{
    for (const unsigned char *c = (const unsigned char *)value; *c; c++) {
        if (*c <= ' ' || *c == '%' || *c == '=' || *c == ',' || *c == 0x7f)
            text_add(out, "%%%02x", *c);
        else
            text_add_bytes(out, (const char *)c, 1);
    }
}

static int hex(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* The decoded value, or NULL when it is not what encode writes. */
static char *decode(struct arena *arena, const char *value, size_t length)
{
    char *out = arena_alloc(arena, length + 1);
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        if (value[i] != '%') {
            out[used++] = value[i];
            continue;
        }
        if (length - i < 3)
            return NULL;
        int high = hex(value[i + 1]), low = hex(value[i + 2]);
        if (high < 0 || low < 0 || (high == 0 && low == 0))
            return NULL;
        out[used++] = (char)(high << 4 | low);
        i += 2;
    }
    return out;
}

static const void *at(const struct op *op, const struct field *field)
{
    return (const char *)op + field->offset;
}

/* The member as text, NULL when it is unset and need not be written. */
static const char *member_text(struct arena *arena, const struct op *op, const struct field *field)
{
    const void *member = at(op, field);
    switch (field->type) {
    case F_TEXT: {
        const char *text = *(const char *const *)member;
        return text && (*text || field->optional) ? text : NULL;
    }
    case F_BOOL:
        return *(const bool *)member ? "1" : field->optional ? "0" : NULL;
    case F_U8:
        return *(const uint8_t *)member || field->optional
                   ? arena_printf(arena, "%u", *(const uint8_t *)member)
                   : NULL;
    case F_U32:
        return *(const uint32_t *)member || field->optional
                   ? arena_printf(arena, "%" PRIu32, *(const uint32_t *)member)
                   : NULL;
    case F_MAC:
        return arena_strdup(arena, MAC_TEXT((const struct mac *)member));
    case F_IP:
        return ip_is_set(member) ? arena_strdup(arena, IP_TEXT((const struct ip *)member)) : NULL;
    case F_PREFIX: {
        const struct prefix *prefix = member;
        return ip_is_set(&prefix->ip) ? arena_strdup(arena, PREFIX_TEXT(prefix)) : NULL;
    }
    case F_RATE: {
        const struct rate *rate = member;
        return rate->bits_s ? arena_printf(arena, "%" PRIu64 "/%" PRIu32, rate->bits_s, rate->burst) : NULL;
    }
    case F_ARGV:
    case F_FORWARDS:
        break;
    }
    return NULL;
}

/* The words of a member that is a list, ending with NULL; NULL when it is none, or empty. */
static const char *const *member_words(struct arena *arena, const struct op *op, const struct field *field)
{
    if (field->type == F_ARGV)
        return *(const char *const *const *)at(op, field);
    const struct forwards *forwards = field->type == F_FORWARDS ? at(op, field) : NULL;
    if (!forwards || !forwards->list.count)
        return NULL;
    VEC(const char *) words = {0};
    vec_foreach (&forwards->list, forward)
        *vec_push(arena, &words) = forward_format(arena, forward);
    *vec_push(arena, &words) = NULL;
    return words.items;
}

static bool is_list(const struct field *field)
{
    return field->type == F_ARGV || field->type == F_FORWARDS;
}

/* Which optional members an operation has: the bits of its `fields`; NULL when none is optional. */
static unsigned *fields_of(struct op *op)
{
    if (op->kind == OP_LINK_CREATE || op->kind == OP_LINK_DELETE || op->kind == OP_LINK_SET)
        return &op->link.fields;
    return op->kind == OP_FUNCTION_SET ? &op->function.fields : NULL;
}

static bool wanted(const struct op *op, const struct field *field)
{
    const unsigned *fields = fields_of((struct op *)op);
    return !field->optional || (fields && (*fields & field->optional));
}

static void words_format(struct text *out, const char *const *words)
{
    for (size_t i = 0; words && words[i]; i++) {
        if (i)
            text_add(out, ",");
        encode(out, words[i]);
    }
}

const char *op_format(struct arena *arena, const struct op *op)
{
    struct text out = {.arena = arena};
    text_add(&out, "%s", op_kind_name(op->kind));
    if (op->network && *op->network) {
        text_add(&out, " network=");
        encode(&out, op->network);
    }
    for (const struct field *field = op_members[op->kind].fields; field && field->name; field++) {
        if (!wanted(op, field))
            continue;
        if (is_list(field)) {
            const char *const *words = member_words(arena, op, field);
            if (words || field->type == F_ARGV) {
                text_add(&out, " %s=", field->name);
                words_format(&out, words);
            }
            continue;
        }
        const char *value = member_text(arena, op, field);
        if (value) {
            text_add(&out, " %s=", field->name);
            encode(&out, value);
        }
    }
    return text_get(&out);
}

static int number_parse(const char *text, unsigned long max, unsigned long *number)
{
    if (!*text || text[strspn(text, "0123456789")] || strlen(text) > 10)
        return -EINVAL;
    *number = strtoul(text, NULL, 10);
    return *number > max ? -EINVAL : 0;
}

static const char *const *words_parse(struct arena *arena, const char *text)
{
    VEC(const char *) words = {0};
    const char *rest = *text ? text : NULL;
    while (rest) { /* behind a comma stands a word, if an empty one */
        size_t length = strcspn(rest, ",");
        const char *word = decode(arena, rest, length);
        if (!word)
            return NULL;
        *vec_push(arena, &words) = word;
        rest = rest[length] == ',' ? rest + length + 1 : NULL;
    }
    *vec_push(arena, &words) = NULL;
    return words.items;
}

static int forwards_parse(struct arena *arena, const char *const *words, struct forwards *forwards)
{
    for (size_t i = 0; words && words[i]; i++) {
        const char *name;
        struct forward *forward = vec_push(arena, &forwards->list);
        if (forward_parse(arena, words[i], forward, &name) || !ip_is_set(&forward->target))
            return -EINVAL;
    }
    return words ? 0 : -EINVAL;
}

/* "BITS/BYTES", whatever limits a file may ask for: what was observed is put back. */
static int numbers_parse(struct arena *arena, const char *text, struct rate *rate)
{
    unsigned long bits, burst;
    const char *slash = strchr(text, '/');
    if (!slash || number_parse(arena_strndup(arena, text, (size_t)(slash - text)), ULONG_MAX, &bits) < 0 ||
        number_parse(slash + 1, UINT32_MAX, &burst) < 0)
        return -EINVAL;
    *rate = (struct rate){.bits_s = bits, .burst = (uint32_t)burst};
    return 0;
}

static int member_parse(struct arena *arena, struct op *op, const struct field *field, const char *raw,
                        size_t length)
{
    void *member = (char *)op + field->offset;
    unsigned long number = 0;
    int rc = 0;
    if (is_list(field)) {
        const char *const *words = words_parse(arena, arena_strndup(arena, raw, length));
        if (!words)
            return -EINVAL;
        if (field->type == F_FORWARDS)
            return forwards_parse(arena, words, member);
        *(const char *const **)member = words;
        return 0;
    }
    const char *text = decode(arena, raw, length);
    if (!text)
        return -EINVAL;
    switch (field->type) {
    case F_TEXT:
        *(const char **)member = text;
        break;
    case F_BOOL:
        rc = number_parse(text, 1, &number);
        *(bool *)member = number != 0;
        break;
    case F_U8:
        rc = number_parse(text, UINT8_MAX, &number);
        *(uint8_t *)member = (uint8_t)number;
        break;
    case F_U32:
        rc = number_parse(text, UINT32_MAX, &number);
        *(uint32_t *)member = (uint32_t)number;
        break;
    case F_MAC:
        rc = mac_parse(text, member);
        break;
    case F_IP:
        rc = ip_parse(text, member);
        break;
    case F_PREFIX:
        rc = prefix_parse(text, member);
        break;
    case F_RATE:
        rc = numbers_parse(arena, text, member);
        break;
    case F_ARGV:
    case F_FORWARDS:
        break;
    }
    if (rc == 0 && field->optional)
        *fields_of(op) |= field->optional;
    return rc;
}

/* Texts that a line left out are "", never NULL. */
static void fill_texts(struct op *op)
{
    for (const struct field *field = op_members[op->kind].fields; field && field->name; field++) {
        if (field->type == F_TEXT) {
            const char **member = (const char **)(void *)((char *)op + field->offset);
            if (!*member)
                *member = "";
        }
    }
    if (op_members[op->kind].network)
        *(const char **)(void *)((char *)op + op_members[op->kind].network) = op->network;
}

static int pair_parse(struct arena *arena, struct op *op, const char *pair, size_t length, struct err *err)
{
    const char *equals = memchr(pair, '=', length);
    if (!equals)
        return err_set(err, EINVAL, "'%.*s' is not KEY=VALUE", (int)length, pair);
    size_t name_length = (size_t)(equals - pair), value_length = length - name_length - 1;
    if (name_length == 7 && memcmp(pair, "network", 7) == 0) {
        op->network = decode(arena, equals + 1, value_length);
        return op->network ? 0 : err_set(err, EINVAL, "'%.*s' is not well encoded", (int)length, pair);
    }
    for (const struct field *field = op_members[op->kind].fields; field->name; field++) {
        if (strlen(field->name) != name_length || memcmp(field->name, pair, name_length) != 0)
            continue;
        if (member_parse(arena, op, field, equals + 1, value_length) < 0)
            return err_set(err, EINVAL, "'%.*s' has a bad value", (int)length, pair);
        return 0;
    }
    return err_set(err, EINVAL, "'%.*s' does not belong to %s", (int)length, pair, op_kind_name(op->kind));
}

int op_parse(struct arena *arena, const char *line, struct op *op, struct err *err)
{
    *op = (struct op){.network = ""};
    size_t length = strcspn(line, " ");
    for (int kind = OP_NONE + 1; kind < OP_KIND_COUNT; kind++) {
        if (strlen(op_members[kind].name) == length && memcmp(op_members[kind].name, line, length) == 0)
            op->kind = (enum op_kind)kind;
    }
    if (op->kind == OP_NONE)
        return err_set(err, EINVAL, "'%.*s' is not an operation", (int)length, line);
    for (const char *rest = line + length; *rest;) {
        rest++;
        size_t pair = strcspn(rest, " ");
        int rc = pair_parse(arena, op, rest, pair, err);
        if (rc < 0)
            return rc;
        rest += pair;
    }
    fill_texts(op);
    return 0;
}

void op_json(struct json *json, const struct op *op)
{
    struct arena *arena = json->out->arena;
    json_string(json, "kind", op_kind_name(op->kind));
    json_string(json, "network", op->network && *op->network ? op->network : NULL);
    for (const struct field *field = op_members[op->kind].fields; field && field->name; field++) {
        if (!wanted(op, field))
            continue;
        /* "kind" is the operation's already */
        const char *name = strcmp(field->name, "kind") == 0 ? "type" : field->name;
        if (is_list(field)) {
            json_array_open(json, name);
            const char *const *words = member_words(arena, op, field);
            for (size_t i = 0; words && words[i]; i++)
                json_string(json, NULL, words[i]);
            json_array_close(json);
        } else if (field->type == F_BOOL) {
            json_bool(json, name, *(const bool *)at(op, field));
        } else if (field->type == F_U32) {
            json_integer(json, name, *(const uint32_t *)at(op, field));
        } else if (field->type == F_U8) {
            json_integer(json, name, *(const uint8_t *)at(op, field));
        } else {
            const char *value = member_text(arena, op, field);
            if (value)
                json_string(json, name, value);
        }
    }
}
