/* lock.c: locks by name, and compared: lock.h. */
#include "model/lock.h"

#include <string.h>

#include "base/text.h"

const char *lock_kind_name(enum lock_kind kind)
{
    static const char *const names[LOCK_KIND_COUNT] = {"mac", "ip", "arp", "dhcp", "ra"};
    return names[kind];
}

const char *lock_kinds_text(struct arena *arena, const bool kinds[LOCK_KIND_COUNT])
{
    struct text out = {.arena = arena};
    for (unsigned kind = 0; kind < LOCK_KIND_COUNT; kind++) {
        if (kinds[kind])
            text_add(&out, "%s%s", out.length ? ", " : "", lock_kind_name((enum lock_kind)kind));
    }
    return text_get(&out);
}

bool lock_equal(const struct lock *a, const struct lock *b)
{
    return memcmp(a->kinds, b->kinds, sizeof(a->kinds)) == 0 && prefix_equal(&a->subnet6, &b->subnet6) &&
           a->any6 == b->any6;
}

bool lock_nic_equal(const struct lock_nic *a, const struct lock_nic *b)
{
    return strcmp(a->network, b->network) == 0 && mac_equal(&a->mac, &b->mac) && a->any == b->any &&
           ip_equal(&a->ip, &b->ip) && ip_equal(&a->ip6, &b->ip6);
}
