/* doctor_guest.c: guests, as far as the host sees them without asking: doctor.h. */
#include <inttypes.h>

#include "base/text.h"
#include "diag/doctor_internal.h"

enum { GRACE_S = 60 }; /* a guest that boots has not sent anything yet */

static void check_port(struct patient *patient, const struct doctor_nic *seen)
{
    const struct link *tap = seen->tap;
    const struct interface_health *port = seen->health;
    if (strcmp(tap->master, patient->network->name) != 0)
        PATIENT_FIND(patient, "nic-unplugged", seen->subject, "its tap '%s' is %s%s%s, not a port of '%s'",
                     tap->name, *tap->master ? "a port of '" : "no bridge's port", tap->master,
                     *tap->master ? "'" : "", patient->network->name);
    if (!tap->up)
        PATIENT_FIND(patient, "nic-down", seen->subject, "its tap '%s' is down", tap->name);
    if (!port || !port->port || !tap->up || !tap->carrier || !*tap->master)
        return;
    if (port->state != PORT_FORWARDING && patient->bridge->up)
        PATIENT_FIND(patient, "port-blocked", seen->subject, "the bridge's port '%s' is %s", tap->name,
                     port_state_name(port->state));
    const struct interface_health *uplink =
        patient->uplink ? health_interface(patient->health, patient->uplink->name) : NULL;
    const char *restriction = port_restriction(port);
    if (port->isolated && uplink && uplink->isolated && strcmp(patient->uplink->master, tap->master) == 0)
        restriction = "is isolated, and so is the uplink's";
    if (restriction)
        PATIENT_FIND(patient, "port-restricted", seen->subject, "the bridge's port '%s' %s", tap->name,
                     restriction);
}

static bool is_young(const struct patient *patient, const struct doctor_nic *seen, struct process_look *look)
{
    *look = (struct process_look){.age_s = GRACE_S};
    if (seen->machine && seen->machine->pid && patient->host->backend->process_look)
        patient->host->backend->process_look(patient->host, seen->machine->pid, look);
    return look->age_s < GRACE_S;
}

static void check_life(struct patient *patient, const struct doctor_nic *seen)
{
    struct process_look look;
    bool young = is_young(patient, seen, &look);
    if (look.stopped) {
        if (finding_find(patient->findings, "guest-paused", seen->subject)) /* of another nic */
            return;
        PATIENT_FIND(patient, "guest-paused", seen->subject, "its process %d was stopped by a signal",
                     (int)seen->machine->pid);
        return;
    }
    if (!seen->health || young)
        return;
    const struct traffic *traffic = &seen->health->traffic;
    if (traffic->sent == 0 && traffic->dropped > 0)
        PATIENT_FIND(patient, "guest-driver-down", seen->subject,
                     "of the frames for its tap '%s' none was ever read, and %" PRIu64
                     " were dropped; it sent %" PRIu64,
                     seen->tap->name, traffic->dropped, traffic->received);
    else if (traffic->received == 0 && seen->machine)
        PATIENT_FIND(patient, "guest-silent", seen->subject, "'%s' has never sent a frame, and %s",
                     seen->tap->name,
                     traffic->sent ? arena_printf(patient->arena, "has read %" PRIu64, traffic->sent)
                                   : "has never read one: its driver may not be up (vmwire trace)");
    else if (mode_behind_host(patient->network->mode) && seen->machine && patient->network->entry &&
             patient->network->entry->dhcp && !seen->lease && !seen->neighbour)
        PATIENT_FIND(patient, "guest-no-lease", seen->subject,
                     "%" PRIu64 " of its frames came, and nobody knows an address of %s", traffic->received,
                     MAC_TEXT(&seen->nic.mac));
}

static const char *owner_text(struct arena *arena, const struct doctor_nic *nic)
{
    return nic ? arena_printf(arena, "%s ('%s')", nic->subject, nic->tap->name) : NULL;
}

/* Another nic has the MAC, or it was seen on another port. */
static void check_mac(struct patient *patient, const struct doctor_nic *seen)
{
    const char *other = owner_text(patient->arena, doctor_nic_by_mac(patient->nics, &seen->nic.mac, seen));
    if (other) {
        PATIENT_FIND(patient, "mac-duplicate", seen->subject, "%s of its nic '%s' is also that of %s",
                     MAC_TEXT(&seen->nic.mac), seen->tap->name, other);
        return;
    }
    const struct link *const own[] = {patient->bridge,
                                      patient->network->mode == NETWORK_BRIDGED ? patient->uplink : NULL};
    for (size_t i = 0; i < 2; i++) {
        if (own[i] && mac_equal(&own[i]->mac, &seen->nic.mac)) {
            PATIENT_FIND(patient, "mac-duplicate", seen->subject,
                         "%s of its nic '%s' is also that of '%s', the host's own", MAC_TEXT(&seen->nic.mac),
                         seen->tap->name, own[i]->name);
            return;
        }
    }
}

/* Where the bridge saw whose MAC. */
static void check_learned(struct patient *patient, const char *machine)
{
    vec_foreach (&patient->health->learned, learned) {
        const struct doctor_nic *nic = doctor_nic_by_mac(patient->nics, &learned->mac, NULL);
        if (nic && strcmp(learned->bridge, patient->network->name) == 0 &&
            strcmp(nic->nic.network, patient->network->name) == 0 && *learned->port &&
            strcmp(learned->port, nic->tap->name) != 0 &&
            (!machine || strcmp(machine, nic->nic.machine) == 0) &&
            !doctor_nic_by_mac(patient->nics, &learned->mac, nic))
            PATIENT_FIND(patient, "mac-duplicate", nic->subject,
                         "its nic '%s' has %s, and the bridge saw frames from that at port '%s'",
                         nic->tap->name, MAC_TEXT(&learned->mac), learned->port);
    }
}

/* The host's neighbour table has another MAC for its address. */
static void check_address(struct patient *patient, const struct doctor_nic *seen)
{
    const struct doctor_lease *lease = seen->lease;
    for (size_t i = 0; lease && i < patient->health->neighbours.count; i++) {
        const struct neighbour *neighbour = &patient->health->neighbours.items[i];
        if (!ip_equal(&neighbour->ip, &lease->ip) || strcmp(neighbour->ifname, patient->network->name) != 0 ||
            neighbour->failed || mac_is_zero(&neighbour->mac) || mac_equal(&neighbour->mac, &lease->mac))
            continue;
        const char *other =
            owner_text(patient->arena, doctor_nic_by_mac(patient->nics, &neighbour->mac, seen));
        PATIENT_FIND(patient, other ? "address-duplicate" : "address-conflict", seen->subject,
                     neighbour->fixed
                         ? "it leased %s for %s, and a neighbour entry made by hand has %s for that%s%s"
                         : "it leased %s for %s, and %s answers for that%s%s",
                     IP_TEXT(&lease->ip), arena_strdup(patient->arena, MAC_TEXT(&lease->mac)),
                     MAC_TEXT(&neighbour->mac), other ? ": " : "", other ? other : "");
    }
}

void doctor_guests(struct patient *patient, const char *machine)
{
    vec_foreach (&patient->nics->list, nic) {
        if (strcmp(nic->nic.network, patient->network->name) != 0 ||
            (machine && strcmp(nic->nic.machine, machine) != 0))
            continue;
        check_port(patient, nic);
        check_mac(patient, nic);
        check_address(patient, nic);
        doctor_locked(patient, nic);
        check_life(patient, nic);
    }
    check_learned(patient, machine);
}
