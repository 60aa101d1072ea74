/* probe.c: the caller's side of `probe`: its guest is followed, and what failed explained: probe.h. */
#include "diag/probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "diag/forward_check.h"
#include "diag/trace_internal.h"

#define MS INT64_C(1000000)
enum {
    LATE_MS = 60, /* frames and the chains' reports come behind what the guest tells */
    PROBE_LIMIT_MS = 40000,
    NXDOMAIN = 3,
    REFUSED = 5,
    DNS_PORT = 53,
    ROUTE_BY_RA = 9, /* RTPROT_RA of <linux/rtnetlink.h> */
};

const char *probe_step_name(enum probe_step step)
{
    static const char *const names[] = {"lease", "gateway", "ping",  "name",  "tcp",
                                        "mtu",   "router6", "ping6", "lease6"};
    return names[step];
}

#define FIND(code, ...)                                                                                      \
    finding_evidence(&probe->trace.findings, finding_add(&probe->trace.findings, code, subject), __VA_ARGS__)

/* What the guest asked for in this step; the unanswered one where there is one. */
static struct ask *ask_of(const struct tracer *tracer, enum probe_step step, const struct ip *target,
                          const struct ip *target6)
{
    struct ask *found = NULL;
    for (size_t i = 0; i < tracer->ask_count; i++) {
        struct ask *ask = tracer->asks[i];
        const struct packet *packet = &ask->packet;
        bool to_target6 =
            ask->kind == ASK_IP && ip_is_set(target6) && ip_equal(&packet->flow.target, target6);
        bool to_target = ask->kind == ASK_IP && ip_equal(&packet->flow.target, target);
        bool fits = step == PROBE_LEASE     ? ask->kind == ASK_DHCP
                    : step == PROBE_GATEWAY ? ask->kind == ASK_ARP
                    : step == PROBE_NAME    ? ask->kind == ASK_IP && packet->flow.protocol == IPPROTO_UDP &&
                                               packet->flow.target_port == DNS_PORT
                    : step == PROBE_PING6 ? to_target6 && packet->flow.protocol == IPPROTO_ICMPV6
                    : step == PROBE_ROUTER6 || step == PROBE_LEASE6 ? false
                    : step == PROBE_TCP ? to_target && packet->flow.protocol == IPPROTO_TCP
                                        : to_target && packet->flow.protocol == IPPROTO_ICMP;
        if (fits && (!found || (ask->pending && !found->pending)))
            found = ask;
    }
    return found;
}

static void explain_name(struct tracer *tracer, struct probe *probe, const struct ask *ask,
                         const char *subject)
{
    const struct probe_report *report = &probe->steps[PROBE_NAME];
    if (report->dns_status == REFUSED)
        FIND("dns-no-upstream", "%s", report->text);
    else if (report->dns_alive)
        FIND("dns-upstream-dead", "%s, and %s", report->text, probe->steps[PROBE_PING].text);
    else if (ask && ask->pending && (ask->dropped || ask->side == SIDE_HOST))
        trace_diagnose(tracer, ask);
    else
        FIND("dns-silent", "%s, and %s", report->text, probe->steps[PROBE_PING].text);
}

/* IPv6 is judged by what the host itself has there: a guest without is a fault only then. */
static void explain_ipv6(struct tracer *tracer, struct probe *probe, enum probe_step step,
                         const struct ask *ask, const char *subject)
{
    const struct probe_report *report = &probe->steps[step];
    if (step == PROBE_ROUTER6)
        FIND("ra-missing", "%s", report->text);
    else if (step == PROBE_LEASE6)
        FIND("dhcp6-silent", "%s", report->text);
    else if (ask)
        trace_diagnose(tracer, ask);
    else
        FIND("router-silent", "%s, and advertises itself", report->text);
}

/* A route that takes the guest's address, and is more specific than the bridge's own, leads elsewhere. */
static void check_route(const struct tracer *tracer, struct probe *probe, const char *subject)
{
    const struct ip *guest = &probe->steps[PROBE_LEASE].address.ip;
    for (size_t i = 0; mode_behind_host(tracer->mode) && ip_is_set(guest) && i < tracer->subnet_count; i++) {
        vec_foreach (&tracer->request->observed->routes, route) {
            if (route->table == 254 && route->to.length > tracer->subnets[i].length &&
                prefix_contains(&route->to, guest) && strcmp(route->ifname, tracer->network) != 0)
                FIND("route-elsewhere", "the guest got %s, and the route to %s leads to '%s'", IP_TEXT(guest),
                     PREFIX_TEXT(&route->to), route->ifname);
        }
    }
}

/* The step that failed first says what is wrong; the tracer says where. */
static void explain(struct tracer *tracer, struct probe *probe, enum probe_step step, const struct ask *ask)
{
    const char *subject = arena_printf(tracer->arena, "network '%s'", tracer->network);
    const struct probe_report *report = &probe->steps[step];
    check_route(tracer, probe, subject);
    if (step == PROBE_NAME)
        explain_name(tracer, probe, ask, subject);
    else if (step >= PROBE_ROUTER6)
        explain_ipv6(tracer, probe, step, ask, subject);
    else if (step == PROBE_MTU && report->lost)
        FIND("mtu-black-hole",
             "of packets to the target, all with 'do not fragment', %s; nobody sent "
             "'fragmentation needed'",
             report->text);
    else if (ask)
        trace_diagnose(tracer, ask);
    if (!findings_any(&probe->trace.findings, FINDING_ERROR))
        FIND("packet-lost", "%s: %s", probe_step_name(step), report->text);
    trace_explain(tracer, ask);
}

/* Many a target answers no ping and is well. */
static bool answers_no_ping(struct tracer *tracer, struct probe *probe, const struct ask *ping)
{
    if (probe->steps[PROBE_PING].outcome != PROBE_FAILED || probe->steps[PROBE_TCP].outcome != PROBE_PASSED)
        return false;
    if (!ping || !ping->times[AT_UPLINK] || ping->times[BACK_UPLINK] || ping->dropped || ping->has_error)
        return false; /* it was lost here */
    const char *subject = arena_printf(tracer->arena, "network '%s'", tracer->network);
    FIND("target-silent", "%s, and %s", probe->steps[PROBE_PING].text, probe->steps[PROBE_TCP].text);
    struct findings *findings = &probe->trace.findings;
    struct finding *finding = &findings->list.items[findings->list.count - 1];
    finding->severity = FINDING_NOTE;
    finding_title(findings, finding, "the target answers TCP, and no ping");
    finding_cure(findings, finding, "none is needed; a target that answers pings tells more");
    return true;
}

static void conclude(struct tracer *tracer, struct probe *probe, const struct probe_request *request)
{
    enum probe_step step = 0;
    bool no_ping =
        answers_no_ping(tracer, probe, ask_of(tracer, PROBE_PING, &request->target, &request->target6));
    while (step < PROBE_STEP_COUNT &&
           (probe->steps[step].outcome != PROBE_FAILED || (no_ping && step == PROBE_PING)))
        step++;
    bool healthy = step == PROBE_STEP_COUNT;
    /* A router may keep to itself and yet pass packets on. */
    if (step == PROBE_GATEWAY && probe->steps[PROBE_PING].outcome == PROBE_PASSED)
        healthy = true;
    const struct ask *ask = ask_of(tracer,
                                   !healthy  ? step
                                   : no_ping ? PROBE_TCP
                                             : PROBE_PING,
                                   &request->target, &request->target6);
    if (!healthy)
        explain(tracer, probe, step, ask);
    else if (ask)
        trace_diagnose(tracer, ask); /* a second DHCP server, an address that is in use twice */
    trace_steps(tracer, ask);
    probe->trace.answered = healthy;
    probe->trace.frames = tracer->frames_in;
    findings_sort(&probe->trace.findings);
}

/* Take in reports until the guest has ended, and then what comes late.  */
static int follow(struct tracer *tracer, struct probe *probe, const struct probe_request *request,
                  const struct guest *guest, struct err *err)
{
    bool done = false;
    int64_t end_ns = tracer->start_ns + PROBE_LIMIT_MS * MS;
    while (tracer->now_ns < end_ns) {
        struct probe_report report;
        int rc = trace_pump(tracer, err);
        if (rc < 0)
            return rc;
        trace_ping_router(tracer);
        if (request->stopped && *request->stopped)
            return err_set(err, EINTR, "stopped by a signal");
        for (ssize_t got; !done && (got = recv(guest->fd, &report, sizeof(report), MSG_DONTWAIT)) >= 0;) {
            if (got == (ssize_t)sizeof(report) && report.step < PROBE_STEP_COUNT) {
                probe->steps[report.step] = report;
                continue;
            }
            done = true;
            end_ns = tracer->now_ns + LATE_MS * MS;
        }
    }
    probe->took_ns = tracer->now_ns - tracer->start_ns;
    return 0;
}

/* A router advertised itself to the host itself on a bridged network; on a nat network the host is the
 * router.
 */
/* The host's own IPv6 address on the bridge that is not link-local; unset: it has none. */
static struct ip host_address6(const struct tracer *tracer)
{
    vec_foreach (&tracer->request->observed->addresses, address) {
        if (strcmp(address->ifname, tracer->network) == 0 && address->prefix.ip.family == AF_INET6 &&
            !ip_is_link_local(&address->prefix.ip))
            return address->prefix.ip;
    }
    return (struct ip){0};
}

static enum probe_ipv6 ipv6_of(const struct tracer *tracer, const struct ip *target6)
{
    const struct observed *observed = tracer->request->observed;
    struct ip own = host_address6(tracer);
    bool nat = mode_behind_host(tracer->mode), address_there = ip_is_set(&own), route_there = false;
    vec_foreach (&observed->routes, route)
        route_there |= route->protocol == ROUTE_BY_RA && route->to.length == 0 &&
                       strcmp(route->ifname, tracer->network) == 0;
    if ((nat ? address_there : route_there) || ip_is_set(target6))
        return PROBE_IPV6_WANTED;
    return nat ? PROBE_IPV6_NONE : PROBE_IPV6_MAYBE;
}

static void guest_fill(const struct tracer *tracer, const struct probe_request *request,
                       struct probe_guest *guest)
{
    const struct network *entry = tracer->entry;
    *guest = (struct probe_guest){
        .mac = request->mac,
        .mtu = tracer->bridge->mtu,
        .target = request->target,
        .target6 = request->target6,
        .ipv6 = ipv6_of(tracer, &request->target6),
        .program = request->program,
        .isolated = tracer->mode == NETWORK_ISOLATED,
    };
    if (guest->isolated && !ip_is_set(&guest->target6))
        guest->target6 = host_address6(tracer);
    if (mode_behind_host(tracer->mode) && entry) {
        guest->gateway = network_host_address(entry).ip;
        if (!entry->dhcp) {
            struct ip network = entry->subnet.ip;
            uint64_t size = UINT64_C(1) << (32 - entry->subnet.length);
            guest->address = (struct prefix){ip_add(&network, size - 2), entry->subnet.length};
        }
        guest->dhcp6 = entry->dhcp && network_has_subnet6(entry);
    } else if (trace_in_subnet(tracer, &tracer->gateway)) {
        guest->gateway = tracer->gateway;
    }
}

int probe_run(struct arena *arena, struct host *host, const struct probe_request *request,
              struct probe *probe, struct err *err)
{
    *probe = (struct probe){.trace.findings.arena = arena};
    struct tracer *tracer = arena_new(arena, struct tracer);
    struct trace_request trace = {
        .name = request->nic->tap,
        .target = request->target,
        .model = request->model,
        .observed = request->observed,
        .known = request->known,
        .stopped = request->stopped,
    };
    const struct host_guest *guests = host->backend->guest;
    if (!guests)
        return err_set(err, ENOSYS, "this host cannot start a guest of its own");
    struct probe_guest act;
    struct guest guest = {.fd = -1};
    int rc = trace_open(tracer, arena, host, &trace, &probe->trace, err);
    if (rc == 0 && !tracer->bridge)
        rc = err_set(err, ENODEV, "network '%s' has no bridge", request->network);
    if (rc == 0) {
        guest_fill(tracer, request, &act);
        act.host = guests;
        rc = guests->start(host,
                           &(struct guest_request){.nic = request->nic,
                                                   .mac = request->mac,
                                                   .mtu = act.mtu,
                                                   .act = probe_guest_act,
                                                   .data = &act},
                           &guest, err);
    }
    if (rc == 0 && send(guest.fd, "g", 1, MSG_NOSIGNAL) != 1)
        rc = err_errno(err, errno, "starting the probe");
    struct forward_check forwards;
    forward_check_start(&forwards, rc == 0 ? tracer->entry : NULL);
    if (rc == 0)
        rc = follow(tracer, probe, request, &guest, err);
    if (guest.pid)
        guests->end(&guest);
    forward_check_end(&forwards, arena, request->observed, tracer->entry, &probe->trace.findings);
    if (rc == 0)
        conclude(tracer, probe, request);
    trace_close(tracer);
    return rc;
}
