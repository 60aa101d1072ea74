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
           a->any6 == b->any6 && prefix_equal(&a->subnet, &b->subnet);
}

bool lock_filters(const struct lock *lock)
{
    return lock->kinds[LOCK_IP] || lock->kinds[LOCK_DHCP] || lock->kinds[LOCK_RA];
}

bool lock_nic_held(const struct lock_nic *nic)
{
    return nic->held.kinds[LOCK_MAC] || lock_filters(&nic->held);
}

void lock_nic_hold(struct lock_nic *nic, const struct lock *lock)
{
    struct lock *held = &nic->held;
    *held = *lock;
    held->network = NULL;
    held->kinds[LOCK_ARP] = false;
    held->kinds[LOCK_MAC] &= !nic->any;
    held->kinds[LOCK_IP] &= !nic->any && (!lock->any6 || ip_is_set(&lock->subnet.ip) || ip_is_set(&nic->ip));
    nic->any = false;
    nic->leased = (struct ip){0};
    if (!held->kinds[LOCK_MAC])
        nic->mac = (struct mac){{0}};
    if (!held->kinds[LOCK_IP]) {
        nic->ip = (struct ip){0};
        held->any6 = false;
    }
    if (!held->kinds[LOCK_IP] || ip_is_set(&nic->ip))
        held->subnet = (struct prefix){0};
    if (!held->kinds[LOCK_IP] || held->any6) {
        nic->ip6 = (struct ip){0};
        held->subnet6 = (struct prefix){0};
    }
}

bool lock_nic_equal(const struct lock_nic *a, const struct lock_nic *b)
{
    return strcmp(a->network, b->network) == 0 && mac_equal(&a->mac, &b->mac) && a->any == b->any &&
           ip_equal(&a->ip, &b->ip) && ip_equal(&a->ip6, &b->ip6) && lock_equal(&a->held, &b->held);
}
