/* parse_neighbour.c: what arp(8) -an and ndp(8) -an print, as neighbours entered by hand. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "host/freebsd/freebsd.h"

static bool own_address(const struct observed *observed, const struct ip *ip)
{
    vec_foreach (&observed->addresses, address) {
        if (ip_equal(&address->prefix.ip, ip))
            return true;
    }
    return false;
}

static void neighbour_add(struct arena *arena, struct observed *observed, const char *ip, const char *mac,
                          const char *ifname, bool proxy)
{
    struct fixed_neighbour neighbour = {.ifname = ifname, .proxy = proxy};
    if (ip_parse(ip, &neighbour.ip) == 0 && mac_parse(mac, &neighbour.mac) == 0 &&
        !own_address(observed, &neighbour.ip)) {
        neighbour.ifname = arena_strdup(arena, ifname);
        *vec_push(arena, &observed->neighbours) = neighbour;
    }
}

/* "? (10.0.2.2) at 52:55:0a:00:02:02 on vtnet0 permanent published [ethernet]" */
void freebsd_arp_parse(struct arena *arena, const char *text, struct observed *observed)
{
    char *rest = arena_strdup(arena, text);
    for (char *line; (line = strsep(&rest, "\n"));) {
        char ip[64], mac[64], ifname[64];
        int end = 0;
        if (sscanf(line, "%*s (%63[^)]) at %63s on %63s permanent%n", ip, mac, ifname, &end) == 3 && end)
            neighbour_add(arena, observed, ip, mac, ifname, strncmp(line + end, " published", 10) == 0);
    }
}

/* "fe80::2%em0  52:55:0a:00:02:02  em0 permanent R" under a heading, flags behind the state: `p` a proxy. */
void freebsd_ndp_parse(struct arena *arena, const char *text, struct observed *observed)
{
    char *rest = arena_strdup(arena, text);
    for (char *line; (line = strsep(&rest, "\n"));) {
        char ip[64], mac[64], ifname[64], flags[16] = "";
        int end = 0;
        if (sscanf(line, "%63s %63s %63s permanent%n %*s %15s", ip, mac, ifname, &end, flags) < 3 || !end)
            continue;
        ip[strcspn(ip, "%")] = '\0';
        neighbour_add(arena, observed, ip, mac, ifname, strchr(flags, 'p') != NULL);
    }
}
