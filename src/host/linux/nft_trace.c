/* nft_trace.c: nftables' trace events behind chain_trace.h.
 *
 * Theory of operation.  1. Two tables named vmwire_trace, flagged `owner`: they belong to the netlink socket
 * of this libnftables context and go with it, at a kill -9 too (<linux/netfilter/nf_tables.h>, Linux 5.12).
 * 2. `netdev` marks what guests send where it comes in at the tap, before any other chain can see it, and
 * what the target sends back at the uplink; `inet` marks answers by their connection.  `meta nftrace set 1`
 * sets a bit of the packet that changes nothing but that rules which match are told.  3. The events come by a
 * socket of their own from the group NFNLGRP_NFTRACE.  A full socket loses events, no packets. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "host/chain_trace.h"
#include "host/linux/linux.h"

enum { EVENTS_BUFFER = 8 << 20, ETHERNET_SIZE = 14 };

struct chain_trace {
    struct nft_ctx *nft;       /* owns the tables */
    struct mnl_socket *socket; /* for events */
    char *buffer;
    const struct nlmsghdr *message; /* the next one in `buffer` */
    int left;
    char uplink[NAME_MAX_LENGTH + 1];
    bool connections;
    struct ip guest;
};

static int run(struct chain_trace *trace, const char *text, struct err *err)
{
    if (nft_run_cmd_from_buffer(trace->nft, text) == 0) {
        nft_ctx_get_output_buffer(trace->nft);
        return 0;
    }
    const char *words = nft_ctx_get_error_buffer(trace->nft);
    const char *start = words ? strstr(words, "Error: ") : NULL;
    start = start ? start + strlen("Error: ") : "no reason given";
    int code = strstr(start, "not permitted") ? EPERM : EOPNOTSUPP;
    return err_set(err, code, "marking packets for tracing: %.*s", (int)strcspn(start, "\n"), start);
}

static const char *ip_word(const struct ip *ip)
{
    return ip->family == AF_INET6 ? "ip6" : "ip";
}

/* Interface names are from the kernel, and were checked (name_fault) or are quoted; a quote in one cannot be.
 */
static bool can_quote(const char *name)
{
    return *name && !strpbrk(name, "\"\\\n");
}

static const char *ingress_text(struct arena *arena, const struct chain_trace_request *request)
{
    struct text out = {.arena = arena};
    text_add(&out, "add table netdev vmwire_trace { flags owner; }\n");
    for (size_t i = 0; request->taps[i]; i++) {
        if (!can_quote(request->taps[i]))
            continue;
        text_add(
            &out,
            "add chain netdev vmwire_trace nic%zu { type filter hook ingress device \"%s\" priority -500; }\n"
            "add rule netdev vmwire_trace nic%zu meta nftrace set 1\n",
            i, request->taps[i], i);
    }
    if (ip_is_set(&request->target) && can_quote(request->uplink))
        text_add(
            &out,
            "add chain netdev vmwire_trace back { type filter hook ingress device \"%s\" priority -500; }\n"
            "add rule netdev vmwire_trace back %s saddr %s meta nftrace set 1\n",
            request->uplink, ip_word(&request->target), IP_TEXT(&request->target));
    return text_get(&out);
}

/* A kernel without the netdev family: marked where the bridge takes them. */
static const char *bridge_text(struct arena *arena, const struct chain_trace_request *request)
{
    struct text out = {.arena = arena};
    text_add(&out, "add table bridge vmwire_trace { flags owner; }\n"
                   "add chain bridge vmwire_trace nic { type filter hook prerouting priority -350; }\n");
    for (size_t i = 0; request->taps[i]; i++) {
        if (can_quote(request->taps[i]))
            text_add(&out, "add rule bridge vmwire_trace nic iifname \"%s\" meta nftrace set 1\n",
                     request->taps[i]);
    }
    return text_get(&out);
}

/* Answers, behind connection tracking (priority -200) and before translation back (-100). */
static int answers_mark(struct chain_trace *trace, struct err *err)
{
    if (!trace->connections || !ip_is_set(&trace->guest))
        return 0;
    _cleanup_arena_ struct arena arena = {0};
    const char *text = arena_printf(
        &arena,
        "add table inet vmwire_trace { flags owner; }\n"
        "add chain inet vmwire_trace answers { type filter hook prerouting priority -199; }\n"
        "flush chain inet vmwire_trace answers\n"
        "add rule inet vmwire_trace answers ct direction reply ct original %s saddr %s meta nftrace set 1\n",
        ip_word(&trace->guest), IP_TEXT(&trace->guest));
    return run(trace, text, err);
}

static void trace_close(struct chain_trace **out)
{
    struct chain_trace *trace = *out;
    *out = NULL;
    if (!trace)
        return;
    if (trace->nft)
        nft_ctx_free(trace->nft); /* the kernel takes the tables away with the socket */
    if (trace->socket)
        mnl_socket_close(trace->socket);
    free(trace->buffer);
    free(trace);
}

static int listen_events(struct chain_trace *trace, struct err *err)
{
    int group = NFNLGRP_NFTRACE, size = EVENTS_BUFFER;
    trace->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (!trace->socket || mnl_socket_bind(trace->socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
        mnl_socket_setsockopt(trace->socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
        return err_errno(err, errno, "listening for trace events");
    setsockopt(mnl_socket_get_fd(trace->socket), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    return 0;
}

static int trace_start(struct host *base, struct chain_trace *trace,
                       const struct chain_trace_request *request, struct err *err)
{
    struct linux_host *host = (struct linux_host *)base;
    /* libnftables ends the whole program when the kernel has no netfilter socket, so that is looked at first.
     */
    if (netlink_open(&host->netfilter, NETLINK_NETFILTER, NULL) < 0)
        return err_set(err, EOPNOTSUPP, "this kernel has no nf_tables (CONFIG_NF_TABLES)");
    trace->nft = nft_ctx_new(NFT_CTX_DEFAULT);
    trace->buffer = malloc(NETLINK_ANSWER_SIZE);
    if (!trace->nft || !trace->buffer)
        return err_errno(err, ENOMEM, "tracing chains");
    nft_ctx_buffer_output(trace->nft);
    nft_ctx_buffer_error(trace->nft);
    nft_ctx_output_set_flags(trace->nft, NFT_CTX_OUTPUT_HANDLE | NFT_CTX_OUTPUT_STATELESS);
    trace->connections = request->connections;
    trace->guest = request->guest;
    snprintf(trace->uplink, sizeof(trace->uplink), "%s", request->uplink);
    int rc = listen_events(trace, err);
    if (rc < 0)
        return rc;
    _cleanup_arena_ struct arena arena = {0};
    rc = run(trace, ingress_text(&arena, request), err);
    if (rc == -EOPNOTSUPP)
        rc = run(trace, bridge_text(&arena, request), err);
    return rc < 0 ? rc : answers_mark(trace, err);
}

static int trace_open(struct host *host, const struct chain_trace_request *request, struct chain_trace **out,
                      struct err *err)
{
    struct chain_trace *trace = calloc(1, sizeof(*trace));
    if (!trace)
        return err_errno(err, ENOMEM, "tracing chains");
    int rc = trace_start(host, trace, request, err);
    if (rc < 0)
        trace_close(&trace);
    *out = trace;
    return rc;
}

static int guest_set(struct chain_trace *trace, const struct ip *guest, struct err *err)
{
    trace->guest = *guest;
    return answers_mark(trace, err);
}

static int trace_fd(const struct chain_trace *trace)
{
    return mnl_socket_get_fd(trace->socket);
}

static const char *family_name(uint8_t family)
{
    static const struct {
        uint8_t family;
        const char *name;
    } names[] = {{NFPROTO_INET, "inet"},     {NFPROTO_IPV4, "ip"},       {NFPROTO_IPV6, "ip6"},
                 {NFPROTO_BRIDGE, "bridge"}, {NFPROTO_NETDEV, "netdev"}, {NFPROTO_ARP, "arp"}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].family == family)
            return names[i].name;
    }
    return "?";
}

static void frame_put(struct chain_event *event, const struct nlattr *attribute)
{
    size_t size = attribute ? mnl_attr_get_payload_len(attribute) : 0;
    if (size > sizeof(event->frame) - event->frame_length)
        size = sizeof(event->frame) - event->frame_length;
    if (size)
        memcpy(event->frame + event->frame_length, mnl_attr_get_payload(attribute), size);
    event->frame_length += size;
}

/* What the kernel shows of the packet, as a frame.  Its link layer header, if any, may have a VLAN tag cut
 * out or in; the IP version tells the type better. */
static void frame_make(struct chain_event *event, const struct nlattr *const table[])
{
    const struct nlattr *link = table[NFTA_TRACE_LL_HEADER], *network = table[NFTA_TRACE_NETWORK_HEADER];
    if (!network || mnl_attr_get_payload_len(network) == 0)
        return;
    if (link && mnl_attr_get_payload_len(link) >= ETHERNET_SIZE)
        memcpy(event->frame, mnl_attr_get_payload(link), ETHERNET_SIZE);
    uint8_t version = netlink_u8(network) >> 4;
    if (version == 4 || version == 6) {
        event->frame[12] = version == 4 ? 0x08 : 0x86;
        event->frame[13] = version == 4 ? 0x00 : 0xdd;
    }
    event->frame_length = ETHERNET_SIZE;
    frame_put(event, network);
    frame_put(event, table[NFTA_TRACE_TRANSPORT_HEADER]);
}

static enum chain_verdict verdict_of(const struct nlattr *nest, struct chain_event *event)
{
    const struct nlattr *table[NFTA_VERDICT_MAX + 1];
    netlink_nested(nest, table, NFTA_VERDICT_MAX + 1);
    snprintf(event->to_chain, sizeof(event->to_chain), "%s", netlink_text(table[NFTA_VERDICT_CHAIN]));
    switch ((int)ntohl(netlink_u32(table[NFTA_VERDICT_CODE]))) {
    case NF_ACCEPT:
        return CHAIN_ACCEPT;
    case NF_DROP:
        return CHAIN_DROP;
    case NFT_JUMP:
    case NFT_GOTO:
        return CHAIN_JUMP;
    case NFT_RETURN:
        return CHAIN_RETURN;
    case NFT_CONTINUE:
        return CHAIN_GOES_ON;
    default:
        return CHAIN_OTHER;
    }
}

/* False when the message is no event of interest: our own tables' among them. */
static bool event_read(const struct nlmsghdr *header, struct chain_event *event)
{
    const struct nlattr *table[NFTA_TRACE_MAX + 1];
    if (header->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_TRACE) ||
        mnl_nlmsg_get_payload_len(header) < sizeof(struct nfgenmsg))
        return false;
    netlink_attributes(header, sizeof(struct nfgenmsg), table, NFTA_TRACE_MAX + 1);
    const struct nfgenmsg *family = mnl_nlmsg_get_payload(header);
    *event = (struct chain_event){.packet_id = ntohl(netlink_u32(table[NFTA_TRACE_ID])),
                                  .family = family_name(family->nfgen_family),
                                  .in_index = (int)ntohl(netlink_u32(table[NFTA_TRACE_IIF])),
                                  .out_index = (int)ntohl(netlink_u32(table[NFTA_TRACE_OIF]))};
    snprintf(event->table, sizeof(event->table), "%s", netlink_text(table[NFTA_TRACE_TABLE]));
    snprintf(event->chain, sizeof(event->chain), "%s", netlink_text(table[NFTA_TRACE_CHAIN]));
    frame_make(event, table);
    const struct nlattr *handle = table[NFTA_TRACE_RULE_HANDLE];
    if (handle && mnl_attr_get_payload_len(handle) >= sizeof(event->handle)) {
        uint32_t halves[2];
        memcpy(halves, mnl_attr_get_payload(handle), sizeof(halves));
        event->handle = (uint64_t)ntohl(halves[0]) << 32 | ntohl(halves[1]);
    }
    if (ntohl(netlink_u32(table[NFTA_TRACE_TYPE])) == NFT_TRACETYPE_POLICY)
        event->verdict =
            ntohl(netlink_u32(table[NFTA_TRACE_POLICY])) == NF_ACCEPT ? CHAIN_ACCEPT : CHAIN_DROP;
    else
        event->verdict = verdict_of(table[NFTA_TRACE_VERDICT], event);
    return true;
}

static int trace_next(struct chain_trace *trace, struct chain_event *event, struct err *err)
{
    for (;;) {
        while (trace->message && mnl_nlmsg_ok(trace->message, trace->left)) {
            const struct nlmsghdr *header = trace->message;
            trace->message = mnl_nlmsg_next(header, &trace->left);
            if (event_read(header, event))
                return 1;
        }
        ssize_t got = mnl_socket_recvfrom(trace->socket, trace->buffer, NETLINK_ANSWER_SIZE);
        trace->message = NULL;
        if (got < 0 && errno == EAGAIN)
            return 0;
        if (got < 0 && (errno == EINTR || errno == ENOBUFS))
            continue;
        if (got < 0)
            return err_errno(err, errno, "reading trace events");
        trace->message = (const void *)trace->buffer;
        trace->left = (int)got;
    }
}

static const char *traced_rule_text(struct chain_trace *trace, struct arena *arena, const char *family,
                                    const char *table, const char *chain, uint64_t handle)
{
    return nft_rule_text(trace->nft, arena, family, table, chain, handle);
}

const struct host_chain_trace nft_chain_trace = {
    .open = trace_open,
    .guest_set = guest_set,
    .fd = trace_fd,
    .next = trace_next,
    .rule_text = traced_rule_text,
    .close = trace_close,
};
