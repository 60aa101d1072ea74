/* lock_text.c: frames that a lock dropped, in words: lock_text.h. */
#include "diag/lock_text.h"

#include <string.h>
#include <sys/socket.h>

#include "base/text.h"

const struct lock *lock_of_network(const struct observed *observed, const char *network)
{
    vec_foreach (&observed->locks, lock) {
        if (strcmp(lock->network, network) == 0)
            return lock;
    }
    return NULL;
}

const struct lock_drops *lock_drops_of(const struct observed *observed, const char *tap)
{
    vec_foreach (&observed->lock_drops, drops) {
        if (strcmp(drops->ifname, tap) == 0)
            return drops;
    }
    return NULL;
}

static const struct lock_nic *held(const struct observed *observed, const char *tap)
{
    vec_foreach (&observed->lock_nics, nic) {
        if (strcmp(nic->ifname, tap) == 0)
            return nic;
    }
    return NULL;
}

const char *lock_own_addresses(struct arena *arena, const struct observed *observed, const char *tap,
                               const struct mac *mac, const struct ip *ip, bool *own)
{
    struct text out = {.arena = arena};
    const struct lock_nic *nic = held(observed, tap);
    const struct ip *given[] = {nic ? &nic->ip : NULL, nic ? &nic->ip6 : NULL};
    *own = false;
    for (size_t i = 0; i < 2; i++) {
        if (!given[i] || !ip_is_set(given[i]))
            continue;
        *own |= ip_equal(given[i], ip);
        text_add(&out, "%s%s (given)", out.length ? ", " : "", IP_TEXT(given[i]));
    }
    vec_foreach (&observed->lock_leases, lease) {
        if (!mac_equal(&lease->mac, mac))
            continue;
        *own |= ip_equal(&lease->ip, ip);
        text_add(&out, "%s%s (leased)", out.length ? ", " : "", IP_TEXT(&lease->ip));
    }
    return out.length ? text_get(&out) : "none";
}

/* All kinds but `without` and what needs it, as the file would have them. */
static const char *rest(struct arena *arena, const struct lock *lock, enum lock_kind without,
                        enum lock_kind also)
{
    bool kinds[LOCK_KIND_COUNT];
    memcpy(kinds, lock->kinds, sizeof(kinds));
    kinds[without] = kinds[also] = false;
    const char *words = lock_kinds_text(arena, kinds);
    return *words ? arena_printf(arena, "lock: [%s]", words) : "lock: off";
}

static void mac_words(struct findings *findings, struct finding *finding, const struct mac *mac)
{
    finding_title(findings, finding, "the guest sends from a MAC that is not its own");
    finding_cure(
        findings, finding,
        "write 'mac: %s' on its nic where that is the one it has; 'lock: [dhcp, ra]' on the network where it "
        "has machines or a bridge of its own",
        MAC_TEXT(mac));
}

static void address_words(struct findings *findings, struct finding *finding, const struct lock *lock,
                          const struct lock_offence *offence)
{
    const char *less = rest(findings->arena, lock, LOCK_IP, LOCK_ARP);
    if (offence->misnamed || !ip_is_set(&offence->ip)) {
        if (offence->misnamed)
            finding_title(findings, finding,
                          "the guest names a MAC that is not its own in ARP or neighbour discovery");
        finding_cure(findings, finding,
                     "have it send from an address and under the MAC that are its own, or write '%s'", less);
        return;
    }
    finding_title(findings, finding, "the guest uses an address that is not its own");
    finding_cure(findings, finding,
                 "write 'address%s: %s' on its nic, have it ask for a lease, or write '%s'",
                 offence->ip.family == AF_INET6 ? "6" : "", IP_TEXT(&offence->ip), less);
}

void lock_words(struct findings *findings, struct finding *finding, const struct lock *lock,
                const struct lock_offence *offence)
{
    const char *less = rest(findings->arena, lock, offence->kind, offence->kind);
    switch (offence->kind) {
    case LOCK_MAC:
        mac_words(findings, finding, &offence->mac);
        return;
    case LOCK_IP:
    case LOCK_ARP:
        address_words(findings, finding, lock, offence);
        return;
    case LOCK_DHCP:
        if (offence->asks_lease) {
            finding_title(findings, finding, "the guest asks for a lease for another MAC than its own");
            finding_cure(findings, finding,
                         "write 'mac: %s' on its nic where that is the one it has, or '%s'",
                         MAC_TEXT(&offence->mac), less);
            return;
        }
        finding_title(findings, finding, "the guest acts as a DHCP server");
        break;
    default:
        finding_title(findings, finding, "the guest acts as a router");
        break;
    }
    finding_cure(findings, finding, "if it is to, write '%s' on the network", less);
}
