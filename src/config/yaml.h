/* yaml.h: a YAML text as a small tree with positions.  Knows nothing of networks; config.c walks the tree.
 *
 * The tree is built from libfyaml's events rather than its documents: a node takes 64 bytes instead of
 * several hundred, a duplicate key can be reported beside all other mistakes, and aliases never get to be
 * resolved. */
#ifndef VMWIRE_CONFIG_YAML_H
#define VMWIRE_CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "model/problem.h"

enum yaml_kind { YAML_NULL, YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING };

struct yaml_node {
    enum yaml_kind kind;
    bool quoted;                   /* a scalar in quotes or a block: not a word like `off` */
    struct pos pos;                /* where it begins; of an empty value, its key */
    unsigned count;                /* children */
    size_t length;                 /* of `text`, which may hold NULs ("\0" in double quotes) */
    const char *text;              /* scalar: its content, NUL-terminated; else "" */
    const struct yaml_node *key;   /* a mapping's child: its key */
    const struct yaml_node *first; /* first child of a sequence or mapping */
    const struct yaml_node *next;  /* next sibling */
};

#define yaml_foreach(parent, child)                                                                          \
    for (const struct yaml_node *child = (parent)->first; child; child = child->next)

/* Bounds on what a text may ask for. */
enum {
    YAML_DEPTH_MAX = 32,
    YAML_NODES_MAX = 500000,   /* 4,000 machines take about 200,000 */
    YAML_LINE_MAX = 32 * 1024, /* bytes */
    YAML_OPEN_MAX = 1000,      /* opening less closing brackets and braces, wherever they stand */
};

/* Parse `length` bytes.  What is wrong goes to `problems`: bytes that are not UTF-8, control characters, tabs
 * as indentation, syntax, aliases, anchors, tags, more than one document, too deep, too many.  `root` gets
 * the tree up to the first such place, NULL when there is nothing.  Returns true when the tree is the whole
 * text: false means that what seems to be missing may only not have been read. */
bool yaml_parse(struct arena *arena, const char *text, size_t length, struct problems *problems,
                const struct yaml_node **root);

/* True when `text` is UTF-8 without any control character: no newline, no tab, no NUL. */
bool yaml_text_is_plain(const char *text, size_t length);

#endif
