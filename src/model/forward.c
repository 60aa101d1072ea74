/* forward.c: port forwards: their text, their order, and when two want the same port. */
#include "model/forward.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"

enum { PORT_MAX = 65535 };

/* --- text
 * ----------------------------------------------------------------------------------------------------------
 */

/* The text from `start` to `end` without the blanks at its ends. */
static char *trimmed(struct arena *arena, const char *start, const char *end)
{
    while (start < end && *start == ' ')
        start++;
    while (end > start && end[-1] == ' ')
        end--;
    return arena_strndup(arena, start, (size_t)(end - start));
}

static bool port_parse(const char *text, size_t length, unsigned *port)
{
    if (length == 0 || length > 5 || strspn(text, "0123456789") < length || *text == '0')
        return false;
    *port = (unsigned)strtoul(text, NULL, 10);
    return *port <= PORT_MAX;
}

/* "N" or "N-M"; `last` is 0 for the first form.  NULL: none, behind an address in brackets. */
static const char *ports_parse(struct arena *arena, const char *text, unsigned *first, unsigned *last)
{
    *last = 0;
    if (!text || !*text)
        return "a port is missing";
    size_t length = strcspn(text, "-");
    if (!port_parse(text, length, first) ||
        (text[length] && !port_parse(text + length + 1, strlen(text + length + 1), last)))
        return arena_printf(arena, "'%s' is no port (1 to 65535) and no range such as 8000-8010", text);
    if (*last && *last < *first)
        return arena_printf(arena, "%u-%u is the wrong way round", *first, *last);
    return NULL;
}

/* One side: what stands in front of the ports (NULL: nothing), and the ports; these are NULL behind an
 * address in brackets that has none. */
static const char *side_split(struct arena *arena, char *side, char **place, char **ports)
{
    char *colon = strchr(side, ':'), *end = strchr(side, ']');
    *place = NULL;
    *ports = side;
    if (*side == '[' && end && (!end[1] || end[1] == ':')) {
        *place = side + 1;
        *ports = end[1] ? end + 2 : NULL;
        *end = '\0';
        struct ip ip;
        if (ip_parse(*place, &ip) == 0 && ip.family == AF_INET6)
            return NULL;
        return arena_printf(arena, "'%s' is no IPv6 address", *place);
    }
    if (!colon)
        return NULL;
    if (strchr(colon + 1, ':'))
        return "an IPv6 address stands in brackets, as '[fd00::5]:22'";
    *place = side;
    *ports = colon + 1;
    *colon = '\0';
    return NULL;
}

static const char *listen_parse(struct arena *arena, char *side, struct forward *forward)
{
    char *place, *ports;
    unsigned first, last;
    const char *fault = side_split(arena, side, &place, &ports);
    if (!fault)
        fault = ports_parse(arena, ports, &first, &last);
    if (fault)
        return fault;
    forward->first = (uint16_t)first;
    forward->last = (uint16_t)(last ? last : first);
    if (!place)
        return NULL;
    if (ip_parse(place, &forward->listen) < 0)
        return arena_printf(arena, "'%s' is no address of this host", place);
    if (ip_is_multicast(&forward->listen))
        return arena_printf(arena, "%s is a multicast address", place);
    if (ip_is_loopback(&forward->listen) && forward->listen.family == AF_INET6)
        return "nothing that ::1 sends to another machine is answered; take 127.0.0.1, or an own address of "
               "the "
               "host";
    forward->family = forward->listen.family;
    if (ip_equal(&forward->listen, &(struct ip){.family = forward->family}))
        forward->listen = (struct ip){0};
    return NULL;
}

static const char *target_parse(struct arena *arena, char *side, struct forward *forward, const char **name)
{
    char *place, *ports;
    unsigned first = forward->first, last = 0, count = (unsigned)(forward->last - forward->first) + 1;
    const char *fault = side_split(arena, side, &place, &ports);
    if (fault)
        return fault;
    if (!place && ports[strspn(ports, "0123456789-")]) {
        place = ports; /* the same ports there */
        ports = NULL;
    }
    fault = ports ? ports_parse(arena, ports, &first, &last) : NULL;
    if (fault)
        return fault;
    if (ports && (last ? last : first) - first + 1 != count)
        return arena_printf(arena, "%u port%s cannot lead to %u; write '%u-%u' behind the arrow", count,
                            count == 1 ? "" : "s", (last ? last : first) - first + 1, first,
                            first + count - 1);
    if (first + count - 1 > PORT_MAX)
        return arena_printf(arena, "it ends beyond port %d", PORT_MAX);
    forward->target_first = (uint16_t)first;
    *name = place ? place : "";
    if (place && ip_parse(place, &forward->target) == 0) {
        *name = "";
        if (forward->family && forward->family != forward->target.family)
            return "an IPv4 port cannot lead to an IPv6 address, nor the reverse";
        forward->family = forward->target.family;
    }
    return NULL;
}

const char *forward_parse(struct arena *arena, const char *text, struct forward *forward, const char **name)
{
    *forward = (struct forward){0};
    *name = "";
    const char *arrow = strstr(text, "->"), *blank = strchr(text, ' ');
    if (!arrow)
        return "it has no '->'";
    const char *protocol = arena_strndup(arena, text, blank ? (size_t)(blank - text) : 0);
    if (strcmp(protocol, "tcp") == 0)
        forward->protocol = IPPROTO_TCP;
    else if (strcmp(protocol, "udp") == 0)
        forward->protocol = IPPROTO_UDP;
    else
        return "it begins with 'tcp' or 'udp'";
    if (blank > arrow)
        return "in front of '->' stands a port of this host";
    const char *fault = listen_parse(arena, trimmed(arena, blank, arrow), forward);
    return fault ? fault : target_parse(arena, trimmed(arena, arrow + 2, strchr(text, '\0')), forward, name);
}

static const char *range_text(struct arena *arena, unsigned first, unsigned count)
{
    return count == 1 ? arena_printf(arena, "%u", first)
                      : arena_printf(arena, "%u-%u", first, first + count - 1);
}

static unsigned forward_count(const struct forward *forward)
{
    return (unsigned)(forward->last - forward->first) + 1;
}

const char *forward_ports(struct arena *arena, const struct forward *forward)
{
    return range_text(arena, forward->first, forward_count(forward));
}

const char *forward_target_ports(struct arena *arena, const struct forward *forward)
{
    return range_text(arena, forward->target_first, forward_count(forward));
}

const char *forward_protocol_name(const struct forward *forward)
{
    return forward->protocol == IPPROTO_TCP ? "tcp" : "udp";
}

const char *ip_before_port(struct arena *arena, const struct ip *ip)
{
    return ip->family == AF_INET6 ? arena_printf(arena, "[%s]", IP_TEXT(ip))
                                  : arena_strdup(arena, IP_TEXT(ip));
}

const char *forward_format(struct arena *arena, const struct forward *forward)
{
    const char *listen = ip_is_set(&forward->listen)   ? ip_before_port(arena, &forward->listen)
                         : forward->family == AF_INET6 ? "[::]"
                                                       : "";
    return arena_printf(arena, "%s %s%s%s -> %s:%s", forward_protocol_name(forward), listen,
                        *listen ? ":" : "", forward_ports(arena, forward),
                        ip_before_port(arena, &forward->target), forward_target_ports(arena, forward));
}

/* --- meaning
 * -------------------------------------------------------------------------------------------------------
 */

bool forward_has_loopback(const struct forward *forward)
{
    return forward->family != AF_INET6 && (!ip_is_set(&forward->listen) || ip_is_loopback(&forward->listen));
}

bool forward_clash(const struct forward *a, const struct forward *b)
{
    return a->protocol == b->protocol && (!a->family || !b->family || a->family == b->family) &&
           a->first <= b->last && b->first <= a->last &&
           (!ip_is_set(&a->listen) || !ip_is_set(&b->listen) || ip_equal(&a->listen, &b->listen));
}

static int forward_compare(const void *left, const void *right)
{
    const struct forward *a = left, *b = right;
    if (a->family != b->family)
        return a->family < b->family ? -1 : 1;
    if (a->protocol != b->protocol)
        return a->protocol < b->protocol ? -1 : 1;
    int order = ip_is_set(&a->listen) && ip_is_set(&b->listen)
                    ? ip_compare(&a->listen, &b->listen)
                    : (int)ip_is_set(&a->listen) - (int)ip_is_set(&b->listen);
    return order ? order : (a->first > b->first) - (a->first < b->first);
}

static bool continues(const struct forward *before, const struct forward *next)
{
    return before->family == next->family && before->protocol == next->protocol &&
           before->last + 1 == next->first && ip_equal(&before->listen, &next->listen) &&
           ip_equal(&before->target, &next->target) &&
           before->target_first + forward_count(before) == next->target_first;
}

void forwards_settle(struct forwards *forwards)
{
    struct forward *items = forwards->list.items;
    size_t kept = 0;
    if (forwards->list.count > 1)
        qsort(items, forwards->list.count, sizeof(*items), forward_compare);
    for (size_t i = 0; i < forwards->list.count; i++) {
        if (kept && continues(&items[kept - 1], &items[i]))
            items[kept - 1].last = items[i].last;
        else
            items[kept++] = items[i];
    }
    forwards->list.count = kept;
}

bool forwards_equal(const struct forwards *a, const struct forwards *b)
{
    if (a->list.count != b->list.count)
        return false;
    for (size_t i = 0; i < a->list.count; i++) {
        const struct forward *x = &a->list.items[i], *y = &b->list.items[i];
        if (forward_compare(x, y) != 0 || x->last != y->last || !ip_equal(&x->target, &y->target) ||
            x->target_first != y->target_first)
            return false;
    }
    return true;
}
