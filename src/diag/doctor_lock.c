/* doctor_lock.c: guests whose frames are dropped because they are not theirs to send: doctor.h. */
#include <inttypes.h>
#include <sys/socket.h>

#include "base/text.h"
#include "diag/doctor_internal.h"

static const struct lock_drops *drops_of(const struct patient *patient, const char *tap)
{
    vec_foreach (&patient->observed->lock_drops, drops) {
        if (strcmp(drops->ifname, tap) == 0)
            return drops;
    }
    return NULL;
}

static const struct lock_nic *held(const struct patient *patient, const char *tap)
{
    vec_foreach (&patient->observed->lock_nics, nic) {
        if (strcmp(nic->ifname, tap) == 0)
            return nic;
    }
    return NULL;
}

/* "10.0.0.9 (given), 10.0.0.12 (leased)", and whether `ip` is among them. */
static const char *own_addresses(const struct patient *patient, const struct doctor_nic *seen,
                                 const struct ip *ip, bool *own)
{
    struct text out = {.arena = patient->arena};
    const struct lock_nic *nic = held(patient, seen->tap->name);
    const struct ip *given[] = {nic ? &nic->ip : NULL, nic ? &nic->ip6 : NULL};
    *own = false;
    for (size_t i = 0; i < 2; i++) {
        if (!given[i] || !ip_is_set(given[i]))
            continue;
        *own |= ip_equal(given[i], ip);
        text_add(&out, "%s%s (given)", out.length ? ", " : "", IP_TEXT(given[i]));
    }
    vec_foreach (&patient->observed->lock_leases, lease) {
        if (!mac_equal(&lease->mac, &seen->nic.mac))
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

static void tell_address(struct patient *patient, const struct doctor_nic *seen, const struct lock *lock,
                         const struct lock_drops *drops, const struct ip *ip)
{
    bool own;
    const char *addresses = own_addresses(patient, seen, ip, &own);
    /* One that it has by now; one that a guest makes up until it has a lease. */
    if (!ip_is_set(ip) || own || (ip->family == AF_INET && ip_is_link_local(ip)))
        return;
    struct finding *finding = finding_add(patient->findings, "nic-locked", seen->subject);
    finding_title(patient->findings, finding, "the guest uses an address that is not its own");
    finding_evidence(
        patient->findings, finding,
        "of its frames %" PRIu64 " were dropped, and as many as %" PRIu64
        " of its ARP or neighbour discovery; one of the last ten minutes was from %s, and its addresses "
        "are: %s",
        drops->count[LOCK_IP], drops->count[LOCK_ARP], IP_TEXT(ip), addresses);
    finding_cure(patient->findings, finding,
                 "write 'address%s: %s' on its nic, have it ask for a lease, or write '%s'",
                 ip->family == AF_INET6 ? "6" : "", IP_TEXT(ip),
                 rest(patient->arena, lock, LOCK_IP, LOCK_ARP));
}

static void tell_mac(struct patient *patient, const struct doctor_nic *seen, const struct lock_drops *drops)
{
    if (mac_is_zero(&drops->mac) || mac_equal(&drops->mac, &seen->nic.mac))
        return;
    struct finding *finding = finding_add(patient->findings, "nic-locked", seen->subject);
    finding_title(patient->findings, finding, "the guest sends from a MAC that is not its own");
    finding_evidence(patient->findings, finding,
                     "of its frames %" PRIu64
                     " were dropped; one of the last ten minutes was from %s, and its nic's "
                     "MAC is %s",
                     drops->count[LOCK_MAC], MAC_TEXT(&drops->mac), MAC_TEXT(&seen->nic.mac));
    finding_cure(
        patient->findings, finding,
        "write 'mac: %s' on its nic where that is the one it has; 'lock: [dhcp, ra]' on the network where it "
        "has machines or a bridge of its own",
        MAC_TEXT(&drops->mac));
}

static void tell_server(struct patient *patient, const struct doctor_nic *seen, const struct lock *lock,
                        const struct lock_drops *drops, enum lock_kind kind)
{
    if (!drops->count[kind])
        return;
    struct finding *finding = finding_add(patient->findings, "nic-locked", seen->subject);
    finding_title(patient->findings, finding,
                  kind == LOCK_RA ? "the guest acts as a router" : "the guest acts as a DHCP server");
    finding->severity = FINDING_NOTE;
    finding_evidence(patient->findings, finding, "%" PRIu64 " of its frames were dropped",
                     drops->count[kind]);
    finding_cure(patient->findings, finding, "if it is to, write '%s' on the network",
                 rest(patient->arena, lock, kind, kind));
}

void doctor_locked(struct patient *patient, const struct doctor_nic *seen)
{
    const struct lock_drops *drops = drops_of(patient, seen->tap->name);
    vec_foreach (&patient->observed->locks, lock) {
        if (!drops || strcmp(lock->network, patient->network->name) != 0)
            continue;
        tell_mac(patient, seen, drops);
        tell_address(patient, seen, lock, drops, &drops->ip);
        tell_address(patient, seen, lock, drops, &drops->ip6);
        tell_server(patient, seen, lock, drops, LOCK_DHCP);
        tell_server(patient, seen, lock, drops, LOCK_RA);
    }
}
