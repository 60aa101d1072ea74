/* trace.c: `trace`: opening what is watched, waiting, and deciding when enough was seen: trace.h.
 *
 * Theory of operation.  1. What can be told without a frame is told (trace_check_state).  2. Captures at
 * every hop and the chains' reports are opened.  3. Frames become asks: something that the guest wants an
 * answer to, with the times at which it passed each hop (trace_follow.c).  4. The wait ends when one ask came
 * back, or one surely will not, or the time is over.  5. Where that one ended, and what else was seen, gives
 * the finding (trace_diagnose.c). */
#include "diag/trace.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "diag/trace_internal.h"
#include "plan/plan.h"

#define MS INT64_C(1000000)
enum {
    TICK_MS = 20,
    EVENT_LATE_MS = 30,
    SNAP = 512,
    BUFFER = 1 << 20,
    DROP_GRACE_MS = 400, /* for the guest to be told, and for the other chains */
    PATIENCE_MS = 2500,  /* without an answer */
    ARP_PATIENCE_MS = 3500,
    DHCP_PATIENCE_MS = 4000,
    SETTLE_MS = 1500, /* of a connection: does more follow? */
    PING_EVERY_MS = 500,
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void place_hops(struct tracer *tracer)
{
    tracer->bridge_hop = tracer->uplink_hop = SIZE_MAX;
    tracer->network = tracer->hops.list.items[0].network;
    vec_foreach (&tracer->hops.list, hop) {
        size_t index = (size_t)(hop - tracer->hops.list.items);
        if (strcmp(hop->network, tracer->network) != 0)
            continue;
        if (hop->kind == HOP_BRIDGE)
            tracer->bridge_hop = index;
        else if (hop->kind == HOP_UPLINK)
            tracer->uplink_hop = index;
    }
}

static void subnets_find(struct tracer *tracer)
{
    if (tracer->entry && mode_behind_host(tracer->entry->mode))
        tracer->subnets[tracer->subnet_count++] = tracer->entry->subnet;
    vec_foreach (&tracer->request->observed->addresses, address) {
        if (strcmp(address->ifname, tracer->network) == 0 && address->prefix.ip.family == AF_INET &&
            tracer->subnet_count < sizeof(tracer->subnets) / sizeof(tracer->subnets[0]))
            tracer->subnets[tracer->subnet_count++] = prefix_network(&address->prefix);
    }
}

static void gateway_find(struct tracer *tracer)
{
    uint32_t metric = UINT32_MAX;
    vec_foreach (&tracer->request->observed->routes, route) {
        if (route->to.length == 0 && route->to.ip.family == AF_INET && route->table == 254 &&
            ip_is_set(&route->gateway) && route->metric < metric) {
            tracer->gateway = route->gateway;
            metric = route->metric;
        }
    }
}

/* The hops of a nic alone are only its tap: bridge and uplink are its network's. */
static int hops_find(struct tracer *tracer, struct err *err)
{
    const struct trace_request *request = tracer->request;
    int rc =
        capture_hops(tracer->arena, request->observed, request->model, request->name, &tracer->hops, err);
    if (rc < 0)
        return rc;
    if (tracer->hops.list.items[0].kind != HOP_NIC)
        return err_set(err, EINVAL, "'%s' is a network: trace follows a machine or a nic", request->name);
    if (tracer->hops.list.count == 1) {
        struct hops all;
        rc = capture_hops(tracer->arena, request->observed, request->model,
                          tracer->hops.list.items[0].network, &all, NULL);
        for (size_t i = 0; rc == 0 && i < all.list.count; i++) {
            if (all.list.items[i].kind != HOP_NIC)
                *vec_push(tracer->arena, &tracer->hops.list) = all.list.items[i];
        }
    }
    place_hops(tracer);
    struct record record = {0};
    tracer->entry = request->model ? network_find(request->model, tracer->network) : NULL;
    if (record_read(tracer->arena, request->observed, tracer->network, &record, NULL) < 0)
        record.mode = 0;
    tracer->mode = tracer->entry ? tracer->entry->mode : record.mode;
    tracer->bridge = link_find(request->observed, tracer->network);
    tracer->uplink = tracer->uplink_hop == SIZE_MAX
                         ? NULL
                         : link_find(request->observed, tracer->hops.list.items[tracer->uplink_hop].ifname);
    subnets_find(tracer);
    gateway_find(tracer);
    return 0;
}

/* Failing is no failure: the hops tell much without the chains. */
static int chains_open(struct tracer *tracer, struct err *err)
{
    const struct host_chain_trace *backend = tracer->host->backend->chain_trace;
    if (!backend) {
        tracer->trace->chains = "firewall rules are not shown on this host";
        return 0;
    }
    struct chain_trace_request request = {
        .uplink = tracer->uplink ? tracer->uplink->name : "",
        .target = tracer->request->target,
        .connections = tracer->mode == NETWORK_NAT,
    };
    if (tracer->request->address_count)
        request.guest = tracer->guest = tracer->request->addresses[0];
    size_t count = 0;
    vec_foreach (&tracer->hops.list, hop) {
        if (hop->kind == HOP_NIC && count + 1 < CHAINS_TRACED_MAX)
            request.taps[count++] = hop->ifname;
    }
    struct err reason = {0};
    int rc = backend->open(tracer->host, &request, &tracer->chains, &reason);
    if (rc == -EPERM)
        return err_set(err, rc, "%s", reason.text);
    if (rc < 0)
        tracer->trace->chains = arena_strdup(tracer->arena, reason.text);
    return 0;
}

uint16_t trace_checksum(const uint8_t *bytes, size_t length)
{
    uint32_t sum = 0;
    for (size_t i = 0; i + 1 < length; i += 2)
        sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void echo_send(struct tracer *tracer, const struct ip *to)
{
    uint8_t echo[64] = {8, 0, 0, 0, 0x76, 0x6d, (uint8_t)(tracer->pings >> 8), (uint8_t)tracer->pings};
    uint16_t sum = trace_checksum(echo, sizeof(echo));
    echo[2] = (uint8_t)(sum >> 8);
    echo[3] = (uint8_t)sum;
    struct sockaddr_in address = {.sin_family = AF_INET};
    memcpy(&address.sin_addr, to->bytes, 4);
    (void)!sendto(tracer->ping_fd, echo, sizeof(echo), MSG_DONTWAIT, (struct sockaddr *)&address,
                  sizeof(address));
}

static bool ping_due(struct tracer *tracer)
{
    if (tracer->now_ns - tracer->pinged_ns < PING_EVERY_MS * MS)
        return false;
    if (tracer->ping_fd < 0) {
        int on = 1;
        tracer->ping_fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
        if (tracer->ping_fd < 0)
            return false;
        setsockopt(tracer->ping_fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on));
    }
    tracer->pinged_ns = tracer->now_ns;
    tracer->pings++;
    return true;
}

static void router_ping(struct tracer *tracer)
{
    if (tracer->mode == NETWORK_BRIDGED && tracer->gateway.family == AF_INET &&
        trace_in_subnet(tracer, &tracer->gateway))
        echo_send(tracer, &tracer->gateway);
}

void trace_ping_router(struct tracer *tracer)
{
    if (ping_due(tracer))
        router_ping(tracer);
}

/* --ping: the guest where its address is known, else everybody on its segment; and on a bridged network the
 * router, so that what the host is answered can be compared. */
static void ping(struct tracer *tracer)
{
    if (!tracer->request->ping || !ping_due(tracer))
        return;
    if (tracer->guest.family == AF_INET && trace_in_subnet(tracer, &tracer->guest)) {
        echo_send(tracer, &tracer->guest);
    } else if (tracer->subnet_count) {
        struct ip all = prefix_last(&tracer->subnets[0]);
        echo_send(tracer, &all);
    }
    router_ping(tracer);
}

static bool wanted(const struct tracer *tracer, const struct ask *ask)
{
    const struct ip *target = &tracer->request->target;
    return !ip_is_set(target) || (ask->kind == ASK_IP && ip_equal(&ask->packet.flow.target, target));
}

static int64_t patience_ns(const struct ask *ask)
{
    return (ask->kind == ASK_ARP    ? ARP_PATIENCE_MS
            : ask->kind == ASK_DHCP ? DHCP_PATIENCE_MS
                                    : PATIENCE_MS) *
           MS;
}

static bool failed(const struct tracer *tracer, const struct ask *ask)
{
    int64_t now = tracer->now_ns;
    if (ask->dropped && ask->pending && now - ask->dropped_ns > DROP_GRACE_MS * MS)
        return true;
    if (ask->has_error && ask->error_reached_guest && ask->pending)
        return now - ask->first_ns > DROP_GRACE_MS * MS;
    if (ask->gap && now - ask->gap_ns > PATIENCE_MS * MS)
        return true;
    return ask->pending && now - ask->first_ns > patience_ns(ask);
}

static bool came_back(const struct tracer *tracer, const struct ask *ask)
{
    if (ask->pending || !ask->answered)
        return false;
    bool connection = ask->packet.layers & PACKET_TCP;
    /* The chains' reports come behind the frames. */
    if (tracer->now_ns - ask->settled_ns < 2 * EVENT_LATE_MS * MS)
        return false;
    if (!connection || ask->answered_large >= 2 || ask->has_error)
        return true;
    return tracer->now_ns - ask->settled_ns > SETTLE_MS * MS;
}

/* The guest waits for something by itself: the host's ping to it is not all that there is to tell. */
static bool any_pending(const struct tracer *tracer)
{
    for (size_t i = 0; i < tracer->ask_count; i++) {
        if (tracer->asks[i]->pending && tracer->asks[i]->kind != ASK_ECHO)
            return true;
    }
    return false;
}

/* The ask that is worth telling now; NULL: wait on.  `over`: the time is, so the best of what there is. */
static struct ask *decide(struct tracer *tracer, bool over)
{
    static const enum ask_kind order[] = {ASK_IP, ASK_DHCP, ASK_ARP, ASK_ECHO};
    struct ask *good = NULL, *some = NULL;
    for (size_t k = 0; k < sizeof(order) / sizeof(order[0]); k++) {
        for (size_t i = 0; i < tracer->ask_count; i++) {
            struct ask *ask = tracer->asks[i];
            if (ask->kind != order[k] || (ask->kind == ASK_IP && !wanted(tracer, ask)))
                continue;
            bool outside =
                ask->kind == ASK_IP && (ask->side != SIDE_HOST || ip_is_set(&tracer->request->target));
            /* ARP for an address that nobody has is everyday, once something else gets through. */
            if (failed(tracer, ask) && !(ask->kind == ASK_ARP && good))
                return ask;
            if (came_back(tracer, ask) && !good && (outside || ask->kind == ASK_ECHO))
                good = ask;
            some = some ? some : ask;
        }
    }
    if (good && good->kind == ASK_ECHO && !over &&
        (ip_is_set(&tracer->request->target) || any_pending(tracer)))
        return NULL;
    return good ? good : over ? some : NULL;
}

static void events_take(struct tracer *tracer)
{
    const struct host_chain_trace *backend = tracer->host->backend->chain_trace;
    struct chain_event event;
    while (tracer->chains && backend->next(tracer->chains, &event, NULL) > 0) {
        if (tracer->queue_count == QUEUE_MAX)
            continue;
        size_t at = (tracer->queue_first + tracer->queue_count++) % QUEUE_MAX;
        tracer->queue[at] = (struct queued){event, tracer->now_ns};
    }
}

static void events_give(struct tracer *tracer)
{
    while (tracer->queue_count &&
           tracer->queue[tracer->queue_first].at_ns < tracer->now_ns - EVENT_LATE_MS * MS) {
        trace_chain_event(tracer, &tracer->queue[tracer->queue_first].event, tracer->now_ns);
        tracer->queue_first = (tracer->queue_first + 1) % QUEUE_MAX;
        tracer->queue_count--;
    }
}

int trace_pump(struct tracer *tracer, struct err *err)
{
    struct capture_packet captured;
    int rc = capture_next(tracer->capture, TICK_MS, &captured, err);
    for (int i = 0; rc > 0 && i < 256; i++) {
        trace_frame(tracer, &captured);
        rc = capture_next(tracer->capture, 0, &captured, err);
    }
    if (rc > 0)
        trace_frame(tracer, &captured);
    if (rc < 0)
        return rc;
    tracer->now_ns = now_ns();
    events_take(tracer);
    events_give(tracer);
    return 0;
}

static int wait_for(struct tracer *tracer, struct ask **told, struct err *err)
{
    if (tracer->request->watching)
        tracer->request->watching(tracer->request->context);
    int64_t end = tracer->start_ns + tracer->request->seconds * 1000 * MS;
    for (;;) {
        int rc = trace_pump(tracer, err);
        if (rc < 0)
            return rc;
        ping(tracer);
        bool stopped = tracer->request->stopped && *tracer->request->stopped;
        bool over = stopped || tracer->now_ns >= end || tracer->now_ns < tracer->start_ns;
        *told = decide(tracer, over);
        if (*told || over)
            return 0;
    }
}

int trace_open(struct tracer *tracer, struct arena *arena, struct host *host,
               const struct trace_request *request, struct trace *trace, struct err *err)
{
    struct capture_options options = {.snap_bytes = SNAP, .buffer_bytes = BUFFER};
    *trace = (struct trace){.findings.arena = arena, .round_trip_ns = -1};
    *tracer =
        (struct tracer){.arena = arena, .host = host, .request = request, .trace = trace, .ping_fd = -1};
    int rc = hops_find(tracer, err);
    if (rc < 0)
        return rc;
    trace_check_state(tracer);
    rc = capture_open(&tracer->capture, &tracer->hops, &options, err);
    if (rc == 0)
        rc = chains_open(tracer, err);
    if (rc < 0)
        return rc;
    tracer->queue = arena_alloc(tracer->arena, QUEUE_MAX * sizeof(*tracer->queue));
    tracer->traffic_known = tracer->host->backend->traffic_get &&
                            tracer->host->backend->traffic_get(
                                tracer->host, tracer->hops.list.items[0].ifname, &tracer->before, NULL) == 0;
    tracer->path_filtered = tracer->host->backend->path_filter_count
                                ? tracer->host->backend->path_filter_count(tracer->host)
                                : -1;
    tracer->start_ns = tracer->now_ns = now_ns();
    return 0;
}

void trace_close(struct tracer *tracer)
{
    if (tracer->chains)
        tracer->host->backend->chain_trace->close(&tracer->chains);
    capture_close(&tracer->capture);
    fd_close(&tracer->ping_fd);
}

static const char *flow_text(struct tracer *tracer, const struct ask *ask)
{
    return arena_strdup(tracer->arena, PACKET_SUMMARY(&ask->packet));
}

int trace_run(struct arena *arena, struct host *host, const struct trace_request *request,
              struct trace *trace, struct err *err)
{
    struct tracer *tracer = arena_new(arena, struct tracer);
    struct ask *told = NULL;
    int rc = trace_open(tracer, arena, host, request, trace, err);
    if (rc == 0)
        rc = wait_for(tracer, &told, err);
    if (rc == 0 && told) {
        trace->flow = flow_text(tracer, told);
        trace->answered = !told->pending && told->answered > 0;
        if (trace->answered && told->times[BACK_NIC])
            trace->round_trip_ns = told->times[BACK_NIC] - told->times[AT_NIC];
    }
    if (rc == 0) {
        trace->frames = tracer->frames_in;
        trace_diagnose(tracer, told);
        trace_explain(tracer, told);
        trace_steps(tracer, told);
    }
    trace_close(tracer);
    return rc;
}
