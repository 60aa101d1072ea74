/* test_freebsd.c: FreeBSD's commands, what they print, and what their failures mean: interfaces, taps, routes
 * and PCI devices.  Tests are named after what catches a program out. */
#include "freebsd_words.h"

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
                           : kind == OP_SHAPING_ENABLE || kind == OP_SHAPING_DISABLE
                               ? arena_printf(&arena, "%s rules=1", op_kind_name((enum op_kind)kind))
                           : kind == OP_RATE_SET ? "rate-set network=n ifname=tap0"
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
