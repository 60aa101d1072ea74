/* nft_lock_text.c: the table `bridge vmwire_lock`: what guests may not say to each other.
 *
 * Theory of operation.  The rules are constant, and look up the device group of the tap that a frame comes
 * from (owner_group): a network is an element or two.  By the transport header, not by the Ethernet type: a
 * frame with a VLAN tag of number 0 is one without for whom it is meant, and would have another type here.
 * The table is small, and always written whole. */
#include "base/text.h"
#include "host/linux/text.h"

const char *const nft_lock_rules[] = {
    "no DHCP answers",
    "iifgroup @no_dhcp meta l4proto udp th sport 67 counter drop",
    "no DHCPv6 answers",
    "iifgroup @no_dhcp meta l4proto udp th sport 547 counter drop",
    "no router advertisements",
    "iifgroup @no_ra meta l4proto 58 @th,0,8 134 counter drop",
    "no redirects",
    "iifgroup @no_ra meta l4proto 58 @th,0,8 137 counter drop",
    NULL,
};

#define LOCK_TABLE "bridge vmwire_lock"

static void add_base(struct text *out)
{
    text_add(out, "add table " LOCK_TABLE "\nadd set " LOCK_TABLE
                  " no_dhcp { type devgroup; }\nadd set " LOCK_TABLE
                  " no_ra { type devgroup; }\nadd chain " LOCK_TABLE
                  " prerouting { type filter hook prerouting priority -310; policy accept; }\n");
    for (size_t i = 0; nft_lock_rules[i]; i += 2)
        text_add(out, "add rule " LOCK_TABLE " prerouting %s comment \"%s\"\n", nft_lock_rules[i + 1],
                 nft_lock_rules[i]);
}

static void add_elements(struct text *out, const struct lock *lock)
{
    for (int ra = 0; ra < 2; ra++) {
        if (ra ? lock->ra : lock->dhcp)
            text_add(out, "add element " LOCK_TABLE " %s { %u comment \"%s\" }\n", ra ? "no_ra" : "no_dhcp",
                     owner_group(lock->network), lock->network);
    }
}

const char *nft_lock_text(struct arena *arena, const struct lock *locks, size_t count)
{
    struct text out = {.arena = arena};
    text_add(&out, "add table " LOCK_TABLE "\ndelete table " LOCK_TABLE "\n");
    if (count)
        add_base(&out);
    for (size_t i = 0; i < count; i++)
        add_elements(&out, &locks[i]);
    return text_get(&out);
}

const char *nft_lock_commands(struct arena *arena, const struct lock *lock, bool add)
{
    struct text out = {.arena = arena};
    if (!add) {
        unsigned group = owner_group(lock->network);
        if (lock->dhcp)
            text_add(&out, "nft delete element " LOCK_TABLE " no_dhcp '{ %u }'\n", group);
        if (lock->ra)
            text_add(&out, "nft delete element " LOCK_TABLE " no_ra '{ %u }'\n", group);
        text_add(&out,
                 "nft list table " LOCK_TABLE " | grep -q elements || nft delete table " LOCK_TABLE "\n");
        return text_get(&out);
    }
    text_add(&out, "nft list table " LOCK_TABLE " >/dev/null 2>&1 || nft -f - <<'EOF'\n");
    add_base(&out);
    text_add(&out, "EOF\nnft -f - <<'EOF'\n");
    add_elements(&out, lock);
    text_add(&out, "EOF\n");
    return text_get(&out);
}
