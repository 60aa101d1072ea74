/* parse_route.c: what netstat(1) -rnW prints, as routes. */
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "host/freebsd/freebsd.h"

enum {
    TABLE_MAIN = 254,
    PROTOCOL_KERNEL = 2,
    PROTOCOL_STATIC = 4,
    PROTOCOL_RA = 9,
    SCOPE_LINK = 253,
    TYPE_UNICAST = 1,
    TYPE_BLACKHOLE = 6,
    TYPE_UNREACHABLE = 7,
    WORDS_MAX = 12,
};

/* Splits a line in place; returns how many words it has, at most WORDS_MAX. */
static size_t split(char *line, char *words[WORDS_MAX])
{
    size_t count = 0;
    for (char *word; (word = strsep(&line, " \t")) && count < WORDS_MAX;) {
        if (*word)
            words[count++] = word;
    }
    return count;
}

/* Columns come and go with releases: their place is read from the heading. */
struct columns {
    size_t flags, netif;
    bool known;
};

static bool heading(char *words[], size_t count, struct columns *columns)
{
    if (count < 4 || strcmp(words[0], "Destination") != 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(words[i], "Flags") == 0)
            columns->flags = i;
        if (strcmp(words[i], "Netif") == 0)
            columns->netif = i;
    }
    columns->known = columns->flags && columns->netif;
    return true;
}

static bool destination_parse(char *text, int family, struct prefix *to)
{
    if (strcmp(text, "default") == 0) {
        *to = (struct prefix){.ip = {.family = (uint8_t)family}};
        return true;
    }
    char *length = strchr(text, '/'), *zone = strchr(text, '%');
    if (zone && length && zone < length) /* fe80::%em0/64 */
        memmove(zone, length, strlen(length) + 1);
    else if (zone)
        *zone = '\0';
    if (strchr(text, '/'))
        return prefix_parse(text, to) == 0;
    to->length = family == AF_INET6 ? 128 : 32;
    return ip_parse(text, &to->ip) == 0;
}

static void row_parse(struct arena *arena, char *words[], const struct columns *columns, int family,
                      struct observed *observed)
{
    const char *flags = words[columns->flags], *netif = words[columns->netif];
    char *gateway = words[1];
    struct route route = {.table = TABLE_MAIN, .type = TYPE_UNICAST, .ifname = arena_strdup(arena, netif)};
    bool discards = strchr(flags, 'B') || strchr(flags, 'R');
    if (!destination_parse(words[0], family, &route.to))
        return;
    /* Own addresses, and what the system keeps off the wire (::/96, ff02::/16 and the like). */
    if (strncmp(netif, "lo", 2) == 0 && (!discards || family == AF_INET6))
        return;
    if (discards) {
        route.type = strchr(flags, 'B') ? TYPE_BLACKHOLE : TYPE_UNREACHABLE;
        route.ifname = "";
        route.protocol = PROTOCOL_STATIC;
    } else if (strchr(flags, 'G')) {
        gateway[strcspn(gateway, "%")] = '\0';
        ip_parse(gateway, &route.gateway);
        /* Learned: by a redirect, or, of IPv6, from a router's advertisement. */
        bool learned = !strchr(flags, 'S');
        route.protocol = learned ? family == AF_INET6 ? PROTOCOL_RA : PROTOCOL_KERNEL : PROTOCOL_STATIC;
    } else {
        route.scope = SCOPE_LINK;
        route.protocol = strchr(flags, 'S') ? PROTOCOL_STATIC : PROTOCOL_KERNEL;
    }
    *vec_push(arena, &observed->routes) = route;
}

void freebsd_routes_parse(struct arena *arena, const char *text, int family, struct observed *observed)
{
    char *rest = arena_strdup(arena, text);
    struct columns columns = {0};
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *words[WORDS_MAX];
        size_t count = split(line, words);
        if (heading(words, count, &columns) || !columns.known || count <= columns.netif)
            continue;
        row_parse(arena, words, &columns, family, observed);
    }
}
