/* doctor_lock.c: guests whose frames are dropped because they are not theirs to send: doctor.h. */
#include <inttypes.h>
#include <sys/socket.h>

#include "diag/doctor_internal.h"
#include "diag/lock_text.h"

static void tell_address(struct patient *patient, const struct doctor_nic *seen, const struct lock *lock,
                         const struct lock_drops *drops, const struct ip *ip)
{
    bool own;
    const char *addresses =
        lock_own_addresses(patient->arena, patient->observed, seen->tap->name, &seen->nic.mac, ip, &own);
    /* One that it has by now; one that a guest makes up until it has a lease. */
    if (!ip_is_set(ip) || own || (ip->family == AF_INET && ip_is_link_local(ip)))
        return;
    struct finding *finding = finding_add(patient->findings, "nic-locked", seen->subject);
    finding_evidence(
        patient->findings, finding,
        "of its frames %" PRIu64 " were dropped, and as many as %" PRIu64
        " of its ARP or neighbour discovery; one of the last ten minutes was from %s, and its addresses "
        "are: %s",
        drops->count[LOCK_IP], drops->count[LOCK_ARP], IP_TEXT(ip), addresses);
    lock_words(patient->findings, finding, lock, &(struct lock_offence){.kind = LOCK_IP, .ip = *ip});
}

static void tell_mac(struct patient *patient, const struct doctor_nic *seen, const struct lock *lock,
                     const struct lock_drops *drops)
{
    if (mac_is_zero(&drops->mac) || mac_equal(&drops->mac, &seen->nic.mac))
        return;
    struct finding *finding = finding_add(patient->findings, "nic-locked", seen->subject);
    finding_evidence(patient->findings, finding,
                     "of its frames %" PRIu64
                     " were dropped; one of the last ten minutes was from %s, and its nic's "
                     "MAC is %s",
                     drops->count[LOCK_MAC], MAC_TEXT(&drops->mac), MAC_TEXT(&seen->nic.mac));
    lock_words(patient->findings, finding, lock, &(struct lock_offence){.kind = LOCK_MAC, .mac = drops->mac});
}

static void tell_server(struct patient *patient, const struct doctor_nic *seen, const struct lock *lock,
                        const struct lock_drops *drops, enum lock_kind kind)
{
    if (!drops->count[kind])
        return;
    struct finding *finding = finding_add(patient->findings, "nic-locked", seen->subject);
    finding->severity = FINDING_NOTE;
    finding_evidence(patient->findings, finding, "%" PRIu64 " of its frames were dropped",
                     drops->count[kind]);
    lock_words(patient->findings, finding, lock, &(struct lock_offence){.kind = kind});
}

void doctor_locked(struct patient *patient, const struct doctor_nic *seen)
{
    const struct lock_drops *drops = lock_drops_of(patient->observed, seen->tap->name);
    const struct lock *lock = lock_of_network(patient->observed, patient->network->name);
    if (!drops || !lock)
        return;
    tell_mac(patient, seen, lock, drops);
    tell_address(patient, seen, lock, drops, &drops->ip);
    tell_address(patient, seen, lock, drops, &drops->ip6);
    tell_server(patient, seen, lock, drops, LOCK_DHCP);
    tell_server(patient, seen, lock, drops, LOCK_RA);
}
