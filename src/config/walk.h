/* walk.h: a YAML tree against tables of keys: the schema is data.
 *
 * A section (a network, a machine, a nic, …) is a table of keys; each key names the function that takes its
 * value, where the value goes, and in words what it takes.  Unknown keys, duplicates, wrong types and missing
 * keys are then found in one place and said in one way: "'memory' takes a size such as 512M or 4G, not '4X'".
 */
#ifndef VMWIRE_CONFIG_WALK_H
#define VMWIRE_CONFIG_WALK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "config/yaml.h"
#include "model/model.h"
#include "model/problem.h"

/* A reader of mistakes gives up before this many. */
enum { WALK_PROBLEMS_MAX = 500 };

/* One walk over one file. */
struct walk {
    struct arena *arena; /* the model's */
    struct problems *problems;
    struct model *model;
    bool partial; /* part of the file was not read: nothing can be said to be missing */
};

struct key;

/* Takes the value of `key` into `target`, the struct that the section fills, or adds a problem. */
typedef void key_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value);

/* A word and the value that it stands for; a list ends with a NULL word. */
struct word {
    const char *text;
    int value;
};

struct key {
    const char *name;
    key_take *take;
    const char *takes;        /* "a size such as 512M or 4G" */
    size_t offset;            /* of the member in the target, for the general takers below */
    size_t pos_offset;        /* of the struct pos that gets the value's position; 0: none */
    unsigned modes;           /* bits 1 << enum network_mode that it belongs to; 0: all */
    const char *why;          /* it has no place in the others; NULL: nothing to say */
    const char *missing;      /* why it cannot be left out; NULL: it can */
    unsigned missing_modes;   /* the modes that need it; 0: all that it belongs to */
    unsigned min, max;        /* for key_number */
    const struct word *words; /* for key_word */
};

struct section {
    const char *what;       /* "a network" */
    const struct key *keys; /* ends with a NULL name */
};

/* Every section, for "'cpus' belongs to a machine".  Ends with NULL. */
extern const struct section *const sections[];
extern const struct section section_file, section_network, section_machine, section_disk, section_display,
    section_nic, section_function, section_dhcp, section_dns, section_boot, section_rate;

/* Takes every key of mapping `node`, which is `subject` ("network 'brext'") in messages, into `target`.
 * `mode` is the network's (0: not known, or no network).  Adds a problem when it is not a mapping. */
void walk_section(struct walk *walk, const struct section *section, const char *subject, unsigned mode,
                  void *target, const struct yaml_node *node);

/* The names of a mapping of entries: problems for names that are no plain words, break `fault`'s rule, or
 * come twice; `take` is called for each of the others, bad names among them, so that their content is checked
 * too. */
typedef void entry_take(struct walk *walk, const char *name, const struct yaml_node *value);
void walk_entries(struct walk *walk, const char *what, const char *(*fault)(struct arena *, const char *),
                  const struct yaml_node *node, entry_take *take);

/* The value of key `name` in a mapping, or NULL. */
const struct yaml_node *walk_child(const struct yaml_node *node, const char *name);
/* True when there are so many problems that reading on makes no sense; says so once. */
bool walk_enough(struct walk *walk, struct pos pos);

/* "'KEY' takes TAKES, not VALUE" or "'KEY' is empty; it takes TAKES", and after a semicolon the hint, when
 * there is one. */
void value_refuse(struct walk *walk, const struct key *key, const struct yaml_node *value, const char *hint,
                  ...) __attribute__((format(printf, 4, 5)));
/* A scalar's text without control characters, or NULL after a problem. */
const char *value_text(struct walk *walk, const struct key *key, const struct yaml_node *value);
/* A decimal number without sign or leading zero, at most `max`. */
bool number_parse(const char *text, unsigned long max, unsigned long *number);
/* yes/no, on/off, true/false.  Returns false when it is none of them. */
bool bool_parse(const char *text, bool *value);

/* General takers.  In brackets the type of the member at `offset`. */
key_take key_path;      /* const char *: a path: no leading dash, at most PATH_MAX - 1 bytes */
key_take key_interface; /* const char *: a legal interface name */
key_take key_bool;      /* bool */
key_take key_number;    /* unsigned, from min to max */
key_take key_word;      /* int or an enum, one of `words` */

/* The member of `target` that `key` fills. */
#define KEY_MEMBER(type, target, key) ((type *)(void *)((char *)(target) + (key)->offset))

/* The takers of the file's two keys (network.c, machine.c). */
key_take networks_take, machines_take;

/* dhcp_dns.c: what a nat network's guests are served; all into struct network but boot_take, which has its
 * offset. */
key_take dhcp_take, domain_take, dns_take, boot_take;
enum { LEASE_DEFAULT_S = 3600 };

/* device.c: into struct network's `device`. */
key_take device_take;

/* forward.c: port forwards, into a struct forward_entries at `offset`. */
key_take network_forward_take, nic_forward_take;

/* rate.c: into a struct rates at `offset`. */
key_take rate_take;

#endif
