/* rate.c: rates and bursts as text (rate.h). */
#include "model/rate.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *text;
    uint64_t factor;
};

static const struct unit rate_units[] = {
    {"Gbit", 1000000000}, {"Mbit", 1000000}, {"kbit", 1000}, {"bit", 1}, {0}};
static const struct unit burst_units[] = {{"MB", 1000000}, {"MiB", 1 << 20}, {"kB", 1000},
                                          {"KiB", 1024},   {"B", 1},         {0}};

const char *rate_way_name(enum rate_way way)
{
    return way == RATE_IN ? "in" : "out";
}

/* False when it is no number with one of these units.  What is too large for a number is UINT64_MAX. */
static bool quantity_parse(const char *text, const struct unit *units, const char *tail, uint64_t *value)
{
    char *end;
    if (!isdigit((unsigned char)*text) || (*text == '0' && isdigit((unsigned char)text[1])))
        return false;
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    bool huge = errno != 0;
    for (; units->text; units++) {
        size_t length = strlen(units->text);
        if (strncasecmp(end, units->text, length) != 0 || (end[length] && strcmp(end + length, tail) != 0))
            continue;
        *value = huge || number > UINT64_MAX / units->factor ? UINT64_MAX : number * units->factor;
        return true;
    }
    return false;
}

const char *rate_parse(const char *text, uint64_t *bits_s)
{
    if (!quantity_parse(text, rate_units, "/s", bits_s))
        return "";
    return *bits_s < RATE_MIN_BITS   ? "64kbit is the least"
           : *bits_s > RATE_MAX_BITS ? "400Gbit is the most"
                                     : NULL;
}

const char *burst_parse(const char *text, uint32_t *bytes)
{
    uint64_t number;
    if (!quantity_parse(text, burst_units, "", &number))
        return "";
    if (number < BURST_MIN_BYTES || number > BURST_MAX_BYTES)
        return number < BURST_MIN_BYTES ? "2kB is the least" : "1000MB is the most";
    *bytes = (uint32_t)number;
    return NULL;
}

const char *rate_format(struct arena *arena, uint64_t bits_s)
{
    const struct unit *unit = rate_units;
    while (unit->factor > 1 && bits_s % unit->factor)
        unit++;
    return arena_printf(arena, "%" PRIu64 "%s", bits_s / unit->factor, unit->text);
}

const char *burst_format(struct arena *arena, uint32_t bytes)
{
    const struct unit *unit = burst_units;
    while (unit->factor > 1 && bytes % unit->factor)
        unit++;
    return arena_printf(arena, "%" PRIu64 "%s", bytes / unit->factor, unit->text);
}

uint32_t burst_default(uint64_t bits_s)
{
    uint64_t bytes = bits_s / 8 / 500;
    return bytes < 65536 ? 65536 : (uint32_t)bytes;
}

bool rate_equal(const struct rate *a, const struct rate *b)
{
    uint32_t low = a->burst < b->burst ? a->burst : b->burst, high = a->burst + b->burst - low;
    uint64_t microsecond = a->bits_s / 8000000; /* which tc(8) rounds to */
    return a->bits_s == b->bits_s && (!a->bits_s || high - low <= high / 100 + microsecond + 1);
}

/* One that the kernel rounded: as three digits tell it, where that is the same to the kernel. */
static uint32_t burst_meant(const struct rate *rate)
{
    struct rate meant = *rate, usual = {rate->bits_s, burst_default(rate->bits_s)};
    uint32_t unit = 1;
    while (rate->burst / unit >= 1000)
        unit *= 10;
    meant.burst = (rate->burst + unit / 2) / unit * unit;
    return rate_equal(&usual, rate)                         ? usual.burst
           : rate_equal(&meant, rate) && rate->burst % 1024 ? meant.burst
                                                            : rate->burst;
}

const char *rates_burst(struct arena *arena, const struct rates *rates)
{
    const struct rate *in = &rates->way[RATE_IN], *out = &rates->way[RATE_OUT];
    const char *first = in->bits_s ? burst_format(arena, burst_meant(in)) : "",
               *second = out->bits_s ? burst_format(arena, burst_meant(out)) : "";
    bool one = !*first || !*second || strcmp(first, second) == 0;
    return one ? *first ? first : second : arena_printf(arena, "%s, %s", first, second);
}

const char *rates_text(struct arena *arena, const struct rates *rates)
{
    const struct rate *in = &rates->way[RATE_IN], *out = &rates->way[RATE_OUT];
    const char *limits = "", *burst = "";
    bool usual = (!in->bits_s || burst_meant(in) == burst_default(in->bits_s)) &&
                 (!out->bits_s || burst_meant(out) == burst_default(out->bits_s));
    if (!in->bits_s && !out->bits_s)
        return "";
    if (in->bits_s == out->bits_s)
        limits = rate_format(arena, in->bits_s);
    else if (in->bits_s && out->bits_s)
        limits = arena_printf(arena, "in %s, out %s", rate_format(arena, in->bits_s),
                              rate_format(arena, out->bits_s));
    else
        limits = arena_printf(arena, "%s %s", in->bits_s ? "in" : "out",
                              rate_format(arena, in->bits_s + out->bits_s));
    if (!usual)
        burst = arena_printf(arena, ", burst %s", rates_burst(arena, rates));
    return arena_printf(arena, "%s%s", limits, burst);
}
