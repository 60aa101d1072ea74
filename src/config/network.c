/* network.c: the keys of a network. */
#include "config/walk.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"

enum { SUBNET_LENGTH_MIN = 8, SUBNET_LENGTH_MAX = 30 };

enum {
    BRIDGED = 1 << NETWORK_BRIDGED,
    NAT = 1 << NETWORK_NAT,
    PASSTHROUGH = 1 << NETWORK_PASSTHROUGH,
    ROUTED = 1 << NETWORK_ROUTED,
    ISOLATED = 1 << NETWORK_ISOLATED,
    FORWARDING = NAT | ROUTED,
    BEHIND = NAT | ROUTED | ISOLATED,
};

static const struct word mode_words[] = {{"bridged", NETWORK_BRIDGED},         {"nat", NETWORK_NAT},
                                         {"passthrough", NETWORK_PASSTHROUGH}, {"routed", NETWORK_ROUTED},
                                         {"isolated", NETWORK_ISOLATED},       {0}};

/* ---- address: dhcp | keep | none | PREFIX ---- */

/* Why the host cannot have this address on a segment of this length, or NULL. */
static const char *host_address_fault(struct walk *walk, const struct prefix *prefix)
{
    struct prefix network = prefix_network(prefix);
    struct ip last = prefix_last(prefix);
    bool unspecified = prefix->ip.family == AF_INET ? prefix->ip.bytes[0] == 0
                                                    : ip_equal(&prefix->ip, &(struct ip){.family = AF_INET6});
    if (ip_is_multicast(&prefix->ip) || ip_is_loopback(&prefix->ip) || unspecified)
        return "it is no address that a host can have on a network";
    if (prefix->length == 0)
        return "a length of 0 is the whole internet";
    if (prefix->ip.family != AF_INET || prefix->length > SUBNET_LENGTH_MAX)
        return NULL;
    if (ip_equal(&prefix->ip, &network.ip)) {
        network.ip = ip_add(&network.ip, 1);
        return arena_printf(walk->problems->arena, "that is the network's own address; did you mean '%s'?",
                            PREFIX_TEXT(&network));
    }
    return ip_equal(&prefix->ip, &last) ? "that is the network's broadcast address" : NULL;
}

static void address_take(struct walk *walk, void *target, const struct key *key,
                         const struct yaml_node *value)
{
    static const struct word words[] = {
        {"dhcp", ADDRESS_DHCP}, {"keep", ADDRESS_KEEP}, {"none", ADDRESS_NONE}, {0}};
    static const char *const names[] = {"dhcp", "keep", "none", NULL};
    struct network *network = target;
    struct prefix prefix;
    struct ip ip;

    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    for (const struct word *word = words; word->text; word++) {
        if (strcmp(word->text, text) == 0) {
            network->address = (enum address_mode)word->value;
            return;
        }
    }
    if (prefix_parse(text, &prefix) == 0) {
        const char *fault = host_address_fault(walk, &prefix);
        if (fault) {
            value_refuse(walk, key, value, "%s", fault);
            return;
        }
        network->address = ADDRESS_STATIC;
        network->address_prefix = prefix;
    } else if (ip_parse(text, &ip) == 0) {
        value_refuse(walk, key, value, "it has no prefix length; did you mean '%s/%d'?", text,
                     ip.family == AF_INET ? 24 : 64);
    } else {
        const char *nearest = text_nearest(text, names);
        bool on;
        if (!nearest && bool_parse(text, &on))
            nearest = on ? "dhcp" : "none";
        if (nearest)
            value_refuse(walk, key, value, "did you mean '%s'?", nearest);
        else
            value_refuse(walk, key, value, NULL);
    }
}

/* ---- subnet: PREFIX, subnet6: auto | PREFIX/64 ---- */

/* A network of this family; false after a problem. */
static bool subnet_parse(struct walk *walk, const struct key *key, const struct yaml_node *value, int family,
                         struct prefix *prefix)
{
    bool six = family == AF_INET6;
    struct ip ip;
    if (ip_parse(value->text, &ip) == 0 && ip.family == family) {
        *prefix = (struct prefix){ip, six ? 64 : 24};
        *prefix = prefix_network(prefix);
        value_refuse(walk, key, value, "it has no prefix length; did you mean '%s'?", PREFIX_TEXT(prefix));
    } else if (prefix_parse(value->text, prefix) < 0) {
        value_refuse(walk, key, value, NULL);
    } else if (prefix->ip.family != family) {
        value_refuse(walk, key, value,
                     six ? "that is IPv4, which is 'subnet'" : "that is IPv6, which is 'subnet6'");
    } else {
        return true;
    }
    return false;
}

/* A host's address is said to be none of a network; what was meant is taken, so the other checks can go on.
 */
static void host_bits_clear(struct walk *walk, const struct yaml_node *value, struct prefix *prefix)
{
    struct prefix clean = prefix_network(prefix);
    if (!prefix_equal(prefix, &clean))
        problem_add(walk->problems, value->pos, "%s has host bits set; the network is %s", value->text,
                    PREFIX_TEXT(&clean));
    *prefix = clean;
}

static void subnet_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    struct prefix prefix;
    if (!value_text(walk, key, value) || !subnet_parse(walk, key, value, AF_INET, &prefix))
        return;
    if (prefix.length < SUBNET_LENGTH_MIN || prefix.length > SUBNET_LENGTH_MAX) {
        value_refuse(walk, key, value, "/%u %s", prefix.length,
                     prefix.length > SUBNET_LENGTH_MAX
                         ? "has no room for the host and a guest; /30 is the smallest"
                         : "is too much of the internet; /8 is the largest");
        return;
    }
    host_bits_clear(walk, value, &prefix);
    if (ip_is_multicast(&prefix.ip) || ip_is_loopback(&prefix.ip) || ip_is_link_local(&prefix.ip) ||
        prefix.ip.bytes[0] == 0 || prefix.ip.bytes[0] >= 240)
        value_refuse(walk, key, value,
                     "no host can be reached there; take one of 10.0.0.0/8, 172.16.0.0/12, "
                     "192.168.0.0/16 (RFC 1918)");
    else
        ((struct network *)target)->subnet = prefix;
}

static void subnet6_take(struct walk *walk, void *target, const struct key *key,
                         const struct yaml_node *value)
{
    struct network *network = target;
    struct prefix prefix;
    const char *text = value_text(walk, key, value);
    network->subnet6_auto = text && strcmp(text, "auto") == 0;
    if (!text || network->subnet6_auto || !subnet_parse(walk, key, value, AF_INET6, &prefix))
        return;
    if (prefix.length != 64) {
        value_refuse(walk, key, value, "guests make themselves addresses in a /64 only (RFC 4862)%s",
                     prefix.length < 64 ? "; take one of its /64s" : "");
        return;
    }
    host_bits_clear(walk, value, &prefix);
    /* ::/8 holds the loopback and IPv4's shapes. */
    if (ip_is_multicast(&prefix.ip) || ip_is_link_local(&prefix.ip) || prefix.ip.bytes[0] == 0)
        value_refuse(walk, key, value,
                     "no host can be reached there; take 'auto' or a part of your own prefix");
    else
        network->subnet6 = prefix;
}

/* ---- mac: shared ---- */

static void mac_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    struct network *network = target;
    struct mac mac;

    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    if (strcmp(text, "shared") == 0)
        network->mac_shared = true;
    else if (mac_parse(text, &mac) == 0)
        value_refuse(walk, key, value, "a guest's MAC stands in its machine, under 'nics'");
    else
        value_refuse(walk, key, value, NULL);
}

/* ---- bind: run | up, in_use: refuse | take ---- */

/* One of two words: true for the second. */
static bool second_word(struct walk *walk, const struct key *key, const struct yaml_node *value,
                        const char *first, const char *second)
{
    const char *text = value_text(walk, key, value);
    if (text && strcmp(text, first) != 0 && strcmp(text, second) != 0)
        value_refuse(walk, key, value, NULL);
    return text && strcmp(text, second) == 0;
}

static void bind_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    ((struct network *)target)->bind_up = second_word(walk, key, value, "run", "up");
}

static void in_use_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    ((struct network *)target)->in_use_take = second_word(walk, key, value, "refuse", "take");
}

static void probe_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    struct ip ip;
    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    if (ip_parse(text, &ip) < 0 || ip.family != AF_INET)
        value_refuse(walk, key, value, NULL);
    else
        ((struct network *)target)->probe = ip;
}

static void lock_word_take(struct walk *walk, struct network *network, const struct key *key,
                           const struct yaml_node *value, bool alone)
{
    bool on = true;
    const char *text = value_text(walk, key, value);
    for (int kind = 0; text && kind < LOCK_KIND_COUNT; kind++) {
        if (strcmp(text, lock_kind_name((enum lock_kind)kind)) == 0) {
            network->lock[kind] = true;
            return;
        }
    }
    if (text && !(alone && bool_parse(text, &on) && !on))
        value_refuse(walk, key, value, NULL);
}

static void lock_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    if (value->kind != YAML_SEQUENCE) {
        lock_word_take(walk, target, key, value, true);
        return;
    }
    yaml_foreach(value, item) lock_word_take(walk, target, key, item, false);
}

static void host_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    bool present;
    const char *text = value_text(walk, key, value);
    if (text && bool_parse(text, &present))
        ((struct network *)target)->host_absent = !present;
    else if (text)
        value_refuse(walk, key, value, NULL);
}

/* ---- the section ---- */

#define IN_NETWORK(member) offsetof(struct network, member)

const struct section section_network = {
    .what = "a network",
    .keys = (const struct key[]){
        {.name = "mode",
         .take = key_word,
         .takes = "bridged, nat, routed, isolated or passthrough",
         .offset = IN_NETWORK(mode),
         .pos_offset = IN_NETWORK(mode_pos),
         .words = mode_words,
         .missing = "write 'mode: bridged', 'mode: nat' or 'mode: passthrough'"},
        {.name = "uplink",
         .take = key_interface,
         .takes = "an interface name",
         .offset = IN_NETWORK(uplink),
         .pos_offset = IN_NETWORK(uplink_pos),
         .modes = BRIDGED | FORWARDING,
         .missing = "a bridged network needs the interface that leads outside",
         .missing_modes = BRIDGED},
        {.name = "address",
         .take = address_take,
         .takes = "dhcp, keep, none or an address such as 192.168.87.9/24",
         .pos_offset = IN_NETWORK(address_pos),
         .modes = BRIDGED},
        {.name = "mac",
         .take = mac_take,
         .takes = "shared",
         .pos_offset = IN_NETWORK(mac_pos),
         .modes = BRIDGED},
        {.name = "vlan",
         .take = key_number,
         .takes = "a VLAN id, 1 to 4094",
         .offset = IN_NETWORK(vlan),
         .pos_offset = IN_NETWORK(vlan_pos),
         .modes = BRIDGED,
         .min = 1,
         .max = VLAN_ID_MAX},
        {.name = "subnet",
         .take = subnet_take,
         .takes = "an IPv4 network such as 10.0.0.0/24",
         .pos_offset = IN_NETWORK(subnet_pos),
         .modes = BEHIND,
         .missing = "a network behind the host needs one, such as 'subnet: 10.0.0.0/24'",
         .missing_modes = FORWARDING},
        {.name = "subnet6",
         .take = subnet6_take,
         .takes = "auto or an IPv6 network such as fd00:1:2:3::/64",
         .pos_offset = IN_NETWORK(subnet6_pos),
         .modes = BEHIND,
         .why = "vmwire gives no addresses there (a bridged network's guests get IPv6 from the segment's own "
                "router)"},
        {.name = "host", .take = host_take, .takes = "yes or no", .modes = ISOLATED},
        {.name = "dhcp",
         .take = dhcp_take,
         .takes = "a range such as 10.0.0.10-10.0.0.250, off, or keys such as {lease: 12h}",
         .pos_offset = IN_NETWORK(dhcp_pos),
         .modes = BEHIND},
        {.name = "domain",
         .take = domain_take,
         .takes = "a domain such as lab.example",
         .offset = IN_NETWORK(domain),
         .modes = BEHIND},
        {.name = "dns",
         .take = dns_take,
         .takes = "off, or keys such as {upstream: [9.9.9.9]}",
         .modes = BEHIND},
        {.name = "boot",
         .take = boot_take,
         .takes = "keys such as {file: pxelinux.0, root: /srv/tftp}",
         .offset = IN_NETWORK(boot),
         .modes = BEHIND},
        {.name = "forward",
         .take = network_forward_take,
         .takes = "port forwards such as [\"tcp 2222 -> vm0:22\"]",
         .offset = IN_NETWORK(forward_entries),
         .pos_offset = IN_NETWORK(forward_pos),
         .modes = NAT},
        {.name = "isolate",
         .take = key_bool,
         .takes = "yes or no",
         .offset = IN_NETWORK(ports.isolated),
         .pos_offset = IN_NETWORK(ports_pos),
         .modes = BRIDGED | BEHIND},
        {.name = "lock",
         .take = lock_take,
         .takes = "off or a list of mac, ip, arp, dhcp, ra",
         .pos_offset = IN_NETWORK(lock_pos),
         .modes = BRIDGED | BEHIND},
        {.name = "mtu",
         .take = key_number,
         .takes = "a number of bytes, 576 to 65521",
         .offset = IN_NETWORK(mtu),
         .pos_offset = IN_NETWORK(mtu_pos),
         .modes = BRIDGED | BEHIND,
         .min = NETWORK_MTU_MIN,
         .max = NETWORK_MTU_MAX},
        {.name = "rate",
         .take = rate_take,
         .takes = "a rate such as 100Mbit, or keys such as {in: 100Mbit, out: 50Mbit}",
         .offset = IN_NETWORK(rates),
         .pos_offset = IN_NETWORK(rate_pos),
         .modes = BRIDGED | BEHIND},
        {.name = "probe",
         .take = probe_take,
         .takes = "an IPv4 address such as 8.8.8.8",
         .pos_offset = IN_NETWORK(probe_pos),
         .modes = BRIDGED | BEHIND},
        {.name = "device",
         .take = device_take,
         .takes = "an interface name, a PCI address (0000:03:00.0) or a selector (3/0/0)",
         .pos_offset = IN_NETWORK(device_pos),
         .modes = PASSTHROUGH,
         .missing = "a passthrough network needs the device that the guest gets"},
        {.name = "bind",
         .take = bind_take,
         .takes = "run or up",
         .pos_offset = IN_NETWORK(bind_pos),
         .modes = PASSTHROUGH},
        {.name = "in_use",
         .take = in_use_take,
         .takes = "refuse or take",
         .pos_offset = IN_NETWORK(in_use_pos),
         .modes = PASSTHROUGH},
        {0}}};

/* The mode that an entry names, 0 when it names none; said to be wrong elsewhere. */
static enum network_mode mode_of(const struct yaml_node *entry)
{
    const struct yaml_node *mode = walk_child(entry, "mode");
    for (const struct word *word = mode_words; mode && word->text; word++) {
        if (mode->kind == YAML_SCALAR && strcmp(mode->text, word->text) == 0)
            return (enum network_mode)word->value;
    }
    return 0;
}

static void network_take(struct walk *walk, const char *name, const struct yaml_node *entry)
{
    enum network_mode mode = mode_of(entry);
    struct network network = {.name = name,
                              .pos = entry->key->pos,
                              .dhcp = mode_behind_host(mode),
                              .dns = mode_behind_host(mode),
                              .domain = name,
                              .lease_s = LEASE_DEFAULT_S};
    const char *subject = arena_printf(walk->problems->arena, "network '%s'", name);

    walk_section(walk, &section_network, subject, mode, &network, entry);
    *vec_push(walk->arena, &walk->model->networks) = network;
}

void networks_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    (void)target;
    if (value->kind == YAML_MAPPING && value->count == 0 && walk->partial)
        return; /* what is not taken has been said */
    if (value->kind == YAML_MAPPING && value->count == 0)
        problem_add(walk->problems, value->pos, "'networks' is empty; it takes %s", key->takes);
    else if (value->kind != YAML_MAPPING)
        value_refuse(walk, key, value, NULL);
    else
        walk_entries(walk, "network", name_fault, value, network_take);
}
