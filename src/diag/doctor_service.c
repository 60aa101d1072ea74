/* doctor_service.c: a network's DHCP and DNS: doctor.h. */
#include <netinet/in.h>
#include <sys/socket.h>

#include "diag/doctor_internal.h"

enum { DNS_PORT = 53, DHCP_PORT = 67 };

static const struct service *service_of(const struct patient *patient, const char *kind)
{
    vec_foreach (&patient->observed->services, service) {
        if (strcmp(service->network, patient->network->name) == 0 && strcmp(service->kind, kind) == 0 &&
            service->pid)
            return service;
    }
    return NULL;
}

static bool is_unspecified(const struct ip *ip)
{
    return ip_equal(ip, &(struct ip){.family = ip->family});
}

/* Would a guest's packet be given to this socket?  By how much it is meant: an address and an interface of
 * its own count one each (compute_score in the kernel's net/ipv4/udp.c).  -1: not at all. */
static int score(const struct patient *patient, const struct open_socket *socket, uint16_t port)
{
    if (socket->port != port || socket->protocol != IPPROTO_UDP)
        return -1;
    if (socket->index && socket->index != patient->bridge->index)
        return -1;
    bool its_own = ip_equal(&socket->ip, &patient->host_ip);
    if (!its_own && !is_unspecified(&socket->ip))
        return -1;
    return its_own + (socket->index != 0);
}

/* Nobody but dnsmasq may have its port, as much as dnsmasq has. */
static bool port_check(struct patient *patient, uint16_t port, pid_t own)
{
    int mine = -1, best = -1;
    struct open_socket other = {0};
    vec_foreach (&patient->health->sockets, socket) {
        int how = socket->pid == own && own ? score(patient, socket, port) : -1;
        mine = how > mine ? how : mine;
    }
    vec_foreach (&patient->health->sockets, socket) {
        int how = socket->pid == own && own ? -1 : score(patient, socket, port);
        if (how < 0 || how < mine || how <= best)
            continue;
        struct open_socket candidate = *socket;
        if (!candidate.pid && patient->host->backend->socket_owner)
            patient->host->backend->socket_owner(patient->host, patient->arena, &candidate);
        if (!candidate.pid || candidate.pid == own) /* one without a process belongs to one that is ending */
            continue;
        other = candidate;
        best = how;
    }
    if ((mine >= 0 && best < 0) || !patient->health->sockets_seen)
        return true;
    if (best >= 0) {
        PATIENT_FIND(
            patient, "dnsmasq-port-taken", patient->subject, "UDP port %u at %s%s is %s's (process %d)%s",
            port, is_unspecified(&other.ip) ? "every address" : IP_TEXT(&other.ip),
            other.index ? " of the bridge" : "", *other.program ? other.program : "an unknown program",
            (int)other.pid, own ? "" : ", and the network's dnsmasq does not run");
        return false;
    }
    if (own)
        PATIENT_FIND(patient, "dnsmasq-stopped", patient->subject,
                     "dnsmasq (process %d) does not listen on UDP port %u", (int)own, port);
    return !own;
}

static void check_dnsmasq(struct patient *patient)
{
    const struct network *entry = patient->network->entry;
    const struct service *dnsmasq = service_of(patient, "dnsmasq");
    struct process_look look = {0};
    pid_t pid = dnsmasq ? dnsmasq->pid : 0;
    bool dns = !entry || entry->dns, dhcp = !entry || entry->dhcp;
    if (!dns && !dhcp)
        return;
    bool free = !dns || port_check(patient, DNS_PORT, pid);
    if (free && dhcp)
        free = port_check(patient, DHCP_PORT, pid);
    if (!dnsmasq) {
        if (free)
            PATIENT_FIND(patient, "dnsmasq-dead", patient->subject, "no dnsmasq of this network runs");
        return;
    }
    if (patient->host->backend->process_look &&
        patient->host->backend->process_look(patient->host, pid, &look) == 0 && look.stopped)
        PATIENT_FIND(patient, "dnsmasq-stopped", patient->subject,
                     "dnsmasq (process %d) was stopped by a signal", (int)pid);
}

static uint64_t range_size(const struct network *entry)
{
    uint64_t size = 1;
    for (struct ip ip = entry->dhcp_first; !ip_equal(&ip, &entry->dhcp_last) && size < 1 << 24;
         ip = ip_add(&ip, 1))
        size++;
    return size;
}

static void check_range(struct patient *patient)
{
    const struct network *entry = patient->network->entry;
    if (!entry || !entry->dhcp || !patient->network->leases.count)
        return;
    uint64_t size = range_size(entry), used = 0;
    vec_foreach (&patient->network->leases, lease)
        used +=
            ip_compare(&lease->ip, &entry->dhcp_first) >= 0 && ip_compare(&lease->ip, &entry->dhcp_last) <= 0;
    if (used >= size)
        PATIENT_FIND(patient, "dhcp-exhausted", patient->subject, "%llu addresses, and as many leases",
                     (unsigned long long)size);
}

/* The host's own address by DHCP, on a bridged network. */
static void check_client(struct patient *patient)
{
    const struct network *entry = patient->network->entry;
    if (!entry || entry->address != ADDRESS_DHCP)
        return;
    if (!service_of(patient, "dhcp-client"))
        PATIENT_FIND(patient, "dhcp-client-dead", patient->subject, "no DHCP client of this network runs");
    else if (!ip_is_set(&patient->host_ip))
        PATIENT_FIND(patient, "dhcp-client-no-lease", patient->subject, "'%s' has no IPv4 address",
                     patient->network->name);
}

/* The host looked for the target in vain; of a machine of the file that does not run that is as it should be.
 */
static void check_forwards(struct patient *patient)
{
    const struct network *entry = patient->network->entry;
    VEC(const struct neighbour *) silent = {0};
    vec_foreach (&patient->health->neighbours, neighbour) {
        if (entry && neighbour->failed && strcmp(neighbour->ifname, patient->network->name) == 0)
            *vec_push(patient->arena, &silent) = neighbour;
    }
    for (size_t i = 0; silent.count && i < entry->forwards.list.count; i++) {
        const struct forward *forward = &entry->forwards.list.items[i];
        bool stopped = false, failed = false;
        vec_foreach (&entry->nics, member)
            stopped |= (ip_equal(&member->nic->address, &forward->target) ||
                        ip_equal(&member->nic->address6, &forward->target)) &&
                       !doctor_nic_by_mac(patient->nics, &member->nic->mac, NULL);
        vec_foreach (&silent, neighbour)
            failed |= ip_equal(&(*neighbour)->ip, &forward->target);
        if (failed && !stopped)
            PATIENT_FIND(
                patient, "forward-target-silent", patient->subject,
                "%s: the host asked %s for %s, and nobody answered", forward_format(patient->arena, forward),
                forward->family == AF_INET6 ? "its neighbours" : "by ARP", IP_TEXT(&forward->target));
    }
}

void doctor_services(struct patient *patient)
{
    if (patient->network->mode == NETWORK_BRIDGED) {
        check_client(patient);
        return;
    }
    check_dnsmasq(patient);
    check_range(patient);
    check_forwards(patient);
    const struct network *entry = patient->network->entry;
    bool asks_hosts =
        patient->network->mode != NETWORK_ISOLATED && (!entry || (entry->dns && !entry->upstream.count));
    if (patient->health->seen && asks_hosts && !patient->health->nameservers.count)
        PATIENT_FIND(patient, "dns-no-upstream", patient->subject, "/etc/resolv.conf %s",
                     patient->health->resolv_read ? "names no name server" : "cannot be read");
}
