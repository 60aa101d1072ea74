/* trace_internal.h: what trace.c, trace_follow.c and trace_diagnose.c share. */
#ifndef VMWIRE_DIAG_TRACE_INTERNAL_H
#define VMWIRE_DIAG_TRACE_INTERNAL_H

#include "diag/packet.h"
#include "diag/trace.h"
#include "host/chain_trace.h"
#include "model/lock.h"

enum { ASKS_MAX = 64, CHAINS_MAX = 128, SPEAKERS_MAX = 128, RECENT_MAX = 64 };

/* What a guest asks for and waits for an answer to. */
enum ask_kind {
    ASK_IP,   /* a ping, a datagram, a connection */
    ASK_ARP,  /* who has … */
    ASK_DHCP, /* a lease */
    ASK_ECHO, /* the host's own ping to the guest (--ping) */
};

/* Where it was seen: out by the first half, its answer by the second. */
enum stage { AT_NIC, AT_BRIDGE, AT_UPLINK, BACK_UPLINK, BACK_BRIDGE, BACK_NIC, STAGE_COUNT };

/* Who has to answer. */
enum ask_side {
    SIDE_HOST,    /* the host itself: its address, its DHCP and DNS server */
    SIDE_INSIDE,  /* somebody on the same segment that is not beyond an uplink */
    SIDE_OUTSIDE, /* somebody beyond the uplink */
};

/* What one rule or policy did to it. */
struct judged {
    bool back;
    const char *family;
    char table[CHAIN_NAME_SIZE], chain[CHAIN_NAME_SIZE], to_chain[CHAIN_NAME_SIZE];
    uint64_t handle;
    enum chain_verdict verdict;
    int in_index, out_index;
};

/* One thing asked, by however many packets; `packet` and `times` are of the last that was tracked. */
struct ask {
    enum ask_kind kind;
    enum ask_side side;
    size_t nic; /* the hop that it came from */
    struct packet packet;
    int64_t times[STAGE_COUNT];      /* 0: not seen there */
    struct packet seen[STAGE_COUNT]; /* the frame at that hop, where there is a time */
    int64_t first_ns;                /* of what is unanswered, else of the last */
    unsigned sent;                   /* packets since the last answer */
    unsigned answered;
    unsigned answered_large; /* among them to packets with 1000 bytes and more */
    bool pending;
    int64_t settled_ns; /* of the last answer */
    struct packet reply;
    struct packet_flow outside; /* as it left by the uplink */
    struct packet error;        /* an ICMP error about it, or a reset */
    size_t error_hop;
    bool has_error, error_reached_guest;
    size_t answered_length; /* of the largest packet that was answered */
    bool gap;               /* of a connection: later data came, earlier never did */
    int64_t gap_ns;
    uint32_t next_sequence; /* of the peer */
    bool next_known;
    struct judged chains[CHAINS_MAX];
    size_t chain_count;
    bool dropped; /* one of them is a drop */
    int64_t dropped_ns;
    bool locked; /* and it, or one like it before, was a lock's, of this kind */
    enum lock_kind lock;
};

/* Who used which address on the segment. */
struct speaker {
    struct ip ip;
    struct mac mac;
    size_t hop;
};

struct tracer {
    struct arena *arena;
    struct host *host;
    const struct trace_request *request;
    struct trace *trace;
    struct hops hops;
    struct capture *capture;
    struct chain_trace *chains;
    const struct network *entry; /* of the file; NULL */
    enum network_mode mode;
    const char *network;
    const struct link *bridge, *uplink; /* NULL: none */
    size_t bridge_hop, uplink_hop;      /* index in hops; SIZE_MAX: none */
    struct prefix subnets[8];           /* of the bridge */
    size_t subnet_count;
    struct ip gateway;        /* the host's, of its default route; unset: none */
    int64_t start_ns, now_ns; /* the capture's clock */

    struct ask *asks[ASKS_MAX];
    size_t ask_count;
    /* The flow that a packet id stands for at the moment. */
    struct {
        uint32_t id;
        struct ask *ask;
        bool back;
        int in_index, out_index;
        struct packet packet;
    } ids[256];

    /* What came from the nics last: chain events have a part of a frame alone. */
    struct packet recent[RECENT_MAX];
    size_t recent_count;
    /* What locks dropped of the nics' frames, the last of each kind. */
    struct locked {
        uint64_t count;
        size_t nic;
        bool misnamed; /* the address may be its own, the MAC beside it is not */
        struct packet packet;
    } locked[LOCK_KIND_COUNT];

    struct ip guest; /* its IPv4 address, as its frames tell */
    size_t guest_nic;
    uint64_t frames_in, frames_out; /* at the nics: from the guest, to it */
    struct traffic before;          /* of the first nic */
    bool traffic_known;
    struct speaker speakers[SPEAKERS_MAX];
    size_t speaker_count;
    struct mac twin_mac; /* the guest's MAC came in at another hop */
    size_t twin_hop;
    bool twin;
    struct ip other_server; /* a DHCP server that is not the network's */
    struct mac other_server_mac;
    int64_t path_filtered; /* what the path filter had dropped at the start; -1: not known */
    unsigned host_dns_asked, host_dns_answered; /* the host's own questions at the uplink */
    struct ip redirected;      /* where a guest's question to the host went instead; unset: nowhere */
    struct packet_flow inward; /* the last connection that somebody opened to the guest */
    int64_t inward_ns;         /* 0: none that is unanswered */
    bool inward_refused;
    unsigned host_asked;      /* ARP requests of the host for the gateway, at the uplink */
    bool router_answers_host; /* something came back to the host's own MAC */
    bool router_known;        /* the router answered somebody's ARP */
    bool answers_many;        /* answers came for a guest's MAC at the uplink */
    unsigned pings;
    int64_t pinged_ns;
    int ping_fd; /* -1: none */
    /* Chain events wait here until the frames that they are about have come. */
    struct queued {
        struct chain_event event;
        int64_t at_ns;
    } * queue;
    size_t queue_first, queue_count;
};

enum { QUEUE_MAX = 1024 };

/* trace.c: what trace_run is made of, for `probe`, which has a guest of its own.  trace_open also when it
 * fails is ended by trace_close.  trace_pump waits about 20 ms and takes in what was seen. */
int trace_open(struct tracer *tracer, struct arena *arena, struct host *host,
               const struct trace_request *request, struct trace *trace, struct err *err);
int trace_pump(struct tracer *tracer, struct err *err);
void trace_close(struct tracer *tracer);
/* On a bridged network the host pings its router (twice a second at most): the measure for what the guest is
 * answered. */
void trace_ping_router(struct tracer *tracer);
/* The internet checksum, RFC 1071, host byte order; `length` is even. */
uint16_t trace_checksum(const uint8_t *bytes, size_t length);

/* trace_follow.c */
void trace_frame(struct tracer *tracer, const struct capture_packet *captured);
void trace_chain_event(struct tracer *tracer, const struct chain_event *event, int64_t now_ns);
enum ask_side trace_side(const struct tracer *tracer, const struct ip *target);
bool trace_in_subnet(const struct tracer *tracer, const struct ip *ip);
/* The nic whose guest has this MAC, of any network of vmwire; NULL none. */
const char *trace_mac_owner(struct tracer *tracer, const struct mac *mac, const char *not_tap);

/* trace_lock.c: a nic's frame; the whole of it, where an event shows a part; an event, which may be a
 * lock's drop (`ask` NULL: of nothing that is followed); and what to say of all, `told` first. */
void trace_lock_frame(struct tracer *tracer, const struct packet *packet);
void trace_lock_complete(const struct tracer *tracer, struct packet *part);
void trace_lock_drop(struct tracer *tracer, struct ask *ask, const struct packet *packet,
                     const struct chain_event *event, int in_index);
void trace_lock_tell(struct tracer *tracer, const struct ask *told);
/* trace_diagnose.c: "machine 'vm0'", "nic 'tap0'". */
const char *trace_nic_subject(struct tracer *tracer, size_t nic);

/* trace_diagnose.c: before a frame was seen; and with the ask that is told (NULL: none came). */
void trace_check_state(struct tracer *tracer);
void trace_diagnose(struct tracer *tracer, const struct ask *ask);
/* trace_steps.c: the table. */
void trace_steps(struct tracer *tracer, const struct ask *ask);
/* trace_explain.c: the reason, where what was found so far only says that something was lost. */
void trace_explain(struct tracer *tracer, const struct ask *ask);
bool ask_is_black_hole(const struct tracer *tracer, const struct ask *ask);

#endif
