/* doctor.c: which networks and machines are looked at, and in which order: doctor.h. */
#include "diag/doctor.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/text.h"
#include "diag/doctor_internal.h"

static const struct doctor_machine *machine_of(const struct doctor_request *request, const char *name)
{
    vec_foreach (&request->machines, machine) {
        if (strcmp(machine->name, name) == 0)
            return machine;
    }
    return NULL;
}

static const struct doctor_network *network_of(const struct doctor_request *request, const char *name)
{
    vec_foreach (&request->networks, network) {
        if (strcmp(network->name, name) == 0)
            return network;
    }
    return NULL;
}

/* Does a nic of the machine hang on the network, by the file or by what is there? */
static bool machine_uses(const struct doctor_nics *nics, const struct doctor_machine *machine,
                         const char *network)
{
    for (size_t i = 0; machine->entry && i < machine->entry->nics.count; i++) {
        if (strcmp(machine->entry->nics.items[i].network, network) == 0)
            return true;
    }
    return !machine->entry && doctor_machine_on(nics, machine->name, network);
}

static void addresses_find(struct patient *patient)
{
    const struct network *entry = patient->network->entry;
    bool nat = mode_behind_host(patient->network->mode) && entry;
    ip_parse("8.8.8.8", &patient->target);
    if (entry && ip_is_set(&entry->probe))
        patient->target = entry->probe;
    vec_foreach (&patient->observed->addresses, address) {
        if (patient->bridge && strcmp(address->ifname, patient->bridge->name) == 0 &&
            address->prefix.ip.family == AF_INET && !ip_is_set(&patient->host_ip)) {
            patient->host_ip = address->prefix.ip;
            patient->subnet = prefix_network(&address->prefix);
        }
    }
    if (nat) {
        patient->subnet = entry->subnet;
        patient->host_ip = network_host_address(entry).ip;
    }
    if (entry && network_has_subnet6(entry)) {
        patient->subnet6 = entry->subnet6;
        patient->host_ip6 = network_host_address6(entry).ip;
    }
    if (patient->network->leases.count)
        patient->guest = patient->network->leases.items[0].ip;
    else if (nat && entry->dhcp)
        patient->guest = entry->dhcp_last;
    else if (ip_is_set(&patient->subnet.ip) && patient->subnet.length < 31)
        patient->guest = ip_add(&patient->host_ip, ip_equal(&patient->host_ip, &patient->subnet.ip) ? 2 : 1);
}

static void examine(struct patient *patient, const char *machine)
{
    const struct doctor_network *network = patient->network;
    if (network->mode == NETWORK_PASSTHROUGH)
        return;
    if (!doctor_links(patient))
        return;
    addresses_find(patient);
    doctor_guests(patient, machine);
    doctor_routes(patient);
    doctor_ipv6(patient);
    doctor_firewall(patient);
    doctor_services(patient);
}

static const char *joined(struct arena *arena, const char *const *lines, size_t count)
{
    struct text out = {.arena = arena};
    for (size_t i = 0; i < count; i++)
        text_add(&out, "%s%s", i ? "; " : "mended by ", lines[i]);
    return text_get(&out);
}

/* Drift that another finding already tells is only repeated with it. */
static void tell_drift(struct patient *patient)
{
    const struct doctor_network *network = patient->network;
    if (network->drift.count && network->up)
        PATIENT_FIND(patient, "network-drifted", patient->subject, "%s",
                     joined(patient->arena, network->drift.items, network->drift.count));
}

static void check_machine(struct arena *arena, const struct doctor_request *request,
                          const struct doctor_nics *nics, struct findings *findings,
                          const struct doctor_machine *machine)
{
    const char *subject = arena_printf(arena, "machine '%s'", machine->name);
    if (!machine->running) {
        /* That a machine is stopped is worth saying when it is asked for, and no fault else. */
        if (text_equal(request->name, machine->name)) {
            struct finding *finding = finding_add(findings, "machine-stopped", subject);
            finding_cure(findings, finding, "vmwire start %s", machine->name);
        }
        return;
    }
    unsigned index = 0; /* a device that is passed through has none */
    for (size_t i = 0; machine->entry && i < machine->entry->nics.count; i++) {
        const char *network = machine->entry->nics.items[i].network;
        const struct doctor_network *known = network_of(request, network);
        if (known && known->mode == NETWORK_PASSTHROUGH)
            continue;
        if (known && !doctor_machine_has(nics, machine->name, index))
            finding_evidence(findings, finding_add(findings, "nic-missing", subject),
                             "no interface of this host is its nic %u, which belongs on '%s'", index,
                             network);
        index++;
    }
}

/* Given to a running machine by `attach`, or no longer in the file. */
static void check_unlisted(const struct doctor_request *request, struct findings *findings,
                           const struct doctor_nic *seen)
{
    const struct machine *entry = seen->machine ? seen->machine->entry : NULL;
    unsigned listed = 0;
    for (size_t i = 0; entry && i < entry->nics.count; i++) {
        const struct doctor_network *known = network_of(request, entry->nics.items[i].network);
        listed += !known || known->mode != NETWORK_PASSTHROUGH;
    }
    if (entry && seen->nic.index >= listed)
        finding_evidence(findings, finding_add(findings, "nic-unlisted", seen->subject),
                         "its nic %u on '%s', '%s', is not in the file", seen->nic.index, seen->nic.network,
                         seen->tap->name);
}

static void check_host(struct arena *arena, const struct doctor_request *request, struct findings *findings,
                       bool nat)
{
    const struct health *health = &request->observed->health;
    if (!health->seen)
        return;
    if (nat && health->no_nf_tables)
        finding_evidence(findings, finding_add(findings, "kernel-feature-missing", "the host"),
                         "it has no nf_tables (CONFIG_NF_TABLES), by which nat networks translate");
    if (health->no_tun)
        finding_evidence(findings, finding_add(findings, "kernel-feature-missing", "the host"),
                         "there is no /dev/net/tun (CONFIG_TUN), by which guests' nics are made");
    if (health->connections_max > 0 && health->connections >= health->connections_max)
        finding_evidence(findings, finding_add(findings, "conntrack-full", "the host"),
                         "%ld connections are tracked, and %ld can be (net.netfilter.nf_conntrack_max)",
                         health->connections, health->connections_max);
    else if (health->connections_max > 0 && health->connections >= health->connections_max / 20 * 19) {
        struct finding *finding = finding_add(findings, "conntrack-full", "the host");
        finding->severity = FINDING_WARNING;
        finding_title(findings, finding, "the connection table is nearly full");
        finding_evidence(findings, finding, "%ld connections are tracked, and %ld can be",
                         health->connections, health->connections_max);
    }
    if (health->neighbours_max > 0 && health->neighbours_count >= health->neighbours_max)
        finding_evidence(findings, finding_add(findings, "neighbours-full", "the host"),
                         "%ld neighbours are known, and %ld can be", health->neighbours_count,
                         health->neighbours_max);
    if (request->host_drift.count)
        finding_evidence(findings, finding_add(findings, "network-drifted", "the host"), "%s",
                         joined(arena, request->host_drift.items, request->host_drift.count));
}

static int unknown(struct arena *arena, const struct doctor_request *request, struct err *err)
{
    struct text known = {.arena = arena};
    vec_foreach (&request->networks, network)
        text_add(&known, "%s%s", known.length ? ", " : "", network->name);
    vec_foreach (&request->machines, machine)
        text_add(&known, "%s%s", known.length ? ", " : "", machine->name);
    return err_set(err, ENOENT, "there is no network or machine '%s'; there is %s", request->name,
                   known.length ? text_get(&known) : "none at all");
}

int doctor_run(struct arena *arena, struct host *host, const struct doctor_request *request,
               struct findings *findings, struct err *err)
{
    const struct doctor_machine *machine = request->name ? machine_of(request, request->name) : NULL;
    const struct doctor_network *wanted = request->name ? network_of(request, request->name) : NULL;
    bool nat = false;
    if (request->name && !machine && !wanted)
        return unknown(arena, request, err);
    if (wanted)
        machine = NULL;
    struct doctor_nics nics = {0};
    doctor_nics_find(arena, request, &nics);
    vec_foreach (&request->networks, network) {
        if ((wanted && network != wanted) || (machine && !machine_uses(&nics, machine, network->name)))
            continue;
        struct patient patient = {.arena = arena,
                                  .host = host,
                                  .request = request,
                                  .observed = request->observed,
                                  .health = &request->observed->health,
                                  .findings = findings,
                                  .nics = &nics,
                                  .network = network,
                                  .out = "",
                                  .subject = arena_printf(arena, "network '%s'", network->name)};
        nat |= mode_behind_host(network->mode);
        examine(&patient, machine ? machine->name : NULL);
        tell_drift(&patient);
    }
    vec_foreach (&request->machines, each) {
        bool here = machine ? each == machine : !wanted || machine_uses(&nics, each, wanted->name);
        if (here)
            check_machine(arena, request, &nics, findings, each);
    }
    vec_foreach (&nics.list, nic) {
        if (machine ? nic->machine == machine : !wanted || strcmp(nic->nic.network, wanted->name) == 0)
            check_unlisted(request, findings, nic);
    }
    check_host(arena, request, findings, nat);
    findings_sort(findings);
    return 0;
}
