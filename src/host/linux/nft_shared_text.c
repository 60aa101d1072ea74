/* nft_shared_text.c: `mac: shared` as text: the table `bridge vmwire`, in which guests' frames get the host's
 * MAC.
 *
 * Theory of operation.  Base chains and their maps are constant; a network is chains and sets of its own,
 * reached through maps keyed by its uplink's index and by the device group of its taps (owner_group), so that
 * a packet costs the same whatever the number of networks and guests.  The host's own frames have the right
 * MAC already and meet no rule but those that note its addresses.
 *
 *   wire_out  forward, to the uplink
 *             1. IPv4: source MAC becomes the host's, once the address is the sender's (below)
 *             2. ARP: the same, and the sender's MAC inside
 *             3. all else is dropped: IPv6 carries MACs inside checksummed messages, others have no address
 *   wire_in   prerouting, from the uplink
 *             1. IPv4 to a guest's address, ARP for it: target MAC becomes the guest's
 *             2. ARP for nobody known (an answer to a guest's probe names 0.0.0.0): shown to everybody
 *             3. IPv6: to the host alone, so that router advertisements do not give guests addresses that
 *                lead nowhere
 *   arp_in    from guests, to the wire, each other and the host: who has which address, before anybody
 *             believes it; a broadcast meets it with each of its copies, of which the first settles it
 *   host_out  output: the host's addresses, from the ARP that it speaks
 *
 * Whose an address is:
 *
 *   owner     address to MAC.  Made by a claim, gone by the next claim: its age is since when the guest has
 *             the address
 *   held      address and MAC: what a sender is checked against
 *   live      addresses heard of in the last ten minutes: nobody else can claim them
 *   asked     addresses whose owner has been asked a moment ago
 *   last      the address that a MAC claimed last
 *   leasing   MACs that asked for a lease within a minute
 *
 * Elements of the first three without a timeout are fixed (`address:`, the host's own).
 *
 * A busy guest's frame needs one look-up of all this, whatever the network.  What the last look told stands
 * for a moment in two maps of the base, keyed by the uplink too, whose values are the MAC to be written:
 *
 *   fresh     to the wire: address and MAC that renewed `live` within half a second, to the host's MAC
 *   known     from the wire: address to its owner's MAC, a quarter of a second old at most
 *
 * A claim of an address that is live is no theft and no accident until the owner was asked: an ARP claim is
 * turned into an ARP probe of the same address (RFC 5227, 2.1.1), which its owner answers if it still has it.
 * When everybody was asked, the address is live for 800 ms more only; the owner's answer makes it live again.
 * The next claim after that has it.  A claim by an IPv4 packet is dropped, and says that the sender has left
 * the address that it had before: that one gets the 800 ms.  So two guests that swap their addresses and a
 * guest whose successor has another MAC have what they want in 2 s, and a guest that takes what another one
 * uses gets nothing.
 *
 * A claim must take the old owner's element out of `held`, whose key has a MAC that is not in the frame: it
 * is put there, as target, for a moment.  That frame's own target is then lost: a broadcast gets it back,
 * others are dropped.
 *
 * A guest that asks for a lease must be answered by a broadcast, since the answer to its own MAC would not
 * arrive.  The flag (RFC 2131, 4.1) adds 0x8000 to the sum that the UDP checksum is of; `secs` beside it is
 * made less by as much (modulo 0xffff), which keeps the checksum right, also one that hardware has yet to
 * fill in. */
#include <string.h>

#include "base/text.h"
#include "host/linux/text.h"

#define BROADCAST "ff:ff:ff:ff:ff:ff"
#define LIVE "10m"
#define AGE SHARED_AGE_TEXT
/* Taps have this bit in their group (owner_group): a comparison spares them the look into a map.  An uplink
 * that an administrator gave such a group (2^30 and more) would be taken for a tap. */
#define GUEST_GROUP "0x40000000"

#define LEND(bit, below, flip)                                                                               \
    {                                                                                                        \
        "ask_broadcast", "secs ends in " bit,                                                                \
            "@th,128,16 & " below " == " bit " @th,128,16 set @th,128,16 ^ " flip                            \
            " @th,144,16 set 0x8000 return"                                                                  \
    }

const struct nft_rule nft_shared_base_rules[] = {
    {"prerouting", "from guests", "iifgroup & " GUEST_GROUP " != 0 accept"},
    {"prerouting", "to a busy guest", "ether daddr set iif . ip daddr map @known accept"},
    {"prerouting", "from the wire", "iif vmap @wire_in"},
    {"forward", "to guests, but ARP", "oifgroup & " GUEST_GROUP " != 0 ether type != arp accept"},
    {"forward", "from a busy guest", "ether saddr set oif . ip saddr . ether saddr map @fresh accept"},
    {"forward", "to the wire", "oif vmap @wire_out"},
    {"forward", "guests' ARP to guests", "ether type arp iifgroup vmap @guest_arp"},
    {"input", "guests' ARP to the host", "ether type arp iifgroup vmap @guest_arp"},
    {"output", "the host's ARP to the wire", "ether type arp oif vmap @host_to_wire"},
    {"output", "the host's ARP to guests", "ether type arp oifgroup vmap @host_to_guest"},
    {"ask_broadcast", "secs is 0", "@th,128,16 0 @th,128,16 set 0x7fff @th,144,16 set 0x8000 return"},
    {"ask_broadcast", "secs begins with 0x8000",
     "@th,128,16 & 0x8000 == 0x8000 @th,128,16 set @th,128,16 ^ 0x8000 @th,144,16 set 0x8000 return"},
    LEND("0x0001", "0x0001", "0x8001"),
    LEND("0x0002", "0x0003", "0x8003"),
    LEND("0x0004", "0x0007", "0x8007"),
    LEND("0x0008", "0x000f", "0x800f"),
    LEND("0x0010", "0x001f", "0x801f"),
    LEND("0x0020", "0x003f", "0x803f"),
    LEND("0x0040", "0x007f", "0x807f"),
    LEND("0x0080", "0x00ff", "0x80ff"),
    LEND("0x0100", "0x01ff", "0x81ff"),
    LEND("0x0200", "0x03ff", "0x83ff"),
    LEND("0x0400", "0x07ff", "0x87ff"),
    LEND("0x0800", "0x0fff", "0x8fff"),
    LEND("0x1000", "0x1fff", "0x9fff"),
    LEND("0x2000", "0x3fff", "0xbfff"),
    LEND("0x4000", "0x7fff", "0xffff"),
    {NULL, NULL, NULL},
};

const char *const nft_shared_base_chains[] = {"prerouting", "forward",       "input",
                                              "output",     "ask_broadcast", NULL};

#define DYNAMIC " size 65536; flags dynamic,timeout;"
const struct nft_set nft_shared_maps[] = {
    {"wire_in", "type iface_index : verdict; size 1024;"},
    {"wire_out", "type iface_index : verdict; size 1024;"},
    {"host_to_wire", "type iface_index : verdict; size 1024;"},
    {"guest_arp", "type devgroup : verdict; size 1024;"},
    {"host_to_guest", "type devgroup : verdict; size 1024;"},
    {"fresh", "type iface_index . ipv4_addr . ether_addr : ether_addr;" DYNAMIC},
    {"known", "type iface_index . ipv4_addr : ether_addr;" DYNAMIC},
    {NULL, NULL},
};

const struct nft_set nft_shared_sets[] = {
    {"owner", "type ipv4_addr : ether_addr;" DYNAMIC},
    {"held", "type ipv4_addr . ether_addr;" DYNAMIC},
    {"live", "type ipv4_addr;" DYNAMIC},
    {"asked", "type ipv4_addr;" DYNAMIC},
    {"last", "type ether_addr : ipv4_addr;" DYNAMIC},
    {"leasing", "type ether_addr;" DYNAMIC},
    {NULL, NULL},
};

/* A chain stands before those that go to it: they are taken away from the end. */
const char *const nft_shared_chains[] = {"own_ip",   "take_ip",   "claim_ip", "probe", "own_arp",
                                         "take_arp", "claim_arp", "arp_in",   "dhcp",  "wire_out",
                                         "lease",    "wire_in",   "host_out", NULL};

/* $N is the network's name, $H the host's MAC.  `delete` in a rule of a map names its data too, which is not
 * looked at. */
#define RENEW_IP "update @live_$N { ip saddr timeout " LIVE " }"
#define RENEW_ARP "update @live_$N { arp saddr ip timeout " LIVE " }"
#define FORGET_IP                                                                                            \
    "ether daddr set ip saddr map @owner_$N delete @held_$N { ip saddr . ether daddr } "                     \
    "delete @owner_$N { ip saddr : ether saddr }"
#define FORGET_ARP                                                                                           \
    "ether daddr set arp saddr ip map @owner_$N delete @held_$N { arp saddr ip . ether daddr } "             \
    "delete @owner_$N { arp saddr ip : ether saddr }"
#define OWN_ARP                                                                                              \
    "update @owner_$N { arp saddr ip timeout " AGE " : ether saddr } "                                       \
    "update @held_$N { arp saddr ip . ether saddr timeout " AGE " } " RENEW_ARP

const struct nft_rule nft_shared_rules[] = {
    {"own_ip", "the sender's from now on",
     "update @owner_$N { ip saddr timeout " AGE " : ether saddr } "
     "update @held_$N { ip saddr . ether saddr timeout " AGE " } " RENEW_IP},
    {"own_ip", "its last address",
     "delete @last_$N { ether saddr : ip saddr } update @last_$N { ether saddr timeout " AGE " : ip saddr }"},
    {"take_ip", "from now on", "jump own_ip_$N"},
    {"take_ip", "the target is lost", "drop"},
    {"claim_ip", "of somebody silent", FORGET_IP " goto take_ip_$N"},
    {"claim_ip", "of nobody", "jump own_ip_$N"},
    {"claim_ip", "under the host's MAC", "ether saddr set $H accept"},
    {"probe", "ask its owner",
     "ether daddr " BROADCAST
     " arp daddr ip @live_$N arp daddr ip != @asked_$N add @asked_$N { arp daddr ip timeout 3s } "
     "update @live_$N { arp daddr ip timeout 800ms }"},
    {"own_arp", "the sender's from now on", OWN_ARP},
    {"own_arp", "its last address",
     "delete @last_$N { ether saddr : arp saddr ip } update @last_$N { ether saddr timeout " AGE
     " : arp saddr ip }"},
    {"take_arp", "from now on", "jump own_arp_$N"},
    {"take_arp", "the target is lost", "drop"},
    {"claim_arp", "of somebody silent, to all",
     "ether daddr " BROADCAST " " FORGET_ARP " ether daddr set " BROADCAST " goto own_arp_$N"},
    {"claim_arp", "of somebody silent", FORGET_ARP " goto take_arp_$N"},
    {"claim_arp", "of nobody", "goto own_arp_$N"},
    {"arp_in", "by its owner",
     "arp saddr ip . ether saddr @held_$N arp saddr ip . arp saddr ether @held_$N " RENEW_ARP " return"},
    {"arp_in", "a probe", "arp saddr ip 0.0.0.0 goto probe_$N"},
    {"arp_in", "a claim", "arp saddr ip != @live_$N goto claim_arp_$N"},
    {"arp_in", "a claim of what is live becomes a probe",
     "arp daddr ip set arp saddr ip arp saddr ip set 0.0.0.0 arp operation set request "
     "goto probe_$N"},
    {"dhcp", "who asks", "update @leasing_$N { ether saddr timeout 1m }"},
    {"dhcp", "has no address and no broadcast flag",
     "@th,64,8 1 @th,144,16 0 @th,160,32 0 goto ask_broadcast"},
    {"wire_out", "an owner",
     "ip saddr . ether saddr @held_$N add @fresh { oif . ip saddr . ether saddr timeout 500ms : $H "
     "} " RENEW_IP " ether saddr set $H accept"},
    {"wire_out", "DHCP", "ip saddr 0.0.0.0 udp sport 68 udp dport 67 jump dhcp_$N"},
    {"wire_out", "nobody yet", "ip saddr 0.0.0.0 ether saddr set $H accept"},
    {"wire_out", "a claim", "ip saddr != @live_$N goto claim_ip_$N"},
    {"wire_out", "who claims what is live has left what it had",
     "ip saddr set ether saddr map @last_$N ip saddr != @asked_$N add @asked_$N { ip saddr timeout 3s } "
     "update @live_$N { ip saddr timeout 800ms }"},
    {"wire_out", "claimed in vain", "ether type ip counter drop"},
    {"wire_out", "ARP by its owner", "ether type arp jump arp_in_$N"},
    {"wire_out", "ARP", "arp saddr ether set $H ether saddr set $H accept"},
    {"wire_out", "has no address that an answer could be known by", "counter drop"},
    {"lease", "to whom",
     "@ll,0,48 set @th,288,48 ether daddr @leasing_$N add @owner_$N { @th,192,32 timeout 1m : ether daddr }"},
    {"lease", "to all again", "ether daddr set " BROADCAST},
    {"wire_in", "to its owner",
     "ether daddr set ip daddr map @owner_$N add @known { iif . ip daddr timeout 248ms : ether daddr } "
     "accept"},
    {"wire_in", "ARP to its owner",
     "ether daddr $H arp daddr ether set arp daddr ip map @owner_$N ether daddr set arp daddr ip map "
     "@owner_$N accept"},
    {"wire_in", "ARP for nobody known", "ether daddr $H ether type arp ether daddr set " BROADCAST " accept"},
    {"wire_in", "IPv6 is the host's", "ether type ip6 ether daddr set $H accept"},
    {"wire_in", "a lease",
     "ether daddr " BROADCAST " udp sport 67 udp dport 68 @th,64,8 2 @th,1984,24 0x350105 goto lease_$N"},
    {"host_out", "known", "arp saddr ip . ether saddr @held_$N " RENEW_ARP " return"},
    {"host_out", "a probe", "arp saddr ip 0.0.0.0 return"},
    {"host_out", "the host's from now on", "delete @owner_$N { arp saddr ip : ether saddr } " OWN_ARP},
    {NULL, NULL, NULL},
};

static const char *const shared_table = "bridge vmwire";

const char *nft_shared_base_text(struct arena *arena)
{
    struct text out = {.arena = arena};
    text_add(&out, "add table %s\nadd chain %s ask_broadcast\n", shared_table, shared_table);
    nft_sets_add(&out, shared_table, nft_shared_maps, "");
    text_add(&out,
             "add chain %s prerouting { type filter hook prerouting priority -300; policy accept; }\n"
             "add chain %s forward { type filter hook forward priority -200; policy accept; }\n"
             "add chain %s input { type filter hook input priority -200; policy accept; }\n"
             "add chain %s output { type filter hook output priority 100; policy accept; }\n",
             shared_table, shared_table, shared_table, shared_table);
    nft_rules_add(&out, shared_table, nft_shared_base_rules);
    return text_get(&out);
}

const char *nft_shared_base_remove_text(struct arena *arena)
{
    struct text out = {.arena = arena};
    for (size_t i = 0; nft_shared_base_chains[i]; i++)
        text_add(&out, "flush chain %s %s\n", shared_table, nft_shared_base_chains[i]);
    nft_sets_delete(&out, shared_table, nft_shared_maps, "");
    for (size_t i = 0; nft_shared_base_chains[i]; i++)
        text_add(&out, "delete chain %s %s\n", shared_table, nft_shared_base_chains[i]);
    return text_get(&out);
}

static void expand(struct text *out, const char *text, const struct shared *shared)
{
    for (const char *at = text; *at;) {
        size_t plain = strcspn(at, "$");
        text_add_bytes(out, at, plain);
        at += plain;
        if (!*at)
            return;
        if (at[1] == 'N')
            text_add(out, "%s", shared->network);
        else
            text_add(out, "%s", MAC_TEXT(&shared->mac));
        at += 2;
    }
}

/* The elements of the base's maps: where each goes, and by which key. */
static const struct {
    const char *map, *chain;
    bool by_group;
} entries[] = {{"guest_arp", "arp_in", true},
               {"host_to_guest", "host_out", true},
               {"wire_in", "wire_in", false},
               {"wire_out", "wire_out", false},
               {"host_to_wire", "host_out", false}};

static const char *entry_key(struct arena *arena, const struct shared *shared, bool by_group,
                             int uplink_index)
{
    if (by_group)
        return arena_printf(arena, "%u", owner_group(shared->network));
    return uplink_index ? arena_printf(arena, "%d", uplink_index)
                        : arena_printf(arena, "\"%s\"", shared->uplink);
}

const char *nft_shared_set_text(struct arena *arena, const struct shared *shared)
{
    struct text out = {.arena = arena};
    nft_sets_add(&out, shared_table, nft_shared_sets, arena_printf(arena, "_%s", shared->network));
    for (size_t i = 0; nft_shared_chains[i]; i++)
        text_add(&out, "add chain %s %s_%s\n", shared_table, nft_shared_chains[i], shared->network);
    for (const struct nft_rule *rule = nft_shared_rules; rule->chain; rule++) {
        text_add(&out, "add rule %s %s_%s ", shared_table, rule->chain, shared->network);
        expand(&out, rule->text, shared);
        text_add(&out, " comment \"%s\"\n", rule->comment);
    }
    for (size_t i = 0; i < sizeof(entries) / sizeof(*entries); i++)
        text_add(&out, "add element %s %s { %s comment \"%s\" : goto %s_%s }\n", shared_table, entries[i].map,
                 entry_key(arena, shared, entries[i].by_group, 0), MAC_TEXT(&shared->mac), entries[i].chain,
                 shared->network);
    return text_get(&out);
}

const char *nft_shared_remove_text(struct arena *arena, const struct shared *shared, int uplink_index)
{
    struct text out = {.arena = arena};
    for (size_t i = 0; i < sizeof(entries) / sizeof(*entries); i++)
        text_add(&out, "delete element %s %s { %s }\n", shared_table, entries[i].map,
                 entry_key(arena, shared, entries[i].by_group, uplink_index));
    size_t count = 0;
    for (; nft_shared_chains[count]; count++)
        text_add(&out, "flush chain %s %s_%s\n", shared_table, nft_shared_chains[count], shared->network);
    while (count-- > 0)
        text_add(&out, "delete chain %s %s_%s\n", shared_table, nft_shared_chains[count], shared->network);
    nft_sets_delete(&out, shared_table, nft_shared_sets, arena_printf(arena, "_%s", shared->network));
    return text_get(&out);
}

const char *nft_shared_address_text(struct arena *arena, const struct shared_address *address, bool add)
{
    const char *verb = add ? "add" : "delete";
    const char *ip = arena_strdup(arena, IP_TEXT(&address->ip)), *network = address->network;
    const char *mac = arena_strdup(arena, MAC_TEXT(&address->mac));
    return arena_printf(arena,
                        "%s element %s owner_%s { %s : %s }\n%s element %s held_%s { %s . %s }\n"
                        "%s element %s live_%s { %s }\n",
                        verb, shared_table, network, ip, mac, verb, shared_table, network, ip, mac, verb,
                        shared_table, network, ip);
}
