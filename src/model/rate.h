/* rate.h: how much traffic may pass in a second, each way. */
#ifndef VMWIRE_MODEL_RATE_H
#define VMWIRE_MODEL_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

/* Bits in a second.  A frame that a guest leaves to the host to cut has 64 KiB, which must not take minutes.
 */
#define RATE_MIN_BITS UINT64_C(64000)
#define RATE_MAX_BITS UINT64_C(400000000000)
#define BURST_MIN_BYTES UINT32_C(2000)
#define BURST_MAX_BYTES UINT32_C(1000000000)
enum { BURST_MAX_S = 60 }; /* the longest that a burst may take at the rate itself */

struct rate {
    uint64_t bits_s; /* 0: no limit */
    uint32_t burst;  /* bytes that may pass at once after a pause; 0: none given */
};

enum rate_way { RATE_IN, RATE_OUT, RATE_WAYS }; /* towards guests; from them */

struct rates {
    struct rate way[RATE_WAYS];
};

/* "in", "out" */
const char *rate_way_name(enum rate_way way);

/* "100Mbit", "64kbit", "1Gbit", with decimal units, in any case of letters, with or without "/s".  NULL, or
 * what is wrong with it (in the arena or static), as the end of a sentence, "" for what is no rate at all. */
const char *rate_parse(const char *text, uint64_t *bits_s);
/* "1MB", "64kB" (decimal), "1MiB", "64KiB" (binary), "9000B".  Likewise. */
const char *burst_parse(const char *text, uint32_t *bytes);

/* The largest unit that says it without a fraction: "1500kbit". */
const char *rate_format(struct arena *arena, uint64_t bits_s);
const char *burst_format(struct arena *arena, uint32_t bytes);

/* "in 100Mbit, out 50Mbit", "20Mbit" where both ways are alike, with ", burst 1MB" where that is not the
 * default; "" without a limit. */
const char *rates_text(struct arena *arena, const struct rates *rates);
/* "1MB"; "1MB, 64KiB" (in, out) where they differ.  What the kernel rounded is told as it was most likely
 * meant. */
const char *rates_burst(struct arena *arena, const struct rates *rates);

/* The burst of a rate that has none given: 2 ms of it, and at least 64 KiB, a guest's largest packet. */
uint32_t burst_default(uint64_t bits_s);

/* The same limit?  A burst is kept by the kernel as a time, and comes back rounded. */
bool rate_equal(const struct rate *a, const struct rate *b);

#endif
