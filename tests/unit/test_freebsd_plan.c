/* test_freebsd_plan.c: plans for FreeBSD hosts as their own programs show them: what is moved, in which
 * order, and how it comes back; that a second up finds nothing; and what is refused, with its place in the
 * file. */
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
#include "config/config.h"
#include "host/freebsd/freebsd.h"
#include "host/profile.h"
#include "host/render.h"
#include "plan/device.h"
#include "plan/plan.h"

struct world {
    struct arena arena;
    struct model model;
    struct observed observed;
    struct problems problems;
    struct err err;
};

/* A host at home on vtnet0, by DHCP's address set by hand, with the router's route; vtnet1 is idle. */
static const char home[] = "vtnet0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500\n"
                           "\toptions=80028<VLAN_MTU,JUMBO_MTU,LINKSTATE>\n"
                           "\tether 52:54:00:12:34:56\n"
                           "\tinet 192.0.2.5/24 broadcast 192.0.2.255\n"
                           "\tinet 192.0.2.6/32 broadcast 192.0.2.6\n"
                           "\tinet6 fe80::5054:ff:fe12:3456%vtnet0 prefixlen 64 scopeid 0x1\n"
                           "\tmedia: Ethernet 10Gbase-T <full-duplex>\n"
                           "\tstatus: active\n"
                           "vtnet1: flags=8802<BROADCAST,SIMPLEX,MULTICAST> metric 0 mtu 1500\n"
                           "\tether 52:54:00:12:34:57\n"
                           "\tstatus: active\n"
                           "em0: flags=8802<BROADCAST,SIMPLEX,MULTICAST> metric 0 mtu 1500\n"
                           "\tether 52:54:00:12:34:58\n"
                           "\tstatus: active\n";
static const char home_routes[] = "Routing tables\n\nInternet:\n"
                                  "Destination        Gateway            Flags     Netif Expire\n"
                                  "default            192.0.2.1          UGS      vtnet0\n"
                                  "192.0.2.0/24       link#1             U        vtnet0\n"
                                  "192.0.2.5          link#1             UHS         lo0\n"
                                  "10.5.0.0/16        192.0.2.9          UGS      vtnet0\n";

static int setup(void **state)
{
    struct world *world = test_calloc(1, sizeof(*world));
    world->problems = (struct problems){.arena = &world->arena, .file = "vmwire.yaml"};
    world->observed.run_dir = FREEBSD_RUN_DIR;
    world->observed.traits = host_profile_find("freebsd")->traits;
    world->observed.iommu = world->observed.iommu_remaps = world->observed.vfio = true;
    world->observed.firewall_base = true;
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

static const char *transcript(struct world *world, const char *name)
{
    char *text;
    const char *path =
        arena_printf(&world->arena, "%s/tests/unit/freebsd/%s.txt", getenv("VMWIRE_SOURCE"), name);
    if (file_read(&world->arena, AT_FDCWD, path, 1 << 20, &text, NULL, NULL) < 0)
        fail_msg("%s cannot be read", path);
    return text;
}

static void see(struct world *world, const char *ifconfig, const char *routes)
{
    world->observed.links.count = world->observed.addresses.count = world->observed.routes.count = 0;
    freebsd_ifconfig_parse(&world->arena, ifconfig, &world->observed, NULL);
    freebsd_routes_parse(&world->arena, routes, AF_INET, &world->observed);
}

static void see_pf(struct world *world, const char *info, const char *nat, const char *rules)
{
    freebsd_main_judge(&world->arena, info, nat, rules, &world->observed.firewall_main);
}

static void see_forwarding(struct world *world, const char *now)
{
    world->observed.forwarding.count = 0;
    *vec_push(&world->arena, &world->observed.forwarding) =
        (struct forwarding_sysctl){.name = "net.inet.ip.forwarding", .now = now, .wanted = "1"};
}

static void read_file(struct world *world, const char *yaml)
{
    config_parse(&world->arena, yaml, strlen(yaml), &world->model, &world->problems);
    model_check(&world->model, &world->arena, "", &world->problems);
    assert_int_equal(problem_count(&world->problems), 0);
}

static struct plan make(struct world *world, bool down)
{
    struct plan_request request = {.model = down ? NULL : &world->model, .observed = &world->observed};
    struct plan plan;
    if (plan_make(&world->arena, &request, &world->problems, &plan, &world->err) < 0)
        fail_msg("%s", world->err.text);
    return plan;
}

/* Files are written for real: what the next observation sees. */
static void keep_files(struct world *world, const struct plan *plan)
{
    vec_foreach (&plan->steps, step) {
        if (step->op.kind == OP_FILE_WRITE)
            *vec_push(&world->arena, &world->observed.files) = step->op.file;
    }
}

/* The commands, files left out; `undo`: of the undos, the last first. */
static const char *commands(struct world *world, const struct plan *plan, bool undo)
{
    struct text out = {.arena = &world->arena};
    for (size_t i = 0; i < plan->steps.count; i++) {
        const struct step *step = &plan->steps.items[undo ? plan->steps.count - 1 - i : i];
        const struct op *op = undo ? &step->undo : &step->op;
        if (op->kind != OP_FILE_WRITE && op->kind != OP_FILE_REMOVE && op->kind != OP_NONE)
            text_add(&out, "%s", freebsd_render(&world->arena, op));
    }
    return text_get(&out);
}

static void expect_problem(struct world *world, const char *place, const char *part)
{
    make(world, false);
    if (problem_count(&world->problems) != 1)
        fail_msg("%zu problems, not one", problem_count(&world->problems));
    const struct problem *problem = &world->problems.list.items[0];
    const char *text = arena_printf(&world->arena, "%u:%u", problem->pos.line, problem->pos.column);
    assert_string_equal(text, place);
    if (!strstr(problem->text, part))
        fail_msg("'%s' does not say '%s'", problem->text, part);
}

/* --- bridged */

static const char bridged_yaml[] = "networks:\n  brext:\n    mode: bridged\n    uplink: vtnet0\n";

/* A port of a bridge has no addresses: they leave the uplink first, and with them the routes over it. */
static const char keep_up[] = "ifconfig bridge create name brext\n"
                              "ifconfig brext description vmwire:brext\n"
                              "ifconfig brext ether 52:54:00:12:34:56\n"
                              "ifconfig brext up\n"
                              "route -n delete default\n"
                              "route -n delete -net 10.5.0.0/16\n"
                              "ifconfig vtnet0 inet 192.0.2.6 delete\n"
                              "ifconfig vtnet0 inet 192.0.2.5 delete\n"
                              "ifconfig brext addm vtnet0\n"
                              "ifconfig brext inet 192.0.2.5/24 alias\n"
                              "ifconfig brext inet 192.0.2.6/32 alias\n"
                              "route -n add default 192.0.2.1\n"
                              "route -n add -net 10.5.0.0/16 192.0.2.9\n";
static const char keep_undo[] = "route -n delete -net 10.5.0.0/16\n"
                                "route -n delete default\n"
                                "ifconfig brext inet 192.0.2.6 delete\n"
                                "ifconfig brext inet 192.0.2.5 delete\n"
                                "ifconfig brext deletem vtnet0\n"
                                "ifconfig vtnet0 inet 192.0.2.5/24 alias\n"
                                "ifconfig vtnet0 inet 192.0.2.6/32 alias\n"
                                "route -n add -net 10.5.0.0/16 192.0.2.9\n"
                                "route -n add default 192.0.2.1\n"
                                "ifconfig brext destroy\n";
static const char kept[] =
    "vtnet0: flags=8943<UP,BROADCAST,RUNNING,PROMISC,SIMPLEX,MULTICAST> metric 0 mtu 1500\n"
    "\tether 52:54:00:12:34:56\n"
    "\tinet6 fe80::5054:ff:fe12:3456%vtnet0 prefixlen 64 scopeid 0x1\n"
    "\tstatus: active\n"
    "brext: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500\n"
    "\tdescription: vmwire:brext\n"
    "\tether 52:54:00:12:34:56\n"
    "\tinet 192.0.2.5/24 broadcast 192.0.2.255\n"
    "\tinet 192.0.2.6/32 broadcast 192.0.2.6\n"
    "\tmember: vtnet0 flags=143<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP>\n"
    "\tgroups: bridge\n";
static const char kept_routes[] = "Internet:\n"
                                  "Destination        Gateway            Flags     Netif Expire\n"
                                  "default            192.0.2.1          UGS       brext\n"
                                  "192.0.2.0/24       link#4             U         brext\n"
                                  "10.5.0.0/16        192.0.2.9          UGS       brext\n";
static const char keep_down[] = "route -n delete default\n"
                                "route -n delete -net 10.5.0.0/16\n"
                                "ifconfig brext inet 192.0.2.6 delete\n"
                                "ifconfig brext inet 192.0.2.5 delete\n"
                                "ifconfig brext deletem vtnet0\n"
                                "ifconfig vtnet0 inet 192.0.2.5/24 alias\n"
                                "ifconfig vtnet0 inet 192.0.2.6/32 alias\n"
                                "route -n add default 192.0.2.1\n"
                                "route -n add -net 10.5.0.0/16 192.0.2.9\n"
                                "ifconfig brext destroy\n";

static void addresses_and_routes_move_to_the_bridge_and_back(void **state)
{
    struct world *world = *state;
    see(world, home, home_routes);
    read_file(world, bridged_yaml);
    struct plan up = make(world, false);
    assert_int_equal(problem_count(&world->problems), 0);
    assert_string_equal(commands(world, &up, false), keep_up);
    assert_string_equal(commands(world, &up, true), keep_undo);
    keep_files(world, &up);
    see(world, kept, kept_routes);
    struct plan again = make(world, false), down = make(world, true);
    assert_string_equal(commands(world, &again, false), "");
    assert_int_equal(again.steps.count, 0);
    assert_string_equal(commands(world, &down, false), keep_down);
}

/* --- a VLAN of an uplink that keeps its addresses */

static const char vlan_yaml[] =
    "networks:\n  office:\n    mode: bridged\n    uplink: vtnet0\n    vlan: 10\n    address: 10.10.0.2/24\n";
static const char vlan_up[] = "ifconfig bridge create name office\n"
                              "ifconfig office description vmwire:office\n"
                              "ifconfig office ether 52:54:00:12:34:56\n"
                              "ifconfig office up\n"
                              "ifconfig vlan create vlan 10 vlandev vtnet0 name vtnet0.10\n"
                              "ifconfig vtnet0.10 description vmwire:office\n"
                              "ifconfig vtnet0.10 up\n"
                              "ifconfig office addm vtnet0.10\n"
                              "ifconfig office inet 10.10.0.2/24 alias\n";
static const char vlan_down[] = "ifconfig office inet 10.10.0.2 delete\n"
                                "ifconfig office deletem vtnet0.10\n"
                                "ifconfig vtnet0.10 destroy\n"
                                "ifconfig office destroy\n";
/* As 08-tap-route of the real one shows a VLAN. */
static const char vlan_there[] =
    "vtnet0.10: flags=8943<UP,BROADCAST,RUNNING,PROMISC,SIMPLEX,MULTICAST> metric 0 mtu 1500\n"
    "\tdescription: vmwire:office\n"
    "\toptions=80000<LINKSTATE>\n"
    "\tether 52:54:00:12:34:56\n"
    "\tgroups: vlan\n"
    "\tvlan: 10 vlanpcp: 0 parent interface: vtnet0\n"
    "\tstatus: active\n"
    "office: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500\n"
    "\tdescription: vmwire:office\n"
    "\tether 52:54:00:12:34:56\n"
    "\tinet 10.10.0.2/24 broadcast 10.10.0.255\n"
    "\tmember: vtnet0.10 flags=143<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP>\n"
    "\tgroups: bridge\n";

static void a_vlan_is_an_interface_of_its_own_and_the_uplink_stays_as_it_is(void **state)
{
    struct world *world = *state;
    const char *there = arena_printf(&world->arena, "%s%s", home, vlan_there);
    see(world, home, home_routes);
    read_file(world, vlan_yaml);
    struct plan up = make(world, false);
    assert_int_equal(problem_count(&world->problems), 0);
    assert_string_equal(commands(world, &up, false), vlan_up);
    keep_files(world, &up);
    see(world, there, home_routes);
    struct plan again = make(world, false), down = make(world, true);
    assert_string_equal(commands(world, &again, false), "");
    assert_string_equal(commands(world, &down, false), vlan_down);
    /* Its bridges have a port's tagged frames before a VLAN does. */
    see(world, home, home_routes);
    world->model = (struct model){0};
    world->observed.files.count = 0;
    read_file(world,
              "networks:\n  a: {mode: bridged, uplink: em0}\n  b: {mode: bridged, uplink: em0, vlan: 7}\n");
    expect_problem(world, "3:41", "use VLANs for all networks of that uplink");
}

static void a_nic_has_no_vlan_of_its_own(void **state)
{
    struct world *world = *state;
    see(world, home, home_routes);
    read_file(world, "networks:\n  a: {mode: bridged, uplink: em0}\n"
                     "machines:\n  vm0:\n    nics: [{network: a, vlan: 7}]\n");
    expect_problem(world, "5:31", "put the nic on a network with 'vlan: 7'");
}

static void a_bridge_that_lost_its_port_is_mended(void **state)
{
    struct world *world = *state;
    see(world, home, home_routes);
    read_file(world, bridged_yaml);
    struct plan up = make(world, false);
    keep_files(world, &up);
    char *lost = arena_strdup(&world->arena, kept), *member = strstr(lost, "\tmember: vtnet0");
    memmove(member, strchr(member, '\n') + 1, strlen(strchr(member, '\n')));
    see(world, lost, kept_routes);
    struct plan mend = make(world, false);
    assert_string_equal(commands(world, &mend, false), "ifconfig brext addm vtnet0\n");
}

static void a_taken_name_is_refused_before_anything_is_made(void **state)
{
    struct world *world = *state;
    const char *taken = arena_printf(
        &world->arena, "%sbrext: flags=8802<BROADCAST> metric 0 mtu 1500\n\tgroups: bridge\n", home);
    see(world, taken, home_routes);
    read_file(world, bridged_yaml);
    expect_problem(world, "2:3", "an interface of that name already");
}

static void a_shared_mac_is_refused(void **state)
{
    struct world *world = *state;
    see(world, home, home_routes);
    read_file(world, "networks:\n  brext:\n    mode: bridged\n    uplink: vtnet0\n    mac: shared\n");
    expect_problem(world, "5:10", "'mac: shared' needs Linux");
}

static void a_rate_is_refused_where_nothing_is_routed(void **state)
{
    struct world *world = *state;
    see(world, home, home_routes);
    read_file(world,
              "networks:\n  brext:\n    mode: bridged\n    uplink: vtnet0\nmachines:\n  vm0:\n    nics:\n"
              "      - {network: brext}\n      - {network: brext, rate: 1Mbit}\n");
    expect_problem(world, "9:32", "dummynet delays frames from one port of a bridge to another only with");
}

static void a_member_of_another_bridge_is_refused(void **state)
{
    struct world *world = *state;
    const char *busy = arena_printf(&world->arena,
                                    "%sbridge0: flags=8843<UP> metric 0 mtu 1500\n\tgroups: bridge\n"
                                    "\tmember: vtnet0 flags=143<LEARNING>\n",
                                    home);
    see(world, busy, home_routes);
    read_file(world, bridged_yaml);
    expect_problem(world, "4:13", "uplink 'vtnet0' is already a port of 'bridge0'");
}

/* --- nat */

static const char nat_yaml[] = "networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24, uplink: vtnet0}\n";

static void pf_conf_without_the_anchor_is_refused_with_the_lines_to_add(void **state)
{
    struct world *world = *state;
    see(world, home, home_routes);
    see_forwarding(world, "0");
    see_pf(world, transcript(world, "pfctl-info"),
           "nat on vtnet0 inet from 10.9.0.0/24 to any -> (vtnet0) round-robin\n",
           "pass all flags S/SA keep state\n");
    read_file(world, nat_yaml);
    expect_problem(world, "2:3",
                   "Add to /etc/pf.conf, before its first filter rule (block, pass, anchor):\n"
                   "    nat-anchor \"vmwire/*\"\n    rdr-anchor \"vmwire/*\"\nand, where its filter rules "
                   "shall judge guests' packets:\n    anchor \"vmwire/*\"\nthen run: pfctl -f /etc/pf.conf");
}

static void forwarding_and_a_minimal_ruleset_are_put_back_by_the_last(void **state)
{
    struct world *world = *state;
    see(world, home, home_routes);
    see_forwarding(world, "0");
    see_pf(world, NULL, NULL, NULL);
    read_file(world, nat_yaml);
    struct plan up = make(world, false);
    const char *typed = commands(world, &up, false);
    assert_non_null(strstr(typed, "pfctl -f - <<'EOF'\nnat-anchor \"vmwire/*\"\n"));
    assert_non_null(strstr(typed, "pfctl -e\nsysctl net.inet.ip.forwarding=1\n"));
    keep_files(world, &up);
    /* as it is then */
    const char *after =
        arena_printf(&world->arena,
                     "%sbrnat: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500\n"
                     "\tdescription: vmwire:brnat\n\tether 58:9c:fc:00:05:14\n"
                     "\tinet 10.0.0.1/24 broadcast 10.0.0.255\n\tgroups: bridge\n",
                     home);
    see(world, after, home_routes);
    see_forwarding(world, "1");
    see_pf(world, transcript(world, "pfctl-info"),
           "nat-anchor \"vmwire/*\" all\nrdr-anchor \"vmwire/*\" all\n", "anchor \"vmwire/*\" all\n");
    vec_foreach (&up.steps, step) {
        if (step->op.kind == OP_FIREWALL_SET)
            *vec_push(&world->arena, &world->observed.firewalls) = step->op.firewall;
    }
    struct plan again = make(world, false), down = make(world, true);
    assert_string_equal(commands(world, &again, false), "");
    typed = commands(world, &down, false);
    assert_non_null(strstr(typed, "pfctl -a vmwire/brnat -f /dev/null\n"));
    assert_non_null(strstr(typed, "ifconfig brnat destroy\n"));
    assert_non_null(
        strstr(typed, "sysctl net.inet.ip.forwarding=0\npfctl -d\npfctl -F nat\npfctl -F rules\n"));
}

/* The administrator loaded his own meanwhile: it stays, and in force. */
static void a_ruleset_loaded_meanwhile_is_left_alone(void **state)
{
    struct world *world = *state;
    see(world, home, home_routes);
    see_forwarding(world, "0");
    see_pf(world, NULL, NULL, NULL);
    read_file(world, nat_yaml);
    struct plan up = make(world, false);
    keep_files(world, &up);
    see_forwarding(world, "1");
    see_pf(world, transcript(world, "pfctl-info"), "", "block drop all\n");
    struct plan down = make(world, true);
    const char *typed = commands(world, &down, false);
    assert_null(strstr(typed, "pfctl -d"));
    assert_null(strstr(typed, "pfctl -F"));
    assert_non_null(strstr(typed, "sysctl net.inet.ip.forwarding=0\n"));
}

/* pf takes a rule that names no interface of this host, without a word. */
static void an_uplink_that_is_not_there_is_refused_before_pf_takes_it(void **state)
{
    struct world *world = *state;
    see(world, home, home_routes);
    see_forwarding(world, "0");
    see_pf(world, NULL, NULL, NULL);
    read_file(world, "networks:\n  brnat: {mode: nat, subnet: 10.0.0.0/24, uplink: nosuch0}\n");
    expect_problem(world, "2:51", "nosuch0");
}

/* The kernel gives one address to two interfaces with rc 0. */
static void an_address_that_the_host_has_is_no_second_time_given(void **state)
{
    struct world *world = *state;
    see(world, home, home_routes);
    see_forwarding(world, "0");
    see_pf(world, NULL, NULL, NULL);
    read_file(world, "networks:\n  brnat: {mode: nat, subnet: 192.0.2.0/28, uplink: vtnet0}\n");
    expect_problem(world, "2:30", "overlaps the route 192.0.2.0/24");
}

/* --- passthrough */

static const char passthrough_yaml[] = "networks:\n  nic1: {mode: passthrough, device: em0}\n"
                                       "machines:\n  vm0: {nics: [{network: nic1}]}\n";

static struct plan take(struct world *world, const char *const **addresses)
{
    struct plan plan;
    assert_int_equal(plan_devices_take(&world->arena, &world->model, &world->model.machines.items[0],
                                       &world->observed, &world->problems, &plan, addresses, &world->err),
                     0);
    assert_int_equal(problem_count(&world->problems), 0);
    return plan;
}

static void an_idle_nic_goes_to_ppt_and_comes_back(void **state)
{
    struct world *world = *state;
    const char *const *addresses;
    see(world, home, home_routes);
    freebsd_pciconf_parse(&world->arena, transcript(world, "pciconf-l"), &world->observed);
    read_file(world, passthrough_yaml);
    struct plan plan = take(world, &addresses);
    assert_string_equal(addresses[0], "0000:00:03.0");
    assert_string_equal(commands(world, &plan, false), "ifconfig em0 down\n"
                                                       "kldload -n vmm\n"
                                                       "devctl set driver -f pci0:0:3:0 ppt\n");
    keep_files(world, &plan);
    struct plan back;
    world->observed.devices.count = 0;
    freebsd_pciconf_parse(&world->arena, transcript(world, "pciconf-ppt"), &world->observed);
    assert_int_equal(plan_devices_return(&world->arena, "vm0", &world->observed, &back, &world->err), 0);
    assert_non_null(strstr(commands(world, &back, false), "devctl clear driver -f pci0:0:3:0\n"));
}

static void without_an_iommu_the_way_to_one_is_said(void **state)
{
    struct world *world = *state;
    const char *const *addresses;
    struct plan plan;
    see(world, home, home_routes);
    freebsd_pciconf_parse(&world->arena, transcript(world, "pciconf-l"), &world->observed);
    world->observed.iommu = false;
    read_file(world, passthrough_yaml);
    assert_int_equal(plan_devices_take(&world->arena, &world->model, &world->model.machines.items[0],
                                       &world->observed, &world->problems, &plan, &addresses, &world->err),
                     0);
    assert_int_equal(problem_count(&world->problems), 1);
    assert_non_null(strstr(world->problems.list.items[0].text, "hw.vmm.iommu.enable=0"));
}

static void a_nic_that_ppt_has_since_boot_stays_there(void **state)
{
    struct world *world = *state;
    const char *const *addresses;
    see(world, home, home_routes);
    freebsd_pciconf_parse(&world->arena, transcript(world, "pciconf-ppt"), &world->observed);
    read_file(world, "networks:\n  nic1: {mode: passthrough, device: 0/3/0}\n"
                     "machines:\n  vm0: {nics: [{network: nic1}]}\n");
    struct plan plan = take(world, &addresses);
    assert_string_equal(addresses[0], "0000:00:03.0");
    assert_string_equal(commands(world, &plan, false), "");
    keep_files(world, &plan);
    struct plan back;
    assert_int_equal(plan_devices_return(&world->arena, "vm0", &world->observed, &back, &world->err), 0);
    assert_null(strstr(commands(world, &back, false), "devctl"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(addresses_and_routes_move_to_the_bridge_and_back),
        TEST(a_vlan_is_an_interface_of_its_own_and_the_uplink_stays_as_it_is),
        TEST(a_nic_has_no_vlan_of_its_own),
        TEST(a_bridge_that_lost_its_port_is_mended),
        TEST(a_taken_name_is_refused_before_anything_is_made),
        TEST(a_shared_mac_is_refused),
        TEST(a_rate_is_refused_where_nothing_is_routed),
        TEST(a_member_of_another_bridge_is_refused),
        TEST(pf_conf_without_the_anchor_is_refused_with_the_lines_to_add),
        TEST(forwarding_and_a_minimal_ruleset_are_put_back_by_the_last),
        TEST(a_ruleset_loaded_meanwhile_is_left_alone),
        TEST(an_uplink_that_is_not_there_is_refused_before_pf_takes_it),
        TEST(an_address_that_the_host_has_is_no_second_time_given),
        TEST(an_idle_nic_goes_to_ppt_and_comes_back),
        TEST(without_an_iommu_the_way_to_one_is_said),
        TEST(a_nic_that_ppt_has_since_boot_stays_there),
    };
    return cmocka_run_group_tests_name("freebsd_plan", tests, NULL, NULL);
}
