/* rate.c: `rate:` of a network or a nic: 100Mbit | {in, out, burst}. */
#include "config/walk.h"

#include <inttypes.h>
#include <string.h>

/* What the keys of the long form fill. */
struct rate_keys {
    uint64_t bits_s[RATE_WAYS];
    uint32_t burst;
};

static void way_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    uint64_t bits_s = 0;
    const char *text = value_text(walk, key, value);
    const char *fault = text ? rate_parse(text, &bits_s) : NULL;
    if (fault && text[strspn(text, "0123456789")] == '\0')
        value_refuse(walk, key, value, "it has no unit; did you mean '%sMbit'?", text);
    else if (fault)
        value_refuse(walk, key, value, *fault ? "%s" : NULL, fault);
    else if (text)
        *KEY_MEMBER(uint64_t, target, key) = bits_s;
}

static void burst_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    const char *text = value_text(walk, key, value);
    const char *fault = text ? burst_parse(text, KEY_MEMBER(uint32_t, target, key)) : NULL;
    if (fault)
        value_refuse(walk, key, value, *fault ? "%s" : NULL, fault);
}

#define RATE_TAKES "a rate such as 100Mbit, 64kbit or 1Gbit"

const struct section section_rate = {
    .what = "a rate",
    .keys = (const struct key[]){{.name = "in",
                                  .take = way_take,
                                  .takes = RATE_TAKES,
                                  .offset = offsetof(struct rate_keys, bits_s[RATE_IN])},
                                 {.name = "out",
                                  .take = way_take,
                                  .takes = RATE_TAKES,
                                  .offset = offsetof(struct rate_keys, bits_s[RATE_OUT])},
                                 {.name = "burst",
                                  .take = burst_take,
                                  .takes = "a size such as 64kB or 1MB",
                                  .offset = offsetof(struct rate_keys, burst)},
                                 {0}}};

static bool burst_fits(struct walk *walk, const struct yaml_node *value, const struct rate *rate)
{
    uint64_t seconds = rate->bits_s ? rate->burst * UINT64_C(8) / rate->bits_s : 0;
    if (seconds <= BURST_MAX_S)
        return true;
    const struct yaml_node *burst = walk_child(value, "burst");
    problem_add(walk->problems, burst->pos,
                "a burst of %s takes %" PRIu64 " s at %s; it may take %d s, which is %" PRIu64 "kB",
                burst->text, seconds, rate_format(walk->problems->arena, rate->bits_s), BURST_MAX_S,
                rate->bits_s / 8 * BURST_MAX_S / 1000);
    return false;
}

void rate_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    struct rates *rates = KEY_MEMBER(struct rates, target, key);
    struct rate_keys keys = {0};
    if (value->kind == YAML_MAPPING) {
        size_t before = walk->problems->list.count;
        walk_section(walk, &section_rate, "'rate'", 0, &keys, value);
        if (walk->problems->list.count == before && !keys.bits_s[RATE_IN] && !keys.bits_s[RATE_OUT])
            value_refuse(walk, key, value, "it has neither 'in' nor 'out'");
    } else {
        struct key both = *key;
        both.offset = offsetof(struct rate_keys, bits_s[RATE_IN]);
        way_take(walk, &keys, &both, value);
        keys.bits_s[RATE_OUT] = keys.bits_s[RATE_IN];
    }
    for (int way = 0; way < RATE_WAYS; way++) {
        if (!keys.bits_s[way])
            continue;
        struct rate rate = {.bits_s = keys.bits_s[way],
                            .burst = keys.burst ? keys.burst : burst_default(keys.bits_s[way])};
        if (!burst_fits(walk, value, &rate))
            return;
        rates->way[way] = rate;
    }
}
