/* state.c: finding, comparing and tagging what a host has: the functions of state.h. */
#include "model/state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "model/model.h"

void observed_index(struct arena *arena, struct observed *observed)
{
    observed->links_indexed = observed->links.items;
    observed->link_names = observed->file_paths = (struct names){0};
    vec_foreach (&observed->links, link)
        names_add(arena, &observed->link_names, link->name);
    observed->files_indexed = observed->files.items;
    vec_foreach (&observed->files, file)
        names_add(arena, &observed->file_paths, file->path);
}

const struct link *link_find(const struct observed *observed, const char *name)
{
    size_t count = observed->links.count;
    if (name && observed->links_indexed == observed->links.items &&
        observed->link_names.list.count == count) {
        size_t place = names_find(&observed->link_names, name);
        return place < count ? &observed->links.items[place] : NULL;
    }
    vec_foreach (&observed->links, link) {
        if (text_equal(link->name, name))
            return link;
    }
    return NULL;
}

const struct link *link_by_index(const struct observed *observed, int index)
{
    vec_foreach (&observed->links, link) {
        if (link->index == index)
            return link;
    }
    return NULL;
}

static int interface_compare(const void *name, const void *interface)
{
    return strcmp(name, ((const struct interface_health *)interface)->ifname);
}

const struct interface_health *health_interface(const struct health *health, const char *ifname)
{
    const struct interface_health *items = health->interfaces.items;
    return items ? bsearch(ifname, items, health->interfaces.count, sizeof(*items), interface_compare) : NULL;
}

const char *port_state_name(uint8_t state)
{
    static const char *const names[] = {"disabled", "listening", "learning", "forwarding", "blocking"};
    return state < sizeof(names) / sizeof(names[0]) ? names[state] : "in an unknown state";
}

const char *port_restriction(const struct interface_health *port)
{
    return port->locked         ? "is locked: it takes frames from MACs that were entered by hand alone"
           : port->no_broadcast ? "does not get broadcasts (bcast_flood off)"
                                : NULL;
}

const struct file *file_find(const struct observed *observed, const char *path)
{
    size_t count = observed->files.count;
    if (path && observed->files_indexed == observed->files.items &&
        observed->file_paths.list.count == count) {
        size_t place = names_find(&observed->file_paths, path);
        return place < count ? &observed->files.items[place] : NULL;
    }
    vec_foreach (&observed->files, file) {
        if (text_equal(file->path, path))
            return file;
    }
    return NULL;
}

const char *leases_path(struct arena *arena, const char *run_dir, const char *network)
{
    return arena_printf(arena, "%s/leases/%s", run_dir, network);
}

const char *table_path(struct arena *arena, const char *run_dir, const char *network, const char *name)
{
    return arena_printf(arena, "%s" TABLES_SUFFIX "/%s/%s", run_dir, network, name);
}

bool file_equal(const struct file *a, const struct file *b)
{
    return strcmp(a->content, b->content) == 0 &&
           strcmp(a->group ? a->group : "", b->group ? b->group : "") == 0;
}

/* The tag behind "vmwire:", or NULL. */
static const char *tag_body(const char *alias)
{
    const size_t length = sizeof(OWNER_PREFIX) - 1;
    return alias && strncmp(alias, OWNER_PREFIX, length) == 0 ? alias + length : NULL;
}

/* An alias is anybody's to write: only a legal name may leave here, because it becomes part of paths. */
const char *owner_network(struct arena *arena, const char *alias)
{
    const char *body = tag_body(alias);
    if (!body)
        return NULL;
    size_t length = strcspn(body, " ");
    if (length > NAME_MAX_LENGTH)
        return NULL;
    const char *network = arena_strndup(arena, body, length);
    return name_fault(arena, network) ? NULL : network;
}

/* A decimal number without sign or leading zero, up to `end`. */
static bool index_parse(const char *text, size_t length, unsigned *index)
{
    if (length == 0 || length > 6 || strspn(text, "0123456789") < length || (length > 1 && *text == '0'))
        return false;
    *index = (unsigned)strtoul(text, NULL, 10);
    return true;
}

/* "MAC", " any", addresses, " vlan N": all but the first may be left out. */
static bool words_parse(struct arena *arena, const char *text, struct wired_nic *nic)
{
    char *rest = arena_strdup(arena, text), *word = strsep(&rest, " ");
    if (mac_parse(word, &nic->mac) < 0)
        return false;
    while ((word = strsep(&rest, " "))) {
        if (strcmp(word, "vlan") == 0) {
            word = strsep(&rest, " ");
            if (rest || !word || !index_parse(word, strlen(word), &nic->vlan) || nic->vlan > VLAN_ID_MAX)
                return false;
        } else if (strcmp(word, "any") == 0) {
            nic->mac_any = true;
        } else {
            struct ip ip;
            if (ip_parse(word, &ip) < 0)
                return false;
            *(ip.family == AF_INET6 ? &nic->address6 : &nic->address) = ip;
        }
    }
    return true;
}

bool owner_nic(struct arena *arena, const struct link *tap, struct wired_nic *nic)
{
    struct wired_nic parsed = {.tap = tap->name, .network = owner_network(arena, tap->alias)};
    const char *machine = parsed.network ? strchr(tap->alias, ' ') : NULL;
    if (!machine)
        return false;
    machine++;
    const char *slash = strchr(machine, '/');
    const char *space = slash ? strchr(slash, ' ') : NULL;
    if (!space || slash - machine > MACHINE_NAME_MAX_LENGTH)
        return false;
    parsed.machine = arena_strndup(arena, machine, (size_t)(slash - machine));
    if (strcmp(parsed.machine, "-") != 0 && machine_name_fault(arena, parsed.machine))
        return false;
    if (!index_parse(slash + 1, (size_t)(space - slash - 1), &parsed.index))
        return false;
    if (!words_parse(arena, space + 1, &parsed))
        return false;
    *nic = parsed;
    return true;
}

const char *owner_tag(struct arena *arena, const char *network)
{
    return arena_printf(arena, OWNER_PREFIX "%s", network);
}

const char *owner_bridge_tag(struct arena *arena, const char *network, const struct port_rules *rules)
{
    return arena_printf(arena, OWNER_PREFIX "%s%s", network, rules->isolated ? " isolate" : "");
}

struct port_rules owner_port_rules(const char *alias)
{
    const char *words = tag_body(alias);
    words = words ? strchr(words, ' ') : NULL;
    return (struct port_rules){.isolated = words && strstr(words, " isolate")};
}

const char *owner_nic_tag(struct arena *arena, const struct wired_nic *nic)
{
    const struct ip *addresses[] = {&nic->address, &nic->address6};
    struct text out = {.arena = arena};
    text_add(&out, OWNER_PREFIX "%s %s/%u %s%s", nic->network, nic->machine, nic->index, MAC_TEXT(&nic->mac),
             nic->mac_any ? " any" : "");
    for (size_t i = 0; i < 2; i++) {
        if (ip_is_set(addresses[i]))
            text_add(&out, " %s", IP_TEXT(addresses[i]));
    }
    return text_get(&out);
}

const char *owner_nic_vlan_tag(struct arena *arena, const struct wired_nic *nic, uint32_t vlan)
{
    const char *tag = owner_nic_tag(arena, nic);
    return vlan ? arena_printf(arena, "%s vlan %u", tag, vlan) : tag;
}

uint32_t port_vlan_own(const struct link *port)
{
    const struct port_vlan *vlan = port->vlans.items;
    return port->vlans.count == 1 && vlan->own && vlan->untagged ? vlan->id : 0;
}

uint32_t owner_group(const char *network)
{
    return 0x40000000u | (name_hash(network) & 0x3fffffffu);
}

bool address_equal(const struct address *a, const struct address *b)
{
    return text_equal(a->ifname, b->ifname) && prefix_equal(&a->prefix, &b->prefix) &&
           ip_equal(&a->peer, &b->peer);
}

bool route_equal(const struct route *a, const struct route *b)
{
    return a->table == b->table && prefix_equal(&a->to, &b->to) && a->tos == b->tos && a->scope == b->scope &&
           a->type == b->type && a->protocol == b->protocol && a->metric == b->metric &&
           ip_equal(&a->gateway, &b->gateway) && text_equal(a->ifname, b->ifname) &&
           ip_equal(&a->source, &b->source) && a->onlink == b->onlink && a->mtu == b->mtu &&
           a->advmss == b->advmss && a->preference == b->preference;
}

bool route_same_slot(const struct route *a, const struct route *b)
{
    if (a->table != b->table || !prefix_equal(&a->to, &b->to) || a->tos != b->tos || a->metric != b->metric)
        return false;
    if (a->to.ip.family != AF_INET6)
        return true;
    return text_equal(a->ifname, b->ifname) && ip_equal(&a->gateway, &b->gateway);
}

bool neighbour_same_slot(const struct fixed_neighbour *a, const struct fixed_neighbour *b)
{
    return text_equal(a->ifname, b->ifname) && ip_equal(&a->ip, &b->ip) && a->proxy == b->proxy;
}

bool neighbour_equal(const struct fixed_neighbour *a, const struct fixed_neighbour *b)
{
    return neighbour_same_slot(a, b) && mac_equal(&a->mac, &b->mac) && a->router == b->router &&
           a->protocol == b->protocol;
}

const struct device *device_find(const struct observed *observed, const char *address)
{
    vec_foreach (&observed->devices, device) {
        if (strcmp(device->address, address) == 0)
            return device;
    }
    return NULL;
}

const struct device *device_of_interface(const struct observed *observed, const char *ifname)
{
    vec_foreach (&observed->devices, device) {
        if (*device->ifname && strcmp(device->ifname, ifname) == 0)
            return device;
        vec_foreach (&device->other_ifnames, other) {
            if (strcmp(*other, ifname) == 0)
                return device;
        }
    }
    return NULL;
}

/* Source: the PCI Code and ID Assignment Specification, 1.11. */
const char *device_class_name(uint32_t class)
{
    static const struct {
        uint32_t class, mask;
        const char *name;
    } names[] = {
        {0x020000, 0xffff00, "Ethernet controller"},
        {0x028000, 0xffff00, "network controller"},
        {0x020000, 0xff0000, "network controller"},
        {0x060000, 0xffff00, "host bridge"},
        {0x060400, 0xffff00, "PCI bridge"},
        {0x060100, 0xffff00, "ISA bridge"},
        {0x060000, 0xff0000, "bridge"},
        {0x010800, 0xffff00, "NVMe controller"},
        {0x010600, 0xffff00, "SATA controller"},
        {0x010000, 0xff0000, "storage controller"},
        {0x030000, 0xff0000, "display controller"},
        {0x040000, 0xff0000, "audio device"},
        {0x0c0300, 0xffff00, "USB controller"},
        {0x0c0500, 0xffff00, "SMBus"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if ((class & names[i].mask) == names[i].class)
            return names[i].name;
    }
    return "device";
}
