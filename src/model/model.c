/* model.c: finding entries, naming values, judging names, deriving MACs: the parts of model.h that look at
 * one entry. */
#include "model/model.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"

struct network *network_find(const struct model *model, const char *name)
{
    vec_foreach (&model->networks, network) {
        if (text_equal(network->name, name))
            return network;
    }
    return NULL;
}

struct machine *machine_find(const struct model *model, const char *name)
{
    vec_foreach (&model->machines, machine) {
        if (text_equal(machine->name, name))
            return machine;
    }
    return NULL;
}

int model_guard_ms(const struct model *model)
{
    return model->guard_ms_pos.line ? (int)model->guard_ms : GUARD_DEFAULT_MS;
}

const char *vlan_name(struct arena *arena, const char *uplink, unsigned vlan)
{
    const char *name = arena_printf(arena, "%s.%u", uplink, vlan);
    return strlen(name) <= NAME_MAX_LENGTH ? name
                                           : arena_printf(arena, "v%08x.%u", owner_group(uplink), vlan);
}

const char *network_port(struct arena *arena, const struct network *network)
{
    return network->uplink && network->vlan ? vlan_name(arena, network->uplink, network->vlan)
                                            : network->uplink;
}

bool network_reaches(const struct network *from, const struct network *to)
{
    return from != to && to->mode == NETWORK_ROUTED && !to->uplink && mode_forwards(from->mode) &&
           !from->uplink;
}

struct prefix network_host_address(const struct network *network)
{
    struct prefix address = prefix_network(&network->subnet);
    address.ip = ip_add(&address.ip, 1);
    return address;
}

struct prefix network_host_address6(const struct network *network)
{
    struct prefix address = network->subnet6;
    address.ip = ip_add(&address.ip, 1);
    return address;
}

struct ip slaac_address(const struct prefix *subnet6, const struct mac *mac)
{
    struct ip ip = subnet6->ip;
    const uint8_t *m = mac->bytes, id[8] = {(uint8_t)(m[0] ^ 2), m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]};
    memcpy(ip.bytes + 8, id, sizeof(id));
    return ip;
}

const char *network_mode_name(enum network_mode mode)
{
    switch (mode) {
    case NETWORK_BRIDGED:
        return "bridged";
    case NETWORK_NAT:
        return "nat";
    case NETWORK_ROUTED:
        return "routed";
    case NETWORK_ISOLATED:
        return "isolated";
    case NETWORK_PASSTHROUGH:
        return "passthrough";
    case NETWORK_MODE_COUNT:
        break;
    }
    return "unknown";
}

const char *address_mode_name(enum address_mode mode)
{
    switch (mode) {
    case ADDRESS_DEFAULT:
        return "default";
    case ADDRESS_KEEP:
        return "keep";
    case ADDRESS_DHCP:
        return "dhcp";
    case ADDRESS_NONE:
        return "none";
    case ADDRESS_STATIC:
        return "static";
    }
    return "unknown";
}

static bool name_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

/* What is wrong with the letters of a name of any kind, or NULL. */
static const char *letters_fault(struct arena *arena, const char *name)
{
    if (!*name)
        return "is empty";
    if (*name == '-' || *name == '.')
        return arena_printf(arena, "begins with '%c'; begin with a letter or a digit", *name);
    for (const char *c = name; *c; c++) {
        if (name_letter(*c))
            continue;
        const char *allowed = "letters, digits, '.', '_' and '-' are allowed";
        if (*c == ' ')
            return arena_printf(arena, "holds a space; %s", allowed);
        if (*c > ' ' && *c < 0x7f)
            return arena_printf(arena, "holds '%c'; %s", *c, allowed);
        return arena_printf(arena, "holds the byte 0x%02x; %s", (unsigned char)*c, allowed);
    }
    return NULL;
}

static const char *length_fault(struct arena *arena, const char *name, size_t limit, const char *what)
{
    size_t length = strlen(name);
    if (length <= limit)
        return NULL;
    if (length == limit + 1)
        return arena_printf(arena, "has %zu characters, one more than %s can have (%zu)", length, what,
                            limit);
    return arena_printf(arena, "has %zu characters, %zu more than %s can have (%zu)", length, length - limit,
                        what, limit);
}

const char *name_fault(struct arena *arena, const char *name)
{
    static const char *const taken[] = {"all", "default", "lo"};

    const char *fault = letters_fault(arena, name);
    if (!fault)
        fault = length_fault(arena, name, NAME_MAX_LENGTH, "an interface name");
    for (size_t i = 0; !fault && i < sizeof(taken) / sizeof(taken[0]); i++) {
        if (strcmp(name, taken[i]) == 0)
            fault = "is a name that the kernel keeps for itself";
    }
    return fault;
}

const char *machine_name_fault(struct arena *arena, const char *name)
{
    const char *fault = letters_fault(arena, name);
    return fault ? fault : length_fault(arena, name, MACHINE_NAME_MAX_LENGTH, "a machine's name");
}

/* FNV-1a, 64 bits (draft-eastlake-fnv-17, 2). */
static uint64_t fnv1a(uint64_t hash, const void *bytes, size_t length)
{
    for (const unsigned char *byte = bytes; length--; byte++)
        hash = (hash ^ *byte) * 0x100000001b3ULL;
    return hash;
}

struct mac nic_mac_derive(const char *seed, const char *machine, unsigned index)
{
    char number[16];
    snprintf(number, sizeof(number), "%u", index);
    /* The terminating NULs count, so that ("a", "bc") and ("ab", "c") differ. */
    uint64_t hash = fnv1a(0xcbf29ce484222325ULL, seed, strlen(seed) + 1);
    hash = fnv1a(hash, machine, strlen(machine) + 1);
    hash = fnv1a(hash, number, strlen(number));

    struct mac mac = {{0x02}};
    for (size_t i = 5; i > 0; i--, hash >>= 8)
        mac.bytes[i] = (uint8_t)hash;
    return mac;
}

/* A hash of the network's name fills the global ID as well as the subnet ID (RFC 4193, 3.2): 16 bits alone
 * would soon be the same for two of a few hundred networks. */
struct prefix network_subnet6_derive(const char *seed, const char *network)
{
    uint64_t hash = fnv1a(0xcbf29ce484222325ULL, seed, strlen(seed) + 1);
    hash = fnv1a(hash, "subnet6", sizeof("subnet6"));
    hash = fnv1a(hash, network, strlen(network) + 1);

    struct prefix subnet6 = {.ip = {.family = AF_INET6, .bytes = {0xfd}}, .length = 64};
    for (size_t i = 7; i > 0; i--, hash >>= 8)
        subnet6.ip.bytes[i] = (uint8_t)hash;
    return subnet6;
}
