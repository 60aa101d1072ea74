/* test_freebsd.c: FreeBSD's commands, what they print, and what their failures mean, on what a real
 * FreeBSD 12.1 answered (tests/unit/freebsd/).  Tests are named after what catches a program out. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/text.h"
#include "host/freebsd/freebsd.h"
#include "host/profile.h"
#include "host/render.h"
#include "service/service.h"

static const char *transcript(struct arena *arena, const char *name)
{
    char *text;
    const char *path = arena_printf(arena, "%s/tests/unit/freebsd/%s.txt", getenv("VMWIRE_SOURCE"), name);
    if (file_read(arena, AT_FDCWD, path, 1 << 20, &text, NULL, NULL) < 0)
        fail_msg("%s cannot be read", path);
    return text;
}

static struct op operation(struct arena *arena, const char *line)
{
    struct op op;
    struct err err = {0};
    if (op_parse(arena, line, &op, &err) < 0)
        fail_msg("%s: %s", line, err.text);
    return op;
}

static void expect_render(const char *line, const char *commands)
{
    _cleanup_arena_ struct arena arena = {0};
    struct op op = operation(&arena, line);
    assert_string_equal(freebsd_render(&arena, &op), commands);
}

/* The failure of the operation's last command; `text` is what the error must hold, NULL: it is none. */
static void expect_failure(const char *line, const char *output, const char *errors, unsigned flags, int code,
                           const char *text)
{
    _cleanup_arena_ struct arena arena = {0};
    struct op op = operation(&arena, line);
    struct freebsd_commands commands;
    struct err err = {0};
    struct freebsd_command none = {.argv = (const char *const[]){"dhclient", NULL}};
    freebsd_commands(&arena, &op, &commands);
    const struct freebsd_command *last =
        commands.list.count ? &commands.list.items[commands.list.count - 1] : &none;
    int rc = freebsd_failure(&arena, &op, last, 1, output, errors, flags, &err);
    assert_int_equal(rc, code);
    if (text && !strstr(err.text, text))
        fail_msg("'%s' does not say '%s'", err.text, text);
}

/* --- interfaces */

static void create_and_each_setting_are_commands_of_their_own(void **state)
{
    (void)state;
    expect_render("link-create network=brext ifname=brext kind=bridge mac=52:54:00:12:34:56 mtu=9000 up=1 "
                  "alias=vmwire:brext",
                  "ifconfig bridge create name brext\n"
                  "ifconfig brext description vmwire:brext\n"
                  "ifconfig brext ether 52:54:00:12:34:56\n"
                  "ifconfig brext mtu 9000\n"
                  "ifconfig brext up\n");
    expect_render("port-add network=brext ifname=re1 bridge=brext", "ifconfig brext addm re1\n");
    expect_render("port-remove network=brext ifname=re1 bridge=brext", "ifconfig brext deletem re1\n");
    expect_render("link-set network=brext ifname=re1 kind= up=1", "ifconfig re1 up\n");
    expect_render("link-delete network=brext ifname=brext kind=bridge", "ifconfig brext destroy\n");
}

static void an_address_is_an_alias_or_it_replaces_the_first_one(void **state)
{
    (void)state;
    expect_render("address-add network=n ifname=brnat address=10.0.0.1/24 broadcast=10.0.0.255",
                  "ifconfig brnat inet 10.0.0.1/24 alias\n");
    expect_render("address-add network=n ifname=re1 address=192.0.2.5/24 broadcast=192.0.2.127",
                  "ifconfig re1 inet 192.0.2.5/24 broadcast 192.0.2.127 alias\n");
    expect_render("address-remove network=n ifname=re1 address=192.0.2.6/32",
                  "ifconfig re1 inet 192.0.2.6 delete\n");
    expect_render("address-add network=n ifname=re1 address=2001:db8::5/64",
                  "ifconfig re1 inet6 2001:db8::5/64 alias\n");
}

static void routes_name_no_interface_where_a_gateway_tells_it(void **state)
{
    (void)state;
    expect_render(
        "route-add network=n table=254 to=0.0.0.0/0 type=1 protocol=4 gateway=192.0.2.1 ifname=brext",
        "route -n add default 192.0.2.1\n");
    expect_render(
        "route-remove network=n table=254 to=0.0.0.0/0 type=1 protocol=4 gateway=192.0.2.1 ifname=re1",
        "route -n delete default\n");
    expect_render("route-add network=n table=254 to=10.5.0.0/16 type=1 gateway=192.0.2.9 ifname=brext",
                  "route -n add -net 10.5.0.0/16 192.0.2.9\n");
    expect_render("route-add network=n table=254 to=10.5.0.1/32 type=1 scope=253 ifname=brext",
                  "route -n add -host 10.5.0.1 -iface brext\n");
    expect_render("route-add network=n table=254 to=::/0 type=1 gateway=fe80::1 ifname=brext",
                  "route -n add -inet6 default fe80::1%brext\n");
}

static void neighbours_are_entered_where_the_route_leads(void **state)
{
    (void)state;
    const char *add = "neighbour-add network=n ifname=brext address=10.0.2.9 mac=52:55:0a:00:02:09";
    const char *remove = "neighbour-remove network=n ifname=re1 address=10.0.2.9 mac=52:55:0a:00:02:09";
    expect_render(add, "arp -S 10.0.2.9 52:55:0a:00:02:09\n");
    expect_render(remove, "arp -d 10.0.2.9\n");
    expect_render("neighbour-add ifname=re1 address=10.0.2.9 mac=52:55:0a:00:02:09 proxy=1",
                  "arp -S 10.0.2.9 52:55:0a:00:02:09 pub\n");
    expect_render("neighbour-remove ifname=re1 address=10.0.2.9 proxy=1", "arp -d 10.0.2.9 pub\n");
    expect_render("neighbour-add ifname=re1 address=fe80::9 mac=52:55:0a:00:02:09",
                  "ndp -s fe80::9%re1 52:55:0a:00:02:09\n");
    expect_render("neighbour-add ifname=re1 address=fd00::9 mac=52:55:0a:00:02:09 proxy=1",
                  "ndp -s fd00::9 52:55:0a:00:02:09 proxy\n");
    expect_render("neighbour-remove ifname=re1 address=fd00::9", "ndp -d fd00::9\n");
    expect_failure(remove, "", "arp: delete: cannot locate 10.0.2.9\n", 0, -ENOENT, "is not known on 're1'");
    expect_failure(remove, "", "arp: delete: cannot locate 10.0.2.9\n", HOST_APPLY_TOLERANT, 0, NULL);
    expect_failure(add, "", "arp: cannot intuit interface index and type for 10.0.2.9\n", 0, -ENETUNREACH,
                   "no address of 'brext' reaches it");
}

/* An own address looks like one that was entered. */
static void neighbours_are_read_but_for_own_addresses(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct observed observed = {0};
    struct address *own = vec_push(&arena, &observed.addresses);
    *own = (struct address){.ifname = "vtnet0"};
    assert_int_equal(prefix_parse("10.0.2.15/24", &own->prefix), 0);
    freebsd_arp_parse(&arena,
                      "? (10.0.2.15) at 52:54:00:12:34:56 on vtnet0 permanent [ethernet]\n"
                      "? (10.0.2.2) at 52:55:0a:00:02:02 on vtnet0 expires in 1199 seconds [ethernet]\n"
                      "? (10.0.2.3) at (incomplete) on vtnet0 expired [ethernet]\n"
                      "? (10.0.2.9) at 52:55:0a:00:02:09 on vtnet0 permanent [ethernet]\n"
                      "? (10.0.2.10) at 52:54:00:12:34:56 on vtnet0 permanent published [ethernet]\n",
                      &observed);
    freebsd_ndp_parse(&arena,
                      "Neighbor                        Linklayer Address  Netif Expire    S Flags\n"
                      "fe80::2%vtnet0                  52:55:0a:00:02:02 vtnet0 23h59m58s S R\n"
                      "fe80::9%vtnet0                  52:55:0a:00:02:09 vtnet0 permanent R \n"
                      "fd00::9                         52:55:0a:00:02:09 vtnet0 permanent R p\n",
                      &observed);
    assert_int_equal(observed.neighbours.count, 4);
    assert_string_equal(IP_TEXT(&observed.neighbours.items[0].ip), "10.0.2.9");
    assert_false(observed.neighbours.items[0].proxy);
    assert_true(observed.neighbours.items[1].proxy);
    assert_string_equal(IP_TEXT(&observed.neighbours.items[2].ip), "fe80::9");
    assert_string_equal(observed.neighbours.items[2].ifname, "vtnet0");
    assert_true(observed.neighbours.items[3].proxy);
}

static void a_taken_name_leaves_a_bridge_behind(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    assert_string_equal(freebsd_leftover(&arena, "bridge2\n"), "bridge2");
    /* what it prints when all went well is the new name: never to be destroyed */
    assert_null(freebsd_leftover(&arena, "brext\n"));
    assert_null(freebsd_leftover(&arena, "bridgehead\n"));
    assert_null(freebsd_leftover(&arena, ""));
    expect_failure("link-create network=brext ifname=brext kind=bridge", "bridge2\n",
                   "ifconfig: ioctl SIOCSIFNAME (set name): File exists\n", 0, -EEXIST,
                   "this host has an interface 'brext' already");
}

static void addm_answers_by_errno_alone(void **state)
{
    (void)state;
    const char *add = "port-add network=brext ifname=vtnet0 bridge=brext";
    expect_failure(add, "", "ifconfig: BRDGADD vtnet0: File exists\n", 0, -EEXIST,
                   "is a port of 'brext' already");
    expect_failure(add, "", "ifconfig: BRDGADD vtnet0: File exists\n", HOST_APPLY_TOLERANT, 0, NULL);
    expect_failure(add, "", "ifconfig: BRDGADD vtnet0: Device busy\n", HOST_APPLY_TOLERANT, -EBUSY,
                   "'vtnet0' is a port of another bridge");
    expect_failure(add, "", "ifconfig: BRDGADD vtnet0: No such file or directory\n", 0, -ENODEV,
                   "interface 'vtnet0' does not exist");
    expect_failure(add, "", "ifconfig: BRDGADD vtnet0: Invalid argument\n", 0, -EINVAL, "its MTU");
    expect_failure("port-remove network=brext ifname=tapx bridge=brext", "",
                   "ifconfig: BRDGDEL tapx: No such file or directory\n", 0, -ENOENT, "not a port");
    expect_failure("port-remove network=brext ifname=tapx bridge=brext", "",
                   "ifconfig: BRDGDEL tapx: No such file or directory\n", HOST_APPLY_TOLERANT, 0, NULL);
}

static void an_mtu_that_ports_do_not_have_is_refused(void **state)
{
    (void)state;
    expect_failure("link-set network=brext ifname=brext kind= mtu=9000", "",
                   "ifconfig: ioctl SIOCSIFMTU (set mtu): Invalid argument\n", 0, -EINVAL,
                   "its ports have another");
}

static void not_root_is_said_as_such(void **state)
{
    (void)state;
    expect_failure("link-create network=b ifname=b kind=bridge", "",
                   "ifconfig: SIOCIFCREATE2: Operation not permitted\n", 0, -EPERM, "run as root");
    expect_failure("sysctl-set name=net.inet.ip.forwarding value=1", "net.inet.ip.forwarding: 0\n",
                   "sysctl: net.inet.ip.forwarding=1: Operation not permitted\n", 0, -EPERM, "run as root");
    expect_failure("firewall-enable load=1 enable=1", "", "kldload: can't load pf: Operation not permitted\n",
                   0, -EPERM, "run as root");
}

static void destroying_and_removing_what_is_gone_is_no_failure_when_rolling_back(void **state)
{
    (void)state;
    const char *gone = "ifconfig: interface brext does not exist\n";
    expect_failure("link-delete network=brext ifname=brext kind=bridge", "", gone, HOST_APPLY_TOLERANT, 0,
                   NULL);
    expect_failure("link-delete network=brext ifname=brext kind=bridge", "", gone, 0, -ENODEV,
                   "does not exist");
    expect_failure("address-remove network=n ifname=brnat address=10.0.0.77/24", "",
                   "ifconfig: ioctl (SIOCDIFADDR): Can't assign requested address\n", HOST_APPLY_TOLERANT, 0,
                   NULL);
    expect_failure("route-add network=n table=254 to=0.0.0.0/0 type=1 gateway=192.0.2.1 ifname=re1",
                   "add net default: gateway 192.0.2.1 fib 0: route already in table\n", "",
                   HOST_APPLY_TOLERANT, 0, NULL);
    expect_failure("route-remove network=n table=254 to=0.0.0.0/0 type=1 gateway=192.0.2.1 ifname=re1",
                   "delete net default fib 0: not in table\n", "route: route has not been found\n",
                   HOST_APPLY_TOLERANT, 0, NULL);
}

static void renamed_bridges_are_bridges_by_their_group(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct observed seen = {0};
    freebsd_ifconfig_parse(&arena, transcript(&arena, "ifconfig-bridges"), &seen, NULL);
    assert_int_equal(seen.links.count, 5);
    const struct link *brext = link_find(&seen, "brext"), *brnat = link_find(&seen, "brnat");
    assert_string_equal(brext->kind, "bridge");
    assert_string_equal(brnat->kind, "bridge");
    assert_true(brext->up && brext->mtu == 1500);
    assert_string_equal(MAC_TEXT(&brnat->mac), "58:9c:fc:00:05:14");
    assert_string_equal(link_find(&seen, "vtnet0")->master, "brext");
    assert_string_equal(link_find(&seen, "tap0")->master, "brext");
    assert_string_equal(link_find(&seen, "tap0")->kind, "tun");
    assert_string_equal(link_find(&seen, "brnat")->master, "");
    assert_true(link_find(&seen, "lo0")->loopback);
    assert_int_equal(link_find(&seen, "lo0")->mtu, 16384);
}

static void netmasks_are_hexadecimal_unless_asked_for(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct observed cidr = {0}, plain = {0}, aliases = {0};
    freebsd_ifconfig_parse(&arena, transcript(&arena, "ifconfig-bridges"), &cidr, NULL);
    const struct address *last = &cidr.addresses.items[cidr.addresses.count - 1];
    assert_string_equal(last->ifname, "brnat");
    assert_string_equal(PREFIX_TEXT(&last->prefix), "10.0.0.1/24");
    assert_string_equal(IP_TEXT(&last->broadcast), "10.0.0.255");
    freebsd_ifconfig_parse(&arena, transcript(&arena, "ifconfig-plain"), &plain, NULL);
    last = &plain.addresses.items[plain.addresses.count - 1];
    assert_string_equal(last->ifname, "bridge7");
    assert_string_equal(PREFIX_TEXT(&last->prefix), "10.0.0.2/24");
    const char *text = arena_printf(&arena, "vtnet0: flags=8843<UP> metric 0 mtu 1500\n%s",
                                    transcript(&arena, "ifconfig-aliases"));
    freebsd_ifconfig_parse(&arena, text, &aliases, NULL);
    assert_int_equal(aliases.addresses.count, 3);
    assert_string_equal(PREFIX_TEXT(&aliases.addresses.items[1].prefix), "192.0.2.6/32");
    /* the kernel makes it again by itself */
    assert_true(aliases.addresses.items[2].kernel);
    assert_string_equal(PREFIX_TEXT(&aliases.addresses.items[2].prefix), "fe80::5054:ff:fe12:3456/64");
}

static void names_may_hold_blanks(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct observed seen = {0};
    freebsd_ifconfig_parse(
        &arena,
        "a b: flags=8802<BROADCAST,SIMPLEX,MULTICAST> metric 0 mtu 1500\n\tgroups: bridge\n"
        "\tmember: vm_1:x flags=143<LEARNING>\n"
        "vm_1:x: flags=8802<BROADCAST> metric 0 mtu 1400\n\tdescription: hello world\n",
        &seen, NULL);
    assert_string_equal(seen.links.items[0].name, "a b");
    assert_false(seen.links.items[0].up);
    assert_string_equal(seen.links.items[1].master, "a b");
    assert_string_equal(seen.links.items[1].alias, "hello world");
    assert_int_equal(seen.links.items[1].mtu, 1400);
}

/* --- taps */

static void a_tap_is_tagged_by_description_and_keeps_its_name(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct freebsd_commands commands;
    struct link bridge = {.name = "brnat", .alias = "vmwire:brnat", .mtu = 1500};
    freebsd_nic_commands(&arena, "tap0", &bridge, "vmwire:brnat vm0/0 00:a0:98:1b:c8:07", &commands);
    const char *const wanted[][5] = {
        {"/sbin/ifconfig", "tap0", "description", "vmwire:brnat vm0/0 00:a0:98:1b:c8:07"},
        {"/sbin/ifconfig", "tap0", "link0"},
        {"/sbin/ifconfig", "tap0", "up"},
        {"/sbin/ifconfig", "brnat", "addm", "tap0"}};
    assert_int_equal(commands.list.count, 4);
    for (size_t i = 0; i < 4; i++) {
        for (size_t word = 0; wanted[i][word] || commands.list.items[i].argv[word]; word++)
            assert_string_equal(commands.list.items[i].argv[word], wanted[i][word]);
    }
    bridge.mtu = 9000, bridge.alias = "vmwire:brnat isolate";
    freebsd_nic_commands(&arena, "tap0", &bridge, "t", &commands);
    assert_string_equal(commands.list.items[1].argv[2], "mtu");
    assert_string_equal(commands.list.items[5].argv[2], "private");
    assert_string_equal(freebsd_created(&arena, "tap0\n", "tap"), "tap0");
    assert_null(freebsd_created(&arena, "tapnat\n", "tap"));
    assert_null(freebsd_created(&arena, "tap\n", "tap"));
}

static void an_open_tap_says_by_whom(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct observed seen = {0};
    struct freebsd_names openers = {0};
    freebsd_ifconfig_parse(&arena, transcript(&arena, "ifconfig-open-tap"), &seen, &openers);
    assert_int_equal(openers.list.count, 1);
    assert_string_equal(openers.list.items[0], "tap0");
    assert_true(seen.links.items[0].carrier);
    seen = (struct observed){0};
    openers = (struct freebsd_names){0};
    freebsd_ifconfig_parse(&arena, transcript(&arena, "ifconfig-closed-tap"), &seen, &openers);
    assert_int_equal(openers.list.count, 0);
    assert_false(seen.links.items[0].carrier || seen.links.items[0].up);
}

static void a_mac_seen_behind_a_port_is_found(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct mac mac;
    mac_parse("00:a0:98:1b:c8:07", &mac);
    assert_string_equal(freebsd_port_of_mac(&arena, transcript(&arena, "ifconfig-addr"), &mac), "tap0");
    mac.bytes[5]++;
    assert_null(freebsd_port_of_mac(&arena, transcript(&arena, "ifconfig-addr"), &mac));
}

/* --- pf */

static const char firewall_set[] = "firewall-set network=brnat bridge=brnat uplink=vtnet0 subnet=10.0.0.0/24";
static const char nat_shown[] = "nat on vtnet0 inet from 10.0.0.0/24 to any -> (vtnet0) round-robin\n";

/* As pfctl shows filter rules: what it adds is from the transcripts. */
static const char rules_shown[] =
    "pass in on brnat inet from 10.0.0.0/24 to any flags S/SA keep state tag vmwire\n"
    "pass in on brnat inet proto udp from any port = bootpc to any port = bootps keep state\n"
    "pass out on vtnet0 inet all flags S/SA keep state tagged vmwire\n"
    "pass out quick on brnat inet from 10.0.0.0/24 to 10.0.0.0/24 flags S/SA keep state\n"
    "pass out quick inet from 10.0.0.0/24 to 224.0.0.0/3 flags S/SA keep state\n"
    "block drop out quick on brnat inet from any to 10.0.0.0/24\n"
    "block drop out quick on ! vtnet0 inet from 10.0.0.0/24 to ! 10.0.0.0/24\n";

/* As pfctl would show them, by what it adds to IPv4's. */
static void ipv6_has_rules_of_its_own_and_is_read_back(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    static const char set[] = "firewall-set network=brnat bridge=brnat uplink=vtnet0 subnet=10.0.0.0/24 "
                              "subnet6=fd00::/64 forwards=tcp%20[::]:2222%20->%20[fd00::5]:22";
    static const char nat[] =
        "nat on vtnet0 inet from 10.0.0.0/24 to any -> (vtnet0) round-robin\n"
        "nat on vtnet0 inet6 from fd00::/64 to any -> (vtnet0:0) round-robin\n"
        "nat on brnat inet6 from fd00::/64 to fd00::/64 tagged vmwire_in -> (brnat:0) round-robin\n"
        "rdr inet6 proto tcp from any to (self) port = 2222 tag vmwire_in -> fd00::5 port 22\n";
    static const char rules[] =
        "pass in on brnat inet6 from fd00::/64 to any flags S/SA keep state tag vmwire ! tagged vmwire_in\n"
        "pass in on brnat inet6 from fe80::/10 to any flags S/SA keep state\n"
        "pass in on brnat inet6 from :: to ff02::/16 flags S/SA keep state\n"
        "pass out on vtnet0 inet6 all flags S/SA keep state tagged vmwire\n"
        "pass in inet6 all flags S/SA keep state tagged vmwire_in\n"
        "pass out quick on brnat inet6 all flags S/SA keep state tagged vmwire_in\n"
        "pass out quick on brnat inet6 from fe80::/10 to any flags S/SA keep state\n"
        "pass out quick on brnat inet6 from fd00::/64 to fd00::/64 flags S/SA keep state\n"
        "pass out quick inet6 from fd00::/64 to fe80::/10 flags S/SA keep state\n"
        "pass out quick inet6 from fd00::/64 to ff00::/8 flags S/SA keep state\n"
        "block drop out quick on brnat inet6 from any to fd00::/64\n"
        "block drop out quick on ! vtnet0 inet6 from fd00::/64 to ! fd00::/64\n";
    struct op op;
    struct firewall firewall;
    assert_int_equal(op_parse(&arena, set, &op, NULL), 0);
    assert_string_equal(op_format(&arena, &op), set);
    const char *both = arena_printf(&arena, "%s%s", rules_shown, rules);
    assert_true(freebsd_anchor_parse(&arena, "brnat", nat, both, &firewall));
    assert_true(prefix_equal(&firewall.subnet6, &op.firewall.subnet6));
    assert_true(forwards_equal(&firewall.forwards, &op.firewall.forwards));
    /* Half of it is none. */
    assert_false(freebsd_anchor_parse(&arena, "brnat", nat, rules_shown, &firewall));
}

static void one_anchor_a_network_and_the_module_first(void **state)
{
    (void)state;
    expect_render(firewall_set, "kldload -n pf\n"
                                "pfctl -a vmwire/brnat -f - <<'EOF'\n"
                                "nat on vtnet0 inet from 10.0.0.0/24 to any -> (vtnet0)\n"
                                "pass in on brnat inet from 10.0.0.0/24 to any tag vmwire\n"
                                "pass in on brnat inet proto udp from any port 68 to any port 67\n"
                                "pass out on vtnet0 inet all tagged vmwire\n"
                                "pass out quick on brnat inet from 10.0.0.0/24 to 10.0.0.0/24\n"
                                "pass out quick inet from 10.0.0.0/24 to 224.0.0.0/3\n"
                                "block drop out quick on brnat inet from any to 10.0.0.0/24\n"
                                "block drop out quick on ! vtnet0 inet from 10.0.0.0/24 to ! 10.0.0.0/24\n"
                                "EOF\n");
    expect_render("firewall-remove network=brnat bridge=brnat", "pfctl -a vmwire/brnat -f /dev/null\n");
}

static void an_anchor_is_right_only_with_all_its_rules(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct firewall firewall;
    assert_true(freebsd_anchor_parse(&arena, "brnat", nat_shown, rules_shown, &firewall));
    assert_string_equal(firewall.uplink, "vtnet0");
    assert_string_equal(PREFIX_TEXT(&firewall.subnet), "10.0.0.0/24");
    assert_false(freebsd_anchor_parse(&arena, "brnat", nat_shown, "", &firewall));
    assert_false(freebsd_anchor_parse(&arena, "brnat", "", rules_shown, &firewall));
    assert_false(freebsd_anchor_parse(&arena, "other", nat_shown, rules_shown, &firewall));
    const char *more = arena_printf(&arena, "%spass all flags S/SA keep state\n", rules_shown);
    assert_false(freebsd_anchor_parse(&arena, "brnat", nat_shown, more, &firewall));
    const char *less =
        arena_strndup(&arena, rules_shown, (size_t)(strstr(rules_shown, "block") - rules_shown));
    assert_false(freebsd_anchor_parse(&arena, "brnat", nat_shown, less, &firewall));
}

static void anchors_that_do_not_translate_are_read_back(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    static const char *const ways[][2] = {{"routed", "vtnet0"}, {"isolated", ""}, {"routed", "vtnet0"}};
    for (size_t i = 0; i < 3; i++) {
        struct firewall want = {.network = "net0",
                                .bridge = "net0",
                                .uplink = ways[i][1],
                                .way = ways[i][0],
                                .isolate = i == 1},
                        seen;
        prefix_parse("10.1.0.0/24", &want.subnet);
        if (i == 2)
            prefix_parse("fd00:1::/64", &want.subnet6);
        const char *text = freebsd_anchor_text(&arena, &want);
        assert_true(freebsd_anchor_parse(&arena, "net0", "", text, &seen));
        assert_string_equal(seen.way, want.way);
        assert_string_equal(seen.uplink, want.uplink);
        assert_true(prefix_equal(&seen.subnet, &want.subnet) && prefix_equal(&seen.subnet6, &want.subnet6));
        assert_int_equal(seen.isolate, want.isolate);
        for (const char *rule = text; *rule; rule += strcspn(rule, "\n") + 1) {
            const char *less =
                arena_printf(&arena, "%.*s%s", (int)(rule - text), text, rule + strcspn(rule, "\n") + 1);
            struct firewall other;
            assert_false(freebsd_anchor_parse(&arena, "net0", "", less, &other) &&
                         prefix_equal(&other.subnet6, &want.subnet6));
        }
    }
}

/* How pfctl shows rdr rules is from its source, pfctl_parser.c: print_rule, print_port, print_pool. */
static void forwards_are_rdr_rules_and_are_read_back(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    static const char set[] =
        "firewall-set network=brnat bridge=brnat uplink=vtnet0 subnet=10.0.0.0/24 forwards="
        "tcp%202222%20->%2010.0.0.5:22,tcp%208000-8010%20->%2010.0.0.5:9000-9010,"
        "udp%20192.168.87.9:53%20->%2010.0.0.9:5353";
    expect_render(
        set, "kldload -n pf\n"
             "pfctl -a vmwire/brnat -f - <<'EOF'\n"
             "nat on vtnet0 inet from 10.0.0.0/24 to any -> (vtnet0)\n"
             "nat on brnat inet from 10.0.0.0/24 to 10.0.0.0/24 tagged vmwire_in -> (brnat)\n"
             "rdr inet proto tcp from any to (self) port = 2222 tag vmwire_in -> 10.0.0.5 port 22\n"
             "rdr inet proto tcp from any to (self) port 8000:8010 tag vmwire_in -> 10.0.0.5 port 9000:*\n"
             "rdr inet proto udp from any to 192.168.87.9 port = 53 tag vmwire_in -> 10.0.0.9 port 5353\n"
             "pass in on brnat inet from 10.0.0.0/24 to any ! tagged vmwire_in tag vmwire\n"
             "pass in on brnat inet proto udp from any port 68 to any port 67\n"
             "pass out on vtnet0 inet all tagged vmwire\n"
             "pass in inet all tagged vmwire_in\n"
             "pass out quick on brnat inet all tagged vmwire_in\n"
             "pass out quick on brnat inet from 10.0.0.0/24 to 10.0.0.0/24\n"
             "pass out quick inet from 10.0.0.0/24 to 224.0.0.0/3\n"
             "block drop out quick on brnat inet from any to 10.0.0.0/24\n"
             "block drop out quick on ! vtnet0 inet from 10.0.0.0/24 to ! 10.0.0.0/24\n"
             "EOF\n");
    static const char nat[] =
        "nat on vtnet0 inet from 10.0.0.0/24 to any -> (vtnet0) round-robin\n"
        "nat on brnat inet from 10.0.0.0/24 to 10.0.0.0/24 tagged vmwire_in -> (brnat) round-robin\n"
        "rdr inet proto tcp from any to (self) port = 2222 tag vmwire_in -> 10.0.0.5 port 22\n"
        "rdr inet proto tcp from any to (self) port 8000:8010 tag vmwire_in -> 10.0.0.5 port 9000:9010\n"
        "rdr inet proto udp from any to 192.168.87.9 port = domain tag vmwire_in -> 10.0.0.9 port 5353\n";
    static const char rules[] =
        "pass in on brnat inet from 10.0.0.0/24 to any flags S/SA keep state tag vmwire ! tagged vmwire_in\n"
        "pass in on brnat inet proto udp from any port = bootpc to any port = bootps keep state\n"
        "pass out on vtnet0 inet all flags S/SA keep state tagged vmwire\n"
        "pass in inet all flags S/SA keep state tagged vmwire_in\n"
        "pass out quick on brnat inet all flags S/SA keep state tagged vmwire_in\n"
        "pass out quick on brnat inet from 10.0.0.0/24 to 10.0.0.0/24 flags S/SA keep state\n"
        "pass out quick inet from 10.0.0.0/24 to 224.0.0.0/3 flags S/SA keep state\n"
        "block drop out quick on brnat inet from any to 10.0.0.0/24\n"
        "block drop out quick on ! vtnet0 inet from 10.0.0.0/24 to ! 10.0.0.0/24\n";
    struct op op;
    struct firewall firewall;
    assert_int_equal(op_parse(&arena, set, &op, NULL), 0);
    assert_string_equal(op_format(&arena, &op), set);
    assert_true(freebsd_anchor_parse(&arena, "brnat", nat, rules, &firewall));
    assert_true(forwards_equal(&firewall.forwards, &op.firewall.forwards));
    /* One that went, or leads elsewhere, is seen. */
    char *moved = arena_strdup(&arena, nat);
    *(strstr(moved, "port 5353") - 2) = '8';
    assert_true(freebsd_anchor_parse(&arena, "brnat", moved, rules, &firewall));
    assert_false(forwards_equal(&firewall.forwards, &op.firewall.forwards));
    *strstr(moved, "rdr inet proto udp") = '\0';
    assert_true(freebsd_anchor_parse(&arena, "brnat", moved, rules, &firewall));
    assert_false(forwards_equal(&firewall.forwards, &op.firewall.forwards));
}

static void anchors_are_listed_below_vmwire_alone(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct freebsd_names names = {0};
    freebsd_anchors_parse(&arena, "  vmwire/brnat\n  vmwire/brother\n  other/x\n  vmwire/a b\n", &names);
    assert_int_equal(names.list.count, 2);
    assert_string_equal(names.list.items[1], "brother");
}

/* Of an anchor that is not there pfctl says "DIOCGETRULES: Invalid argument" and ends with 0. */
static void an_absent_anchor_has_no_rules_though_pfctl_ends_with_0(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct firewall firewall;
    assert_false(freebsd_anchor_parse(&arena, "brnat", "", "", &firewall));
}

static void judge(const char *info, const char *nat, const char *rules, struct firewall_main *main)
{
    static struct arena arena;
    freebsd_main_judge(&arena, info, nat, rules, main);
}

static void without_the_module_a_minimal_ruleset_is_loaded_and_pf_switched_on(void **state)
{
    (void)state;
    struct firewall_main main;
    judge(NULL, NULL, NULL, &main);
    assert_true(main.load && main.enable && !main.refusal && !main.ours);
    judge("Status: Disabled for 0 days", "", "", &main);
    assert_true(main.load && main.enable && !main.refusal);
    judge("Status: Enabled for 0 days 00:00:00           Debug: Urgent\n", "", "", &main);
    assert_true(main.load && !main.enable && !main.refusal);
    expect_render("firewall-enable load=1 enable=1", "kldload -n pf\n"
                                                     "pfctl -f - <<'EOF'\n"
                                                     "nat-anchor \"vmwire/*\"\n"
                                                     "rdr-anchor \"vmwire/*\"\n"
                                                     "anchor \"vmwire/*\"\n"
                                                     "EOF\n"
                                                     "pfctl -e\n");
    expect_render("firewall-disable load=1 enable=1", "pfctl -d\npfctl -F nat\npfctl -F rules\n");
    expect_render("firewall-disable load=1", "pfctl -F nat\npfctl -F rules\n");
}

static void the_minimal_ruleset_is_known_again(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct firewall_main main;
    const char *on = transcript(&arena, "pfctl-info");
    const char *nat = "nat-anchor \"vmwire/*\" all\nrdr-anchor \"vmwire/*\" all\n";
    judge(on, nat, "anchor \"vmwire/*\" all\n", &main);
    assert_true(main.ours && !main.load && !main.enable && !main.refusal);
    judge("Status: Disabled", nat, "anchor \"vmwire/*\" all\n", &main);
    assert_true(main.ours && main.enable && !main.refusal);
    judge(on, nat, "anchor \"vmwire/*\" all\npass all flags S/SA keep state\n", &main);
    assert_true(!main.ours && !main.load && !main.enable && !main.refusal);
}

static void loaded_is_not_in_force(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct firewall_main main;
    const char *on = transcript(&arena, "pfctl-info");
    judge(on, nat_shown, "", &main);
    assert_non_null(main.refusal);
    assert_false(main.load || main.enable);
    assert_non_null(strstr(main.refusal, "\n    nat-anchor \"vmwire/*\"\n    rdr-anchor \"vmwire/*\"\n"));
    assert_non_null(strstr(main.refusal, "\n    anchor \"vmwire/*\"\n"));
    assert_non_null(strstr(main.refusal, "pfctl -f /etc/pf.conf"));
    /* the article's transcript of a main ruleset with the first line alone */
    judge(on, "nat-anchor \"vmwire/*\" all\n", "", &main);
    assert_null(strstr(main.refusal, "nat-anchor"));
    assert_non_null(strstr(main.refusal, "\n    rdr-anchor \"vmwire/*\"\n"));
    /* one that is narrowed is not enough */
    judge(on, "nat-anchor \"vmwire/*\" on em0 all\nrdr-anchor \"vmwire/*\" all\n",
          "anchor \"vmwire/*\" all\n", &main);
    assert_non_null(strstr(main.refusal, "\n    nat-anchor \"vmwire/*\"\n"));
    assert_null(strstr(main.refusal, "rdr-anchor"));
}

static void pf_that_is_off_with_a_ruleset_is_the_administrators_to_switch_on(void **state)
{
    (void)state;
    struct firewall_main main;
    judge("Status: Disabled", "nat-anchor \"vmwire/*\" all\nrdr-anchor \"vmwire/*\" all\n",
          "anchor \"vmwire/*\" all\npass all\n", &main);
    assert_false(main.load || main.enable);
    assert_non_null(strstr(main.refusal, "pfctl -e"));
    assert_null(strstr(main.refusal, "/etc/pf.conf"));
}

static void enabling_what_is_enabled_fails_and_is_none(void **state)
{
    (void)state;
    expect_failure("firewall-enable enable=1", "", "pfctl: pf already enabled\n", 0, 0, NULL);
    expect_failure("firewall-disable enable=1", "", "pfctl: pf not enabled\n", 0, 0, NULL);
}

static void pf_module_absent(void **state)
{
    (void)state;
    expect_failure(firewall_set, "", "kldload: can't load pf: No such file or directory\n", 0, -ENOENT,
                   "the module pf is missing");
    expect_failure(firewall_set, "", "pfctl: /dev/pf: No such file or directory\n", 0, -ENOENT, "kldload pf");
    expect_failure("firewall-remove network=brnat bridge=brnat", "",
                   "pfctl: /dev/pf: No such file or directory\n", 0, 0, NULL);
}

static void a_bad_rule_is_shown_with_its_text(void **state)
{
    (void)state;
    expect_failure(
        firewall_set, "", "stdin:1: syntax error\npfctl: Syntax error in config file: pf rules not loaded\n",
        0, -EINVAL, "'nat on vtnet0 inet from 10.0.0.0/24 to any -> (vtnet0)' (stdin:1: syntax error)");
    expect_failure(firewall_set, "",
                   "no IP address found for nosuch0\nstdin:1: could not parse host specification\n"
                   "pfctl: Syntax error in config file: pf rules not loaded\n",
                   0, -EINVAL, "could not parse host specification");
}

/* --- dhclient */

static void the_privileged_half_of_dhclient_is_not_its_process(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    const char *text = transcript(&arena, "pgrep");
    assert_int_equal(freebsd_dhclient_parse(text, "vtnet0"), 47);
    assert_int_equal(freebsd_dhclient_parse(text, "vtnet"), 0);
    assert_int_equal(freebsd_dhclient_parse(text, "brext"), 0);
    assert_int_equal(freebsd_dhclient_parse("35 dhclient: vtnet0 [priv]\n", "vtnet0"), 0);
}

static void dhclient_already_running(void **state)
{
    (void)state;
    const char *start = "service-start network=brext kind=dhcp-client argv=dhclient,brext";
    expect_failure(start, "", "dhclient already running, pid: 47.\nexiting.\n", 0, -EBUSY, "kill 47");
    expect_failure(start, "", "ifconfig: interface brext does not exist\nbrext: not found\nexiting.\n", 0,
                   -ENODEV, "'brext' does not exist");
}

static void the_last_lease_counts(void **state)
{
    (void)state;
    struct guest_lease lease;
    const char *text = "lease {\n  interface \"brext\";\n  fixed-address 10.0.2.14;\n"
                       "  option subnet-mask 255.255.255.0;\n  option domain-name-servers 8.8.8.8;\n}\n"
                       "lease {\n  interface \"brext\";\n  fixed-address 10.0.2.15;\n"
                       "  option subnet-mask 255.255.255.0;\n  option routers 10.0.2.2,10.0.2.3;\n"
                       "  option dhcp-server-identifier 10.0.2.1;\n"
                       "  renew 1 2026/11/23 20:20:20;\n}\n";
    assert_true(freebsd_lease_parse(text, "brext", &lease));
    assert_string_equal(PREFIX_TEXT(&lease.address), "10.0.2.15/24");
    assert_string_equal(IP_TEXT(&lease.gateway), "10.0.2.2");
    assert_string_equal(IP_TEXT(&lease.server), "10.0.2.1");
    assert_false(ip_is_set(&lease.dns));
    assert_false(freebsd_lease_parse(text, "re1", &lease));
}

/* dhclient writes it piece by piece, while the guest waits for it. */
static void half_a_lease_is_none(void **state)
{
    (void)state;
    struct guest_lease lease;
    const char *text = "lease {\n  interface \"epair0b\";\n  fixed-address 10.0.0.5;\n"
                       "  option subnet-mask 255.255.255.0;\n  option domain-name-servers 10.0.0.1,8.8.8.8;\n"
                       "  expire 1 2026/11/23 20:20:20;\n}\n";
    for (size_t length = 0; length + 2 < strlen(text); length++) {
        char *part = strndup(text, length);
        assert_false(freebsd_lease_parse(part, "epair0b", &lease));
        free(part);
    }
    assert_true(freebsd_lease_parse(text, "epair0b", &lease));
    assert_string_equal(IP_TEXT(&lease.dns), "10.0.0.1");
}

/* --- guests without a hypervisor */

static void expect_words(struct arena *arena, const struct freebsd_commands *commands,
                         const char *const lines[])
{
    size_t count = 0;
    for (; lines[count]; count++) {
        assert_true(count < commands->list.count);
        assert_string_equal(shell_join(arena, commands->list.items[count].argv), lines[count]);
    }
    assert_int_equal(commands->list.count, count);
}

static void an_epair_is_a_port_by_its_first_end_and_the_guests_by_the_other(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct freebsd_commands commands, may_fail;
    struct mac mac = {{0x02, 0xb9, 0x45, 0x8a, 0x97, 0x0b}};
    struct link bridge = {.name = "brnat", .alias = "vmwire:brnat", .mtu = 9000};
    freebsd_epair_commands(&arena, "epair0a", &bridge, "vmwire:brnat -/0 02:b9:45:8a:97:0b", &mac, &commands);
    expect_words(
        &arena, &commands,
        (const char *const[]){"/sbin/ifconfig epair0a description 'vmwire:brnat -/0 02:b9:45:8a:97:0b'",
                              "/sbin/ifconfig epair0a mtu 9000", "/sbin/ifconfig epair0b mtu 9000",
                              "/sbin/ifconfig epair0b ether 02:b9:45:8a:97:0b", "/sbin/ifconfig epair0a up",
                              "/sbin/ifconfig brnat addm epair0a", NULL});
    bridge.mtu = 1500;
    freebsd_epair_commands(&arena, "epair0a", &bridge, "t", &mac, &commands);
    assert_int_equal(commands.list.count, 4);
    freebsd_guest_up_commands(&arena, "epair0b", &may_fail, &commands);
    expect_words(&arena, &commands, (const char *const[]){"/sbin/ifconfig epair0b up", NULL});
    struct prefix address = {.length = 24};
    struct ip gateway = {0};
    ip_parse("10.0.0.5", &address.ip);
    freebsd_guest_address_commands(&arena, "epair0b", &address, &gateway, &commands);
    expect_words(&arena, &commands,
                 (const char *const[]){"/sbin/ifconfig epair0b inet 10.0.0.5/24 alias", NULL});
    ip_parse("10.0.0.1", &gateway);
    freebsd_guest_address_commands(&arena, "epair0b", &address, &gateway, &commands);
    expect_words(&arena, &commands,
                 (const char *const[]){"/sbin/ifconfig epair0b inet 10.0.0.5/24 alias",
                                       "/sbin/route -n add default 10.0.0.1", NULL});
}

static void the_ends_of_an_epair(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct freebsd_guest_files files, same;
    assert_string_equal(freebsd_epair_created(&arena, "epair0a\n"), "epair0a");
    assert_null(freebsd_epair_created(&arena, "epair0b\n"));
    assert_null(freebsd_epair_created(&arena, "epair\n"));
    assert_null(freebsd_epair_created(&arena, "epaira\n"));
    assert_null(freebsd_epair_created(&arena, ""));
    assert_string_equal(freebsd_epair_other(&arena, "epair17a"), "epair17b");
    assert_string_equal(freebsd_epair_other(&arena, "epair0b"), "epair0a");
    assert_null(freebsd_epair_other(&arena, "tap0"));
    assert_null(freebsd_epair_other(&arena, "epair0c"));
    assert_true(freebsd_guest_files(&arena, "epair3a", &files));
    assert_true(freebsd_guest_files(&arena, "epair3b", &same));
    assert_string_equal(files.leases, FREEBSD_RUN_DIR "/nic/epair3.leases");
    assert_string_equal(files.leases, same.leases);
    assert_false(freebsd_guest_files(&arena, "tap0", &files));
}

/* As 05-dhclient-nat.txt has them: both ends on the host, before and after the jail. */
static void an_epair_with_a_tag_is_a_nic(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct observed seen = {0};
    struct wired_nic nic;
    freebsd_ifconfig_parse(
        &arena,
        "epair0a: flags=8943<UP,BROADCAST,RUNNING,PROMISC,SIMPLEX,MULTICAST> metric 0 mtu 1500\n"
        "\tdescription: vmwire:brnat -/0 02:b9:45:8a:97:0b\n\toptions=8<VLAN_MTU>\n"
        "\tether 02:b9:45:8a:97:0a\n\tgroups: epair\n"
        "\tmedia: Ethernet 10Gbase-T (10Gbase-T <full-duplex>)\n\tstatus: active\n"
        "epair0b: flags=8842<BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500\n"
        "\tether 02:b9:45:8a:97:0b\n\tgroups: epair\n\tstatus: active\n",
        &seen, NULL);
    assert_int_equal(seen.links.count, 2);
    assert_true(owner_nic(&arena, &seen.links.items[0], &nic));
    assert_string_equal(nic.network, "brnat");
    assert_string_equal(seen.links.items[0].kind, "tun");
    assert_string_equal(seen.links.items[1].kind, "veth");
    assert_false(owner_nic(&arena, &seen.links.items[1], &nic));
}

/* resolvconf(8) has what dhclient-script(8) gave it until somebody takes it back. */
static void with_dhclient_goes_what_it_said_of_dns(void **state)
{
    (void)state;
    expect_render(
        "service-stop network=brext kind=dhcp-client pid_path=/var/run/vmwire/network/brext/dhcp-client.pid",
        "kill \"$(cat /var/run/vmwire/network/brext/dhcp-client.pid)\"\nresolvconf -f -d brext\n");
    expect_render("service-stop network=brnat kind=dnsmasq pid_path=/p", "kill \"$(cat /p)\"\n");
}

static void the_dhcp_client_is_dhclient(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct network network = {.name = "brext"};
    struct service service;
    dhcp_client_service(&arena, &network,
                        &(struct service_options){.run_dir = FREEBSD_RUN_DIR, .dhclient = true}, &service);
    const char *const wanted[] = {"dhclient",
                                  "-p",
                                  FREEBSD_RUN_DIR "/network/brext/dhcp-client.pid",
                                  "-l",
                                  FREEBSD_RUN_DIR "/network/brext/dhclient.leases",
                                  "brext",
                                  NULL};
    for (size_t i = 0; wanted[i] || service.argv[i]; i++)
        assert_string_equal(service.argv[i], wanted[i]);
}

/* --- routes, sysctls, sockets */

static void routes_are_told_by_their_flags(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct observed seen = {0};
    freebsd_routes_parse(&arena, transcript(&arena, "netstat"), AF_INET, &seen);
    /* its own address and the loopback are left out */
    assert_int_equal(seen.routes.count, 1);
    assert_int_equal(seen.routes.items[0].protocol, 2);
    assert_string_equal(seen.routes.items[0].ifname, "vtnet0");
    seen = (struct observed){0};
    freebsd_routes_parse(
        &arena,
        "Internet:\nDestination        Gateway            Flags   Nhop#    Mtu      Netif Expire\n"
        "default            192.0.2.1          UGS         3   1500     vtnet0\n"
        "10.5.0.0/16        192.0.2.9          UGS         4   1500     vtnet0\n"
        "10.6.0.0/16        127.0.0.1          USB         5  16384        lo0\n",
        AF_INET, &seen);
    assert_int_equal(seen.routes.count, 3);
    assert_int_equal(seen.routes.items[0].to.length, 0);
    assert_int_equal(seen.routes.items[0].table, 254);
    assert_int_equal(seen.routes.items[0].protocol, 4);
    assert_string_equal(IP_TEXT(&seen.routes.items[0].gateway), "192.0.2.1");
    assert_string_equal(PREFIX_TEXT(&seen.routes.items[1].to), "10.5.0.0/16");
    assert_int_equal(seen.routes.items[2].type, 6);
    seen = (struct observed){0};
    freebsd_routes_parse(&arena,
                         "Internet6:\nDestination Gateway Flags Netif Expire\n::/96 ::1 UGRS lo0\n"
                         "default fe80::1%em0 UG em0\nfe80::%em0/64 link#1 U em0\n",
                         AF_INET6, &seen);
    assert_int_equal(seen.routes.count, 2);
    assert_int_equal(seen.routes.items[0].protocol, 9);
    assert_string_equal(IP_TEXT(&seen.routes.items[0].gateway), "fe80::1");
    assert_string_equal(PREFIX_TEXT(&seen.routes.items[1].to), "fe80::/64");
}

static void sysctls_are_read_by_name(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    const char *text = transcript(&arena, "sysctl-tap");
    assert_string_equal(freebsd_sysctl_parse(&arena, text, "net.link.tap.devfs_cloning"), "1");
    assert_null(freebsd_sysctl_parse(&arena, text, "net.link.tap"));
    expect_render("sysctl-set name=net.inet.ip.forwarding value=1", "sysctl net.inet.ip.forwarding=1\n");
}

static void who_listens_is_told_by_address_and_port(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct listener listener;
    assert_true(freebsd_sockstat_parse(&arena, transcript(&arena, "sockstat"), NULL, 5900, &listener));
    assert_int_equal(listener.pid, 149);
    assert_string_equal(listener.program, "bhyve");
    assert_false(freebsd_sockstat_parse(&arena, transcript(&arena, "sockstat"), NULL, 67, &listener));
}

/* --- PCI */

static void virtio_nics_and_detached_devices_have_no_interface_name(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct observed seen = {0};
    freebsd_pciconf_parse(&arena, transcript(&arena, "pciconf-l"), &seen);
    assert_int_equal(seen.devices.count, 9);
    const struct device *em = device_find(&seen, "0000:00:03.0"),
                        *virtio = device_find(&seen, "0000:00:04.0");
    assert_true(em->network && virtio->network);
    assert_string_equal(em->ifname, "em0");
    assert_string_equal(em->driver, "em");
    assert_int_equal(em->vendor, 0x8086);
    assert_int_equal(em->product, 0x100e);
    assert_string_equal(virtio->driver, "virtio_pci");
    assert_string_equal(virtio->ifname, "");
    assert_string_equal(device_find(&seen, "0000:00:01.3")->driver, "");
    seen = (struct observed){0};
    freebsd_pciconf_parse(&arena, transcript(&arena, "pciconf-ppt"), &seen);
    em = device_find(&seen, "0000:00:03.0");
    assert_string_equal(em->driver, "ppt");
    assert_string_equal(em->ifname, "");
    seen = (struct observed){0};
    freebsd_pciconf_parse(&arena, transcript(&arena, "pciconf-lv"), &seen);
    assert_string_equal(seen.devices.items[0].vendor_name, "Intel Corporation");
    assert_string_equal(seen.devices.items[0].product_name, "82540EM Gigabit Ethernet Controller");
    assert_string_equal(seen.devices.items[1].vendor_name, "Red Hat, Inc.");
}

static void releases_from_13_on_write_vendor_and_device_apart(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct observed seen = {0};
    freebsd_pciconf_parse(&arena,
                          "re1@pci0:3:0:0:\tclass=0x020000 rev=0x09 hdr=0x00 vendor=0x10ec device=0x8168 "
                          "subvendor=0x1043 subdevice=0x8505\n",
                          &seen);
    assert_string_equal(seen.devices.items[0].address, "0000:03:00.0");
    assert_int_equal(seen.devices.items[0].vendor, 0x10ec);
    assert_int_equal(seen.devices.items[0].product, 0x8168);
}

static void an_attached_nic_goes_to_ppt_only_by_force(void **state)
{
    (void)state;
    expect_render("device-bind network=nic1 address=0000:03:00.0 driver=ppt",
                  "kldload -n vmm\ndevctl set driver -f pci0:3:0:0 ppt\n");
    expect_render("device-bind network=nic1 address=0000:0a:1f.1 driver=ppt",
                  "kldload -n vmm\ndevctl set driver -f pci0:10:31:1 ppt\n");
    expect_render("device-unbind network=nic1 address=0000:03:00.0 driver=re ifname=re1",
                  "devctl clear driver -f pci0:3:0:0\n");
}

static void where_ppt_cannot_be_had_the_line_for_loader_conf_is_said(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct err err = {0};
    expect_failure("device-bind network=nic1 address=0000:03:00.0 driver=ppt", "",
                   "devctl: Failed to set pci0:3:0:0 driver to ppt: Device busy\n", 0, -EIO, "Device busy");
    err_set(&err, EIO, "Device busy");
    freebsd_pptdevs_advise(&arena, "2/0/0\n", "0000:03:00.0", &err);
    assert_non_null(strstr(err.text, "the line pptdevs=\"2/0/0 3/0/0\" in /boot/loader.conf, and reboot"));
    assert_string_equal(freebsd_pptdevs_line(&arena, "", "0000:03:00.0"), "pptdevs=\"3/0/0\"");
    assert_string_equal(freebsd_pptdevs_line(&arena, "2/0/0 4/0/1\n", "0000:03:00.0"),
                        "pptdevs=\"2/0/0 4/0/1 3/0/0\"");
    assert_string_equal(freebsd_pptdevs_line(&arena, "3/0/0", "0000:03:00.0"), "pptdevs=\"3/0/0\"");
    assert_null(freebsd_pptdevs_word(&arena, "0001:03:00.0"));
    expect_failure("device-unbind network=nic1 address=0000:03:00.0 driver=em ifname=em0", "",
                   "devctl: Failed to clear ppt0 driver: No such file or directory\n", HOST_APPLY_TOLERANT, 0,
                   NULL);
    expect_failure("device-unbind network=nic1 address=0000:03:00.0 driver=em ifname=em0", "",
                   "devctl: Failed to set ppt0 driver to em: Device busy\n", 0, -EBUSY,
                   "stop its machine first");
}

/* --- nothing is left out */

static void every_operation_renders(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    const char *const dnsmasq[] = {"dnsmasq", NULL};
    for (int kind = OP_NONE + 1; kind < OP_KIND_COUNT; kind++) {
        const char *line = kind == OP_FIREWALL_ENABLE || kind == OP_FIREWALL_DISABLE
                               ? arena_printf(&arena, "%s load=1", op_kind_name((enum op_kind)kind))
                           : kind == OP_LINK_SET
                               ? "link-set ifname=re1 up=1"
                               : arena_printf(&arena, "%s network=n", op_kind_name((enum op_kind)kind));
        struct op op = operation(&arena, line);
        if (kind == OP_FILE_WRITE || kind == OP_FILE_REMOVE)
            op.file = (struct file){
                .path = FREEBSD_RUN_DIR "/network/n/record", .content = "mode nat\n", .mode = 0600};
        if (kind == OP_SERVICE_RELOAD)
            op.reload = (struct reload){.kind = "dnsmasq",
                                        .pid_path = FREEBSD_RUN_DIR "/network/n/dnsmasq.pid",
                                        .path = FREEBSD_RUN_DIR "-dnsmasq/n/hosts",
                                        .content = "10.0.0.5 vm0\n",
                                        .mode = 0640,
                                        .group = "nobody"};
        if (kind == OP_SERVICE_START)
            op.service.argv = dnsmasq;
        assert_string_not_equal(freebsd_render(&arena, &op), "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_and_each_setting_are_commands_of_their_own),
        cmocka_unit_test(an_address_is_an_alias_or_it_replaces_the_first_one),
        cmocka_unit_test(routes_name_no_interface_where_a_gateway_tells_it),
        cmocka_unit_test(neighbours_are_entered_where_the_route_leads),
        cmocka_unit_test(neighbours_are_read_but_for_own_addresses),
        cmocka_unit_test(a_taken_name_leaves_a_bridge_behind),
        cmocka_unit_test(addm_answers_by_errno_alone),
        cmocka_unit_test(an_mtu_that_ports_do_not_have_is_refused),
        cmocka_unit_test(not_root_is_said_as_such),
        cmocka_unit_test(destroying_and_removing_what_is_gone_is_no_failure_when_rolling_back),
        cmocka_unit_test(renamed_bridges_are_bridges_by_their_group),
        cmocka_unit_test(netmasks_are_hexadecimal_unless_asked_for),
        cmocka_unit_test(names_may_hold_blanks),
        cmocka_unit_test(a_tap_is_tagged_by_description_and_keeps_its_name),
        cmocka_unit_test(an_open_tap_says_by_whom),
        cmocka_unit_test(a_mac_seen_behind_a_port_is_found),
        cmocka_unit_test(one_anchor_a_network_and_the_module_first),
        cmocka_unit_test(ipv6_has_rules_of_its_own_and_is_read_back),
        cmocka_unit_test(an_anchor_is_right_only_with_all_its_rules),
        cmocka_unit_test(anchors_that_do_not_translate_are_read_back),
        cmocka_unit_test(forwards_are_rdr_rules_and_are_read_back),
        cmocka_unit_test(anchors_are_listed_below_vmwire_alone),
        cmocka_unit_test(an_absent_anchor_has_no_rules_though_pfctl_ends_with_0),
        cmocka_unit_test(without_the_module_a_minimal_ruleset_is_loaded_and_pf_switched_on),
        cmocka_unit_test(the_minimal_ruleset_is_known_again),
        cmocka_unit_test(loaded_is_not_in_force),
        cmocka_unit_test(pf_that_is_off_with_a_ruleset_is_the_administrators_to_switch_on),
        cmocka_unit_test(enabling_what_is_enabled_fails_and_is_none),
        cmocka_unit_test(pf_module_absent),
        cmocka_unit_test(a_bad_rule_is_shown_with_its_text),
        cmocka_unit_test(the_privileged_half_of_dhclient_is_not_its_process),
        cmocka_unit_test(dhclient_already_running),
        cmocka_unit_test(the_last_lease_counts),
        cmocka_unit_test(half_a_lease_is_none),
        cmocka_unit_test(an_epair_is_a_port_by_its_first_end_and_the_guests_by_the_other),
        cmocka_unit_test(the_ends_of_an_epair),
        cmocka_unit_test(an_epair_with_a_tag_is_a_nic),
        cmocka_unit_test(with_dhclient_goes_what_it_said_of_dns),
        cmocka_unit_test(the_dhcp_client_is_dhclient),
        cmocka_unit_test(routes_are_told_by_their_flags),
        cmocka_unit_test(sysctls_are_read_by_name),
        cmocka_unit_test(who_listens_is_told_by_address_and_port),
        cmocka_unit_test(virtio_nics_and_detached_devices_have_no_interface_name),
        cmocka_unit_test(releases_from_13_on_write_vendor_and_device_apart),
        cmocka_unit_test(an_attached_nic_goes_to_ppt_only_by_force),
        cmocka_unit_test(where_ppt_cannot_be_had_the_line_for_loader_conf_is_said),
        cmocka_unit_test(every_operation_renders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
