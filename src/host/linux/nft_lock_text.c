/* nft_lock_text.c: the table `bridge vmwire_lock`: what guests may not say to each other, to the host, and to
 * the outside.
 *
 * Theory of operation.  The rules are constant.  A frame's network is the device group of the tap that it
 * comes from (owner_group), its nic is the tap's name: a network is a few elements, a nic one or two, and a
 * frame costs three look-ups, whatever the number of either.
 *
 *   no_KIND   groups whose guests are under that lock
 *   nics      taps, with all that is known of each as comment: who opens a nic whose tap has the name of an
 * earlier one finds there what to take away nic_any   taps of programs whose MAC nobody knows: dhcp and ra
 * alone are held against them nic_mac   tap and MAC nic_ip    tap and IPv4 address that the file gives (or
 * `exec --nic …,address=`); nic_ip6 likewise own_ip    MAC and IPv4 address that it leased owner_ip  the MAC
 * that leased an address last: who leases it next takes it from that one own_ip6   MAC and IPv6 address that
 * it took; taken_ip6: addresses that somebody took home_ip6  networks (the upper 64 bits) whose addresses may
 * be taken; any_ip6: groups in which all may be claims    taps that took IPv6 addresses lately: so many an
 * hour, that none fills the sets dropped_KIND, last_*   what status and doctor tell
 *
 * A lease is what the host's own DHCP server acknowledges, seen on its way out (`output`), or, on a bridged
 * network, what comes from the wire (`forward`): never what a guest says.  The message type is the first
 * option (RFC 2132, 9.6), as every server has it.  An acknowledgement that is broadcast passes each tap, and
 * tells of the nic whose MAC is in it.  To take the address from its last owner, whose MAC is in no frame,
 * that is put into the frame's target for a moment.
 *
 * IPv6 addresses are chosen by guests (RFC 4862, RFC 8981), so the first who takes one has it (RFC 6620), as
 * long as it is heard of within an hour; duplicate address detection takes one as well.  The host's own are
 * taken by what it says of them.
 *
 * Fields are read as bytes, MACs and IPv6 addresses in two parts: a set's key has then one type wherever in a
 * frame it is read from, and `nft list ruleset`, which knows a MAC that is read at once by its name, can be
 * loaded again.  Nothing asks for the Ethernet type: a frame with a VLAN tag of number 0 is one without for
 * whom it is meant, and would have another type here. One with two is nobody's. */
#include <string.h>

#include "base/text.h"
#include "host/linux/text.h"

#define GUEST "iifgroup & 0x40000000"
#define MAC "@ll,48,32 . @ll,80,16"
#define CHADDR "@th,288,32 . @th,320,16"
#define YIADDR "@th,192,32"
#define IP_SOURCE "@nh,96,32"
#define ARP_MAC "@nh,64,32 . @nh,96,16"
#define ARP_IP "@nh,112,32"
#define ARP_TARGET "@nh,192,32"
#define IP6_SOURCE "@nh,64,64 . @nh,128,64"
#define ND_TARGET "@th,64,64 . @th,128,64"
#define ACKNOWLEDGED                                                                                         \
    "udp sport 67 udp dport 68 @th,64,8 2 @th,192,32 != 0 @th,1984,24 0x350105 oifname . " CHADDR            \
    " @nic_mac goto learn"
#define TAKE6(address)                                                                                       \
    "update @own_ip6 { " MAC " . " address " timeout 1h } update @taken_ip6 { iifgroup . " address           \
    " timeout 1h }"
#define FRESH6 "add @fresh_ip6 { " MAC " . " IP6_SOURCE " timeout 1m }"
#define MANY "update @claims { iifname limit rate over 1/minute burst 64 packets }"
#define LEASED "timeout 365d"

const struct nft_rule nft_lock_rules[] = {
    {"prerouting", "not from a guest", "iifgroup 0 accept"},
    {"prerouting", "UDP", "meta l4proto udp jump from_udp"},
    {"prerouting", "ICMPv6", "meta l4proto 58 jump from_icmp6"},
    {"prerouting", "its own MAC", "iifname . " MAC " @nic_mac goto own"},
    {"prerouting", "a program's, of any MAC", "iifname @nic_any accept"},
    {"prerouting", "no other MAC", "iifgroup @no_mac goto drop_mac"},

    {"output", "a lease of the host's own server", ACKNOWLEDGED},
    {"output", "the host's own IPv6 addresses",
     "meta l4proto 58 @th,0,8 { 134, 135, 136 } oifgroup @no_ip @nh,64,64 != 0 "
     "update @taken_ip6 { oifgroup . " IP6_SOURCE " timeout 1h }"},
    {"forward", "a lease from the wire", GUEST " == 0 " ACKNOWLEDGED},

    {"from_udp", "no DHCP answers", "th sport 67 iifgroup @no_dhcp goto drop_dhcp"},
    {"from_udp", "no DHCPv6 answers", "th sport 547 iifgroup @no_dhcp goto drop_dhcp"},
    {"from_udp", "no lease for another",
     "th dport 67 iifgroup @no_dhcp iifname != @nic_any iifname . " CHADDR " != @nic_mac goto drop_dhcp"},
    {"from_icmp6", "no router", "@th,0,8 { 134, 137 } iifgroup @no_ra goto drop_ra"},

    {"own", "IPv4", "meta protocol ip goto from_ip"},
    {"own", "other protocols",
     "meta protocol vmap { arp : goto from_arp, ip6 : goto from_ip6, 8021q : goto tagged, 8021ad : goto "
     "tagged }"},

    {"from_ip", "leased", MAC " . " IP_SOURCE " @own_ip accept"},
    {"from_ip", "given", "iifname . " IP_SOURCE " @nic_ip accept"},
    {"from_ip", "not locked", "iifgroup != @no_ip accept"},
    {"from_ip", "asks for a lease", "@nh,96,32 0 udp sport 68 udp dport 67 accept"},
    {"from_ip", "groups before it has an address", "@nh,96,32 0 meta l4proto igmp accept"},
    {"from_ip", "for whom asks", "add @last_ip { iifname timeout 10m : ip saddr }"},
    {"from_ip", "no other address", "goto drop_ip"},

    {"from_arp", "not locked", "iifgroup != @no_arp accept"},
    {"from_arp", "under its own MAC", "@nh,0,48 0x000108000604 iifname . " ARP_MAC " @nic_mac goto arp_ip"},
    {"from_arp", "not under another", "goto drop_arp"},

    {"arp_ip", "leased", MAC " . " ARP_IP " @own_ip accept"},
    {"arp_ip", "given", "iifname . " ARP_IP " @nic_ip accept"},
    {"arp_ip", "a probe", "@nh,48,16 1 @nh,112,32 0 goto arp_probe"},
    {"arp_ip", "for whom asks", "add @last_ip { iifname timeout 10m : arp saddr ip }"},
    {"arp_ip", "no other address", "goto drop_arp"},

    {"arp_probe", "of what it leased", MAC " . " ARP_TARGET " @own_ip accept"},
    /* Before Linux 6.4 a map is asked for its value alone; the frame that gets it is dropped. */
    {"arp_probe", "of another's", "ether daddr set iifgroup . " ARP_TARGET " map @owner_ip goto drop_arp"},

    {"from_ip6", "from its own address", "iifgroup @no_ip jump source6"},
    {"from_ip6", "neighbour discovery",
     "meta l4proto 58 @th,0,8 vmap { 133 : goto nd, 135 : goto nd, 136 : goto nd }"},

    {"source6", "heard of lately", MAC " . " IP6_SOURCE " @fresh_ip6 return"},
    {"source6", "its own", MAC " . " IP6_SOURCE " @own_ip6 " TAKE6(IP6_SOURCE) " " FRESH6 " return"},
    {"source6", "given", "iifname . " IP6_SOURCE " @nic_ip6 return"},
    {"source6", "none yet", "@nh,64,64 0 @nh,128,64 0 meta l4proto 58 goto none6"},
    {"source6", "may be taken", "iifgroup . @nh,64,64 @home_ip6 goto claim6"},
    {"source6", "any may be", "iifgroup @any_ip6 goto claim6"},
    {"source6", "not this one", "goto refuse6"},

    {"none6", "looks whether an address is free", "@th,0,8 135 goto claim_target"},
    {"none6", "groups, routers", "return"},

    {"claim6", "another's", "iifgroup . " IP6_SOURCE " @taken_ip6 goto refuse6"},
    {"claim6", "too many", MANY " goto refuse6"},
    {"claim6", "its own from now on", TAKE6(IP6_SOURCE) " return"},
    {"claim6", "no room", "goto refuse6"},

    {"refuse6", "for whom asks", "add @last_ip6 { iifname timeout 10m : ip6 saddr }"},
    {"refuse6", "no other address", "goto drop_ip"},

    {"claim_target", "its own", MAC " . " ND_TARGET " @own_ip6 return"},
    {"claim_target", "given", "iifname . " ND_TARGET " @nic_ip6 return"},
    {"claim_target", "another's", "iifgroup . " ND_TARGET " @taken_ip6 goto drop_arp"},
    {"claim_target", "too many", MANY " goto drop_arp"},
    {"claim_target", "may be taken", "iifgroup . @th,64,64 @home_ip6 " TAKE6(ND_TARGET) " return"},
    {"claim_target", "any may be", "iifgroup @any_ip6 " TAKE6(ND_TARGET) " return"},
    {"claim_target", "not this one", "goto drop_arp"},

    {"nd", "not locked", "iifgroup != @no_arp accept"},
    {"nd", "behind no other header", "@nh,48,8 != 58 goto drop_arp"},
    {"nd", "asks for routers", "@th,0,8 133 goto nd_router"},
    {"nd", "asks", "@th,0,8 135 goto nd_ask"},
    {"nd", "answers for itself", "jump claim_target"},
    {"nd", "no MAC", "@nh,32,16 24 accept"},
    {"nd", "its own MAC", "@nh,32,16 32 @th,192,16 0x0201 iifname . @th,208,32 . @th,240,16 @nic_mac accept"},
    {"nd", "not another", "goto drop_arp"},

    {"nd_ask", "no MAC", "@nh,32,16 24 accept"},
    {"nd_ask", "its own MAC",
     "@nh,32,16 32 @th,192,16 0x0101 iifname . @th,208,32 . @th,240,16 @nic_mac accept"},
    {"nd_ask", "a nonce", "@nh,32,16 32 @th,192,16 0x0e01 @nh,64,64 0 accept"},
    {"nd_ask", "not another", "goto drop_arp"},

    {"nd_router", "no MAC", "@nh,32,16 8 accept"},
    {"nd_router", "its own MAC",
     "@nh,32,16 16 @th,64,16 0x0101 iifname . @th,80,32 . @th,112,16 @nic_mac accept"},
    {"nd_router", "not another", "goto drop_arp"},

    {"tagged", "tags within tags may hide an address", "iifgroup @no_ip goto drop_ip"},
    {"tagged", "or ARP", "iifgroup @no_arp goto drop_arp"},
    {"tagged", "or DHCP", "iifgroup @no_dhcp goto drop_dhcp"},
    {"tagged", "or a router", "iifgroup @no_ra goto drop_ra"},

    {"learn", "known",
     CHADDR " . " YIADDR " @own_ip update @own_ip { " CHADDR " . " YIADDR " " LEASED " } return"},
    {"learn", "no longer another's",
     "ether daddr set oifgroup . " YIADDR " map @owner_ip delete @own_ip { @ll,0,32 . @ll,32,16 . " YIADDR
     " } delete @owner_ip { oifgroup . " YIADDR " : ether daddr }"},
    {"learn", "its own from now on",
     "@ll,0,32 set @th,288,32 @ll,32,16 set @th,320,16 update @own_ip { " CHADDR " . " YIADDR " " LEASED
     " } update @owner_ip { oifgroup . " YIADDR " " LEASED " : ether daddr }"},
    {"learn", "to all again", "ip daddr 255.255.255.255 ether daddr set ff:ff:ff:ff:ff:ff"},

    {"drop_mac", "for whom asks", "add @last_mac { iifname timeout 10m : ether saddr }"},
    {"drop_mac", "of which nic", "update @dropped_mac { iifname counter }"},
    {"drop_mac", "all", "counter drop"},
    {"drop_ip", "of which nic", "update @dropped_ip { iifname counter }"},
    {"drop_ip", "all", "counter drop"},
    {"drop_arp", "of which nic", "update @dropped_arp { iifname counter }"},
    {"drop_arp", "all", "counter drop"},
    {"drop_dhcp", "of which nic", "update @dropped_dhcp { iifname counter }"},
    {"drop_dhcp", "all", "counter drop"},
    {"drop_ra", "of which nic", "update @dropped_ra { iifname counter }"},
    {"drop_ra", "all", "counter drop"},
    {NULL, NULL, NULL},
};

#define TABLE "bridge vmwire_lock"
#define DYNAMIC " size 65536; flags dynamic,timeout;"
#define COUNTED "type ifname; size 65536; flags dynamic;"

static const struct nft_set sets[] = {
    {"no_mac", "type devgroup;"},
    {"no_ip", "type devgroup;"},
    {"no_arp", "type devgroup;"},
    {"no_dhcp", "type devgroup;"},
    {"no_ra", "type devgroup;"},
    {"any_ip6", "type devgroup;"},
    {"home_ip6", "typeof iifgroup . @nh,64,64;"},
    {"nics", "type ifname;"},
    {"nic_any", "type ifname;"},
    {"nic_mac", "typeof iifname . @ll,48,32 . @ll,80,16;"},
    {"nic_ip", "typeof iifname . @nh,96,32;"},
    {"nic_ip6", "typeof iifname . @nh,64,64 . @nh,128,64;"},
    {"own_ip", "typeof @ll,48,32 . @ll,80,16 . @nh,96,32;" DYNAMIC},
    {"own_ip6", "typeof @ll,48,32 . @ll,80,16 . @nh,64,64 . @nh,128,64;" DYNAMIC},
    {"fresh_ip6", "typeof @ll,48,32 . @ll,80,16 . @nh,64,64 . @nh,128,64;" DYNAMIC},
    {"taken_ip6", "typeof iifgroup . @nh,64,64 . @nh,128,64;" DYNAMIC},
    {"claims", COUNTED},
    {"dropped_mac", COUNTED},
    {"dropped_ip", COUNTED},
    {"dropped_arp", COUNTED},
    {"dropped_dhcp", COUNTED},
    {"dropped_ra", COUNTED},
    {"owner_ip", "typeof iifgroup . @nh,96,32 : ether saddr;" DYNAMIC},
    {"last_mac", "type ifname : ether_addr;" DYNAMIC},
    {"last_ip", "type ifname : ipv4_addr;" DYNAMIC},
    {"last_ip6", "type ifname : ipv6_addr;" DYNAMIC},
    {NULL, NULL},
};

static bool first_of_chain(const struct nft_rule *rule)
{
    for (const struct nft_rule *before = nft_lock_rules; before < rule; before++) {
        if (strcmp(before->chain, rule->chain) == 0)
            return false;
    }
    return true;
}

static bool is_hook(const char *chain)
{
    return strcmp(chain, "prerouting") == 0 || strcmp(chain, "output") == 0 || strcmp(chain, "forward") == 0;
}

const char *nft_lock_base_text(struct arena *arena)
{
    struct text out = {.arena = arena};
    text_add(&out, "add table " TABLE "\nflush table " TABLE "\n");
    nft_sets_add(&out, TABLE, sets, "");
    for (const struct nft_rule *rule = nft_lock_rules; rule->chain; rule++) {
        if (first_of_chain(rule) && is_hook(rule->chain))
            text_add(&out, "add chain " TABLE " %s { type filter hook %s priority -310; policy accept; }\n",
                     rule->chain, rule->chain);
        else if (first_of_chain(rule))
            text_add(&out, "add chain " TABLE " %s\n", rule->chain);
    }
    nft_rules_add(&out, TABLE, nft_lock_rules);
    return text_get(&out);
}

static uint64_t upper(const struct ip *ip)
{
    uint64_t value = 0;
    for (size_t i = 0; i < 8; i++)
        value = value << 8 | ip->bytes[i];
    return value;
}

const char *nft_lock_elements(struct arena *arena, const struct lock *lock, bool add)
{
    struct text out = {.arena = arena};
    const char *verb = add ? "add" : "delete";
    unsigned group = owner_group(lock->network);
    const char *comment = add ? arena_printf(arena, " comment \"%s\"", lock->network) : "";
    for (unsigned kind = 0; kind < LOCK_KIND_COUNT; kind++) {
        if (lock->kinds[kind])
            text_add(&out, "%s element " TABLE " no_%s { %u%s }\n", verb,
                     lock_kind_name((enum lock_kind)kind), group, comment);
    }
    if (!lock->kinds[LOCK_IP] && !lock->kinds[LOCK_ARP])
        return text_get(&out);
    if (lock->any6)
        text_add(&out, "%s element " TABLE " any_ip6 { %u%s }\n", verb, group, comment);
    else
        text_add(&out, "%s element " TABLE " home_ip6 { %u . 0xfe80000000000000%s }\n", verb, group, comment);
    /* Whoever is first there, the host's own is not free (network_host_address6). */
    if (ip_is_set(&lock->subnet6.ip)) {
        text_add(&out, "add element " TABLE " taken_ip6 { %u . 0x%016llx . 1 }\n", group,
                 (unsigned long long)upper(&lock->subnet6.ip));
        if (!add)
            text_add(&out, "delete element " TABLE " taken_ip6 { %u . 0x%016llx . 1 }\n", group,
                     (unsigned long long)upper(&lock->subnet6.ip));
        text_add(&out, "%s element " TABLE " home_ip6 { %u . 0x%016llx%s }\n", verb, group,
                 (unsigned long long)upper(&lock->subnet6.ip), comment);
    }
    return text_get(&out);
}

const char *nft_lock_nic_comment(struct arena *arena, const struct lock_nic *nic)
{
    return arena_printf(arena, "%s %s %s %s %s", nic->network, MAC_TEXT(&nic->mac), nic->any ? "any" : "-",
                        ip_is_set(&nic->ip) ? IP_TEXT(&nic->ip) : "-",
                        ip_is_set(&nic->ip6) ? IP_TEXT(&nic->ip6) : "-");
}

/* A nic's elements; `leased` too when they are added.  What may not be there is added before it is deleted:
 * nft has had no other way for long. */
static void nic_element(struct text *out, const char *set, const char *key, const char *comment, bool add)
{
    text_add(out, "add element " TABLE " %s { %s%s }\n", set, key, add ? comment : "");
    if (!add)
        text_add(out, "delete element " TABLE " %s { %s }\n", set, key);
}

static const char *halves(struct arena *arena, const uint8_t *bytes, size_t length)
{
    struct text out = {.arena = arena};
    size_t cut = length == 16 ? 8 : 4;
    for (size_t i = 0; i < length; i++)
        text_add(&out, "%s%02x", i == 0 ? "0x" : i == cut ? " . 0x" : "", bytes[i]);
    return text_get(&out);
}

static void add_leased(struct arena *arena, struct text *out, const struct lock_nic *nic)
{
    const char *mac = halves(arena, nic->mac.bytes, 6), *ip = halves(arena, nic->leased.bytes, 4);
    text_add(out,
             "add element " TABLE " own_ip { %s . %s " LEASED " }\n"
             "add element " TABLE " owner_ip { %u . %s " LEASED " : %s }\n",
             mac, ip, owner_group(nic->network), ip, MAC_TEXT(&nic->mac));
}

const char *nft_lock_nic_text(struct arena *arena, const struct lock_nic *nic, bool add)
{
    struct text out = {.arena = arena};
    const char *name = arena_printf(arena, "\"%s\"", nic->ifname);
    const char *comment = arena_printf(arena, " comment \"%s\"", nft_lock_nic_comment(arena, nic));
    const char *mac = arena_printf(arena, "%s . %s", name, halves(arena, nic->mac.bytes, 6));
    nic_element(&out, "nics", name, comment, add);
    nic_element(&out, nic->any ? "nic_any" : "nic_mac", nic->any ? name : mac, "", add);
    if (ip_is_set(&nic->ip))
        nic_element(&out, "nic_ip", arena_printf(arena, "%s . %s", name, halves(arena, nic->ip.bytes, 4)), "",
                    add);
    if (ip_is_set(&nic->ip6)) {
        const char *ip6 = halves(arena, nic->ip6.bytes, 16);
        nic_element(&out, "nic_ip6", arena_printf(arena, "%s . %s", name, ip6), "", add);
        nic_element(&out, "taken_ip6", arena_printf(arena, "%u . %s", owner_group(nic->network), ip6), "",
                    add);
    }
    if (add && ip_is_set(&nic->leased))
        add_leased(arena, &out, nic);
    return text_get(&out);
}

const char *nft_lock_forget_text(struct arena *arena, const char *ifname)
{
    struct text out = {.arena = arena};
    for (const struct nft_set *set = sets; set->name; set++) {
        if (strcmp(set->spec, COUNTED) == 0)
            nic_element(&out, set->name, arena_printf(arena, "\"%s\"", ifname), "", false);
    }
    return text_get(&out);
}

const char *nft_lock_commands(struct arena *arena, const struct lock *lock, bool add)
{
    struct text out = {.arena = arena};
    if (add) {
        text_add(&out, "nft list table " TABLE " >/dev/null 2>&1 || nft -f - <<'EOF'\n%sEOF\n",
                 nft_lock_base_text(arena));
        text_add(&out, "nft -f - <<'EOF'\n%sEOF\n", nft_lock_elements(arena, lock, true));
        return text_get(&out);
    }
    text_add(&out, "nft -f - <<'EOF'\n%sEOF\n", nft_lock_elements(arena, lock, false));
    for (unsigned kind = 0; kind < LOCK_KIND_COUNT; kind++)
        text_add(&out, "nft list set " TABLE " no_%s | grep -q elements || ",
                 lock_kind_name((enum lock_kind)kind));
    text_add(&out, "nft delete table " TABLE "\n");
    return text_get(&out);
}
