/* test_freebsd_lock.c: locks as pf's rules and if_bridge's addresses; what is made of what the programs show;
 * and what is planned for a guest that runs. */
#include "freebsd_words.h"

#define NIC                                                                                                  \
    "nic-set network=brnat ifname=tap0 mac=02:00:00:00:00:01 held_mac=1 held_ip=1 held_dhcp=1 held_ra=1"

/* As pfctl prints them: ports have names. */
static const char shown[] =
    "block drop in quick on tap0 inet proto udp from any port = bootps to any label \"brnat dhcp\"\n"
    "block drop in quick on tap0 inet6 proto udp from any port = dhcpv6-server to any label \"brnat dhcp\"\n"
    "block drop in quick on tap0 inet6 proto ipv6-icmp all icmp6-type routeradv label \"brnat ra\"\n"
    "block drop in quick on tap0 inet6 proto ipv6-icmp all icmp6-type redir label \"brnat ra\"\n"
    "pass in on tap0 inet from 10.0.0.77 to any no state label \"brnat ip\" tag vmwire_own\n"
    "pass in on tap0 inet proto udp from 0.0.0.0 port = bootpc to 255.255.255.255 port = bootps no state "
    "label "
    "\"brnat ip\" tag vmwire_own\n"
    "pass in on tap0 inet proto igmp from 0.0.0.0 to 224.0.0.0/4 no state label \"brnat ip\" tag vmwire_own\n"
    "block drop in quick on tap0 inet all label \"brnat ip\" ! tagged vmwire_own\n"
    "pass in on tap0 inet6 from fe80::/10 to any no state label \"brnat ip\" tag vmwire_own\n"
    "pass in on tap0 inet6 from :: to ff02::/16 no state label \"brnat ip\" tag vmwire_own\n"
    "pass in on tap0 inet6 from fd00::/64 to any no state label \"brnat ip\" tag vmwire_own\n"
    "pass in on tap0 inet6 from fd00:1::5 to any no state label \"brnat ip\" tag vmwire_own\n"
    "block drop in quick on tap0 inet6 all label \"brnat ip\" ! tagged vmwire_own\n";

static void rules_are_loaded_before_the_mac_and_the_entry_before_the_limit(void **state)
{
    (void)state;
    expect_render(
        "nic-set network=brnat ifname=tap0 mac=02:00:00:00:00:01 held_mac=1 held_dhcp=1",
        "kldload -n pf\n"
        "pfctl -a vmwire/nic:tap0 -f - <<'EOF'\n"
        "block drop in quick on tap0 inet proto udp from any port = 67 to any label \"brnat dhcp\"\n"
        "block drop in quick on tap0 inet6 proto udp from any port = 547 to any label \"brnat dhcp\"\n"
        "EOF\n"
        "ifconfig brnat static tap0 02:00:00:00:00:01\n"
        "ifconfig brnat ifmaxaddr tap0 1\n"
        "ifconfig brnat flush\n");
    expect_render("nic-remove network=brnat ifname=tap0 mac=02:00:00:00:00:01 held_mac=1 held_dhcp=1",
                  "ifconfig brnat ifmaxaddr tap0 0\n"
                  "ifconfig brnat deladdr 02:00:00:00:00:01\n"
                  "pfctl -a vmwire/nic:tap0 -f /dev/null\n");
    /* Without a rule pf is not loaded, and not asked. */
    expect_render("nic-set network=brnat ifname=tap0 mac=02:00:00:00:00:01 held_mac=1",
                  "ifconfig brnat static tap0 02:00:00:00:00:01\n"
                  "ifconfig brnat ifmaxaddr tap0 1\n"
                  "ifconfig brnat flush\n");
    expect_render("nic-remove network=brnat ifname=tap0 held_mac=1", "ifconfig brnat ifmaxaddr tap0 0\n");
}

static void what_is_loaded_is_read_back(void **state)
{
    (void)state;
    static const char *const rest[] = {"address=10.0.0.77 address6=fd00:1::5 %s subnet6=fd00::/64",
                                       "%s subnet=10.0.0.0/24", "%s subnet=10.0.0.0/24 any6=1",
                                       "address=10.0.0.77 %s any6=1"};
    _cleanup_arena_ struct arena arena = {0};
    struct lock_nic nic;
    for (unsigned kinds = 1; kinds < 8; kinds++) {
        const char *held = arena_printf(&arena, "%s%s%s", kinds & 1 ? " held_ip=1" : "",
                                        kinds & 2 ? " held_dhcp=1" : "", kinds & 4 ? " held_ra=1" : "");
        for (size_t i = 0; i < (kinds & 1 ? sizeof(rest) / sizeof(*rest) : 1); i++) {
            const char *more = strstr(rest[i], "%s");
            const char *line = kinds & 1 ? arena_printf(&arena, "nic-set network=brnat ifname=tap0 %.*s%s%s",
                                                        (int)(more - rest[i]), rest[i], held + 1, more + 2)
                                         : arena_printf(&arena, "nic-set network=brnat ifname=tap0%s", held);
            struct op op = operation(&arena, line);
            assert_true(freebsd_lock_parse(&arena, "tap0", freebsd_lock_text(&arena, &op.nic), &nic));
            assert_true(lock_nic_equal(&nic, &op.nic));
        }
    }
    assert_true(freebsd_lock_parse(&arena, "tap0", shown, &nic));
    struct op op = operation(&arena, "nic-set network=brnat ifname=tap0 address=10.0.0.77 address6=fd00:1::5 "
                                     "held_ip=1 held_dhcp=1 held_ra=1 subnet6=fd00::/64");
    assert_true(lock_nic_equal(&nic, &op.nic));
}

/* Each line away, doubled, or with another word: none is whole. */
static void half_of_it_is_none(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct lock_nic nic;
    size_t others = 0;
    for (const char *line = shown; *line; line += strcspn(line, "\n") + 1) {
        int before = (int)(line - shown), length = (int)strcspn(line, "\n") + 1;
        const char *without = arena_printf(&arena, "%.*s%s", before, shown, line + length);
        const char *twice = arena_printf(&arena, "%.*s%.*s%s", before, shown, length, line, line);
        bool source = strstr(without, "fd00") != strstr(shown, "fd00") || !strstr(without, "fd00::/64") ||
                      !strstr(without, "fd00:1::5");
        /* Without one of its addresses it is whole, and another nic. */
        if (freebsd_lock_parse(&arena, "tap0", without, &nic)) {
            assert_true(source || strstr(line, "10.0.0.77") == line + strlen("pass in on tap0 inet from "));
            others++;
        }
        assert_string_equal(nic.network, "brnat");
        assert_false(freebsd_lock_parse(&arena, "tap0", twice, &nic));
    }
    assert_int_equal(others, 2);
    assert_false(freebsd_lock_parse(&arena, "tap1", shown, &nic));
    assert_false(freebsd_lock_parse(&arena, "tap0", "pass in on tap0 all flags S/SA keep state\n", &nic));
    assert_string_equal(nic.network, "");
    assert_false(freebsd_lock_parse(&arena, "tap0", "", &nic));
}

static void packets_are_counted_by_lock(void **state)
{
    (void)state;
    static const char counted[] =
        "block drop in quick on tap0 inet proto udp from any port = bootps to any label \"brnat dhcp\"\n"
        "  [ Evaluations: 12        Packets: 3         Bytes: 180         States: 0     ]\n"
        "  [ Inserted: uid 0 pid 76 State Creations: 0     ]\n"
        "block drop in quick on tap0 inet6 proto udp from any port = dhcpv6-server to any label \"brnat "
        "dhcp\"\n"
        "  [ Evaluations: 12        Packets: 4         Bytes: 180         States: 0     ]\n"
        "pass in on tap0 inet from 10.0.0.77 to any no state label \"brnat ip\" tag vmwire_own\n"
        "  [ Evaluations: 12        Packets: 900       Bytes: 180         States: 0     ]\n"
        "block drop in quick on tap0 inet all label \"brnat ip\" ! tagged vmwire_own\n"
        "  [ Evaluations: 12        Packets: 5         Bytes: 180         States: 0     ]\n";
    _cleanup_arena_ struct arena arena = {0};
    struct lock_drops drops;
    assert_true(freebsd_lock_drops_parse(&arena, "tap0", counted, &drops));
    assert_int_equal(drops.count[LOCK_DHCP], 7);
    assert_int_equal(drops.count[LOCK_IP], 5); /* what passed is not dropped */
    assert_true(drops.uncounted[LOCK_MAC] && drops.uncounted[LOCK_ARP] && !drops.uncounted[LOCK_RA]);
    assert_false(freebsd_lock_drops_parse(&arena, "tap0", "", &drops));
}

static void the_bridge_tells_entries_and_limits(void **state)
{
    (void)state;
    static const char table[] = "52:55:0a:00:02:02 Vlan1 vtnet0 1199 flags=0<>\n"
                                "00:a0:98:27:a7:18 Vlan1 tap0 0 flags=1<STATIC>\n"
                                "00:a0:98:27:a7:19 Vlan1 tap0 1199 flags=0<>\n";
    static const char members[] = "brext: flags=8843<UP> metric 0 mtu 1500\n"
                                  "\tmember: tap10 flags=143<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP>\n"
                                  "\t        ifmaxaddr 0 port 5 priority 128 path cost 2000000\n"
                                  "\tmember: tap1 flags=143<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP>\n"
                                  "\t        ifmaxaddr 1 port 4 priority 128 path cost 2000000\n";
    _cleanup_arena_ struct arena arena = {0};
    struct mac own, learned;
    mac_parse("00:a0:98:27:a7:18", &own);
    mac_parse("00:a0:98:27:a7:19", &learned);
    assert_true(freebsd_lock_static(table, "tap0", &own));
    assert_false(freebsd_lock_static(table, "tap1", &own));
    assert_false(freebsd_lock_static(table, "tap0", &learned));
    assert_int_equal(freebsd_lock_limit(&arena, members, "tap1"), 1);
    assert_int_equal(freebsd_lock_limit(&arena, members, "tap10"), 0);
    assert_int_equal(freebsd_lock_limit(&arena, members, "tap7"), 0);
}

static void anchors_of_nics_are_told_from_networks(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct freebsd_names taps = {0}, networks = {0};
    static const char list[] = "  vmwire/brnat\n  vmwire/nic:tap0\n  vmwire/nic:\n  vmwire/nic:epair1a\n";
    freebsd_lock_anchors_parse(&arena, list, &taps);
    freebsd_anchors_parse(&arena, list, &networks);
    assert_int_equal(taps.list.count, 2);
    assert_string_equal(taps.list.items[1], "epair1a");
    assert_int_equal(networks.list.count, 1);
}

static void a_nic_that_is_gone_fails_nothing(void **state)
{
    (void)state;
    expect_failure(NIC, "", "ifconfig: BRDGSADDR tap0: No such file or directory\n", 0, 0, NULL);
    expect_failure(NIC, "", "ifconfig: interface brnat does not exist\n", 0, 0, NULL);
    expect_failure("nic-remove network=brnat ifname=tap0 held_dhcp=1", "",
                   "pfctl: /dev/pf: No such file or directory\n", 0, 0, NULL);
    expect_failure(NIC, "", "ifconfig: BRDGSADDR tap0: No space left on device\n", 0, -ENOSPC, "maxaddr");
    expect_failure(NIC, "", "ifconfig: BRDGSADDR tap0: Operation not permitted\n", 0, -EPERM, "root");
}

/* What is held is as little as its lock and its own words leave. */
static void what_a_nic_is_held_to(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct lock all =
        operation(&arena, "lock-set network=brnat mac=1 ip=1 arp=1 dhcp=1 ra=1 subnet=10.0.0.0/24").lock;
    struct lock any = operation(&arena, "lock-set network=brext mac=1 ip=1 any6=1").lock;
    struct lock_nic nic =
        operation(&arena, "nic-set network=brnat ifname=tap0 mac=02:00:00:00:00:01 any=1").nic;
    lock_nic_hold(&nic, &all); /* a program whose MAC nobody knows */
    assert_true(lock_nic_held(&nic) && !nic.held.kinds[LOCK_MAC] && !nic.held.kinds[LOCK_IP]);
    assert_true(mac_is_zero(&nic.mac) && !ip_is_set(&nic.held.subnet.ip));
    nic = operation(&arena, "nic-set network=brnat ifname=tap0 mac=02:00:00:00:00:01 address=10.0.0.7").nic;
    lock_nic_hold(&nic, &all); /* its own, not the whole subnet */
    assert_true(ip_is_set(&nic.ip) && !ip_is_set(&nic.held.subnet.ip) && !nic.held.kinds[LOCK_ARP]);
    nic = operation(&arena, "nic-set network=brext ifname=tap0 mac=02:00:00:00:00:01").nic;
    lock_nic_hold(&nic, &any); /* another's network, and no address: there is nothing to hold it to */
    assert_true(nic.held.kinds[LOCK_MAC] && !lock_filters(&nic.held));
    lock_nic_hold(&nic, &(struct lock){0});
    assert_false(lock_nic_held(&nic));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_loaded_before_the_mac_and_the_entry_before_the_limit),
        cmocka_unit_test(what_is_loaded_is_read_back),
        cmocka_unit_test(half_of_it_is_none),
        cmocka_unit_test(packets_are_counted_by_lock),
        cmocka_unit_test(the_bridge_tells_entries_and_limits),
        cmocka_unit_test(anchors_of_nics_are_told_from_networks),
        cmocka_unit_test(a_nic_that_is_gone_fails_nothing),
        cmocka_unit_test(what_a_nic_is_held_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
