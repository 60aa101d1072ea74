/* link_delete.c: removing what vmwire made: one link, or several bridges in one request.
 *
 * The kernel waits for every other processor, several times, before the memory of a link is free: some 40 ms
 * a bridge, of which a request for a group of links (ip-link(8), `link delete group`) saves half.  So the
 * bridges are put into a group that nothing else is in, and no other is deleted by it: who is in it is read
 * again before. */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/random.h>

#include "host/linux/linux.h"

static const char *kind_of(const struct op *op)
{
    return op->link.vlan ? "vlan" : "bridge";
}

int link_owned_check(struct linux_host *host, struct arena *arena, const struct op *op, struct err *err)
{
    struct link link;
    int rc = link_get(host, arena, op->link.name, &link, err);
    if (rc < 0)
        return rc;
    const char *owner = owner_network(arena, link.alias);
    if (strcmp(link.kind, kind_of(op)) != 0 || link.vlan != op->link.vlan || !owner ||
        strcmp(owner, op->network) != 0)
        return err_set(err, EPERM, "interface '%s' is not vmwire's %s of network '%s'", op->link.name,
                       op->link.vlan ? "VLAN" : "bridge", op->network);
    return 0;
}

int link_delete(struct linux_host *host, const char *name, struct err *err)
{
    struct netlink_message message;
    struct ifinfomsg *info = netlink_start(&message, RTM_DELLINK, NLM_F_ACK, sizeof(*info));
    info->ifi_index = link_index(name, err);
    if (info->ifi_index < 0)
        return info->ifi_index;
    return netlink_call(&host->route, &message, NULL, NULL, err);
}

/* Made, but killed before it was tagged: down, without alias and ports, as nobody else leaves a bridge (or a
 * VLAN) of that name. */
static bool half_made(struct linux_host *host, struct arena *arena, const struct op *op)
{
    const char *name = op->link.name;
    struct link link;
    struct observed observed = {0};
    if (link_get(host, arena, name, &link, NULL) < 0 || strcmp(link.kind, kind_of(op)) != 0 ||
        link.vlan != op->link.vlan || *link.alias || link.up || *link.master ||
        links_observe(host, arena, &observed, NULL) < 0)
        return false;
    vec_foreach (&observed.links, port) {
        if (strcmp(port->master, name) == 0)
            return false;
    }
    return true;
}

/* The index of what may be deleted; 0: there is nothing. */
static int deletable(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    bool tolerant = flags & HOST_APPLY_TOLERANT;
    int index = link_index(op->link.name, err);
    if (index < 0)
        return index == -ENODEV && tolerant ? 0 : index;
    int rc = link_owned_check(host, &arena, op, err);
    if (rc == -EPERM && tolerant && half_made(host, &arena, op))
        rc = 0;
    return rc < 0 ? rc : index;
}

int link_delete_owned(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    int index = deletable(host, op, flags, err);
    return index <= 0 ? index : link_delete(host, op->link.name, err);
}

/* --- several */

/* For so long nobody else can change a link: half a second. */
enum { TOGETHER_MAX = 32 };

/* A bit that no tap's group has (owner_group). */
#define NOT_OF_TAPS 0x80000000u

struct member {
    int index;
    uint32_t group;
};

struct members {
    struct arena *arena;
    VEC(struct member) list;
};

static void members_reset(void *data)
{
    ((struct members *)data)->list.count = 0;
}

static int members_each(const struct nlmsghdr *header, void *data)
{
    struct members *members = data;
    const struct ifinfomsg *info = mnl_nlmsg_get_payload(header);
    const struct nlattr *table[IFLA_GROUP + 1];
    netlink_attributes(header, sizeof(*info), table, IFLA_GROUP + 1);
    *vec_push(members->arena, &members->list) =
        (struct member){.index = info->ifi_index, .group = netlink_u32(table[IFLA_GROUP])};
    return 0;
}

/* Every link's group. */
static int members_read(struct linux_host *host, struct members *members, struct err *err)
{
    struct netlink_message message;
    netlink_start(&message, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
    netlink_put_u32(&message, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    return netlink_dump(&host->route, &message, members_each, members_reset, members, err);
}

static size_t in_group(const struct members *members, uint32_t group)
{
    size_t count = 0;
    vec_foreach (&members->list, member)
        count += member->group == group;
    return count;
}

static uint32_t group_of(const struct members *members, int index)
{
    vec_foreach (&members->list, member) {
        if (member->index == index)
            return member->group;
    }
    return 0;
}

static int group_set(struct linux_host *host, int index, uint32_t group, struct err *err)
{
    struct netlink_message message;
    struct ifinfomsg *info = netlink_start(&message, RTM_NEWLINK, NLM_F_ACK, sizeof(*info));
    info->ifi_index = index;
    netlink_put_u32(&message, IFLA_GROUP, group);
    return netlink_call(&host->route, &message, NULL, NULL, err);
}

int link_group_reset(struct linux_host *host, const char *name, struct err *err)
{
    int index = link_index(name, err);
    return index < 0 ? index : group_set(host, index, 0, err);
}

static int group_delete(struct linux_host *host, uint32_t group, struct err *err)
{
    struct netlink_message message;
    netlink_start(&message, RTM_DELLINK, NLM_F_ACK, sizeof(struct ifinfomsg));
    netlink_put_u32(&message, IFLA_GROUP, group);
    return netlink_call(&host->route, &message, NULL, NULL, err);
}

/* Those of these interfaces that nobody has put into a group; what an error leaves has to go one by one. */
static int delete_together(struct linux_host *host, struct arena *arena, const int *indexes, size_t count,
                           struct err *err)
{
    struct members members = {.arena = arena};
    uint32_t group = 0;
    size_t put = 0;
    int rc = members_read(host, &members, err);
    while (rc == 0 && (group == 0 || in_group(&members, group))) {
        if (getrandom(&group, sizeof(group), 0) != sizeof(group))
            rc = err_errno(err, errno, "choosing a group");
        group |= NOT_OF_TAPS;
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (group_of(&members, indexes[i]) != 0)
            continue;
        rc = group_set(host, indexes[i], group, err);
        put++;
    }
    if (rc == 0)
        rc = members_read(host, &members, err);
    if (rc == 0 && in_group(&members, group) != put)
        rc = err_set(err, EBUSY, "somebody else uses this group");
    return rc < 0 || !put ? rc : group_delete(host, group, err);
}

static int delete_each(struct linux_host *host, const struct op *const ops[], size_t count, unsigned flags,
                       size_t *failed, struct err *err)
{
    int result = 0;
    for (size_t i = 0; i < count && (result == 0 || (flags & HOST_APPLY_TOLERANT)); i++) {
        int rc = link_delete_owned(host, ops[i], flags, result ? NULL : err);
        if (rc < 0 && result == 0) {
            result = rc;
            *failed = i;
        }
    }
    return result;
}

int bridges_delete(struct linux_host *host, const struct op *const ops[], size_t count, unsigned flags,
                   size_t *failed, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    int *indexes = arena_alloc(&arena, count * sizeof(*indexes));
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        int index = deletable(host, ops[i], flags, NULL);
        if (index < 0)
            return delete_each(host, ops, count, flags, failed, err);
        if (index > 0)
            indexes[found++] = index;
    }
    for (size_t i = 0; i < found; i += TOGETHER_MAX) {
        size_t left = found - i;
        if (delete_together(host, &arena, indexes + i, left < TOGETHER_MAX ? left : TOGETHER_MAX, NULL) < 0)
            break;
    }
    return delete_each(host, ops, count, flags | HOST_APPLY_TOLERANT, failed, err);
}
