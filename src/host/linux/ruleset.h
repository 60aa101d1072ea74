/* ruleset.h: what the readers of foreign firewall chains share: one rule in the making. */
#ifndef VMWIRE_HOST_LINUX_RULESET_H
#define VMWIRE_HOST_LINUX_RULESET_H

#include <libmnl/libmnl.h>

#include "base/arena.h"
#include "model/ruleset.h"

struct rule_maker {
    struct arena *arena;
    struct ruleset *ruleset;
    struct rule *rule;
};

struct rule_step *rule_step_add(struct rule_maker *maker, enum rule_step_kind kind);
/* Copies of bytes in the arena. */
const uint8_t *rule_bytes(struct rule_maker *maker, const void *bytes, size_t length);
/* Load `source` (for headers from `offset`) into the first register. */
void rule_load(struct rule_maker *maker, enum rule_source source, uint16_t offset, uint8_t length);
/* The first register, compared with bytes under a mask (NULL: all of it). */
void rule_compare(struct rule_maker *maker, const void *value, const void *mask, uint8_t length, bool negate);
void rule_range(struct rule_maker *maker, const void *first, const void *last, uint8_t length, bool negate);
void rule_maybe(struct rule_maker *maker, const char *what);
void rule_end(struct rule_maker *maker, enum rule_verdict verdict, const char *chain);

/* ruleset_rule.c: one expression of an nftables rule (NFTA_LIST_ELEM). */
void rule_expression(struct rule_maker *maker, const struct nlattr *element);
/* NFTA_VERDICT_* nested. */
struct rule_target rule_verdict_read(struct arena *arena, const struct nlattr *nest);
uint8_t rule_register(uint32_t number);

/* ruleset_xt.c: a match and a target of iptables; `name` as iptables calls them, `info` the extension's
 * struct. */
void xt_match(struct rule_maker *maker, const char *name, uint32_t revision, const void *info, size_t length);
void xt_target(struct rule_maker *maker, const char *name, const void *info, size_t length);

/* An interface's name (16 bytes) under a mask; `br+` has a mask of two. */
void xt_interface(struct rule_maker *maker, enum rule_source source, const char *name, const uint8_t *mask,
                  bool negate);

/* ruleset_legacy.c: the tables of iptables-legacy. */
void legacy_observe(struct arena *arena, struct ruleset *ruleset);

#endif
