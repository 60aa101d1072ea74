/* capture.c: libpcap handles and the merging of what they give: capture.h. */
#include "diag/capture.h"

#include <errno.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/library.h"

/* clang-format off */
#define PCAP_FUNCTIONS(DO) \
    DO(pcap_activate) DO(pcap_close) DO(pcap_compile) DO(pcap_create) DO(pcap_datalink) DO(pcap_dispatch) \
    DO(pcap_freecode) DO(pcap_get_selectable_fd) DO(pcap_get_tstamp_precision) DO(pcap_geterr) \
    DO(pcap_open_dead) DO(pcap_set_buffer_size) DO(pcap_set_immediate_mode) DO(pcap_set_promisc) \
    DO(pcap_set_snaplen) DO(pcap_set_timeout) DO(pcap_set_tstamp_precision) DO(pcap_setdirection) \
    DO(pcap_setfilter) DO(pcap_setnonblock) DO(pcap_stats) DO(pcap_statustostr)
/* clang-format on */

/* Debian's, others', FreeBSD's. */
LIBRARY(pcap_library, PCAP_FUNCTIONS, "libpcap.so.0.8", "libpcap.so.1", "libpcap.so.8");

enum {
    SNAP_ALL = 262144,
    BUFFER_DEFAULT = 2 << 20,
    HOLD_MS = 5,
    RELAXED_TIMEOUT_MS = 100,
    RELAXED_HOLD_MS = 150,
    DISPATCH_MAX = 1024,   /* frames taken from one handle before the others get their turn */
    PENDING_MAX = 1 << 16, /* frames that wait; above it the oldest go out unwaited */
};

struct source {
    pcap_t *pcap; /* NULL: ended */
    struct capture *capture;
    size_t hop;
    enum capture_direction direction;
    int64_t last_ns; /* of the last frame taken */
    bool nanoseconds;
};

struct pending {
    int64_t time_ns;
    uint64_t serial; /* in order of arrival here: frames of one stamp stay in it */
    const struct source *source;
    uint32_t caplen, length;
    uint8_t bytes[];
};

struct capture {
    const struct hops *hops;
    struct source *sources;
    size_t source_count;
    struct pollfd *fds;
    struct pending **heap; /* the oldest first */
    size_t pending, capacity;
    struct pending *given; /* out at the moment */
    int64_t safe_ns;       /* no frame older than this can still come */
    int64_t hold_ns;
    uint64_t serial, captured, dropped_closed;
    bool out_of_memory;
};

static int64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

const char *hop_kind_name(enum hop_kind kind)
{
    static const char *const names[] = {"nic", "bridge", "uplink", "other"};
    return names[kind];
}

const char *capture_direction_name(enum capture_direction direction)
{
    static const char *const names[] = {"?", "in", "out"};
    return names[direction];
}

int capture_filter_check(const char *filter, struct err *err)
{
    struct bpf_program program;
    int rc = library_load(&pcap_library, err);
    if (rc < 0)
        return rc;
    pcap_t *dead = sym_pcap_open_dead(DLT_EN10MB, SNAP_ALL);
    if (!dead)
        return err_set(err, ENOMEM, "libpcap could not be started");
    if (filter && *filter) {
        if (sym_pcap_compile(dead, &program, filter, 1, PCAP_NETMASK_UNKNOWN) < 0)
            rc = err_set(err, EINVAL, "filter '%s': %s", filter, sym_pcap_geterr(dead));
        else
            sym_pcap_freecode(&program);
    }
    sym_pcap_close(dead);
    return rc;
}

/* Not with the words `inbound` and `outbound`: what is in the ring when a filter is set, libpcap filters
 * itself, and its own filter machine passes no frame of such a filter. */
static int filter_set(pcap_t *pcap, const char *filter, struct err *err)
{
    struct bpf_program program;
    if (!filter || !*filter)
        return 0;
    if (sym_pcap_compile(pcap, &program, filter, 1, PCAP_NETMASK_UNKNOWN) < 0)
        return err_set(err, EINVAL, "filter '%s': %s", filter, sym_pcap_geterr(pcap));
    int rc = sym_pcap_setfilter(pcap, &program);
    sym_pcap_freecode(&program);
    return rc < 0 ? err_set(err, EIO, "setting the filter: %s", sym_pcap_geterr(pcap)) : 0;
}

/* pcap_activate(3PCAP)'s answers that mean: there is nothing to see on this interface now. */
static bool not_there(int status)
{
    return status == PCAP_ERROR_NO_SUCH_DEVICE || status == PCAP_ERROR_IFACE_NOT_UP;
}

static int activate_refusal(pcap_t *pcap, int status, const char *ifname, struct err *err)
{
    if (not_there(status))
        return -ENODEV;
    if (status == PCAP_ERROR_PERM_DENIED || status == PCAP_ERROR_PROMISC_PERM_DENIED)
        return err_set(err, EPERM, "capturing on '%s' is not permitted: CAP_NET_RAW is needed (run as root)",
                       ifname);
    const char *words = sym_pcap_geterr(pcap);
    return err_set(err, EIO, "capturing on '%s': %s", ifname, *words ? words : sym_pcap_statustostr(status));
}

static int handle_open(struct source *source, const char *ifname, const struct capture_options *options,
                       struct err *err)
{
    char words[PCAP_ERRBUF_SIZE] = "";
    pcap_t *pcap = sym_pcap_create(ifname, words);
    if (!pcap)
        return err_set(err, EIO, "capturing on '%s': %s", ifname, words);
    sym_pcap_set_snaplen(pcap, options->snap_bytes ? (int)options->snap_bytes : SNAP_ALL);
    sym_pcap_set_promisc(pcap, !options->not_promiscuous);
    sym_pcap_set_timeout(pcap, RELAXED_TIMEOUT_MS);
    sym_pcap_set_immediate_mode(pcap, !options->relaxed);
    sym_pcap_set_buffer_size(pcap, options->buffer_bytes ? (int)options->buffer_bytes : BUFFER_DEFAULT);
    sym_pcap_set_tstamp_precision(pcap, PCAP_TSTAMP_PRECISION_NANO);
    int rc = sym_pcap_activate(pcap);
    if (rc < 0)
        rc = activate_refusal(pcap, rc, ifname, err);
    else if (sym_pcap_datalink(pcap) != DLT_EN10MB)
        rc = err_set(err, EPROTONOSUPPORT, "capturing on '%s': it is no Ethernet interface", ifname);
    else
        rc = filter_set(pcap, options->filter, err);
    if (rc == 0 && sym_pcap_setnonblock(pcap, 1, words) < 0)
        rc = err_set(err, EIO, "capturing on '%s': %s", ifname, words);
    pcap_direction_t direction = source->direction == CAPTURE_IN ? PCAP_D_IN : PCAP_D_OUT;
    if (rc == 0 && source->direction != CAPTURE_UNKNOWN && sym_pcap_setdirection(pcap, direction) < 0)
        rc = -EOPNOTSUPP;
    if (rc < 0) {
        sym_pcap_close(pcap);
        return rc;
    }
    source->nanoseconds = sym_pcap_get_tstamp_precision(pcap) == PCAP_TSTAMP_PRECISION_NANO;
    source->pcap = pcap;
    return 0;
}

static void source_close(struct source *source)
{
    struct pcap_stat counts;
    if (!source->pcap)
        return;
    if (sym_pcap_stats(source->pcap, &counts) == 0)
        source->capture->dropped_closed += counts.ps_drop;
    sym_pcap_close(source->pcap);
    source->pcap = NULL;
}

/* Both directions of one hop; where the platform knows none, both at once. */
static int hop_open(struct capture *capture, size_t hop, const struct capture_options *options,
                    struct err *err)
{
    const char *ifname = capture->hops->list.items[hop].ifname;
    struct source *in = &capture->sources[capture->source_count];
    in[0] = (struct source){.capture = capture, .hop = hop, .direction = CAPTURE_IN};
    in[1] = (struct source){.capture = capture, .hop = hop, .direction = CAPTURE_OUT};
    int rc = handle_open(&in[0], ifname, options, err);
    if (rc == 0)
        rc = handle_open(&in[1], ifname, options, err);
    if (rc == -EOPNOTSUPP) {
        source_close(&in[0]);
        in[0].direction = CAPTURE_UNKNOWN;
        rc = handle_open(&in[0], ifname, options, err);
    }
    if (rc < 0) {
        source_close(&in[0]);
        return rc == -ENODEV ? 0 : rc;
    }
    capture->source_count += in[1].pcap ? 2 : 1;
    return 0;
}

int capture_open(struct capture **out, const struct hops *hops, const struct capture_options *options,
                 struct err *err)
{
    int rc = capture_filter_check(options->filter, err);
    if (rc < 0)
        return rc;
    _cleanup_capture_ struct capture *capture = calloc(1, sizeof(*capture));
    size_t most = hops->list.count * 2;
    if (capture) {
        capture->sources = calloc(most + 1, sizeof(*capture->sources));
        capture->fds = calloc(most + 1, sizeof(*capture->fds));
    }
    if (!capture || !capture->sources || !capture->fds)
        return err_errno(err, ENOMEM, "opening a capture");
    capture->hops = hops;
    capture->hold_ns = (options->relaxed ? RELAXED_HOLD_MS : HOLD_MS) * INT64_C(1000000);
    for (size_t hop = 0; hop < hops->list.count; hop++) {
        rc = hop_open(capture, hop, options, err);
        if (rc < 0)
            return rc;
    }
    if (capture->source_count == 0)
        return err_set(err, ENODEV, "no interface to capture on is there and up%s%s",
                       hops->list.count ? "; the first is " : "",
                       hops->list.count ? hops->list.items[0].ifname : "");
    *out = capture;
    capture = NULL;
    return 0;
}

void capture_close(struct capture **capture)
{
    struct capture *it = *capture;
    *capture = NULL;
    if (!it)
        return;
    for (size_t i = 0; i < it->source_count; i++)
        source_close(&it->sources[i]);
    for (size_t i = 0; i < it->pending; i++)
        free(it->heap[i]);
    free(it->given);
    free(it->heap);
    free(it->fds);
    free(it->sources);
    free(it);
}

static bool older(const struct pending *a, const struct pending *b)
{
    return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->serial < b->serial;
}

static void heap_push(struct capture *capture, struct pending *fresh)
{
    if (capture->pending == capture->capacity) {
        size_t capacity = capture->capacity ? capture->capacity * 2 : 256;
        struct pending **heap = realloc(capture->heap, capacity * sizeof(struct pending *));
        if (!heap) {
            capture->out_of_memory = true;
            free(fresh);
            return;
        }
        capture->heap = heap;
        capture->capacity = capacity;
    }
    size_t at = capture->pending++;
    for (; at > 0 && older(fresh, capture->heap[(at - 1) / 2]); at = (at - 1) / 2)
        capture->heap[at] = capture->heap[(at - 1) / 2];
    capture->heap[at] = fresh;
}

static struct pending *heap_pop(struct capture *capture)
{
    struct pending *first = capture->heap[0], *last = capture->heap[--capture->pending];
    size_t at = 0;
    for (size_t child = 1; child < capture->pending; child = at * 2 + 1) {
        if (child + 1 < capture->pending && older(capture->heap[child + 1], capture->heap[child]))
            child++;
        if (!older(capture->heap[child], last))
            break;
        capture->heap[at] = capture->heap[child];
        at = child;
    }
    capture->heap[at] = last;
    return first;
}

static void take(u_char *context, const struct pcap_pkthdr *header, const u_char *bytes)
{
    struct source *source = (struct source *)(void *)context;
    struct capture *capture = source->capture;
    struct pending *fresh = malloc(sizeof(*fresh) + header->caplen);
    if (!fresh) {
        capture->out_of_memory = true;
        return;
    }
    int64_t fraction = header->ts.tv_usec;
    *fresh = (struct pending){.time_ns = (int64_t)header->ts.tv_sec * 1000000000 +
                                         fraction * (source->nanoseconds ? 1 : 1000),
                              .serial = capture->serial++,
                              .source = source,
                              .caplen = header->caplen,
                              .length = header->len};
    memcpy(fresh->bytes, bytes, header->caplen);
    source->last_ns = fresh->time_ns;
    heap_push(capture, fresh);
}

/* Take what the handles have.  Afterwards nothing older than safe_ns can come: of a handle that has more to
 * give, nothing older than what it gave last. */
static void drain(struct capture *capture)
{
    int64_t safe = now_ns(CLOCK_REALTIME) - capture->hold_ns;
    for (size_t i = 0; i < capture->source_count; i++) {
        struct source *source = &capture->sources[i];
        int taken = 0, got = 1;
        while (source->pcap && taken < DISPATCH_MAX && got > 0) {
            got = sym_pcap_dispatch(source->pcap, DISPATCH_MAX, take, (u_char *)source);
            taken += got > 0 ? got : 0;
        }
        if (got < 0)
            source_close(source); /* the interface went down or away */
        else if (taken >= DISPATCH_MAX && source->last_ns < safe)
            safe = source->last_ns;
    }
    /* The clock may have been set back: what is held is then not older for ever. */
    capture->safe_ns = safe;
}

static int give(struct capture *capture, struct capture_packet *packet)
{
    free(capture->given);
    const struct pending *given = capture->given = heap_pop(capture);
    *packet = (struct capture_packet){.hop = given->source->hop,
                                      .ifname = capture->hops->list.items[given->source->hop].ifname,
                                      .direction = given->source->direction,
                                      .time_ns = given->time_ns,
                                      .bytes = given->bytes,
                                      .caplen = given->caplen,
                                      .length = given->length};
    capture->captured++;
    return 1;
}

static bool ready(const struct capture *capture, bool ended)
{
    return capture->pending &&
           (ended || capture->pending > PENDING_MAX || capture->heap[0]->time_ns <= capture->safe_ns ||
            capture->heap[0]->time_ns > now_ns(CLOCK_REALTIME) + capture->hold_ns);
}

size_t capture_pollfds(const struct capture *capture, struct pollfd *fds, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < capture->source_count; i++) {
        pcap_t *pcap = capture->sources[i].pcap;
        int fd = pcap ? sym_pcap_get_selectable_fd(pcap) : -1;
        if (fd < 0)
            continue;
        if (count < max)
            fds[count] = (struct pollfd){.fd = fd, .events = POLLIN};
        count++;
    }
    return count;
}

int capture_next(struct capture *capture, int timeout_ms, struct capture_packet *packet, struct err *err)
{
    int64_t end = now_ns(CLOCK_MONOTONIC) + (int64_t)timeout_ms * 1000000;
    if (ready(capture, false))
        return give(capture, packet);
    for (;;) {
        drain(capture);
        size_t count = capture_pollfds(capture, capture->fds, capture->source_count);
        if (ready(capture, count == 0))
            return give(capture, packet);
        if (capture->out_of_memory)
            return err_errno(err, ENOMEM, "capturing");
        if (count == 0)
            return err_set(err, ENODEV, "the interfaces that were captured on are gone or down");
        int64_t left = end - now_ns(CLOCK_MONOTONIC);
        if (left <= 0)
            return 0;
        /* What waits comes out after the hold, whether or not more arrives. */
        if (capture->pending && left > capture->hold_ns)
            left = capture->hold_ns;
        if (capture->pending) {
            struct timespec pause = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
            if (nanosleep(&pause, NULL) < 0)
                return 0;
        } else if (poll(capture->fds, count, (int)((left + 999999) / 1000000)) < 0) {
            return errno == EINTR ? 0 : err_errno(err, errno, "waiting for frames");
        }
    }
}

bool capture_seeing(const struct capture *capture, size_t hop)
{
    for (size_t i = 0; i < capture->source_count; i++) {
        if (capture->sources[i].hop == hop && capture->sources[i].pcap)
            return true;
    }
    return false;
}

void capture_counts(const struct capture *capture, struct capture_counts *counts)
{
    *counts = (struct capture_counts){.captured = capture->captured, .dropped = capture->dropped_closed};
    for (size_t i = 0; i < capture->source_count; i++) {
        struct pcap_stat stat;
        if (capture->sources[i].pcap && sym_pcap_stats(capture->sources[i].pcap, &stat) == 0)
            counts->dropped += stat.ps_drop;
    }
}
