/* test_model.c: the model's own checks, derived values, owner tags and comparisons, without a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "model/model.h"
#include "model/state.h"

/* A model under test with its memory. */
struct world {
    struct arena arena;
    struct model model;
    struct problems problems;
};

static int world_setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    world->problems.arena = &world->arena;
    *state = world;
    return 0;
}

static int world_teardown(void **state)
{
    struct world *world = *state;
    arena_free(&world->arena);
    free(world);
    return 0;
}

static struct network *network_add(struct world *world, const char *name, enum network_mode mode, int line)
{
    struct network *network = vec_push(&world->arena, &world->model.networks);
    *network = (struct network){.name = name, .mode = mode, .dhcp = mode == NETWORK_NAT, .pos = {line, 1}};
    network->subnet_pos = network->uplink_pos = network->device_pos = network->dhcp_pos =
        network->address_pos = (struct pos){line, 5};
    return network;
}

static struct network *nat_add(struct world *world, const char *name, const char *subnet, int line)
{
    struct network *network = network_add(world, name, NETWORK_NAT, line);
    assert_int_equal(prefix_parse(subnet, &network->subnet), 0);
    return network;
}

static struct machine *machine_add(struct world *world, const char *name, unsigned cpus, int line)
{
    struct machine *machine = vec_push(&world->arena, &world->model.machines);
    *machine = (struct machine){.name = name, .cpus = cpus, .pos = {line, 1}};
    return machine;
}

static struct nic *nic_add(struct world *world, struct machine *machine, const char *network)
{
    struct nic *nic = vec_push(&world->arena, &machine->nics);
    *nic = (struct nic){.network = network, .pos = {machine->pos.line, 9}};
    return nic;
}

static void check(struct world *world, size_t problems)
{
    model_check(&world->model, &world->arena, "seed", &world->problems);
    if (world->problems.list.count != problems) {
        vec_foreach (&world->problems.list, problem)
            print_error("%s\n", problem_text(&world->problems, problem));
    }
    assert_int_equal(world->problems.list.count, problems);
}

static void names_that_an_interface_cannot_have_are_faults(void **state)
{
    struct world *world = *state;
    static const char *const good[] = {"brnat", "re1", "a", "123456789012345", "br.100", "br_1",
                                       "br-1",  "tx",  "up"};
    static const char *const bad[] = {
        "",   "1234567890123456", "-br",  ".br",        "..",    "a/b", "a b", "a:b", "br%d", "all",
        "lo", "default",          "a\nb", "br\xc3\xbc", "a\x7f", "a*"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_null(name_fault(&world->arena, good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_non_null(name_fault(&world->arena, bad[i]));
    assert_string_equal(name_fault(&world->arena, "1234567890123456"),
                        "has 16 characters, one more than an interface name can have (15)");
    assert_null(machine_name_fault(&world->arena, "a-machine-of-more-than-15"));
    assert_non_null(machine_name_fault(&world->arena, "-"));
    assert_non_null(machine_name_fault(&world->arena,
                                       "1234567890123456789012345678901234567890123456789012345678901234"));
}

static int mac_compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct mac));
}

static void an_automatic_subnet6_is_unique_local_stable_and_each_networks_own(void **state)
{
    (void)state;
    enum { COUNT = 4000 };
    static struct prefix prefixes[2 * COUNT];
    static const char *const seeds[] = {"0123456789abcdef0123456789abcdef",
                                        "0123456789abcdef0123456789abcdee"};
    for (size_t i = 0; i < 2 * COUNT; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%zu", i / 2);
        prefixes[i] = network_subnet6_derive(seeds[i % 2], name);
        struct prefix again = network_subnet6_derive(seeds[i % 2], name);
        assert_true(prefix_equal(&prefixes[i], &again));
        assert_true(prefixes[i].ip.bytes[0] == 0xfd && prefixes[i].length == 64);
        struct prefix clean = prefix_network(&again);
        assert_true(prefix_equal(&clean, &again));
        for (size_t j = 0; j < i && i < 2000; j++)
            assert_false(prefix_equal(&prefixes[i], &prefixes[j]));
    }
}

/* RFC 4291, appendix A: the universal bit turned over, ff:fe in the middle. */
static void a_slaac_address_is_made_from_the_mac(void **state)
{
    (void)state;
    struct prefix subnet6;
    struct mac mac;
    prefix_parse("fd00:1:2:3::/64", &subnet6);
    mac_parse("34:56:78:9a:bc:de", &mac);
    struct ip ip = slaac_address(&subnet6, &mac);
    assert_string_equal(IP_TEXT(&ip), "fd00:1:2:3:3656:78ff:fe9a:bcde");
}

static void derived_macs_are_stable_local_unicast_and_apart(void **state)
{
    (void)state;
    enum { MACHINES = 5000, NICS = 4, SEEDS = 2 };
    struct mac first = nic_mac_derive("seed", "vm0", 0);
    assert_string_equal(MAC_TEXT(&first), "02:de:2e:95:13:0b");
    struct mac *macs = calloc((size_t)MACHINES * NICS * SEEDS, sizeof(*macs));
    size_t count = 0;
    for (unsigned m = 0; m < MACHINES; m++) {
        char name[16];
        snprintf(name, sizeof(name), "vm%u", m);
        for (unsigned i = 0; i < NICS; i++) {
            macs[count++] = nic_mac_derive("0123456789abcdef0123456789abcdef", name, i);
            macs[count++] = nic_mac_derive("0123456789abcdef0123456789abcdee", name, i);
        }
    }
    for (size_t i = 0; i < count; i++)
        assert_int_equal(macs[i].bytes[0], 0x02);
    qsort(macs, count, sizeof(*macs), mac_compare);
    for (size_t i = 1; i < count; i++)
        assert_false(mac_equal(&macs[i - 1], &macs[i]));
    free(macs);
}

static void check_fills_in_macs_ranges_and_queues(void **state)
{
    struct world *world = *state;
    nat_add(world, "brnat", "10.0.0.0/24", 1);
    nat_add(world, "brtiny", "10.0.1.0/30", 2);
    nat_add(world, "broff", "10.0.2.0/24", 3)->dhcp = false;
    struct machine *machine = machine_add(world, "vm0", 12, 4);
    nic_add(world, machine, "brnat");
    nic_add(world, machine, "brnat")->model = NIC_E1000;
    nic_add(world, machine, "brnat")->queues = 3;
    nic_add(world, machine_add(world, "vm1", 2, 5), "brnat");
    check(world, 0);

    struct network *networks = world->model.networks.items;
    assert_string_equal(IP_TEXT(&networks[0].dhcp_first), "10.0.0.2");
    assert_string_equal(IP_TEXT(&networks[0].dhcp_last), "10.0.0.254");
    assert_string_equal(IP_TEXT(&networks[1].dhcp_first), "10.0.1.2");
    assert_string_equal(IP_TEXT(&networks[1].dhcp_last), "10.0.1.2");
    assert_false(ip_is_set(&networks[2].dhcp_first));
    struct prefix host = network_host_address(&networks[0]);
    assert_string_equal(PREFIX_TEXT(&host), "10.0.0.1/24");

    struct nic *nics = world->model.machines.items[0].nics.items;
    struct mac derived = nic_mac_derive("seed", "vm0", 1);
    assert_true(mac_equal(&nics[1].mac, &derived));
    assert_int_equal(nics[0].queues, 8);
    assert_int_equal(nics[1].queues, 1);
    assert_int_equal(nics[2].queues, 3);
    assert_int_equal(world->model.machines.items[1].nics.items[0].queues, 2);
}

static void overlap_names_the_other_whatever_the_order(void **state)
{
    struct world *world = *state;
    nat_add(world, "small", "10.0.7.0/24", 1);
    nat_add(world, "beside", "10.1.0.0/16", 2);
    nat_add(world, "large", "10.0.0.0/16", 3);
    check(world, 1);
    assert_int_equal(world->problems.list.items[0].pos.line, 3);
    assert_string_equal(
        world->problems.list.items[0].text,
        "10.0.0.0/16 overlaps 10.0.7.0/24 of network 'small' (line 1); give each network a range of "
        "its own");
}

static void two_bridged_networks_may_share_a_segment_but_not_with_nat(void **state)
{
    struct world *world = *state;
    struct network *network = network_add(world, "br1", NETWORK_BRIDGED, 1);
    network->address = ADDRESS_STATIC;
    prefix_parse("192.168.87.8/24", &network->address_prefix);
    network = network_add(world, "br2", NETWORK_BRIDGED, 2);
    network->address = ADDRESS_STATIC;
    prefix_parse("192.168.87.9/24", &network->address_prefix);
    check(world, 0);
    nat_add(world, "brnat", "192.168.87.64/26", 3);
    check(world, 1);
}

static void duplicate_macs_are_found_across_machines(void **state)
{
    struct world *world = *state;
    nat_add(world, "brnat", "10.0.0.0/24", 1);
    for (int i = 0; i < 2; i++) {
        struct nic *nic = nic_add(world, machine_add(world, i ? "vm1" : "vm0", 1, 2 + i), "brnat");
        mac_parse("00:a0:98:1b:c8:07", &nic->mac);
        nic->mac_given = true;
        nic->mac_pos = (struct pos){2 + i, 20};
    }
    check(world, 1);
    assert_int_equal(world->problems.list.items[0].pos.line, 3);
    assert_non_null(strstr(world->problems.list.items[0].text, "'vm0' (line 2)"));
}

static void one_place_in_two_spellings_is_one_device(void **state)
{
    struct world *world = *state;
    network_add(world, "nic1", NETWORK_PASSTHROUGH, 1)->device =
        (struct device_ref){.kind = DEVICE_SELECTOR, .text = "3/0/0", .bus = 3};
    network_add(world, "nic2", NETWORK_PASSTHROUGH, 2)->device =
        (struct device_ref){.kind = DEVICE_PCI, .text = "0000:03:00.0", .bus = 3};
    network_add(world, "nic3", NETWORK_PASSTHROUGH, 3)->device =
        (struct device_ref){.kind = DEVICE_PCI, .text = "0000:03:00.1", .bus = 3, .function = 1};
    check(world, 1);
}

static void two_nat_networks_may_share_an_uplink(void **state)
{
    struct world *world = *state;
    nat_add(world, "br1", "10.0.0.0/24", 1)->uplink = "re1";
    nat_add(world, "br2", "10.0.1.0/24", 2)->uplink = "re1";
    network_add(world, "brext", NETWORK_BRIDGED, 3)->uplink = "re0";
    nat_add(world, "br3", "10.0.2.0/24", 4)->uplink = "brext";
    check(world, 0);
}

static void four_thousand_machines_are_checked_fast(void **state)
{
    struct world *world = *state;
    enum { MACHINES = 4000, NETWORKS = 1000 };
    for (int i = 0; i < NETWORKS; i++)
        nat_add(world, arena_printf(&world->arena, "br%d", i),
                arena_printf(&world->arena, "10.%d.%d.0/24", i / 250, i % 250), i);
    for (int i = 0; i < MACHINES; i++) {
        struct machine *machine = machine_add(world, arena_printf(&world->arena, "vm%d", i), 2, NETWORKS + i);
        nic_add(world, machine, arena_printf(&world->arena, "br%d", i % NETWORKS));
        nic_add(world, machine, "br0");
    }
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    check(world, 0);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    double seconds = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
    /* Measured at 5 ms; a quadratic check takes seconds. */
    assert_true(seconds < 0.5);
}

static void owner_tags_come_back_as_they_were_made(void **state)
{
    struct world *world = *state;
    struct mac mac;
    struct wired_nic nic = {0};
    mac_parse("00:a0:98:1b:c8:07", &mac);
    struct wired_nic made = {.network = "brnat", .machine = "vm0", .index = 12, .mac = mac};
    const char *tag = owner_nic_tag(&world->arena, &made);
    assert_string_equal(tag, "vmwire:brnat vm0/12 00:a0:98:1b:c8:07");
    assert_true(owner_nic(&world->arena, &(struct link){.name = "tap0", .alias = tag}, &nic));
    assert_string_equal(nic.tap, "tap0");
    assert_string_equal(nic.network, "brnat");
    assert_string_equal(nic.machine, "vm0");
    assert_int_equal(nic.index, 12);
    assert_true(mac_equal(&nic.mac, &mac));
    assert_string_equal(owner_network(&world->arena, tag), "brnat");
    made = (struct wired_nic){.network = "brnat", .machine = "-", .mac = mac, .mac_any = true};
    tag = owner_nic_tag(&world->arena, &made);
    assert_string_equal(tag, "vmwire:brnat -/0 00:a0:98:1b:c8:07 any");
    assert_true(owner_nic(&world->arena, &(struct link){.name = "tap1", .alias = tag}, &nic));
    assert_string_equal(nic.machine, "-");
    assert_true(nic.mac_any && mac_equal(&nic.mac, &mac));
    made.mac_any = false;
    ip_parse("10.0.0.9", &made.address);
    tag = owner_nic_tag(&world->arena, &made);
    assert_string_equal(tag, "vmwire:brnat -/0 00:a0:98:1b:c8:07 10.0.0.9");
    assert_true(owner_nic(&world->arena, &(struct link){.name = "tap1", .alias = tag}, &nic));
    assert_true(!nic.mac_any && ip_equal(&nic.address, &made.address));
    tag = owner_tag(&world->arena, "brnat");
    assert_string_equal(tag, "vmwire:brnat");
    assert_string_equal(owner_network(&world->arena, tag), "brnat");
    assert_false(owner_nic(&world->arena, &(struct link){.name = "brnat", .alias = tag}, &nic));
}

static void foreign_or_forged_aliases_are_no_tags(void **state)
{
    struct world *world = *state;
    static const char *const networks[] = {"",
                                           "brnat",
                                           "vmwire",
                                           "vmwire:",
                                           "vmwire: x",
                                           "Vmwire:br",
                                           "vmwire:../../etc",
                                           "vmwire:a/b",
                                           "vmwire:-x",
                                           "vmwire:1234567890123456",
                                           "vmwire:br\nnat"};
    static const char *const nics[] = {
        "vmwire:br vm0/0",
        "vmwire:br vm0/0 ",
        "vmwire:br vm0 00:a0:98:1b:c8:07",
        "vmwire:br vm0/ 00:a0:98:1b:c8:07",
        "vmwire:br vm0/-1 00:a0:98:1b:c8:07",
        "vmwire:br vm0/01 00:a0:98:1b:c8:07",
        "vmwire:br vm0/0x1 00:a0:98:1b:c8:07",
        "vmwire:br vm0/9999999 00:a0:98:1b:c8:07",
        "vmwire:br vm0/0 00:a0:98:1b:c8:07 more",
        "vmwire:br /0 00:a0:98:1b:c8:07",
        "vmwire:br ../0 00:a0:98:1b:c8:07",
        "vmwire:br a b/0 00:a0:98:1b:c8:07",
        "vmwire:br -vm/0 00:a0:98:1b:c8:07",
    };
    struct wired_nic nic;
    assert_null(owner_network(&world->arena, NULL));
    for (size_t i = 0; i < sizeof(networks) / sizeof(networks[0]); i++)
        assert_null(owner_network(&world->arena, networks[i]));
    for (size_t i = 0; i < sizeof(nics) / sizeof(nics[0]); i++)
        assert_false(owner_nic(&world->arena, &(struct link){.name = "tap0", .alias = nics[i]}, &nic));
}

static void routes_differ_in_every_settable_member(void **state)
{
    (void)state;
    struct route base = {.table = 254, .ifname = "re1", .protocol = 4, .type = 1};
    prefix_parse("10.0.0.0/24", &base.to);
    struct route other = base;
    assert_true(route_equal(&base, &other));
    other.unmovable = true;
    assert_true(route_equal(&base, &other));

    struct route variants[12];
    for (size_t i = 0; i < 12; i++)
        variants[i] = base;
    variants[0].table = 100;
    variants[1].to.length = 25;
    variants[2].tos = 4;
    variants[3].scope = 253;
    variants[4].type = 6;
    variants[5].protocol = 3;
    variants[6].metric = 5;
    ip_parse("10.0.0.1", &variants[7].gateway);
    variants[8].ifname = "re0";
    ip_parse("10.0.0.1", &variants[9].source);
    variants[10].onlink = true;
    variants[11].advmss = 1400;
    for (size_t i = 0; i < 12; i++) {
        assert_false(route_equal(&base, &variants[i]));
        bool slot = i != 0 && i != 1 && i != 2 && i != 6;
        assert_int_equal(route_same_slot(&base, &variants[i]), slot);
    }
}

static void slots_of_ipv6_routes_have_an_interface_and_gateway(void **state)
{
    (void)state;
    struct route a = {.table = 254, .ifname = "re1", .metric = 1024}, b;
    prefix_parse("::/0", &a.to);
    b = a;
    assert_true(route_same_slot(&a, &b));
    b.ifname = "re0";
    assert_false(route_same_slot(&a, &b));
    b = a;
    ip_parse("fe80::1", &b.gateway);
    assert_false(route_same_slot(&a, &b));
}

static void addresses_are_one_by_interface_prefix_and_peer(void **state)
{
    (void)state;
    struct address a = {.ifname = "re1"}, b;
    prefix_parse("10.0.0.1/24", &a.prefix);
    b = a;
    b.metric = 7;
    b.label = "re1:0";
    assert_true(address_equal(&a, &b));
    b.prefix.length = 25;
    assert_false(address_equal(&a, &b));
    b = a;
    b.ifname = "re0";
    assert_false(address_equal(&a, &b));
    b = a;
    ip_parse("10.0.0.2", &b.peer);
    assert_false(address_equal(&a, &b));
}

static void entries_are_found_by_name(void **state)
{
    struct world *world = *state;
    nat_add(world, "brnat", "10.0.0.0/24", 1);
    machine_add(world, "vm0", 1, 2);
    assert_ptr_equal(network_find(&world->model, "brnat"), world->model.networks.items);
    assert_ptr_equal(machine_find(&world->model, "vm0"), world->model.machines.items);
    assert_null(network_find(&world->model, "vm0"));
    assert_null(machine_find(&world->model, "brnat"));

    struct observed observed = {0};
    *vec_push(&world->arena, &observed.links) = (struct link){.name = "re1", .index = 7};
    *vec_push(&world->arena, &observed.files) = (struct file){.path = "/run/vmwire/former"};
    assert_ptr_equal(link_find(&observed, "re1"), observed.links.items);
    assert_ptr_equal(link_by_index(&observed, 7), observed.links.items);
    assert_ptr_equal(file_find(&observed, "/run/vmwire/former"), observed.files.items);
    assert_null(link_find(&observed, "re0"));
    assert_null(link_by_index(&observed, 1));
    assert_null(file_find(&observed, "/run/vmwire"));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_that_an_interface_cannot_have_are_faults),
        TEST(derived_macs_are_stable_local_unicast_and_apart),
        TEST(an_automatic_subnet6_is_unique_local_stable_and_each_networks_own),
        TEST(a_slaac_address_is_made_from_the_mac),
        TEST(check_fills_in_macs_ranges_and_queues),
        TEST(overlap_names_the_other_whatever_the_order),
        TEST(two_bridged_networks_may_share_a_segment_but_not_with_nat),
        TEST(duplicate_macs_are_found_across_machines),
        TEST(one_place_in_two_spellings_is_one_device),
        TEST(two_nat_networks_may_share_an_uplink),
        TEST(four_thousand_machines_are_checked_fast),
        TEST(owner_tags_come_back_as_they_were_made),
        TEST(foreign_or_forged_aliases_are_no_tags),
        TEST(routes_differ_in_every_settable_member),
        TEST(slots_of_ipv6_routes_have_an_interface_and_gateway),
        TEST(addresses_are_one_by_interface_prefix_and_peer),
        TEST(entries_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
