/* rate_text.c: limits of rates as ip(8) and tc(8) would have them, and what names they have.  Pure. */
#include "host/linux/rate.h"

#include <inttypes.h>

#include "base/text.h"
#include "plan/op.h"

const char *shaper_name(struct arena *arena, const char *network, enum rate_way way)
{
    return arena_printf(arena, "vmw%s%08x", rate_way_name(way), owner_group(network));
}

const char *shaper_tag(struct arena *arena, const char *network, enum rate_way way)
{
    return arena_printf(arena, OWNER_PREFIX "%s rate-%s", network, rate_way_name(way));
}

uint32_t shaper_queue(uint64_t bits_s)
{
    uint64_t bytes = bits_s / 8 / 20;
    return bytes < 262144 ? 262144 : bytes > 16777216 ? 16777216 : (uint32_t)bytes;
}

struct rate shaper_ceil(const struct rate *rate)
{
    return rate->bits_s ? *rate
                        : (struct rate){.bits_s = SHAPER_UNLIMITED, .burst = burst_default(SHAPER_UNLIMITED)};
}

/* A leaf has next to nothing of its own and borrows up to its limit, so that the parent's is never passed. */
static void class_commands(struct text *out, const char *device, const char *parent, const char *minor,
                           const struct rate *limit, bool leaf)
{
    struct rate ceil = shaper_ceil(limit);
    text_add(out,
             "tc class replace dev %s parent %x:%s classid %x:%s htb rate %" PRIu64 "bit ceil %" PRIu64
             "bit burst %" PRIu32 " cburst %" PRIu32 " quantum %d\n",
             device, SHAPER_MAJOR, parent, SHAPER_MAJOR, minor, leaf ? SHAPER_OWN_BITS : ceil.bits_s,
             ceil.bits_s, leaf ? BURST_MIN_BYTES : ceil.burst, ceil.burst, SHAPER_QUANTUM);
    if (leaf)
        text_add(out, "tc qdisc replace dev %s parent %x:%s bfifo limit %" PRIu32 "\n", device, SHAPER_MAJOR,
                 minor, shaper_queue(ceil.bits_s));
}

const char *shaper_commands(struct arena *arena, const struct shaper *shaper, bool set)
{
    enum rate_way way = shaper->outward ? RATE_OUT : RATE_IN;
    const char *name = shaper_name(arena, shaper->network, way);
    struct text out = {.arena = arena};
    if (!set) {
        text_add(&out, "ip link delete dev %s\n", name);
        return text_get(&out);
    }
    text_add(&out, "ip link show dev %s >/dev/null 2>&1 || ip link add name %s type ifb\n", name, name);
    text_add(&out, "ip link set dev %s alias %s addrgenmode none up\n", name,
             shell_quote(arena, shaper_tag(arena, shaper->network, way)));
    text_add(&out,
             "tc qdisc show dev %s handle %x: | grep -q htb || "
             "tc qdisc replace dev %s root handle %x: stab overhead %d htb default %x\n",
             name, SHAPER_MAJOR, name, SHAPER_MAJOR, SHAPER_OVERHEAD, SHAPER_REST);
    const char *all = arena_printf(arena, "%x", SHAPER_ALL), *rest = arena_printf(arena, "%x", SHAPER_REST);
    class_commands(&out, name, "0", all, &shaper->rate, false);
    class_commands(&out, name, all, rest, &shaper->rate, true);
    if (shaper->nics)
        text_add(&out,
                 "tc filter replace dev %s parent %x: protocol all pref 1 handle 1 flow map key iif and 0x%x "
                 "baseclass %x:%x\n",
                 name, SHAPER_MAJOR, SHAPER_NIC_MASK, SHAPER_MAJOR, SHAPER_NICS);
    else
        text_add(&out, "tc filter delete dev %s parent %x: pref 1 2>/dev/null || :\n", name, SHAPER_MAJOR);
    return text_get(&out);
}

static void nic_way_commands(struct arena *arena, struct text *out, const char *tap, const char *network,
                             enum rate_way way, const struct nic_rate *rate)
{
    const char *hook = way == RATE_OUT ? "ingress pref 1" : "egress pref 2",
               *shaper = shaper_name(arena, network, way);
    const char *minor =
        arena_printf(arena, "$(printf %%x $((0x%x | $(cat /sys/class/net/%s/ifindex) & 0x%x)))", SHAPER_NICS,
                     tap, SHAPER_NIC_MASK);
    if (rate->rate.bits_s)
        class_commands(out, shaper, arena_printf(arena, "%x", SHAPER_ALL), minor, &rate->rate, true);
    text_add(out, "tc filter delete dev %s %s 2>/dev/null || :\n", tap, hook);
    if (rate->shaped)
        text_add(out,
                 "tc filter add dev %s %s protocol all u32 match u32 0 0 action mirred egress redirect "
                 "dev %s\n",
                 tap, hook, shaper);
    if (!rate->rate.bits_s)
        text_add(out, "tc class delete dev %s classid %x:%s 2>/dev/null || :\n", shaper, SHAPER_MAJOR, minor);
}

const char *nic_rate_commands(struct arena *arena, const char *network, const struct nic_rates *rates)
{
    const char *tap = shell_quote(arena, rates->ifname);
    struct text out = {.arena = arena};
    text_add(&out, "tc qdisc add dev %s clsact 2>/dev/null || :\n", tap);
    nic_way_commands(arena, &out, tap, network, RATE_IN, &rates->in);
    nic_way_commands(arena, &out, tap, network, RATE_OUT, &rates->out);
    if (!rates->in.shaped && !rates->out.shaped)
        text_add(&out, "tc qdisc delete dev %s clsact\n", tap);
    return text_get(&out);
}
