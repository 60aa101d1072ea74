/* parse_misc.c: what sysctl(8), pgrep(1), sockstat(1) and pciconf(8) print, and dhclient.leases(5). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "host/freebsd/freebsd.h"

const char *freebsd_sysctl_parse(struct arena *arena, const char *text, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = text; *line;) {
        size_t end = strcspn(line, "\n");
        if (strncmp(line, name, length) == 0 && strncmp(line + length, ": ", 2) == 0)
            return arena_strndup(arena, line + length + 2, end - length - 2);
        line += end + (line[end] == '\n');
    }
    return NULL;
}

pid_t freebsd_dhclient_parse(const char *text, const char *ifname)
{
    static const char title[] = " dhclient: ";
    size_t length = strlen(ifname);
    for (const char *line = text; *line;) {
        size_t end = strcspn(line, "\n"), digits = strspn(line, "0123456789");
        const char *name = line + digits + strlen(title);
        if (digits && strncmp(line + digits, title, strlen(title)) == 0 && name + length == line + end &&
            strncmp(name, ifname, length) == 0)
            return (pid_t)atol(line);
        line += end + (line[end] == '\n');
    }
    return 0;
}

/* The value of `  name value;` when this is such a line, without quotes, in the arena. */
static const char *statement(struct arena *arena, const char *line, const char *name)
{
    line += strspn(line, " \t");
    size_t length = strlen(name);
    if (strncmp(line, name, length) != 0 || line[length] != ' ')
        return NULL;
    line += length + 1;
    line += *line == '"';
    return arena_strndup(arena, line, strcspn(line, "\";,\n"));
}

bool freebsd_lease_parse(const char *text, const char *ifname, struct guest_lease *lease)
{
    _cleanup_arena_ struct arena arena = {0};
    char *rest = arena_strdup(&arena, text);
    struct guest_lease now = {0};
    struct ip mask = {0};
    bool ours = false, found = false;
    for (char *line; (line = strsep(&rest, "\n"));) {
        const char *value;
        if (strncmp(line, "lease {", 7) == 0) {
            now = (struct guest_lease){0};
            mask = (struct ip){0};
            ours = false;
        } else if ((value = statement(&arena, line, "interface"))) {
            ours = strcmp(value, ifname) == 0;
        } else if ((value = statement(&arena, line, "fixed-address"))) {
            ip_parse(value, &now.address.ip);
        } else if ((value = statement(&arena, line, "option subnet-mask"))) {
            ip_parse(value, &mask);
        } else if ((value = statement(&arena, line, "option routers"))) {
            ip_parse(value, &now.gateway);
        } else if ((value = statement(&arena, line, "option domain-name-servers"))) {
            ip_parse(value, &now.dns);
        } else if ((value = statement(&arena, line, "option dhcp-server-identifier"))) {
            ip_parse(value, &now.server);
        } else if (*line == '}' && ours && ip_is_set(&now.address.ip)) {
            now.address.length = 0;
            for (int bit = 0; bit < 32 && (mask.bytes[bit / 8] & (0x80 >> bit % 8)); bit++)
                now.address.length++;
            *lease = now;
            found = true;
        }
    }
    return found;
}

/* "10.0.0.1:53", "*:67", "fe80::1%em0:53" */
static bool endpoint_parse(char *text, uint16_t *port, struct ip *ip, bool v6)
{
    char *colon = strrchr(text, ':');
    if (!colon || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")])
        return false;
    *port = (uint16_t)atoi(colon + 1);
    *colon = '\0';
    text[strcspn(text, "%")] = '\0';
    if (strcmp(text, "*") == 0) {
        *ip = (struct ip){.family = v6 ? AF_INET6 : AF_INET};
        return true;
    }
    return ip_parse(text, ip) == 0;
}

/* "root     bhyve      155   6  tcp4   *:5901                *:*" */
void freebsd_sockstat_list(struct arena *arena, const char *text, struct listeners *listeners)
{
    char *rest = arena_strdup(arena, text);
    *listeners = (struct listeners){0};
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *words[6];
        size_t count = 0;
        for (char *word; count < 6 && (word = strsep(&line, " \t"));) {
            if (*word)
                words[count++] = word;
        }
        struct listener listener = {.program = ""};
        if (count < 6 || !endpoint_parse(words[5], &listener.port, &listener.address, strchr(words[4], '6')))
            continue;
        listener.pid = (pid_t)atol(words[2]);
        listener.program = words[1];
        *vec_push(arena, &listeners->list) = listener;
    }
}

bool freebsd_sockstat_parse(struct arena *arena, const char *text, const struct ip *address, uint16_t port,
                            struct listener *listener)
{
    struct listeners listeners;
    freebsd_sockstat_list(arena, text, &listeners);
    vec_foreach (&listeners.list, at) {
        struct ip any = {.family = at->address.family};
        if (at->port != port ||
            (address && !ip_equal(&at->address, &any) && !ip_equal(&at->address, address)))
            continue;
        *listener = *at;
        return true;
    }
    return false;
}

/* The number behind NAME= in a line; 0 when it is not there. */
static unsigned long number_of(const char *line, const char *name)
{
    for (const char *at = line; (at = strstr(at, name)); at++) {
        if (at > line && (at[-1] == ' ' || at[-1] == '\t') && at[strlen(name)] == '=')
            return strtoul(at + strlen(name) + 1, NULL, 16);
    }
    return 0;
}

/* "em0@pci0:0:3:0:\tclass=0x020000 card=0x11001af4 chip=0x100e8086 …"; from 13 on vendor= and device=. */
static struct device *selector_parse(struct arena *arena, const char *line, struct observed *observed)
{
    const char *at = strchr(line, '@');
    unsigned domain, bus, slot, function;
    if (!at || *line == ' ' || *line == '\t' ||
        sscanf(at, "@pci%u:%u:%u:%u:", &domain, &bus, &slot, &function) != 4)
        return NULL;
    const char *name = arena_strndup(arena, line, (size_t)(at - line));
    size_t stem = strlen(name);
    while (stem && strchr("0123456789", name[stem - 1]))
        stem--;
    const char *driver = arena_strndup(arena, name, stem);
    uint32_t chip = (uint32_t)number_of(line, "chip");
    struct device *device = vec_push(arena, &observed->devices);
    *device = (struct device){
        .address = arena_printf(arena, "%04x:%02x:%02x.%x", domain, bus, slot, function),
        .class = (uint32_t)number_of(line, "class"),
        .vendor = (uint16_t)(chip ? chip & 0xffff : number_of(line, "vendor")),
        .product = (uint16_t)(chip ? chip >> 16 : number_of(line, "device")),
        .driver = strcmp(driver, "none") == 0 ? "" : driver,
        .ifname = "",
        .parent = "",
        .numa_node = -1,
        .group = (int)observed->devices.count, /* each by itself: FreeBSD has no groups */
    };
    device->network = device->class >> 16 == 0x02;
    if (device->network && *device->driver && strcmp(driver, "ppt") != 0 && strcmp(driver, "virtio_pci") != 0)
        device->ifname = name;
    return device;
}

/* "    vendor     = 'Intel Corporation'" */
static const char *named(struct arena *arena, const char *line, const char *name)
{
    line += strspn(line, " \t");
    if (strncmp(line, name, strlen(name)) != 0)
        return NULL;
    line += strlen(name);
    line += strspn(line, " ");
    if (strncmp(line, "= '", 3) != 0)
        return NULL;
    const char *end = strrchr(line + 3, '\'');
    return end ? arena_strndup(arena, line + 3, (size_t)(end - line - 3)) : NULL;
}

void freebsd_pciconf_parse(struct arena *arena, const char *text, struct observed *observed)
{
    char *rest = arena_strdup(arena, text);
    struct device *device = NULL;
    for (char *line; (line = strsep(&rest, "\n"));) {
        struct device *started = selector_parse(arena, line, observed);
        const char *name;
        if (started)
            device = started;
        else if (device && (name = named(arena, line, "vendor")))
            device->vendor_name = name;
        else if (device && (name = named(arena, line, "device")))
            device->product_name = name;
    }
}
