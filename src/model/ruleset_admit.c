/* ruleset_admit.c: a ruleset as it will be when it has been told to let a network pass: ruleset.h. */
#include <netinet/in.h>
#include <string.h>

#include "model/ruleset.h"

enum { NAME_SIZE = 16, PORT_DHCP = 67, PORT_DHCP6 = 547, PORT_DNS = 53, TARGET_PORT = 2 };

/* Goes on where what `source` reads is `data`. */
static void add_equal(struct arena *arena, struct rule *rule, enum rule_source source, uint16_t offset,
                      const uint8_t *data, uint8_t length)
{
    *vec_push(arena, &rule->steps) =
        (struct rule_step){.kind = STEP_LOAD, .source = source, .offset = offset, .length = length};
    *vec_push(arena, &rule->steps) =
        (struct rule_step){.kind = STEP_COMPARE, .compare = COMPARE_EQUAL, .length = length, .data = data};
}

static void add_name(struct arena *arena, struct rule *rule, enum rule_source source, const char *name)
{
    uint8_t *data = arena_alloc(arena, NAME_SIZE);
    memset(data, 0, NAME_SIZE);
    memcpy(data, name, strnlen(name, NAME_SIZE - 1));
    add_equal(arena, rule, source, 0, data, NAME_SIZE);
}

static void add_port(struct arena *arena, struct rule *rule, uint8_t protocol, uint16_t port)
{
    uint8_t *data = arena_alloc(arena, 3);
    data[0] = protocol, data[1] = (uint8_t)(port >> 8), data[2] = (uint8_t)port;
    add_equal(arena, rule, SOURCE_PROTOCOL, 0, data, 1);
    add_equal(arena, rule, SOURCE_TRANSPORT, TARGET_PORT, data + 1, 2);
}

static struct rule rule_of(struct arena *arena, const struct admission *admission)
{
    enum admission_kind kind = admission_kind_find(admission->kind);
    struct rule rule = {.comment = admission_tag(arena, admission)};
    if (kind != ADMISSION_TO)
        add_name(arena, &rule, SOURCE_IN_NAME, admission->network);
    if (kind == ADMISSION_TO || kind == ADMISSION_INSIDE)
        add_name(arena, &rule, SOURCE_OUT_NAME, admission->network);
    if (kind == ADMISSION_DHCP || kind == ADMISSION_DHCP6)
        add_port(arena, &rule, IPPROTO_UDP, kind == ADMISSION_DHCP ? PORT_DHCP : PORT_DHCP6);
    if (kind == ADMISSION_DNS_UDP || kind == ADMISSION_DNS_TCP)
        add_port(arena, &rule, kind == ADMISSION_DNS_UDP ? IPPROTO_UDP : IPPROTO_TCP, PORT_DNS);
    *vec_push(arena, &rule.steps) = (struct rule_step){.kind = STEP_END, .target = {.verdict = RULE_ACCEPT}};
    return rule;
}

void ruleset_admit(struct arena *arena, struct ruleset *ruleset, const struct admission *admission)
{
    vec_foreach (&ruleset->chains, chain) {
        if (chain->legacy || strcmp(chain->family, admission->family) != 0 ||
            strcmp(chain->table, admission->table) != 0 || strcmp(chain->name, admission->chain) != 0)
            continue;
        vec_push(arena, &chain->rules);
        size_t last = chain->rules.count - 1;
        if (!admission->last)
            memmove(chain->rules.items + 1, chain->rules.items, last * sizeof(*chain->rules.items));
        chain->rules.items[admission->last ? last : 0] = rule_of(arena, admission);
        return;
    }
}
