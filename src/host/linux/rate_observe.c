/* rate_observe.c: limits of rates as the kernel has them.  The theory is in rate.h. */
#include <errno.h>
#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <net/if.h>
#include <string.h>

#include "host/linux/linux.h"
#include "host/linux/rate.h"
#include "host/linux/rate_kernel.h"

static void tc_start(struct netlink_message *message, uint16_t type, int index, uint32_t parent)
{
    struct tcmsg *tc = netlink_start(message, type, 0, sizeof(*tc));
    tc->tcm_family = AF_UNSPEC;
    tc->tcm_ifindex = index;
    tc->tcm_parent = parent;
}

/* --- classes */

static uint64_t bits(uint32_t bytes, const struct nlattr *wide)
{
    uint64_t value = bytes;
    if (wide && mnl_attr_get_payload_len(wide) == sizeof(value))
        memcpy(&value, mnl_attr_get_payload(wide), sizeof(value));
    return value * 8;
}

static int class_each(const struct nlmsghdr *header, void *data)
{
    struct shaper_classes *classes = data;
    const struct tcmsg *tc = mnl_nlmsg_get_payload(header);
    const struct nlattr *table[TCA_MAX + 1], *options[TCA_HTB_MAX + 1];
    unsigned minor = TC_H_MIN(tc->tcm_handle);
    netlink_attributes(header, sizeof(*tc), table, TCA_MAX + 1);
    if (header->nlmsg_type != RTM_NEWTCLASS || TC_H_MAJ(tc->tcm_handle) != SHAPER_CLASS(0) ||
        strcmp(netlink_text(table[TCA_KIND]), "htb") != 0 || !table[TCA_OPTIONS])
        return 0;
    netlink_nested(table[TCA_OPTIONS], options, TCA_HTB_MAX + 1);
    struct tc_htb_opt parameters;
    if (!options[TCA_HTB_PARMS] || mnl_attr_get_payload_len(options[TCA_HTB_PARMS]) < sizeof(parameters))
        return 0;
    memcpy(&parameters, mnl_attr_get_payload(options[TCA_HTB_PARMS]), sizeof(parameters));
    struct rate rate = {.bits_s = bits(parameters.ceil.rate, options[TCA_HTB_CEIL64])};
    rate.burst = shaper_burst(parameters.cbuffer, rate.bits_s);
    *vec_push(classes->arena, &classes->list) = (struct shaper_class){
        .minor = minor, .rate = rate.bits_s == SHAPER_UNLIMITED ? (struct rate){0} : rate};
    return 0;
}

static void class_reset(void *data)
{
    ((struct shaper_classes *)data)->list.count = 0;
}

int shaper_classes_read(struct linux_host *host, int index, struct shaper_classes *classes, struct err *err)
{
    struct netlink_message message;
    classes->list.count = 0;
    tc_start(&message, RTM_GETTCLASS, index, 0);
    int rc = netlink_dump(&host->route, &message, class_each, class_reset, classes, err);
    return rc < 0 ? err_wrap(err, "reading the limits of rates") : 0;
}

int shaper_limit(struct linux_host *host, int index, struct rate *limit, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct netlink_message message;
    struct shaper_classes classes = {.arena = &arena};
    /* Without the echo it is told to listeners alone (rtnetlink_send, net/core/rtnetlink.c). */
    struct tcmsg *tc = netlink_start(&message, RTM_GETTCLASS, NLM_F_ACK | NLM_F_ECHO, sizeof(*tc));
    tc->tcm_ifindex = index;
    tc->tcm_handle = SHAPER_CLASS(SHAPER_ALL);
    int rc = netlink_call(&host->route, &message, class_each, &classes, err);
    *limit = rc == 0 && classes.list.count ? classes.list.items[0].rate : (struct rate){0};
    return rc < 0 && rc != -ENOENT ? err_wrap(err, "reading a shaper's rate") : 0;
}

/* --- qdiscs */

struct qdiscs {
    int index; /* only of this one; 0: all */
    bool root; /* it has a shaper's */
    struct arena *arena;
    VEC(int) hooked; /* interfaces with a clsact */
    VEC(int) roots;
};

static int qdisc_each(const struct nlmsghdr *header, void *data)
{
    struct qdiscs *qdiscs = data;
    const struct tcmsg *tc = mnl_nlmsg_get_payload(header);
    const struct nlattr *table[TCA_MAX + 1];
    if (header->nlmsg_type != RTM_NEWQDISC || (qdiscs->index && qdiscs->index != tc->tcm_ifindex))
        return 0;
    netlink_attributes(header, sizeof(*tc), table, TCA_MAX + 1);
    const char *kind = netlink_text(table[TCA_KIND]);
    bool root = tc->tcm_parent == TC_H_ROOT && tc->tcm_handle == SHAPER_CLASS(0) && strcmp(kind, "htb") == 0;
    qdiscs->root |= root;
    if (qdiscs->arena && root)
        *vec_push(qdiscs->arena, &qdiscs->roots) = tc->tcm_ifindex;
    if (qdiscs->arena && strcmp(kind, "clsact") == 0)
        *vec_push(qdiscs->arena, &qdiscs->hooked) = tc->tcm_ifindex;
    return 0;
}

static void qdisc_reset(void *data)
{
    struct qdiscs *qdiscs = data;
    qdiscs->root = false;
    qdiscs->hooked.count = qdiscs->roots.count = 0;
}

static int qdiscs_read(struct linux_host *host, struct qdiscs *qdiscs, struct err *err)
{
    struct netlink_message message;
    tc_start(&message, RTM_GETQDISC, qdiscs->index, 0);
    int rc = netlink_dump(&host->route, &message, qdisc_each, qdisc_reset, qdiscs, err);
    return rc < 0 ? err_wrap(err, "reading the queueing disciplines") : 0;
}

int shaper_root_there(struct linux_host *host, int index, bool *there, struct err *err)
{
    struct qdiscs qdiscs = {.index = index};
    int rc = qdiscs_read(host, &qdiscs, err);
    *there = qdiscs.root;
    return rc;
}

/* --- filters */

struct filters {
    bool finder;
    int target;
};

static int filter_each(const struct nlmsghdr *header, void *data)
{
    struct filters *filters = data;
    const struct nlattr *table[TCA_MAX + 1], *options[TCA_U32_MAX + 1], *actions[2], *action[TCA_ACT_MAX + 1],
        *mirred[TCA_MIRRED_MAX + 1];
    const struct tcmsg *tc = mnl_nlmsg_get_payload(header);
    netlink_attributes(header, sizeof(*tc), table, TCA_MAX + 1);
    const char *kind = netlink_text(table[TCA_KIND]);
    if (header->nlmsg_type != RTM_NEWTFILTER || !table[TCA_OPTIONS])
        return 0;
    filters->finder |= tc->tcm_handle == 1 && (strcmp(kind, "flow") == 0 || strcmp(kind, "bpf") == 0);
    if (strcmp(kind, "u32") != 0)
        return 0;
    netlink_nested(table[TCA_OPTIONS], options, TCA_U32_MAX + 1);
    if (!options[TCA_U32_ACT])
        return 0;
    netlink_nested(options[TCA_U32_ACT], actions, 2);
    if (!actions[1])
        return 0;
    netlink_nested(actions[1], action, TCA_ACT_MAX + 1);
    if (strcmp(netlink_text(action[TCA_ACT_KIND]), "mirred") != 0 || !action[TCA_ACT_OPTIONS])
        return 0;
    netlink_nested(action[TCA_ACT_OPTIONS], mirred, TCA_MIRRED_MAX + 1);
    struct tc_mirred parameters;
    if (!mirred[TCA_MIRRED_PARMS] || mnl_attr_get_payload_len(mirred[TCA_MIRRED_PARMS]) < sizeof(parameters))
        return 0;
    memcpy(&parameters, mnl_attr_get_payload(mirred[TCA_MIRRED_PARMS]), sizeof(parameters));
    if (parameters.eaction == TCA_EGRESS_REDIR)
        filters->target = parameters.ifindex ? (int)parameters.ifindex : -1;
    return 0;
}

static void filter_reset(void *data)
{
    *(struct filters *)data = (struct filters){0};
}

static int filters_read(struct linux_host *host, int index, uint32_t parent, struct filters *filters,
                        struct err *err)
{
    struct netlink_message message;
    tc_start(&message, RTM_GETTFILTER, index, parent);
    int rc = netlink_dump(&host->route, &message, filter_each, filter_reset, filters, err);
    return rc < 0 ? err_wrap(err, "reading the filters of rates") : 0;
}

int shaper_finder_there(struct linux_host *host, int index, bool *there, struct err *err)
{
    struct filters filters = {0};
    int rc = filters_read(host, index, SHAPER_CLASS(0), &filters, err);
    *there = filters.finder;
    return rc;
}

int redirect_target(struct linux_host *host, int index, uint32_t hook, int *target, struct err *err)
{
    struct filters filters = {0};
    int rc = filters_read(host, index, hook, &filters, err);
    *target = filters.target;
    return rc;
}

/* --- all of it */

struct seen {
    int index;
    struct shaper_classes classes;
};
struct seen_shapers {
    VEC(struct seen) list; /* as observed->shapers */
};

static bool has(const int *indexes, size_t count, int index)
{
    for (size_t i = 0; i < count; i++) {
        if (indexes[i] == index)
            return true;
    }
    return false;
}

static const struct shaper_class *class_find(const struct shaper_classes *classes, unsigned minor)
{
    vec_foreach (&classes->list, class) {
        if (class->minor == minor)
            return class;
    }
    return NULL;
}

/* By its tag; false when it is none. */
static bool shaper_of(struct arena *arena, const struct link *link, struct shaper *shaper)
{
    const char *network = strcmp(link->kind, "ifb") == 0 ? owner_network(arena, link->alias) : NULL;
    for (int way = 0; network && way < RATE_WAYS; way++) {
        *shaper = (struct shaper){.network = network, .outward = way == RATE_OUT};
        if (strcmp(link->alias, shaper_tag(arena, network, (enum rate_way)way)) == 0)
            return true;
    }
    return false;
}

static int shaper_observe(struct linux_host *host, struct arena *arena, const struct link *link,
                          const struct qdiscs *qdiscs, struct shaper *shaper, struct seen *seen,
                          struct err *err)
{
    *seen = (struct seen){.index = link->index, .classes = {.arena = arena}};
    int rc = shaper_classes_read(host, link->index, &seen->classes, err);
    if (rc < 0)
        return rc;
    const struct shaper_class *all = class_find(&seen->classes, SHAPER_ALL),
                              *rest = class_find(&seen->classes, SHAPER_REST);
    shaper->rate = all ? all->rate : (struct rate){0};
    shaper->whole = all && rest && rate_equal(&all->rate, &rest->rate) && link->up &&
                    has(qdiscs->roots.items, qdiscs->roots.count, link->index);
    return shaper->whole ? shaper_finder_there(host, link->index, &shaper->nics, err) : 0;
}

static int nic_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                       const struct seen_shapers *seen, struct link *link, struct err *err)
{
    struct wired_nic nic;
    unsigned minor = SHAPER_NICS | ((unsigned)link->index & SHAPER_NIC_MASK);
    int rc = 0, target;
    if (!owner_nic(arena, link, &nic))
        return 0;
    for (int way = 0; rc == 0 && way < RATE_WAYS; way++) {
        rc = redirect_target(host, link->index, rate_hook((enum rate_way)way), &target, err);
        for (size_t i = 0; rc == 0 && target && i < observed->shapers.count; i++) {
            const struct shaper *shaper = &observed->shapers.items[i];
            if (seen->list.items[i].index != target || shaper->outward != (way == RATE_OUT) ||
                strcmp(shaper->network, nic.network) != 0)
                continue;
            const struct shaper_class *class = class_find(&seen->list.items[i].classes, minor);
            link->rates[way] =
                (struct nic_rate){.shaped = true, .rate = class ? class->rate : (struct rate){0}};
        }
    }
    return rc;
}

int rates_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err)
{
    struct seen_shapers seen = {0};
    struct qdiscs qdiscs = {.arena = arena};
    struct shaper shaper;
    observed->shapers.count = 0;
    bool any = false;
    vec_foreach (&observed->links, link)
        any |= strcmp(link->kind, "ifb") == 0;
    if (!any)
        return 0;
    int rc = qdiscs_read(host, &qdiscs, err);
    vec_foreach (&observed->links, link) {
        if (rc < 0 || !shaper_of(arena, link, &shaper))
            continue;
        rc = shaper_observe(host, arena, link, &qdiscs, &shaper, vec_push(arena, &seen.list), err);
        *vec_push(arena, &observed->shapers) = shaper;
    }
    vec_foreach (&qdiscs.hooked, index) {
        struct link *link = (struct link *)link_by_index(observed, *index);
        if (rc == 0 && link && strcmp(link->kind, "tun") == 0)
            rc = nic_observe(host, arena, observed, &seen, link, err);
    }
    return rc;
}
