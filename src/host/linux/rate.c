/* rate.c: limits of rates: shapers, and nics that go through them.  The theory is in rate.h; messages follow
 * tc(8)'s, which render prints. */
#include "host/linux/rate.h"

#include <errno.h>
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <net/if.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "host/linux/linux.h"
#include "host/linux/rate_kernel.h"

/* --- what a kernel may lack */

struct feature {
    const char *what, *option, *module;
};
static const struct feature ifb = {"interfaces of kind ifb", "CONFIG_IFB", "ifb"},
                            htb = {"queueing discipline htb", "CONFIG_NET_SCH_HTB", "sch_htb"},
                            bfifo = {"queueing discipline bfifo", "CONFIG_NET_SCH_FIFO", "sch_fifo"},
                            clsact = {"queueing discipline clsact", "CONFIG_NET_SCH_INGRESS", "sch_ingress"},
                            u32 = {"classifier u32", "CONFIG_NET_CLS_U32", "cls_u32"},
                            mirred = {"action mirred", "CONFIG_NET_ACT_MIRRED", "act_mirred"},
                            flow = {"classifier flow", "CONFIG_NET_CLS_FLOW", "cls_flow"};

static int lacking(int rc, const struct feature *feature, struct err *err)
{
    if (rc != -ENOENT && rc != -EOPNOTSUPP)
        return rc;
    return err_set(err, EOPNOTSUPP, "this kernel has no %s (%s, module '%s')", feature->what, feature->option,
                   feature->module);
}

/* --- one message each */

static struct tcmsg *tc_start(struct netlink_message *message, uint16_t type, uint16_t flags, int index,
                              uint32_t parent, uint32_t handle)
{
    struct tcmsg *tc = netlink_start(message, type, NLM_F_ACK | flags, sizeof(*tc));
    tc->tcm_family = AF_UNSPEC;
    tc->tcm_ifindex = index;
    tc->tcm_parent = parent;
    tc->tcm_handle = handle;
    return tc;
}

static int call(struct linux_host *host, struct netlink_message *message, struct err *err)
{
    return netlink_call(&host->route, message, NULL, NULL, err);
}

static int root_put(struct linux_host *host, int index, struct err *err)
{
    struct netlink_message message;
    struct tc_htb_glob glob = {.version = 3, .rate2quantum = 10, .defcls = SHAPER_REST};
    struct tc_sizespec size = {.overhead = SHAPER_OVERHEAD};
    bool there;
    int rc = shaper_root_there(host, index, &there, err);
    if (rc < 0 || there)
        return rc;
    tc_start(&message, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, index, TC_H_ROOT, SHAPER_CLASS(0));
    netlink_put_string(&message, TCA_KIND, "htb");
    struct nlattr *options = netlink_nest_open(&message, TCA_OPTIONS);
    netlink_put(&message, TCA_HTB_INIT, &glob, sizeof(glob));
    netlink_nest_close(&message, options);
    struct nlattr *stab = netlink_nest_open(&message, TCA_STAB);
    netlink_put(&message, TCA_STAB_BASE, &size, sizeof(size));
    netlink_nest_close(&message, stab);
    return lacking(call(host, &message, err), &htb, err);
}

/* The kernel keeps a burst as the time that it takes, in ticks of 64 ns (PSCHED_SHIFT). */
enum { BYTES_BY_TICKS = 125000000 }; /* 8 bits, 64 ns */

static uint32_t ticks(uint32_t bytes, uint64_t bits_s)
{
    uint64_t time = (uint64_t)bytes * BYTES_BY_TICKS / bits_s;
    return time > UINT32_MAX ? UINT32_MAX : (uint32_t)time;
}

uint32_t shaper_burst(uint32_t time, uint64_t bits_s)
{
    double bytes = (double)time * (double)bits_s / BYTES_BY_TICKS;
    return bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
}

static struct tc_ratespec ratespec(uint64_t bits_s)
{
    uint64_t bytes = bits_s / 8;
    return (struct tc_ratespec){.linklayer = TC_LINKLAYER_ETHERNET,
                                .rate = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes};
}

static int class_put(struct linux_host *host, int index, unsigned parent, unsigned minor,
                     const struct rate *limit, struct err *err)
{
    struct netlink_message message;
    struct rate ceil = shaper_ceil(limit);
    bool leaf = minor != SHAPER_ALL;
    uint64_t own = leaf ? SHAPER_OWN_BITS : ceil.bits_s, bytes = own / 8, ceil_bytes = ceil.bits_s / 8;
    struct tc_htb_opt options = {.rate = ratespec(own),
                                 .ceil = ratespec(ceil.bits_s),
                                 .buffer = ticks(leaf ? BURST_MIN_BYTES : ceil.burst, own),
                                 .cbuffer = ticks(ceil.burst, ceil.bits_s),
                                 .quantum = SHAPER_QUANTUM};
    tc_start(&message, RTM_NEWTCLASS, NLM_F_CREATE, index, SHAPER_CLASS(parent), SHAPER_CLASS(minor));
    netlink_put_string(&message, TCA_KIND, "htb");
    struct nlattr *nest = netlink_nest_open(&message, TCA_OPTIONS);
    netlink_put(&message, TCA_HTB_PARMS, &options, sizeof(options));
    if (bytes > UINT32_MAX)
        netlink_put(&message, TCA_HTB_RATE64, &bytes, sizeof(bytes));
    if (ceil_bytes > UINT32_MAX)
        netlink_put(&message, TCA_HTB_CEIL64, &ceil_bytes, sizeof(ceil_bytes));
    netlink_nest_close(&message, nest);
    int rc = call(host, &message, err);
    if (rc < 0 || !leaf)
        return rc;
    /* One that is there is changed, and keeps what waits in it. */
    struct tc_fifo_qopt fifo = {.limit = shaper_queue(ceil.bits_s)};
    tc_start(&message, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, index, SHAPER_CLASS(minor), 0);
    netlink_put_string(&message, TCA_KIND, "bfifo");
    netlink_put(&message, TCA_OPTIONS, &fifo, sizeof(fifo));
    return lacking(call(host, &message, err), &bfifo, err);
}

static int class_delete(struct linux_host *host, int index, unsigned minor, struct err *err)
{
    struct netlink_message message;
    tc_start(&message, RTM_DELTCLASS, 0, index, 0, SHAPER_CLASS(minor));
    int rc = call(host, &message, err);
    return rc == -ENOENT || rc == -EINVAL ? 0 : rc;
}

/* --- the filter that finds a nic's class */

static void filter_start(struct netlink_message *message, uint16_t type, uint16_t flags, int index,
                         uint32_t parent, uint32_t handle)
{
    struct tcmsg *tc = tc_start(message, type, flags, index, parent, handle);
    tc->tcm_info = TC_H_MAKE((uint32_t)RATE_PREFERENCE(parent) << 16, htons(ETH_P_ALL));
}

/* As the filter `flow` below: class = 7677:8000 | index of the tap & 7fff.  Returns a descriptor. */
static int program_load(struct err *err)
{
    static const struct bpf_insn code[] = {
        {.code = BPF_LDX | BPF_MEM | BPF_W,
         .dst_reg = BPF_REG_0,
         .src_reg = BPF_REG_1,
         .off = offsetof(struct __sk_buff, ingress_ifindex)},
        {.code = BPF_ALU64 | BPF_AND | BPF_K, .dst_reg = BPF_REG_0, .imm = SHAPER_NIC_MASK},
        {.code = BPF_ALU64 | BPF_OR | BPF_K, .dst_reg = BPF_REG_0, .imm = SHAPER_CLASS(SHAPER_NICS)},
        {.code = BPF_JMP | BPF_EXIT}};
    union bpf_attr attributes = {.prog_type = BPF_PROG_TYPE_SCHED_CLS,
                                 .insns = (uint64_t)(uintptr_t)code,
                                 .insn_cnt = sizeof(code) / sizeof(code[0]),
                                 .license = (uint64_t)(uintptr_t) "",
                                 .prog_name = "vmwire_rate"};
    long fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof(attributes));
    return fd < 0 ? err_errno(err, errno, "loading a program that does the same") : (int)fd;
}

static int program_put(struct linux_host *host, int index, struct err *err)
{
    struct netlink_message message;
    int loaded = program_load(err);
    if (loaded < 0)
        return loaded;
    _cleanup_fd_ int fd = loaded;
    filter_start(&message, RTM_NEWTFILTER, NLM_F_CREATE, index, SHAPER_CLASS(0), 1);
    netlink_put_string(&message, TCA_KIND, "bpf");
    struct nlattr *options = netlink_nest_open(&message, TCA_OPTIONS);
    netlink_put_u32(&message, TCA_BPF_FD, (uint32_t)fd);
    netlink_put_string(&message, TCA_BPF_NAME, "vmwire_rate");
    netlink_nest_close(&message, options);
    return call(host, &message, err);
}

static int flow_put(struct linux_host *host, int index, struct err *err)
{
    struct netlink_message message;
    filter_start(&message, RTM_NEWTFILTER, NLM_F_CREATE, index, SHAPER_CLASS(0), 1);
    netlink_put_string(&message, TCA_KIND, "flow");
    struct nlattr *options = netlink_nest_open(&message, TCA_OPTIONS);
    netlink_put_u32(&message, TCA_FLOW_KEYS, 1U << FLOW_KEY_IIF);
    netlink_put_u32(&message, TCA_FLOW_MODE, FLOW_MODE_MAP);
    netlink_put_u32(&message, TCA_FLOW_MASK, SHAPER_NIC_MASK);
    netlink_put_u32(&message, TCA_FLOW_XOR, 0);
    netlink_put_u32(&message, TCA_FLOW_BASECLASS, SHAPER_CLASS(SHAPER_NICS));
    netlink_nest_close(&message, options);
    return call(host, &message, err);
}

static int filter_delete(struct linux_host *host, int index, uint32_t parent, struct err *err)
{
    struct netlink_message message;
    filter_start(&message, RTM_DELTFILTER, 0, index, parent, 0);
    int rc = call(host, &message, err);
    return rc == -ENOENT || rc == -EINVAL ? 0 : rc;
}

static int finder_put(struct linux_host *host, int index, bool wanted, struct err *err)
{
    struct err words = {0};
    bool there;
    int rc = shaper_finder_there(host, index, &there, err);
    if (rc < 0 || there == wanted)
        return rc;
    if (!wanted)
        return filter_delete(host, index, SHAPER_CLASS(0), err);
    rc = flow_put(host, index, err);
    if (rc != -ENOENT || program_put(host, index, &words) == 0)
        return rc == -ENOENT ? 0 : rc;
    struct err lack = {0};
    lacking(rc, &flow, &lack);
    return err_set(err, EOPNOTSUPP, "%s, nor can it do without: %s", lack.text, words.text);
}

/* --- shapers */

static int shaper_link(struct linux_host *host, const char *name, const char *tag, struct err *err)
{
    struct netlink_message messages[2];
    int index = link_index_or_none(name, err), rc = index < 0 ? index : 0;
    if (index == 0) {
        netlink_start(&messages[0], RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
                      sizeof(struct ifinfomsg));
        netlink_put_string(&messages[0], IFLA_IFNAME, name);
        struct nlattr *info = netlink_nest_open(&messages[0], IFLA_LINKINFO);
        netlink_put_string(&messages[0], IFLA_INFO_KIND, "ifb");
        netlink_nest_close(&messages[0], info);
        rc = lacking(call(host, &messages[0], err), &ifb, err);
        index = rc < 0 ? rc : link_index(name, err);
    }
    if (index < 0)
        return index;
    for (int i = 0; i < 2; i++) {
        struct ifinfomsg *info = netlink_start(&messages[i], RTM_NEWLINK, NLM_F_ACK, sizeof(*info));
        info->ifi_index = index;
        if (i == 0) {
            netlink_put(&messages[i], IFLA_IFALIAS, tag, strlen(tag));
            link_put_ipv6(&messages[i], false);
        } else {
            info->ifi_change = info->ifi_flags = IFF_UP;
        }
    }
    rc = netlink_call_all(&host->route, messages, 2, err);
    return rc < 0 ? rc : index;
}

/* Ours, or made and not yet tagged, when somebody was killed. */
static int shaper_owned(struct linux_host *host, const char *name, const char *tag, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct link link;
    int rc = link_get(host, &arena, name, &link, err);
    if (rc < 0)
        return rc;
    if (strcmp(link.kind, "ifb") != 0 || (strcmp(link.alias, tag) != 0 && *link.alias))
        return err_set(err, EEXIST, "interface '%s' is not vmwire's", name);
    return link.index;
}

static int shaper_delete(struct linux_host *host, const char *name, const char *tag, struct err *err)
{
    struct netlink_message message;
    int index = shaper_owned(host, name, tag, err);
    if (index == -ENODEV)
        return 0;
    if (index < 0)
        return index;
    struct ifinfomsg *info = netlink_start(&message, RTM_DELLINK, NLM_F_ACK, sizeof(*info));
    info->ifi_index = index;
    return call(host, &message, err);
}

static int shaper_set(struct linux_host *host, const struct shaper *shaper, const char *name, const char *tag,
                      struct err *err)
{
    int rc = shaper_owned(host, name, tag, err);
    if (rc >= 0 || rc == -ENODEV)
        rc = shaper_link(host, name, tag, err);
    int index = rc;
    if (rc >= 0)
        rc = root_put(host, index, err);
    if (rc == 0)
        rc = class_put(host, index, 0, SHAPER_ALL, &shaper->rate, err);
    if (rc == 0)
        rc = class_put(host, index, SHAPER_ALL, SHAPER_REST, &shaper->rate, err);
    return rc == 0 ? finder_put(host, index, shaper->nics, err) : rc;
}

/* --- nics */

static int redirect_put(struct linux_host *host, int index, uint32_t hook, int target, struct err *err)
{
    struct {
        struct tc_u32_sel sel;
        struct tc_u32_key key;
    } all = {.sel = {.flags = TC_U32_TERMINAL, .nkeys = 1}};
    struct tc_mirred action = {
        .action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = (__u32)target};
    struct netlink_message message;
    filter_start(&message, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, index, hook, 0);
    netlink_put_string(&message, TCA_KIND, "u32");
    struct nlattr *options = netlink_nest_open(&message, TCA_OPTIONS);
    netlink_put(&message, TCA_U32_SEL, &all, sizeof(all));
    struct nlattr *actions = netlink_nest_open(&message, TCA_U32_ACT);
    struct nlattr *first = netlink_nest_open(&message, 1);
    netlink_put_string(&message, TCA_ACT_KIND, "mirred");
    struct nlattr *parameters = netlink_nest_open(&message, TCA_ACT_OPTIONS);
    netlink_put(&message, TCA_MIRRED_PARMS, &action, sizeof(action));
    netlink_nest_close(&message, parameters);
    netlink_nest_close(&message, first);
    netlink_nest_close(&message, actions);
    netlink_nest_close(&message, options);
    int rc = call(host, &message, err);
    return lacking(rc, rc < 0 && strstr(err->text, "action") ? &mirred : &u32, err);
}

static int clsact_put(struct linux_host *host, int index, struct err *err)
{
    struct netlink_message message;
    tc_start(&message, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, index, TC_H_CLSACT,
             TC_H_MAKE(TC_H_CLSACT, 0));
    netlink_put_string(&message, TCA_KIND, "clsact");
    int rc = call(host, &message, err);
    return rc == -EEXIST ? 0 : lacking(rc, &clsact, err);
}

static int clsact_delete(struct linux_host *host, int index, struct err *err)
{
    struct netlink_message message;
    tc_start(&message, RTM_DELQDISC, 0, index, TC_H_CLSACT, 0);
    int rc = call(host, &message, err);
    return rc == -ENOENT || rc == -EINVAL ? 0 : rc;
}

static int way_set(struct linux_host *host, int index, int shaper, enum rate_way way,
                   const struct nic_rate *rate, struct err *err)
{
    unsigned minor = SHAPER_NICS | ((unsigned)index & SHAPER_NIC_MASK);
    uint32_t hook = rate_hook(way);
    int now, want = rate->shaped ? shaper : 0;
    int rc = redirect_target(host, index, hook, &now, err);
    if (rc == 0 && rate->shaped && rate->rate.bits_s)
        rc = class_put(host, shaper, SHAPER_ALL, minor, &rate->rate, err);
    if (rc == 0 && now && now != want)
        rc = filter_delete(host, index, hook, err);
    if (rc == 0 && want && now != want)
        rc = redirect_put(host, index, hook, want, err);
    if (rc == 0 && shaper && !rate->rate.bits_s)
        rc = class_delete(host, shaper, minor, err);
    return rc;
}

static int nic_set(struct linux_host *host, const char *tap, const char *network,
                   const struct nic_rate rates[RATE_WAYS], struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    int index = link_index(tap, err), rc = index < 0 ? index : 0;
    bool any = rates[RATE_IN].shaped || rates[RATE_OUT].shaped;
    if (rc == 0 && any)
        rc = clsact_put(host, index, err);
    for (int way = 0; rc == 0 && way < RATE_WAYS; way++) {
        int shaper = link_index_or_none(shaper_name(&arena, network, (enum rate_way)way), err);
        if (shaper < 0 || (rates[way].shaped && !shaper))
            return shaper < 0 ? shaper : err_set(err, ENXIO, "network '%s' has no shaper", network);
        rc = way_set(host, index, shaper, (enum rate_way)way, &rates[way], err);
    }
    return rc == 0 && !any ? clsact_delete(host, index, err) : rc;
}

/* Classes of nics that are gone, now and then and as far as they can be seen, as looking costs what their
 * number is: every interface made later has a higher index than theirs, and the same class comes round only
 * after 32,768 of them. */
enum { SWEEP_EVERY = 64 };

static void classes_sweep(struct linux_host *host, int shaper, int newest)
{
    _cleanup_arena_ struct arena arena = {0};
    struct shaper_classes classes = {.arena = &arena};
    char name[IF_NAMESIZE];
    if (shaper_classes_read(host, shaper, &classes, NULL) < 0)
        return;
    vec_foreach (&classes.list, class) {
        bool lives = class->minor < SHAPER_NICS;
        for (unsigned index = class->minor & SHAPER_NIC_MASK; !lives && index <= (unsigned)newest;
             index += SHAPER_NICS)
            lives = index && if_indextoname(index, name);
        if (!lives)
            class_delete(host, shaper, class->minor, NULL);
    }
}

int rates_open(struct linux_host *host, const struct nic_request *request, const char *tap, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct nic_rate rates[RATE_WAYS] = {0};
    int index = link_index(tap, err), rc = index < 0 ? index : 0;
    bool any = false;
    for (int way = 0; rc == 0 && way < RATE_WAYS; way++) {
        const struct rate *own = &request->rates.way[way];
        struct rate limit = {0};
        bool finder = false;
        int shaper = link_index_or_none(shaper_name(&arena, request->network, (enum rate_way)way), err);
        if (shaper < 0)
            return shaper;
        if (shaper && own->bits_s)
            rc = shaper_finder_there(host, shaper, &finder, err);
        else if (shaper)
            rc = shaper_limit(host, shaper, &limit, err);
        if (rc == 0 && own->bits_s && !finder)
            return err_set(err, EAGAIN,
                           "network '%s' does not limit what single nics %s yet: run `vmwire up %s`",
                           request->network, way == RATE_IN ? "receive" : "send", request->network);
        if (!shaper)
            continue;
        rates[way] = (struct nic_rate){.shaped = own->bits_s || limit.bits_s, .rate = *own};
        any |= rates[way].shaped;
        if (own->bits_s && index % SWEEP_EVERY == 0)
            classes_sweep(host, shaper, index);
    }
    return rc == 0 && any ? nic_set(host, tap, request->network, rates, err) : rc;
}

int rate_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    if (op->kind == OP_RATE_SET) {
        const struct nic_rate rates[RATE_WAYS] = {
            [RATE_IN] = op->nic_rates.in, [RATE_OUT] = op->nic_rates.out};
        int rc = nic_set(host, op->nic_rates.ifname, op->network, rates, err);
        bool tolerant = flags & HOST_APPLY_TOLERANT;
        return rc == -ENODEV || (rc == -ENXIO && tolerant) ? 0 : rc; /* a nic may go at any moment */
    }
    enum rate_way way = op->shaper.outward ? RATE_OUT : RATE_IN;
    const char *name = shaper_name(&arena, op->network, way), *tag = shaper_tag(&arena, op->network, way);
    if (op->kind == OP_SHAPER_REMOVE)
        return shaper_delete(host, name, tag, err);
    int index = link_index_or_none(name, err);
    int rc = index < 0 ? index : shaper_set(host, &op->shaper, name, tag, err);
    if (rc < 0 && index == 0)
        shaper_delete(host, name, tag, NULL);
    return rc;
}

/* Done for real on a shaper that leads nowhere, and taken away. */
void rates_probe(struct linux_host *host, struct arena *arena, struct observed *observed)
{
    static const char name[] = "vmwire-probe", tag[] = OWNER_PREFIX "- rate-probe";
    const struct shaper shaper = {.network = "-", .rate = {RATE_MIN_BITS, 65536}, .nics = true};
    struct err err = {0};
    int rc = shaper_delete(host, name, tag, &err);
    if (rc == 0)
        rc = shaper_set(host, &shaper, name, tag, &err);
    int index = (int)if_nametoindex(name);
    if (rc == 0)
        rc = clsact_put(host, index, &err);
    if (rc == 0)
        rc = redirect_put(host, index, rate_hook(RATE_IN), index, &err);
    shaper_delete(host, name, tag, NULL);
    if (rc < 0 && rc != -EPERM)
        observed->rate_refusal = arena_strdup(arena, err.text);
}
