/* test_map.c: the picture: what is drawn of a host, what is broken in it, what is put together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "base/text.h"
#include "diag/map.h"
#include "host/freebsd/freebsd.h"

struct world {
    struct arena arena;
    struct model model;
    struct observed observed;
    struct map_request request;
    struct findings findings;
    struct map map;
};

static struct link *add_link(struct world *world, const char *name, const char *kind, const char *master,
                             const char *alias)
{
    struct link *link = vec_push(&world->arena, &world->observed.links);
    *link = (struct link){.name = name,
                          .kind = kind,
                          .master = master,
                          .alias = alias,
                          .mtu = 1500,
                          .up = true,
                          .carrier = true,
                          .index = (int)world->observed.links.count};
    return link;
}

static void add_address(struct world *world, const char *ifname, const char *prefix)
{
    struct address *address = vec_push(&world->arena, &world->observed.addresses);
    *address = (struct address){.ifname = ifname};
    assert_int_equal(prefix_parse(prefix, &address->prefix), 0);
}

static void add_file(struct world *world, const char *path, const char *content)
{
    *vec_push(&world->arena, &world->observed.files) = (struct file){.path = path, .content = content};
}

static void add_nic(struct world *world, const char *tap, const char *network, const char *machine,
                    unsigned number)
{
    struct mac mac = {{0, 0xa0, 0x98, 0x1b, (uint8_t)(number >> 8), (uint8_t)number}};
    struct map_lease *lease = vec_push(&world->arena, &world->request.leases);
    *lease = (struct map_lease){.mac = mac, .ip = {.family = AF_INET, .bytes = {10, 0, 0, (uint8_t)number}}};
    add_link(world, tap, "tun", network,
             owner_nic_tag(&world->arena,
                           &(struct wired_nic){.network = network, .machine = machine, .mac = mac}));
}

/* The article's host with all three of its schemes at once. */
static int setup(void **state)
{
    struct world *world = test_calloc(1, sizeof(*world));
    struct observed *observed = &world->observed;
    observed->run_dir = "/run/vmwire";
    observed->firewall_base = true;
    world->request.model = &world->model;
    world->request.observed = observed;
    world->findings.arena = &world->arena;
    world->request.findings = &world->findings;
    add_link(world, "re0", "", "", "");
    add_link(world, "re1", "", "brext", "");
    add_link(world, "brnat", "bridge", "", "vmwire:brnat");
    add_link(world, "brext", "bridge", "", "vmwire:brext");
    add_address(world, "re0", "192.168.87.44/24");
    add_address(world, "brnat", "10.0.0.1/24");
    add_address(world, "brext", "192.168.87.46/24");
    for (int i = 0; i < 2; i++) {
        struct route *route = vec_push(&world->arena, &observed->routes);
        *route = (struct route){.table = 254, .ifname = i ? "brext" : "re0", .to.ip.family = AF_INET};
        ip_parse("192.168.87.1", &route->gateway);
        route->metric = i ? 100 : 0;
    }
    *vec_push(&world->arena, &observed->forwarding) =
        (struct forwarding_sysctl){.name = "net.ipv4.ip_forward", .now = "1", .wanted = "1"};
    *vec_push(&world->arena, &observed->firewalls) = (struct firewall){.network = "brnat"};
    add_file(world, "/run/vmwire/network/brnat/record", "mode nat\n");
    add_file(world, "/run/vmwire/network/brext/record", "mode bridged\nformer link-set ifname=re1 up=1\n");
    add_file(world, "/run/vmwire/device/0000:04:00.0",
             "network nic1\nmachine vm2\n"
             "former device-unbind network=nic1 address=0000:04:00.0 driver=e1000e ifname=re2\n");
    *vec_push(&world->arena, &observed->devices) = (struct device){
        .address = "0000:04:00.0", .driver = "vfio-pci", .ifname = "", .parent = "", .group = 3};
    add_nic(world, "tap0", "brnat", "vm0", 10);
    add_nic(world, "tap1", "brext", "vm1", 11);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    arena_free(&world->arena);
    test_free(world);
    return 0;
}

static void build(struct world *world)
{
    map_build(&world->arena, &world->request, &world->map);
}

static const struct map_node *node(const struct world *world, const char *id)
{
    vec_foreach (&world->map.nodes, found) {
        if (strcmp(found->id, id) == 0)
            return found;
    }
    fail_msg("there is no node %s", id);
    return NULL;
}

/* "from-to" of every edge, with '!' where it is broken. */
static const char *edges(struct world *world)
{
    struct text out = {.arena = &world->arena};
    vec_foreach (&world->map.edges, edge)
        text_add(&out, "%s%s %s\n", edge->broken ? "! " : "", world->map.nodes.items[edge->from].id,
                 world->map.nodes.items[edge->to].id);
    return text_get(&out);
}

/* "CODE " of each reason of a node. */
static const char *codes(struct world *world, const char *id)
{
    struct text out = {.arena = &world->arena};
    vec_foreach (&node(world, id)->reasons, reason)
        text_add(&out, "%s ", reason->code);
    return text_get(&out);
}

static size_t not_fine(const struct world *world)
{
    size_t count = world->map.elsewhere.count;
    vec_foreach (&world->map.nodes, found)
        count += found->state != MAP_FINE;
    return count;
}

static void test_three_schemes(void **state)
{
    struct world *world = *state;
    build(world);
    assert_string_equal(edges(world), "router:192.168.87.1 uplink:re0\n"
                                      "uplink:re0 nat:brnat\n"
                                      "nat:brnat bridge:brnat\n"
                                      "router:192.168.87.1 uplink:re1\n"
                                      "uplink:re1 bridge:brext\n"
                                      "bridge:brnat nic:tap0\n"
                                      "nic:tap0 machine:vm0\n"
                                      "bridge:brext nic:tap1\n"
                                      "nic:tap1 machine:vm1\n"
                                      "segment:re2 device:re2\n"
                                      "device:re2 machine:vm2\n");
    assert_int_equal(not_fine(world), 0);
    assert_string_equal(node(world, "nat:brnat")->lines.items[0], "10.0.0.0/24 as 192.168.87.44");
    assert_string_equal(node(world, "device:re2")->lines.items[0], "PCI 0000:04:00.0");
    assert_string_equal(node(world, "machine:vm0")->lines.items[0], "10.0.0.10");
}

static void test_nat_shows_its_forwards(void **state)
{
    struct world *world = *state;
    struct forwards *forwards = &world->observed.firewalls.items[0].forwards;
    for (unsigned i = 0; i < 6; i++) {
        const char *text = arena_printf(&world->arena, "tcp %u -> 10.0.0.10:22", 2200 + i * 10), *name;
        assert_null(forward_parse(&world->arena, text, vec_push(&world->arena, &forwards->list), &name));
    }
    build(world);
    const struct map_node *nat = node(world, "nat:brnat");
    assert_int_equal(nat->lines.count, 6);
    assert_string_equal(nat->lines.items[1], "tcp 2200 -> 10.0.0.10:22");
    assert_string_equal(nat->lines.items[5], "and 2 more");
}

static void test_broken_parts_carry_their_reasons(void **state)
{
    struct world *world = *state;
    struct link *links = world->observed.links.items;
    links[0].carrier = false;
    links[1].master = "";
    links[4].up = false;
    links[5].master = "";
    world->observed.firewalls.count = 0;
    world->observed.forwarding.items[0].now = "0";
    world->observed.devices.count = 0;
    build(world);
    assert_string_equal(codes(world, "uplink:re0"), "uplink-no-carrier ");
    assert_string_equal(codes(world, "uplink:re1"), "uplink-unplugged ");
    assert_string_equal(codes(world, "nic:tap0"), "nic-down ");
    assert_string_equal(codes(world, "nic:tap1"), "nic-unplugged ");
    assert_string_equal(codes(world, "nat:brnat"), "masquerade-missing forwarding-off ");
    assert_string_equal(codes(world, "device:re2"), "device-missing ");
    assert_non_null(strstr(edges(world), "! uplink:re1 bridge:brext\n"));
    assert_non_null(strstr(edges(world), "! bridge:brext nic:tap1\n"));
    assert_null(strstr(edges(world), "! bridge:brnat nic:tap0\n"));
}

static void test_a_bridge_that_is_gone_is_known_by_its_record(void **state)
{
    struct world *world = *state;
    world->observed.links.items[2].alias = "";
    build(world);
    assert_string_equal(codes(world, "bridge:brnat"), "bridge-missing ");
    assert_non_null(strstr(edges(world), "! nat:brnat bridge:brnat\n"));
}

/* `bind: up`: there is a record, and never was a bridge. */
static void test_a_bound_device_misses_no_bridge(void **state)
{
    struct world *world = *state;
    add_file(world, "/run/vmwire/network/nic1/record", "mode passthrough\n");
    build(world);
    assert_int_equal(not_fine(world), 0);
    assert_null(strstr(edges(world), "bridge:nic1"));
}

static void test_findings_are_drawn_where_they_are(void **state)
{
    struct world *world = *state;
    finding_add(&world->findings, "router-silent", "network 'brnat'");
    finding_add(&world->findings, "forward-refused", "the host");
    finding_title(&world->findings, finding_add(&world->findings, "dnsmasq-dead", "network 'brnat'"), "gone");
    finding_add(&world->findings, "dnsmasq-dead", "network 'brnat'");
    finding_add(&world->findings, "guest-silent", "machine 'vm1'");
    finding_add(&world->findings, "subnet-overlap", "network 'nowhere'");
    finding_add(&world->findings, "packet-program", "network 'brext'");
    finding_add(&world->findings, "network-down", "network 'other'");
    *vec_push(&world->arena, &world->request.drift) = (struct map_drift){"brext", "adding port 'x'"};
    *vec_push(&world->arena, &world->request.drift) = (struct map_drift){"", "setting a sysctl"};
    build(world);
    assert_string_equal(codes(world, "router:192.168.87.1"), "router-silent ");
    assert_string_equal(codes(world, "nat:brnat"), "forward-refused ");
    assert_string_equal(codes(world, "bridge:brnat"), "dnsmasq-dead ");
    assert_string_equal(codes(world, "machine:vm1"), "guest-silent ");
    assert_int_equal(node(world, "machine:vm1")->state, MAP_WARNED);
    assert_string_equal(codes(world, "bridge:brext"), "network-drifted ");
    assert_int_equal(node(world, "bridge:brext")->state, MAP_BROKEN);
    assert_int_equal(world->map.elsewhere.count, 2);
    assert_non_null(strstr(world->map.elsewhere.items[0].text, "nowhere"));
}

static void test_what_the_file_has_and_the_host_has_not(void **state)
{
    struct world *world = *state;
    *vec_push(&world->arena, &world->model.networks) =
        (struct network){.name = "later", .mode = NETWORK_BRIDGED, .uplink = "re9"};
    *vec_push(&world->arena, &world->model.machines) = (struct machine){.name = "vm0"};
    *vec_push(&world->arena, &world->model.machines) = (struct machine){.name = "vm7"};
    build(world);
    assert_int_equal(world->map.networks_down.count, 1);
    assert_string_equal(world->map.networks_down.items[0], "later");
    assert_int_equal(world->map.machines_stopped.count, 1);
    assert_string_equal(world->map.machines_stopped.items[0], "vm7");
    assert_int_equal(not_fine(world), 0);
}

static void test_many_guests_become_one_box_and_broken_ones_stay_out(void **state)
{
    struct world *world = *state;
    for (unsigned i = 1; i <= 60; i++)
        add_nic(world, arena_printf(&world->arena, "tap%u", 100 + i), "brnat",
                arena_printf(&world->arena, "web%u", i), 100 + i);
    world->observed.links.items[world->observed.links.count - 1].up = false;
    build(world);
    map_group(&world->map, 8);
    assert_int_equal(world->map.groups, 1);
    assert_int_equal(node(world, "machine:web1")->group, 1);
    assert_int_equal(node(world, "nic:tap101")->group, 1);
    assert_int_equal(node(world, "machine:web60")->group, 0);
    assert_int_equal(node(world, "machine:vm1")->group, 0); /* the only one on its network */
    const char *dot = map_dot(&world->map);
    assert_non_null(strstr(dot, "<B>60 guests</B>"));
    assert_non_null(strstr(dot, ">60 taps</TD>"));
    assert_non_null(strstr(dot, "the nic's tap is down"));
}

static void test_guests_with_another_rate_are_another_box(void **state)
{
    struct world *world = *state;
    for (unsigned i = 1; i <= 20; i++) {
        add_nic(world, arena_printf(&world->arena, "tap%u", 100 + i), "brnat",
                arena_printf(&world->arena, "web%u", i), 100 + i);
        struct link *link = &world->observed.links.items[world->observed.links.count - 1];
        link->rates[RATE_IN].rate = (struct rate){i % 2 ? 5000000 : 0, 65536};
    }
    build(world);
    map_group(&world->map, 8);
    assert_int_equal(world->map.groups, 2);
    assert_int_not_equal(node(world, "machine:web1")->group, node(world, "machine:web2")->group);
    const char *dot = map_dot(&world->map), *once = strstr(dot, ">brnat: rate in 5Mbit<");
    assert_non_null(once);
    assert_null(strstr(once + strlen(">brnat: rate"), "rate in"));
}

static void test_what_is_wrong_with_many_is_said_once(void **state)
{
    struct world *world = *state;
    for (unsigned i = 1; i <= 20; i++) {
        const char *name = arena_printf(&world->arena, "web%u", i);
        add_nic(world, arena_printf(&world->arena, "tap%u", 100 + i), "brnat", name, 100 + i);
        finding_add(&world->findings, "guest-silent", arena_printf(&world->arena, "machine '%s'", name));
    }
    build(world);
    map_group(&world->map, 8);
    assert_int_equal(world->map.groups, 1);
    assert_int_equal(node(world, "machine:vm0")->group, 0);
    assert_int_equal(node(world, "machine:web7")->group, 1);
    const char *dot = map_dot(&world->map), *once = strstr(dot, "the guest has never sent a frame");
    assert_non_null(once);
    assert_null(strstr(once + 1, "the guest has never sent a frame"));
}

static void test_a_finding_of_a_tap_is_at_the_tap(void **state)
{
    struct world *world = *state;
    finding_evidence(&world->findings, finding_add(&world->findings, "port-blocked", "machine 'vm0'"),
                     "the bridge's port 'tap0' is blocking");
    finding_add(&world->findings, "nic-down", "nic 'tap1'");
    build(world);
    assert_string_equal(codes(world, "nic:tap0"), "port-blocked ");
    assert_string_equal(codes(world, "nic:tap1"), "nic-down ");
}

static void test_addresses_that_the_kernel_knows(void **state)
{
    struct world *world = *state;
    world->request.leases.count = 0;
    struct neighbour *guest = vec_push(&world->arena, &world->observed.health.neighbours);
    *guest = (struct neighbour){.ifname = "brext", .mac = {{0, 0xa0, 0x98, 0x1b, 0, 11}}};
    ip_parse("192.168.87.47", &guest->ip);
    struct neighbour *router = vec_push(&world->arena, &world->observed.health.neighbours);
    *router = (struct neighbour){.ifname = "re0", .mac = {{0x40, 0x4a, 3, 0x76, 0xde, 0x1d}}};
    ip_parse("192.168.87.1", &router->ip);
    build(world);
    assert_string_equal(node(world, "machine:vm1")->lines.items[0], "192.168.87.47");
    assert_string_equal(node(world, "router:192.168.87.1")->lines.items[0], "40:4a:03:76:de:1d");
    assert_string_equal(node(world, "machine:vm0")->lines.items[0], "00:a0:98:1b:00:0a");
}

static void test_a_network_that_shares_its_mac(void **state)
{
    struct world *world = *state;
    world->request.leases.count = 0;
    *vec_push(&world->arena, &world->observed.shareds) =
        (struct shared){.network = "brext", .mac = {{0x18, 0xa6, 0xf7, 1, 0x66, 0x52}}};
    struct shared_address *address = vec_push(&world->arena, &world->observed.shared_addresses);
    *address =
        (struct shared_address){.network = "brext", .mac = {{0, 0xa0, 0x98, 0x1b, 0, 11}}, .held = true};
    ip_parse("192.168.87.47", &address->ip);
    build(world);
    assert_string_equal(node(world, "bridge:brext")->lines.items[1], "the wire sees 18:a6:f7:01:66:52 alone");
    assert_string_equal(node(world, "machine:vm1")->lines.items[0], "192.168.87.47");
}

/* What a real FreeBSD 12.1 printed, with the descriptions that vmwire would have given. */
static void test_a_freebsd_host(void **state)
{
    struct world *world = *state;
    char text[8192];
    const char *path =
        arena_printf(&world->arena, "%s/tests/unit/freebsd/ifconfig-bridges.txt", getenv("VMWIRE_SOURCE"));
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    world->observed = (struct observed){.run_dir = "/var/run/vmwire", .firewall_base = true};
    freebsd_ifconfig_parse(&world->arena, text, &world->observed, NULL);
    vec_foreach (&world->observed.links, link) {
        link->alias = strcmp(link->name, "brext") == 0   ? "vmwire:brext"
                      : strcmp(link->name, "brnat") == 0 ? "vmwire:brnat"
                      : strcmp(link->name, "tap0") == 0  ? "vmwire:brext vm0/0 00:a0:98:1b:c8:07"
                                                         : "";
    }
    add_file(world, "/var/run/vmwire/network/brext/record",
             "mode bridged\nformer link-set ifname=vtnet0 up=1\n");
    add_file(world, "/var/run/vmwire/network/brnat/record", "mode nat\n");
    *vec_push(&world->arena, &world->observed.firewalls) = (struct firewall){.network = "brnat"};
    *vec_push(&world->arena, &world->observed.forwarding) =
        (struct forwarding_sysctl){.name = "net.inet.ip.forwarding", .now = "0", .wanted = "1"};
    build(world);
    assert_string_equal(edges(world), "segment:vtnet0 uplink:vtnet0\n"
                                      "uplink:vtnet0 bridge:brext\n"
                                      "nat:brnat bridge:brnat\n"
                                      "bridge:brext nic:tap0\n"
                                      "! nic:tap0 machine:vm0\n"); /* bhyve has not opened it */
    assert_string_equal(codes(world, "nat:brnat"), "no-default-route forwarding-off ");
    assert_string_equal(codes(world, "nic:tap0"), "guest-driver-down ");
    assert_string_equal(node(world, "bridge:brnat")->lines.items[0], "10.0.0.1/24");
}

static void test_few_guests_are_drawn_one_by_one(void **state)
{
    struct world *world = *state;
    build(world);
    map_group(&world->map, 8);
    assert_int_equal(world->map.groups, 0);
}

/* dot's labels are XML: what somebody called something must not become part of it. */
static void test_names_are_escaped_for_dot(void **state)
{
    struct world *world = *state;
    add_link(world, "a<b>&\"\x1b\xff", "veth", "brnat", "");
    build(world);
    const char *dot = map_dot(&world->map);
    assert_non_null(strstr(dot, "a&lt;b&gt;&amp;&quot;?\xef\xbf\xbd"));
    assert_null(strstr(dot, "a<b"));
    assert_null(strchr(dot, 0x1b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_three_schemes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nat_shows_its_forwards, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_parts_carry_their_reasons, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_bridge_that_is_gone_is_known_by_its_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_bound_device_misses_no_bridge, setup, teardown),
        cmocka_unit_test_setup_teardown(test_findings_are_drawn_where_they_are, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_the_file_has_and_the_host_has_not, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_guests_become_one_box_and_broken_ones_stay_out, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_guests_with_another_rate_are_another_box, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_wrong_with_many_is_said_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_finding_of_a_tap_is_at_the_tap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_addresses_that_the_kernel_knows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_network_that_shares_its_mac, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_freebsd_host, setup, teardown),
        cmocka_unit_test_setup_teardown(test_few_guests_are_drawn_one_by_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names_are_escaped_for_dot, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
