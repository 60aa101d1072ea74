/* test_plan.c: plans from hand-made observations, as the text of their operations; records and operations as
 * text. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include <sys/socket.h>

#include "base/text.h"
#include "plan/plan.h"

struct world {
    struct arena arena;
    struct model model;
    struct observed observed;
    struct problems problems;
};

static struct prefix prefix(const char *text)
{
    struct prefix parsed;
    assert_int_equal(prefix_parse(text, &parsed), 0);
    return parsed;
}

static struct ip ip(const char *text)
{
    struct ip parsed;
    assert_int_equal(ip_parse(text, &parsed), 0);
    return parsed;
}

static int setup(void **state)
{
    struct world *world = test_calloc(1, sizeof(*world));
    world->problems.arena = &world->arena;
    world->observed.run_dir = "/run/vmwire";
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

static struct link *add_link(struct world *world, const char *name)
{
    struct link *link = vec_push(&world->arena, &world->observed.links);
    *link = (struct link){.name = name,
                          .kind = "",
                          .alias = "",
                          .master = "",
                          .mtu = 1500,
                          .up = true,
                          .carrier = true,
                          .index = (int)world->observed.links.count,
                          .ipv6 = true};
    mac_parse("18:a6:f7:01:66:51", &link->mac);
    return link;
}

static struct network *add_network(struct world *world, const char *name, enum network_mode mode)
{
    struct network *network = vec_push(&world->arena, &world->model.networks);
    *network = (struct network){.name = name,
                                .mode = mode,
                                .pos = {2, 3},
                                .uplink_pos = {3, 13},
                                .subnet_pos = {4, 13},
                                .address_pos = {5, 14}};
    return network;
}

static void add_home(struct world *world)
{
    add_link(world, "re0");
    *vec_push(&world->arena, &world->observed.addresses) =
        (struct address){.ifname = "re0", .prefix = prefix("192.168.87.44/24"), .label = ""};
    *vec_push(&world->arena, &world->observed.routes) = (struct route){.table = 254,
                                                                       .to = prefix("192.168.87.0/24"),
                                                                       .ifname = "re0",
                                                                       .protocol = 2,
                                                                       .type = 1,
                                                                       .scope = 253};
    *vec_push(&world->arena, &world->observed.routes) = (struct route){.table = 254,
                                                                       .to = prefix("0.0.0.0/0"),
                                                                       .ifname = "re0",
                                                                       .protocol = 3,
                                                                       .type = 1,
                                                                       .gateway = ip("192.168.87.1")};
}

static const char *plan_text(struct world *world, bool down)
{
    struct plan_request request = {.model = down ? NULL : &world->model, .observed = &world->observed};
    struct plan plan;
    struct err err = {0};
    assert_int_equal(plan_make(&world->arena, &request, &world->problems, &plan, &err), 0);
    struct text out = {.arena = &world->arena};
    vec_foreach (&plan.steps, step) {
        text_add(&out, "%s", op_kind_name(step->op.kind));
        if (step->op.kind != OP_FILE_WRITE && step->op.kind != OP_FILE_REMOVE)
            text_add(&out, " %s", op_describe(&world->arena, &step->op));
        text_add(&out, "\n");
    }
    return text_get(&out);
}

static void keep_moves_the_host_without_a_gap(void **state)
{
    struct world *world = *state;
    add_home(world);
    add_network(world, "brext", NETWORK_BRIDGED)->uplink = "re0";
    assert_string_equal(plan_text(world, false),
                        "file-write\n"
                        "link-create creating bridge 'brext'\n"
                        "address-add adding address 192.168.87.44/24 to 'brext'\n"
                        "port-add adding port 're0' to bridge 'brext'\n"
                        "route-replace moving route default via 192.168.87.1 to 'brext'\n"
                        "address-remove removing address 192.168.87.44/24 from 're0'\n");
    assert_int_equal(problem_count(&world->problems), 0);
}

/* Entered before the host's traffic moves, removed by name before the address that would take it along. */
static void neighbours_move_with_the_addresses(void **state)
{
    struct world *world = *state;
    add_home(world);
    struct fixed_neighbour *neighbour = vec_push(&world->arena, &world->observed.neighbours);
    *neighbour = (struct fixed_neighbour){.ifname = "re0", .ip = ip("192.168.87.9")};
    mac_parse("02:00:00:00:00:09", &neighbour->mac);
    struct network *network = add_network(world, "brext", NETWORK_BRIDGED);
    network->uplink = "re0";
    assert_string_equal(plan_text(world, false),
                        "file-write\n"
                        "link-create creating bridge 'brext'\n"
                        "address-add adding address 192.168.87.44/24 to 'brext'\n"
                        "neighbour-add entering neighbour 192.168.87.9 on 'brext'\n"
                        "port-add adding port 're0' to bridge 'brext'\n"
                        "route-replace moving route default via 192.168.87.1 to 'brext'\n"
                        "neighbour-remove removing neighbour 192.168.87.9 from 're0'\n"
                        "address-remove removing address 192.168.87.44/24 from 're0'\n");
    network->address = ADDRESS_STATIC; /* and only those that the host still reaches */
    network->address_prefix = prefix("192.168.87.7/24");
    assert_non_null(strstr(plan_text(world, false), "entering neighbour 192.168.87.9 on 'brext'"));
    neighbour->ip = ip("10.9.0.9");
    assert_null(strstr(plan_text(world, false), "entering neighbour"));
}

/* Docker and ufw in one table; ufw's own places are taken then. */
static void other_firewalls_are_asked_as_little_as_will_do(void **state)
{
    struct world *world = *state;
    struct iptables_filter *filter = &world->observed.foreign.filters[FILTER_IPV4];
    struct network *network = add_network(world, "brnat", NETWORK_NAT);
    network->subnet = prefix("10.0.0.0/24");
    add_home(world);
    filter->docker = true;
    assert_null(strstr(plan_text(world, false), "admission")); /* its policy is accept */
    filter->forward_closed = true;
    const char *plan = plan_text(world, false);
    assert_non_null(strstr(plan, "admission-add adding the rule in the firewall's chain 'FORWARD' (table 'ip "
                                 "filter') that lets packets from guests of 'brnat' pass\n"));
    assert_null(strstr(plan, "DHCP requests"));
    filter->ufw = filter->input_closed = true;
    plan = plan_text(world, false);
    assert_null(strstr(plan, "'FORWARD'"));
    assert_non_null(strstr(plan, "'ufw-after-forward' (table 'ip filter') that lets packets to guests"));
    assert_null(strstr(plan, "DHCP requests")); /* `dhcp: off` */
    assert_non_null(strstr(plan, "'ufw-after-input' (table 'ip filter') that lets DNS requests"));
    network->dhcp = true;
    assert_non_null(strstr(plan_text(world, false), "DHCP requests"));
}

static void a_zone_is_second_to_rules_and_to_the_administrators_word(void **state)
{
    struct world *world = *state;
    struct foreign_firewalls *foreign = &world->observed.foreign;
    add_network(world, "brnat", NETWORK_NAT)->subnet = prefix("10.0.0.0/24");
    add_home(world);
    foreign->firewalld = foreign->zones_known = true;
    *vec_push(&world->arena, &foreign->zones) = "libvirt";
    *vec_push(&world->arena, &foreign->zones) = "vmwire";
    const char *plan = plan_text(world, false);
    assert_null(strstr(plan, "zone-add"));
    assert_non_null(strstr(plan, "'filter_FORWARD' (table 'inet firewalld') that lets packets from guests"));
    foreign->firewalld_owned = true;
    plan = plan_text(world, false);
    assert_non_null(strstr(plan, "zone-add adding 'brnat' to the firewall's zone 'vmwire'\n"));
    assert_null(strstr(plan, "admission"));
    *vec_push(&world->arena, &foreign->members) = (struct zone_member){"brnat", "block"};
    plan = plan_text(world, false);
    assert_null(strstr(plan, "zone-"));
    assert_null(strstr(plan, "admission"));
}

static void a_bridge_is_in_its_uplinks_zone_before_it_has_its_addresses(void **state)
{
    struct world *world = *state;
    struct foreign_firewalls *foreign = &world->observed.foreign;
    add_home(world);
    add_network(world, "brext", NETWORK_BRIDGED)->uplink = "re0";
    foreign->firewalld = foreign->zones_known = true;
    assert_null(strstr(plan_text(world, false), "zone-"));
    *vec_push(&world->arena, &foreign->members) = (struct zone_member){"re0", "internal"};
    const char *plan = plan_text(world, false);
    const char *zone = strstr(plan, "zone-add adding 'brext' to the firewall's zone 'internal'\n");
    assert_non_null(zone);
    assert_non_null(strstr(zone, "address-add"));
    /* As vmwire left it: nothing to do; firewalld went: nothing to forget. */
    *vec_push(&world->arena, &world->observed.files) =
        (struct file){.path = "/run/vmwire/network/brext/record",
                      .content = "mode bridged\nmade zone-add network=brext ifname=brext zone=internal\n",
                      .mode = 0600};
    *vec_push(&world->arena, &foreign->members) = (struct zone_member){"brext", "internal"};
    assert_non_null(strstr(plan_text(world, true), "zone-remove removing 'brext'"));
    *foreign = (struct foreign_firewalls){0};
    assert_null(strstr(plan_text(world, true), "zone-"));
}

static void networkd_is_told_last_and_only_where_it_runs(void **state)
{
    struct world *world = *state;
    add_home(world);
    add_network(world, "brext", NETWORK_BRIDGED)->uplink = "re0";
    assert_null(strstr(plan_text(world, false), "networkd"));
    world->observed.networkd = true;
    const char *line = "unmanage telling systemd-networkd to leave 'brext re0' alone\n";
    const char *plan = plan_text(world, false);
    assert_string_equal(plan + strlen(plan) - strlen(line), line);
    *vec_push(&world->arena, &world->observed.unmanaged) = (struct unmanaged){"brext", "brext re0"};
    assert_null(strstr(plan_text(world, false), "networkd"));
    world->observed.networkd = false; /* stopped: the file goes all the same */
    assert_non_null(strstr(plan_text(world, true), "manage giving 'brext re0' back to systemd-networkd\n"));
}

/* Also where nothing but the rule is left: iptables-save kept it, and the host was started anew. */
static void rules_in_other_firewalls_go_with_their_network(void **state)
{
    struct world *world = *state;
    *vec_push(&world->arena, &world->observed.admissions) = (struct admission){
        .network = "brold", .family = "ip", .table = "filter", .chain = "FORWARD", .kind = "from"};
    assert_string_equal(plan_text(world, true),
                        "admission-remove removing the rule in the firewall's chain 'FORWARD' (table 'ip "
                        "filter') that lets packets from guests of 'brold' pass\n");
}

static const char *first_problem(struct world *world)
{
    assert_int_not_equal(world->problems.list.count, 0);
    return problem_text(&world->problems, &world->problems.list.items[0]);
}

static void none_on_the_default_route_is_refused(void **state)
{
    struct world *world = *state;
    add_home(world);
    struct network *network = add_network(world, "brext", NETWORK_BRIDGED);
    network->uplink = "re0";
    network->address = ADDRESS_NONE;
    plan_text(world, false);
    assert_non_null(
        strstr(first_problem(world), ":5:14: network 'brext': 'address: none' would cut this host off"));
}

static void uplinks_that_cannot_be_are_refused(void **state)
{
    struct world *world = *state;
    add_link(world, "br0")->kind = "bridge";
    add_link(world, "re1")->master = "br0";
    const struct {
        const char *uplink, *text;
    } cases[] = {{"re9", "uplink 're9' does not exist on this host; did you mean 're1'?"},
                 {"br0", "is itself a bridge"},
                 {"re1", "is already a port of 'br0'"}};
    struct network *network = add_network(world, "brext", NETWORK_BRIDGED);
    for (size_t i = 0; i < 3; i++) {
        world->problems.list.count = 0;
        network->uplink = cases[i].uplink;
        plan_text(world, false);
        assert_non_null(strstr(first_problem(world), cases[i].text));
        assert_non_null(strstr(first_problem(world), ":3:13:"));
    }
}

static void a_subnet_that_is_routed_is_refused_with_the_route(void **state)
{
    struct world *world = *state;
    add_home(world);
    add_network(world, "brnat", NETWORK_NAT)->subnet = prefix("192.168.0.0/16");
    plan_text(world, false);
    assert_non_null(strstr(first_problem(world), "overlaps the route 192.168.87.0/24 dev re0"));
}

static void a_foreign_interface_of_that_name_is_refused(void **state)
{
    struct world *world = *state;
    add_home(world);
    add_link(world, "brnat");
    add_network(world, "brnat", NETWORK_NAT)->subnet = prefix("10.0.0.0/24");
    plan_text(world, false);
    assert_non_null(strstr(first_problem(world), "it is not vmwire's"));
}

static void rules_of_networks_that_come_or_go_are_one_transaction(void **state)
{
    struct world *world = *state;
    add_home(world);
    add_network(world, "br0", NETWORK_NAT)->subnet = prefix("10.0.0.0/24");
    add_network(world, "br1", NETWORK_NAT)->subnet = prefix("10.0.1.0/24");
    world->model.networks.items[0].lock[LOCK_MAC] = world->model.networks.items[1].lock[LOCK_MAC] = true;
    const char *up = plan_text(world, false);
    assert_ptr_equal(strstr(up, "lock-set"), up);
    assert_non_null(strstr(up, "\nfirewall-set setting the firewall rules of 'br0'\nlock-set"));
    assert_non_null(
        strstr(up, "\nfirewall-set setting the firewall rules of 'br1'\nfile-write\nlink-create"));
    /* Guests of a bridge that is there are never without them. */
    for (size_t i = 0; i < 2; i++) {
        const char *name = i ? "br1" : "br0";
        struct link *bridge = add_link(world, name);
        bridge->kind = "bridge";
        bridge->alias = i ? "vmwire:br1" : "vmwire:br0";
        add_link(world, i ? "tap1" : "tap0")->master = name;
        *vec_push(&world->arena, &world->observed.firewalls) =
            (struct firewall){.network = name, .bridge = name, .uplink = "", .way = ""};
        *vec_push(&world->arena, &world->observed.firewall_traces) = name;
        *vec_push(&world->arena, &world->observed.locks) = (struct lock){.network = name};
    }
    const char *down = plan_text(world, true), *rules = strstr(down, "firewall-remove");
    assert_non_null(strstr(rules, "\nlock-remove"));
    assert_null(strstr(rules, "port-remove"));
    assert_non_null(strstr(down, "\nlink-delete deleting bridge 'br0'\nlink-delete deleting bridge 'br1'\n"));
}

static void forwarding_comes_last_and_is_recorded(void **state)
{
    struct world *world = *state;
    add_home(world);
    *vec_push(&world->arena, &world->observed.forwarding) =
        (struct forwarding_sysctl){.name = "net.ipv4.ip_forward", .now = "0", .wanted = "1"};
    add_network(world, "brnat", NETWORK_NAT)->subnet = prefix("10.0.0.0/24");
    assert_string_equal(plan_text(world, false), "firewall-set setting the firewall rules of 'brnat'\n"
                                                 "file-write\n"
                                                 "link-create creating bridge 'brnat'\n"
                                                 "address-add adding address 10.0.0.1/24 to 'brnat'\n"
                                                 "file-write\n"
                                                 "sysctl-set setting sysctl net.ipv4.ip_forward to '1'\n");
}

static const char *kinds_of(struct world *world, const struct plan_request *request)
{
    struct plan plan;
    struct text out = {.arena = &world->arena};
    assert_int_equal(plan_make(&world->arena, request, &world->problems, &plan, NULL), 0);
    vec_foreach (&plan.steps, step) {
        if (step->op.kind == OP_SERVICE_START || step->op.kind == OP_SERVICE_STOP ||
            step->op.kind == OP_LINK_CREATE || step->op.kind == OP_LINK_DELETE)
            text_add(&out, "%s%s %s", out.length ? ", " : "", op_kind_name(step->op.kind), step->op.network);
    }
    return text_get(&out);
}

/* What waits is together; a DHCP client is how the host has its address, and is not apart from it. */
static void servers_start_last_stop_first_and_bridges_go_together(void **state)
{
    struct world *world = *state;
    struct plan_request request = {.model = &world->model, .observed = &world->observed};
    add_home(world);
    add_network(world, "one", NETWORK_NAT)->subnet = prefix("10.0.1.0/24");
    add_network(world, "two", NETWORK_NAT)->subnet = prefix("10.0.2.0/24");
    struct network *lan = add_network(world, "lan", NETWORK_BRIDGED);
    lan->uplink = "re0";
    const char *const names[] = {"one", "lan", "two"};
    for (size_t i = 0; i < 3; i++) {
        const char *kind = i == 1 ? "dhcp-client" : "dnsmasq";
        struct service service = {
            .network = names[i], .kind = kind, .argv = (const char *const[]){kind, NULL}};
        struct network_services *services = vec_push(&world->arena, &request.services);
        services->network = names[i];
        *vec_push(&world->arena, &services->services) = service;
        *vec_push(&world->arena, &world->observed.services) = service;
    }
    assert_string_equal(kinds_of(world, &request),
                        "service-stop one, service-stop two, link-create one, link-create two, "
                        "service-stop lan, link-create lan, service-start lan, service-start one, "
                        "service-start two");
    for (size_t i = 0; i < 3; i++) {
        struct link *bridge = add_link(world, names[i]);
        bridge->kind = "bridge";
        bridge->alias = owner_tag(&world->arena, names[i]);
    }
    request = (struct plan_request){.observed = &world->observed};
    assert_string_equal(kinds_of(world, &request),
                        "service-stop one, service-stop two, service-stop lan, link-delete one, "
                        "link-delete lan, link-delete two");
}

static void nothing_here_means_nothing_to_take_down(void **state)
{
    struct world *world = *state;
    add_home(world);
    assert_string_equal(plan_text(world, true), "");
}

static struct network *add_shared(struct world *world)
{
    add_home(world);
    struct network *network = add_network(world, "brext", NETWORK_BRIDGED);
    network->uplink = "re0";
    network->mac_shared = true;
    network->mac_pos = (struct pos){6, 10};
    return network;
}

static struct shared_address fixed(const char *address, const char *mac)
{
    struct shared_address made = {
        .network = "brext", .ip = ip(address), .fixed = true, .held = true, .live = true};
    mac_parse(mac, &made.mac);
    return made;
}

/* No frame leaves by the uplink before the rules are there, or after they have gone. */
static void a_shared_mac_has_its_rules_before_its_uplink(void **state)
{
    struct world *world = *state;
    struct nic nic = {.network = "brext", .address = ip("192.168.87.50")};
    mac_parse("00:a0:98:1b:c8:07", &nic.mac);
    struct network *network = add_shared(world);
    *vec_push(&world->arena, &network->nics) = (struct network_nic){.nic = &nic};
    assert_string_equal(plan_text(world, false),
                        "file-write\n"
                        "link-create creating bridge 'brext'\n"
                        "address-add adding address 192.168.87.44/24 to 'brext'\n"
                        "shared-set setting the rules by which 'brext' shares the MAC of 're0'\n"
                        "shared-address-add reserving address 192.168.87.44 for 18:a6:f7:01:66:51\n"
                        "shared-address-add reserving address 192.168.87.50 for 00:a0:98:1b:c8:07\n"
                        "port-add adding port 're0' to bridge 'brext'\n"
                        "route-replace moving route default via 192.168.87.1 to 'brext'\n"
                        "address-remove removing address 192.168.87.44/24 from 're0'\n");
    assert_int_equal(problem_count(&world->problems), 0);
    nic.address = ip("192.168.87.44");
    plan_text(world, false);
    assert_int_equal(problem_count(&world->problems), 1);
    assert_non_null(strstr(world->problems.list.items[0].text, "192.168.87.44 is the host's own address"));
}

static void a_shared_mac_is_changed_by_as_little_as_will_do(void **state)
{
    struct world *world = *state;
    add_shared(world);
    struct observed *observed = &world->observed;
    struct shared shared = {.network = "brext", .bridge = "brext", .uplink = "re0"};
    mac_parse("18:a6:f7:01:66:51", &shared.mac);
    observed->shared_base = true;
    *vec_push(&world->arena, &observed->shared_traces) = "brext";
    *vec_push(&world->arena, &observed->shareds) = shared;
    *vec_push(&world->arena, &observed->shared_addresses) = fixed("192.168.87.44", "18:a6:f7:01:66:51");
    assert_null(strstr(plan_text(world, false), "shared-"));
    /* A nic that lost its address. */
    *vec_push(&world->arena, &observed->shared_addresses) = fixed("192.168.87.50", "00:a0:98:1b:c8:07");
    const char *plan = plan_text(world, false);
    assert_non_null(
        strstr(plan, "shared-address-remove releasing address 192.168.87.50 of 00:a0:98:1b:c8:07\n"));
    assert_null(strstr(plan, "shared-set"));
    /* A card that was exchanged. */
    mac_parse("18:a6:f7:01:66:99", &observed->shareds.items[0].mac);
    plan = plan_text(world, false);
    assert_non_null(strstr(plan, "shared-remove removing the rules by which 'brext' shares a MAC\n"
                                 "link-create"));
    assert_non_null(strstr(plan, "shared-set"));
    assert_int_equal(problem_count(&world->problems), 0);
}

static void a_kernel_that_cannot_share_a_mac_is_said(void **state)
{
    struct world *world = *state;
    add_shared(world);
    world->observed.shared_refusal = "this kernel has no bridge family";
    plan_text(world, false);
    assert_int_equal(problem_count(&world->problems), 1);
    const struct problem *problem = &world->problems.list.items[0];
    assert_int_equal(problem->pos.line, 6);
    assert_string_equal(problem->text,
                        "network 'brext': 'mac: shared' cannot be had: this kernel has no bridge family; "
                        "use mode nat where the switch passes one MAC");
}

static void every_operation_survives_its_text_form(void **state)
{
    struct world *world = *state;
    const char *const lines[] = {
        "link-create network=brext ifname=brext kind=bridge mac=18:a6:f7:01:66:51 mtu=1500 up=1 "
        "alias=vmwire:brext stp=0 "
        "forward_delay=0 ipv6=1",
        "link-set network=brext ifname=re0 up=0",
        "link-set ifname=tx alias=",
        "port-add network=brext ifname=re0 bridge=brext",
        "address-add network=brext ifname=re0 address=172.16.5.1/30 broadcast=172.16.5.3 label=re0:1 "
        "scope=253 flags=512 "
        "metric=7 valid=4294967295 preferred=100",
        "route-add network=brext table=100 to=203.0.113.0/24 type=1 protocol=3 metric=300 "
        "gateway=192.168.87.1 "
        "ifname=re0 source=192.168.87.45 onlink=1 mtu=1400 advmss=1360 preference=3",
        "neighbour-add network=brext ifname=re0 address=fe80::9 mac=00:00:00:00:00:00 proxy=1 router=1 "
        "protocol=4",
        "shared-set network=brext bridge=brext uplink=re0 mac=18:a6:f7:01:66:51",
        "shared-address-add network=brext address=192.168.87.50 mac=00:a0:98:1b:c8:07",
        "sysctl-set name=net.ipv4.ip_forward value=1",
        "shaper-set network=brnat outward=1 nics=1 rate=100000000/65536",
        "rate-set network=brnat ifname=tap0 mac=02:00:00:00:00:07 in_shaped=1 in=8/1 out_shaped=1",
        "firewall-set network=brnat bridge=brnat uplink=re0 subnet=10.0.0.0/24",
        "service-start network=brnat kind=dnsmasq argv=dnsmasq,--conf-file%3d/a%20b%2cc pid_path=/p "
        "timeout_ms=10000",
        "file-write network=brnat path=/run/x content=a%0ab%25%3d mode=384",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        struct op op;
        struct err err = {0};
        assert_int_equal(op_parse(&world->arena, lines[i], &op, &err), 0);
        assert_string_equal(op_format(&world->arena, &op), lines[i]);
    }
}

static void damaged_operations_are_refused(void **state)
{
    struct world *world = *state;
    const char *const lines[] = {"",
                                 "frob x=1",
                                 "port-add ifname",
                                 "port-add frob=1",
                                 "link-set mtu=x",
                                 "link-set mtu=99999999999",
                                 "link-set mac=1",
                                 "address-add address=1.2.3.4",
                                 "port-add ifname=%",
                                 "port-add ifname=%4",
                                 "port-add ifname=%00",
                                 "port-add  ifname=x",
                                 "rate-set in=5",
                                 "rate-set in=5/",
                                 "rate-set in=5/99999999999",
                                 "link-set up=2"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        struct op op;
        struct err err = {0};
        assert_int_equal(op_parse(&world->arena, lines[i], &op, &err), -EINVAL);
        assert_true(*err.text != '\0');
    }
}

static void a_damaged_record_names_its_line(void **state)
{
    struct world *world = *state;
    *vec_push(&world->arena, &world->observed.files) = (struct file){
        .path = "/run/vmwire/network/brnat/record", .content = "mode nat\nmade frob\n", .mode = 0600};
    struct record record;
    struct err err = {0};
    assert_int_equal(record_read(&world->arena, &world->observed, "brnat", &record, &err), -EINVAL);
    assert_non_null(strstr(err.text, "line 2"));
    assert_non_null(strstr(err.text, "/run/vmwire/network/brnat/record"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(keep_moves_the_host_without_a_gap),
        TEST(neighbours_move_with_the_addresses),
        TEST(other_firewalls_are_asked_as_little_as_will_do),
        TEST(a_zone_is_second_to_rules_and_to_the_administrators_word),
        TEST(a_bridge_is_in_its_uplinks_zone_before_it_has_its_addresses),
        TEST(networkd_is_told_last_and_only_where_it_runs),
        TEST(rules_in_other_firewalls_go_with_their_network),
        TEST(a_shared_mac_has_its_rules_before_its_uplink),
        TEST(a_shared_mac_is_changed_by_as_little_as_will_do),
        TEST(a_kernel_that_cannot_share_a_mac_is_said),
        TEST(none_on_the_default_route_is_refused),
        TEST(uplinks_that_cannot_be_are_refused),
        TEST(a_subnet_that_is_routed_is_refused_with_the_route),
        TEST(a_foreign_interface_of_that_name_is_refused),
        TEST(rules_of_networks_that_come_or_go_are_one_transaction),
        TEST(forwarding_comes_last_and_is_recorded),
        TEST(servers_start_last_stop_first_and_bridges_go_together),
        TEST(nothing_here_means_nothing_to_take_down),
        TEST(every_operation_survives_its_text_form),
        TEST(damaged_operations_are_refused),
        TEST(a_damaged_record_names_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
