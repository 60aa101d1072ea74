/* doctor_ipv6.c: a network's IPv6, and what forwarding it does to the host's own: doctor.h. */
#include <string.h>
#include <sys/socket.h>

#include "diag/doctor_internal.h"

static bool bridge_has(const struct patient *patient, const struct ip *ip)
{
    vec_foreach (&patient->observed->addresses, address) {
        if (strcmp(address->ifname, patient->network->name) == 0 && ip_equal(&address->prefix.ip, ip))
            return true;
    }
    return false;
}

/* The switch of the whole host; NULL: it is on, or there is none. */
static const struct forwarding_sysctl *switched_off(const struct observed *observed)
{
    vec_foreach (&observed->forwarding, sysctl) {
        if (sysctl->ipv6 && sysctl->wanted && !sysctl->own_ra && strcmp(sysctl->now, sysctl->wanted) != 0)
            return sysctl;
    }
    return NULL;
}

/* Interfaces that `up` told to go on learning, and that do not. */
static void check_learning(struct patient *patient)
{
    const struct file *former =
        file_find(patient->observed, arena_printf(patient->arena, "%s/former6", patient->observed->run_dir));
    vec_foreach (&patient->observed->links, link) {
        char *name = arena_strdup(patient->arena, link->name);
        for (char *c = name; *c; c++)
            *c = *c == '.' ? '/' : *c;
        if (!former || link->accept_ra != 1 ||
            !strstr(former->content, arena_printf(patient->arena, "=net.ipv6.conf.%s.accept_ra ", name)) ||
            finding_find(patient->findings, "ra-ignored", "the host"))
            continue;
        PATIENT_FIND(patient, "ra-ignored", "the host",
                     "net.ipv6.conf.%s.accept_ra is 1, and the host forwards", name);
    }
}

/* A guest asks for routers with its first breath, and by that the host knows it. */
static void check_guests(struct patient *patient)
{
    vec_foreach (&patient->nics->list, nic) {
        if (strcmp(nic->nic.network, patient->network->name) == 0 && (nic->lease || nic->neighbour) &&
            !nic->neighbour6 && nic->tap->carrier)
            PATIENT_FIND(patient, "guest-no-ipv6", nic->subject,
                         "%s (%s) has IPv4, and the host has heard nothing of it by IPv6", nic->tap->name,
                         MAC_TEXT(&nic->nic.mac));
    }
}

void doctor_ipv6(struct patient *patient)
{
    const struct network *entry = patient->network->entry;
    if (!entry || !network_has_subnet6(entry) || !patient->network->up)
        return;
    struct ip host = network_host_address6(entry).ip;
    if (!bridge_has(patient, &host))
        PATIENT_FIND(patient, "bridge-address-missing", patient->subject, "'%s' has no address %s",
                     patient->network->name, IP_TEXT(&host));
    check_guests(patient);
    if (!mode_forwards(patient->network->mode))
        return;
    const struct forwarding_sysctl *off = switched_off(patient->observed);
    if (!off) {
        check_learning(patient);
    } else if (!finding_find(patient->findings, "forwarding-off", "the host")) {
        struct finding *finding = finding_add(patient->findings, "forwarding-off", "the host");
        finding_evidence(patient->findings, finding, "%s is %s", off->name, off->now);
        finding_title(patient->findings, finding, "the host does not forward IPv6");
        finding_cure(patient->findings, finding, "sysctl -w %s=%s", off->name, off->wanted);
    }
}
