/* test_freebsd_guest.c: what a guest without a hypervisor is made of: an epair, and a lease by dhclient. */
#include "freebsd_words.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_privileged_half_of_dhclient_is_not_its_process),
        cmocka_unit_test(dhclient_already_running),
        cmocka_unit_test(the_last_lease_counts),
        cmocka_unit_test(half_a_lease_is_none),
        cmocka_unit_test(an_epair_is_a_port_by_its_first_end_and_the_guests_by_the_other),
        cmocka_unit_test(the_ends_of_an_epair),
        cmocka_unit_test(an_epair_with_a_tag_is_a_nic),
        cmocka_unit_test(with_dhclient_goes_what_it_said_of_dns),
        cmocka_unit_test(the_dhcp_client_is_dhclient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
