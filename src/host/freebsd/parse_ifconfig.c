/* parse_ifconfig.c: what ifconfig(8) prints, as links and addresses.  Names may hold anything but a newline:
 * the kernel takes 'a b' and '0abc'. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "host/freebsd/freebsd.h"

/* One line of a text, and the rest of it. */
static char *next_line(char **rest)
{
    return strsep(rest, "\n");
}

/* What follows `word` and a blank at the start of the line, blanks skipped, or NULL. */
static const char *after(const char *line, const char *word)
{
    line += strspn(line, " \t");
    size_t length = strlen(word);
    return strncmp(line, word, length) == 0 && line[length] == ' ' ? line + length + 1 : NULL;
}

/* The word behind `name` anywhere in a line, in the arena; NULL when the line has no such pair. */
static const char *value_of(struct arena *arena, const char *line, const char *name)
{
    const char *at = strstr(line, arena_printf(arena, " %s ", name));
    if (!at)
        return NULL;
    at += strlen(name) + 2;
    return arena_strndup(arena, at, strcspn(at, " \t"));
}

static bool has_flag(const char *flags, const char *flag)
{
    size_t length = strlen(flag);
    for (const char *at = flags; (at = strstr(at, flag)); at++) {
        char before = at > flags ? at[-1] : '<', behind = at[length];
        if ((before == '<' || before == ',') && (behind == '>' || behind == ','))
            return true;
    }
    return false;
}

/* "brext: flags=8843<UP,BROADCAST> metric 0 mtu 1500" */
static struct link *header_parse(struct arena *arena, char *line, struct observed *observed)
{
    char *flags = strstr(line, ": flags=");
    if (*line == '\t' || *line == ' ' || !flags)
        return NULL;
    const char *mtu = value_of(arena, flags, "mtu");
    struct link *link = vec_push(arena, &observed->links);
    *link = (struct link){.name = arena_strndup(arena, line, (size_t)(flags - line)),
                          .kind = "",
                          .alias = "",
                          .master = "",
                          .mtu = mtu ? (uint32_t)strtoul(mtu, NULL, 10) : 0,
                          .up = has_flag(flags, "UP"),
                          .carrier = has_flag(flags, "RUNNING"),
                          .loopback = has_flag(flags, "LOOPBACK"),
                          .index = (int)observed->links.count};
    return link;
}

/* The groups that an interface is in since it was made; a tap is "tun" to the planner, and so is an epair
 * that is a nic. */
static const char *kind_of(const char *groups)
{
    static const struct {
        const char *group, *kind;
    } kinds[] = {{"bridge", "bridge"}, {"tap", "tun"},   {"vmnet", "tun"}, {"tun", "tun"},
                 {"epair", "veth"},    {"vlan", "vlan"}, {"lagg", "bond"}, {"lo", "lo"}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        size_t length = strlen(kinds[i].group);
        if (strncmp(groups, kinds[i].group, length) == 0 && (groups[length] == ' ' || !groups[length]))
            return kinds[i].kind;
    }
    return "";
}

/* 0xffffff00 */
static int mask_length(const char *text)
{
    unsigned long mask = strtoul(text, NULL, 16);
    int length = 0;
    while (length < 32 && (mask & (1ul << (31 - length))))
        length++;
    return length;
}

/* "10.0.0.1/24 broadcast 10.0.0.255", "10.0.0.1 netmask 0xffffff00", "10.0.0.1 --> 10.0.0.2/32" */
static void inet_parse(struct arena *arena, const char *rest, const char *ifname, struct observed *observed)
{
    struct address address = {.ifname = ifname, .label = ""};
    char *local = arena_strndup(arena, rest, strcspn(rest, " "));
    const char *peer = value_of(arena, rest, "-->");
    const char *broadcast = value_of(arena, rest, "broadcast"), *mask = value_of(arena, rest, "netmask");
    char *length = strchr(local, '/'), *peer_length = peer ? strchr(peer, '/') : NULL;
    const char *digits = length ? length + 1 : peer_length ? peer_length + 1 : NULL;
    if (length)
        *length = '\0';
    if (peer_length)
        *peer_length = '\0';
    address.prefix.length = (uint8_t)(digits ? atoi(digits) : mask ? mask_length(mask) : 32);
    if (ip_parse(local, &address.prefix.ip) < 0)
        return;
    if (peer)
        ip_parse(peer, &address.peer);
    if (broadcast)
        ip_parse(broadcast, &address.broadcast);
    *vec_push(arena, &observed->addresses) = address;
}

/* "fe80::1%lo0 prefixlen 64 scopeid 0x2", "2001:db8::5 prefixlen 64 autoconf" */
static void inet6_parse(struct arena *arena, const char *rest, const char *ifname, struct observed *observed)
{
    struct address address = {.ifname = ifname, .label = ""};
    const char *text = arena_strndup(arena, rest, strcspn(rest, " %/"));
    const char *length = value_of(arena, rest, "prefixlen");
    address.prefix.length = (uint8_t)(length ? atoi(length) : 128);
    if (ip_parse(text, &address.prefix.ip) < 0)
        return;
    address.kernel =
        ip_is_link_local(&address.prefix.ip) || strstr(rest, " autoconf") || strstr(rest, " temporary");
    *vec_push(arena, &observed->addresses) = address;
}

struct members {
    VEC(struct port) list;
};

/* The parent of one that has none is "<none>". */
static void vlan_parse(struct arena *arena, const char *rest, struct link *link)
{
    const char *parent = strstr(rest, "parent interface: ");
    if (!parent)
        return;
    link->vlan = (uint32_t)strtoul(rest, NULL, 10);
    link->lower = arena_strdup(arena, parent + strlen("parent interface: "));
}

/* A line below an interface's first. */
static void detail_parse(struct arena *arena, const char *line, struct link *link, struct members *members,
                         struct observed *observed, struct freebsd_names *openers)
{
    const char *rest;
    if ((rest = after(line, "description:")))
        link->alias = arena_strdup(arena, rest);
    else if ((rest = after(line, "nd6")))
        link->ipv6 = strstr(rest, "AUTO_LINKLOCAL") != NULL;
    else if ((rest = after(line, "ether")))
        mac_parse(arena_strndup(arena, rest, strcspn(rest, " ")), &link->mac);
    else if ((rest = after(line, "groups:")))
        link->kind = kind_of(rest);
    else if ((rest = after(line, "vlan:"))) /* "5 vlanpcp: 0 parent interface: vtnet0" */
        vlan_parse(arena, rest, link);
    else if ((rest = after(line, "status:")))
        link->carrier = strncmp(rest, "active", 6) == 0 || strncmp(rest, "associated", 10) == 0;
    else if ((rest = after(line, "member:")) && strstr(rest, " flags="))
        *vec_push(arena, &members->list) =
            (struct port){.ifname = arena_strndup(arena, rest, (size_t)(strstr(rest, " flags=") - rest)),
                          .bridge = link->name,
                          .rules.isolated = strstr(rest, "PRIVATE") != NULL};
    else if ((rest = after(line, "inet")))
        inet_parse(arena, rest, link->name, observed);
    else if ((rest = after(line, "inet6")))
        inet6_parse(arena, rest, link->name, observed);
    else if (after(line, "Opened") && openers)
        *vec_push(arena, &openers->list) = link->name;
}

void freebsd_ifconfig_parse(struct arena *arena, const char *text, struct observed *observed,
                            struct freebsd_names *openers)
{
    struct members members = {0};
    char *rest = arena_strdup(arena, text);
    struct link *link = NULL;
    for (char *line; (line = next_line(&rest));) {
        struct link *started = header_parse(arena, line, observed);
        if (started)
            link = started;
        else if (link)
            detail_parse(arena, line, link, &members, observed, openers);
    }
    vec_foreach (&observed->links, port) {
        struct wired_nic nic;
        if (strcmp(port->kind, "veth") == 0 && owner_nic(arena, port, &nic))
            port->kind = "tun";
    }
    vec_foreach (&members.list, member) {
        vec_foreach (&observed->links, port) {
            if (strcmp(port->name, member->ifname) != 0)
                continue;
            port->master = member->bridge;
            port->port = member->rules;
        }
    }
}

/* "00:a0:98:1b:c8:07 Vlan1 tap0 1199 flags=0<>" */
const char *freebsd_port_of_mac(struct arena *arena, const char *text, const struct mac *mac)
{
    char *rest = arena_strdup(arena, text);
    for (char *line; (line = next_line(&rest));) {
        char *word = line + strspn(line, " \t"), *end = word + strcspn(word, " ");
        struct mac seen;
        char *vlan = *end ? end + 1 : end;
        *end = '\0';
        if (mac_parse(word, &seen) < 0 || !mac_equal(&seen, mac))
            continue;
        char *port = vlan + strcspn(vlan, " ");
        port += strspn(port, " ");
        port[strcspn(port, " ")] = '\0';
        return *port ? port : NULL;
    }
    return NULL;
}

const char *freebsd_created(struct arena *arena, const char *output, const char *prefix)
{
    size_t length = strlen(prefix), end = strcspn(output, "\n");
    if (strncmp(output, prefix, length) != 0 || end == length || end > NAME_MAX_LENGTH ||
        strspn(output + length, "0123456789") != end - length)
        return NULL;
    return arena_strndup(arena, output, end);
}

/* "epair0a" is 'a' of 0. */
static bool is_epair(const char *name, size_t length, const char *ends)
{
    static const char prefix[] = "epair";
    size_t digits = length > strlen(prefix) && strncmp(name, prefix, strlen(prefix)) == 0
                        ? strspn(name + strlen(prefix), "0123456789")
                        : 0;
    return digits && length <= NAME_MAX_LENGTH && length == strlen(prefix) + digits + 1 &&
           strchr(ends, name[length - 1]);
}

const char *freebsd_epair_created(struct arena *arena, const char *output)
{
    size_t length = strcspn(output, "\n");
    return is_epair(output, length, "a") ? arena_strndup(arena, output, length) : NULL;
}

const char *freebsd_epair_other(struct arena *arena, const char *name)
{
    size_t length = strlen(name);
    if (!is_epair(name, length, "ab"))
        return NULL;
    return arena_printf(arena, "%.*s%c", (int)length - 1, name, name[length - 1] == 'a' ? 'b' : 'a');
}
