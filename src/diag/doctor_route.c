/* doctor_route.c: addresses, forwarding and routes, as the kernel would decide: doctor.h. */
#include <errno.h>
#include <sys/socket.h>

#include "diag/doctor_internal.h"

enum { ARP_IGNORE_ALL = 8, ROUTE_UNICAST = 1 };

static bool has_address(const struct patient *patient, const struct ip *ip)
{
    vec_foreach (&patient->observed->addresses, address) {
        if (strcmp(address->ifname, patient->network->name) == 0 && ip_equal(&address->prefix.ip, ip))
            return true;
    }
    return false;
}

/* Another network of the host, of which it has an address. */
static void check_overlap(struct patient *patient)
{
    if (!ip_is_set(&patient->subnet.ip))
        return;
    vec_foreach (&patient->observed->addresses, address) {
        if (strcmp(address->ifname, patient->network->name) == 0 || address->prefix.ip.family != AF_INET ||
            ip_is_loopback(&address->prefix.ip) || !prefix_overlaps(&address->prefix, &patient->subnet))
            continue;
        /* The uplink of a bridged network may have an address of the segment: that is another finding. */
        if (patient->network->mode == NETWORK_BRIDGED)
            continue;
        char subnet[PREFIX_TEXT_SIZE];
        PATIENT_FIND(patient, "subnet-overlap", patient->subject,
                     "its subnet is %s, and the host has %s on '%s'", prefix_format(&patient->subnet, subnet),
                     PREFIX_TEXT(&address->prefix), address->ifname);
    }
}

static void check_arp(struct patient *patient)
{
    const struct interface_health *health = health_interface(patient->health, patient->network->name);
    if (!health || !mode_behind_host(patient->network->mode) || !ip_is_set(&patient->host_ip))
        return;
    if (health->no_arp)
        PATIENT_FIND(patient, "arp-off", patient->subject, "'%s' has the flag NOARP", patient->network->name);
    else if (health->conf_known && health->arp_ignore >= ARP_IGNORE_ALL)
        PATIENT_FIND(patient, "arp-off", patient->subject, "net.ipv4.conf.%s.arp_ignore (or of all) is %d",
                     patient->network->name, health->arp_ignore);
}

/* Forwarding is each interface's own: what comes in there is forwarded. */
static bool forwards(struct patient *patient)
{
    vec_foreach (&patient->observed->forwarding, sysctl) {
        if (sysctl->ipv6)
            continue;
        if (sysctl->wanted && strcmp(sysctl->now, "0") == 0 && strcmp(sysctl->wanted, "0") != 0) {
            if (!finding_find(patient->findings, "forwarding-off", "the host"))
                PATIENT_FIND(patient, "forwarding-off", "the host", "%s is %s", sysctl->name, sysctl->now);
            return false;
        }
    }
    const char *const names[] = {patient->network->name, patient->out};
    for (size_t i = 0; i < 2; i++) {
        const struct interface_health *health = health_interface(patient->health, names[i]);
        if (!health || !health->conf_known || health->forwarding)
            continue;
        PATIENT_FIND(patient, "forwarding-off", patient->subject,
                     "net.ipv4.conf.%s.forwarding is 0: what comes in there is not forwarded", names[i]);
        struct finding *finding = &patient->findings->list.items[patient->findings->list.count - 1];
        finding_cure(patient->findings, finding, "sysctl -w net.ipv4.conf.%s.forwarding=1", names[i]);
        return false;
    }
    return true;
}

static const char *refusal_text(int refused)
{
    switch (refused) {
    case -ENETUNREACH:
        return "no route leads there";
    case -EHOSTUNREACH:
        return "unreachable";
    case -EACCES:
        return "prohibited";
    case -EINVAL:
        return "a blackhole";
    default:
        return strerror(-refused);
    }
}

/* The reverse path filter says -EXDEV, or -EINVAL as a blackhole does: then the host itself would not get
 * there. */
static bool is_path_filter(struct patient *patient, const struct interface_health *health,
                           const struct ip *target, int code)
{
    struct route_question question = {.in = "", .target = *target};
    struct route_answer answer;
    if (code != -EINVAL || !health || !health->rp_filter)
        return code == -EXDEV;
    return patient->host->backend->route_ask(patient->host, &question, &answer) == 0 && !answer.refused;
}

static void refused(struct patient *patient, const char *in, const struct ip *source, const struct ip *target,
                    int code)
{
    char from[IP_TEXT_SIZE], to[IP_TEXT_SIZE];
    ip_format(source, from), ip_format(target, to);
    const struct interface_health *health = health_interface(patient->health, in);
    if (is_path_filter(patient, health, target, code)) {
        PATIENT_FIND(patient, "rp-filter", patient->subject,
                     "rp_filter of '%s' is %d, and the host's routes do not lead back to %s by '%s'", in,
                     health ? health->rp_filter : 1, from, in);
        struct finding *finding = &patient->findings->list.items[patient->findings->list.count - 1];
        if (health && health->rp_filter == 1)
            finding_cure(
                patient->findings, finding,
                "sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.%s.rp_filter=2, or mend the route",
                in);
        return;
    }
    PATIENT_FIND(patient, "route-refused", patient->subject, "ip route get %s from %s iif %s: %s", to, from,
                 in, refusal_text(code));
}

/* From a guest to the outside. */
static void check_way_out(struct patient *patient)
{
    struct route_question question = {
        .in = patient->network->name, .source = patient->guest, .target = patient->target};
    struct route_answer answer;
    if (patient->host->backend->route_ask(patient->host, &question, &answer) < 0)
        return;
    if (answer.refused) {
        if (answer.refused != -EXDEV && !doctor_default_route(patient->observed)) {
            if (!finding_find(patient->findings, "no-default-route", patient->subject))
                PATIENT_FIND(patient, "no-default-route", patient->subject,
                             "the host has no IPv4 default route, and %s is %s", IP_TEXT(&patient->target),
                             refusal_text(answer.refused));
            return;
        }
        refused(patient, question.in, &question.source, &question.target, answer.refused);
        return;
    }
    if (patient->network->uplink_named && *patient->out && strcmp(answer.ifname, patient->out) != 0) {
        PATIENT_FIND(patient, "uplink-not-routed", patient->subject,
                     "packets to %s would leave by '%s', and the file names '%s'", IP_TEXT(&patient->target),
                     answer.ifname, patient->out);
        return;
    }
    if (*answer.ifname)
        patient->out = arena_strdup(patient->arena, answer.ifname);
    if (!ip_is_set(&answer.gateway))
        return;
    vec_foreach (&patient->health->neighbours, neighbour) {
        if (neighbour->failed && strcmp(neighbour->ifname, answer.ifname) == 0 &&
            ip_equal(&neighbour->ip, &answer.gateway))
            PATIENT_FIND(patient, "router-silent", patient->subject,
                         "the host asked by ARP for %s on '%s', and nobody answered",
                         IP_TEXT(&answer.gateway), answer.ifname);
    }
}

/* Of the router or of the bridge: one that is wrong sends packets to nobody. */
static void check_fixed(struct patient *patient)
{
    vec_foreach (&patient->health->neighbours, neighbour) {
        bool router = false;
        vec_foreach (&patient->observed->routes, route)
            router |= route->to.length == 0 && ip_equal(&route->gateway, &neighbour->ip);
        if (neighbour->fixed && (router || strcmp(neighbour->ifname, patient->network->name) == 0))
            PATIENT_FIND(patient, "neighbour-fixed", patient->subject, "%s on '%s' is %s%s",
                         IP_TEXT(&neighbour->ip), neighbour->ifname, MAC_TEXT(&neighbour->mac),
                         router ? "; it is the router" : "");
    }
}

/* To a guest: from the host itself, and from outside. */
static void check_way_in(struct patient *patient, const struct ip *guest)
{
    struct route_question question = {.in = "", .target = *guest};
    struct route_answer answer;
    const char *name = patient->network->name;
    if (finding_find(patient->findings, "route-elsewhere", patient->subject) ||
        patient->host->backend->route_ask(patient->host, &question, &answer) < 0)
        return;
    if (answer.refused || strcmp(answer.ifname, name) != 0) {
        PATIENT_FIND(patient, "route-elsewhere", patient->subject, "ip route get %s: %s%s%s", IP_TEXT(guest),
                     answer.refused ? refusal_text(answer.refused) : "by '",
                     answer.refused ? "" : answer.ifname, answer.refused ? "" : "'");
        return;
    }
    if (!*patient->out || !patient->uplink || !patient->uplink->up)
        return;
    question = (struct route_question){.in = patient->out, .source = patient->target, .target = *guest};
    if (patient->host->backend->route_ask(patient->host, &question, &answer) < 0)
        return;
    if (answer.refused)
        refused(patient, question.in, &question.source, &question.target, answer.refused);
    else if (strcmp(answer.ifname, name) != 0)
        PATIENT_FIND(patient, "route-elsewhere", patient->subject, "ip route get %s from %s iif %s: by '%s'",
                     IP_TEXT(guest), arena_strdup(patient->arena, IP_TEXT(&patient->target)), patient->out,
                     answer.ifname);
}

/* On a bridged network the host is a guest beside others: only what concerns its own address. */
static void check_host_way(struct patient *patient)
{
    vec_foreach (&patient->observed->routes, route) {
        if (route->to.length || route->table != TABLE_MAIN || !ip_is_set(&route->gateway) ||
            strcmp(route->ifname, patient->network->name) != 0)
            continue;
        vec_foreach (&patient->health->neighbours, neighbour) {
            if (neighbour->failed && ip_equal(&neighbour->ip, &route->gateway) &&
                strcmp(neighbour->ifname, route->ifname) == 0)
                PATIENT_FIND(patient, "router-silent", patient->subject,
                             "the host asked by ARP for %s on '%s', and nobody answered",
                             IP_TEXT(&route->gateway), route->ifname);
        }
    }
}

bool doctor_default_route(const struct observed *observed)
{
    vec_foreach (&observed->routes, route) {
        if (route->to.length == 0 && route->to.ip.family == AF_INET && route->type == ROUTE_UNICAST)
            return true;
    }
    return false;
}

void doctor_routes(struct patient *patient)
{
    check_fixed(patient);
    if (!mode_behind_host(patient->network->mode)) {
        check_host_way(patient);
        return;
    }
    check_overlap(patient);
    check_arp(patient);
    if (ip_is_set(&patient->host_ip) && !has_address(patient, &patient->host_ip)) {
        PATIENT_FIND(patient, "bridge-address-missing", patient->subject, "'%s' has no address %s",
                     patient->network->name, IP_TEXT(&patient->host_ip));
        return;
    }
    if (!mode_forwards(patient->network->mode))
        return;
    bool forwarding = forwards(patient);
    if (!patient->host->backend->route_ask || !patient->bridge->up || !ip_is_set(&patient->guest))
        return;
    if (forwarding && *patient->out)
        check_way_out(patient);
    if (!forwarding)
        return;
    check_way_in(patient, &patient->guest);
    /* A route to a half of the subnet takes some guests away and not others. */
    struct ip first = ip_add(&patient->subnet.ip, 2), last = prefix_last(&patient->subnet);
    last = ip_add(&last, UINT64_MAX);
    check_way_in(patient, &first);
    check_way_in(patient, &last);
    vec_foreach (&patient->observed->routes, route) {
        if (route->table == TABLE_MAIN && route->to.ip.family == AF_INET &&
            route->to.length > patient->subnet.length && prefix_contains(&patient->subnet, &route->to.ip) &&
            strcmp(route->ifname, patient->network->name) != 0 &&
            !finding_find(patient->findings, "route-elsewhere", patient->subject))
            PATIENT_FIND(patient, "route-elsewhere", patient->subject,
                         "a route takes %s, a part of the subnet, to '%s'", PREFIX_TEXT(&route->to),
                         *route->ifname ? route->ifname : "nowhere");
    }
}
