/* test_access.c: by which interfaces a host is reached, and which plans touch them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include <sys/socket.h>

#include "base/text.h"
#include "plan/access.h"

struct world {
    struct arena arena;
    struct observed observed;
    struct access access;
};

static int setup(void **state)
{
    *state = test_calloc(1, sizeof(struct world));
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    arena_free(&world->arena);
    test_free(world);
    return 0;
}

static struct link *add_link(struct world *world, const char *name, const char *kind, const char *master,
                             const char *lower)
{
    struct link *link = vec_push(&world->arena, &world->observed.links);
    *link =
        (struct link){.name = name, .kind = kind, .alias = "", .master = master, .lower = lower, .up = true};
    return link;
}

static void add_route(struct world *world, const char *to, const char *gateway, const char *ifname,
                      uint32_t metric)
{
    struct route *route = vec_push(&world->arena, &world->observed.routes);
    *route = (struct route){.table = 254, .ifname = ifname, .metric = metric};
    assert_int_equal(prefix_parse(to, &route->to), 0);
    if (gateway)
        assert_int_equal(ip_parse(gateway, &route->gateway), 0);
}

static struct access *found(struct world *world, const char *caller)
{
    struct ip ip = {0};
    if (caller)
        assert_int_equal(ip_parse(caller, &ip), 0);
    access_find(&world->arena, &world->observed, &ip, &world->access);
    return &world->access;
}

static const char *names(struct world *world, const char *caller)
{
    struct text out = {.arena = &world->arena};
    struct access *access = found(world, caller);
    vec_foreach (&access->interfaces, name)
        text_add(&out, "%s%s", out.length ? " " : "", *name);
    return text_get(&out);
}

static bool touched(struct world *world, struct op op)
{
    struct plan plan = {.arena = &world->arena};
    *vec_push(&world->arena, &plan.steps) = (struct step){.op = op};
    return access_touched(&world->access, &world->observed, &plan);
}

/* The default route's bridge with its ports and what these stand on; not the guests'. */
static void test_interfaces(void **state)
{
    struct world *world = *state;
    add_link(world, "re0", "", "br0", "");
    add_link(world, "re0.7", "vlan", "", "re0");
    add_link(world, "br0", "bridge", "", "");
    add_link(world, "tap0", "tun", "br0", "");
    add_link(world, "re1", "", "", "");
    add_link(world, "veth0", "veth", "", "re1");
    assert_string_equal(names(world, NULL), "");
    add_route(world, "0.0.0.0/0", "192.168.87.1", "br0", 0);
    assert_string_equal(names(world, NULL), "br0 re0 re0.7");
    add_route(world, "10.9.0.0/24", NULL, "re1", 0);
    assert_string_equal(names(world, "10.9.0.2"), "br0 re1 re0 re0.7");
    assert_true(world->access.caller_on_link);
    assert_string_equal(names(world, "203.0.113.5"), "br0 re0 re0.7");
    assert_false(world->access.caller_on_link);
}

static void test_gateways_and_the_callers_way(void **state)
{
    struct world *world = *state;
    add_link(world, "re0", "", "", "");
    add_link(world, "re1", "", "", "");
    add_link(world, "re2", "", "", "");
    add_route(world, "0.0.0.0/0", "192.168.87.1", "re0", 0);
    add_route(world, "0.0.0.0/0", "192.168.87.1", "re0", 50);
    add_route(world, "::/0", "fe80::1", "re1", 0);
    add_route(world, "203.0.113.0/24", "10.0.0.9", "re2", 20);
    add_route(world, "203.0.113.0/24", "192.168.87.7", "re0", 10);
    found(world, "203.0.113.5");
    assert_int_equal(world->access.gateways.count, 2);
    assert_string_equal(IP_TEXT(&world->access.gateways.items[1].ip), "fe80::1");
    assert_string_equal(names(world, "203.0.113.5"), "re0 re1"); /* the lower metric's way */
}

static void test_what_a_plan_touches(void **state)
{
    struct world *world = *state;
    add_link(world, "re0", "", "", "");
    add_link(world, "re1", "", "", "");
    add_link(world, "brext", "bridge", "", "");
    add_link(world, "tap0", "tun", "brext", "");
    add_route(world, "0.0.0.0/0", "192.168.87.1", "re0", 0);
    found(world, NULL);
    assert_true(
        touched(world, (struct op){.kind = OP_PORT_ADD, .port = {.ifname = "re0", .bridge = "brext"}}));
    assert_false(
        touched(world, (struct op){.kind = OP_PORT_ADD, .port = {.ifname = "re1", .bridge = "brext"}}));
    assert_true(touched(world, (struct op){.kind = OP_ADDRESS_REMOVE, .address = {.ifname = "re0"}}));
    assert_false(touched(world, (struct op){.kind = OP_ADDRESS_ADD, .address = {.ifname = "brext"}}));
    assert_false(touched(world, (struct op){.kind = OP_LINK_CREATE, .link = {.name = "brnat"}}));
    assert_false(touched(world, (struct op){.kind = OP_FIREWALL_SET}));
    struct op other = {.kind = OP_ROUTE_REPLACE, .route = {.ifname = "re1", .table = 254}};
    prefix_parse("0.0.0.0/0", &other.route.to);
    assert_true(touched(world, other));
    prefix_parse("10.0.0.0/8", &other.route.to);
    assert_false(touched(world, other));
    assert_true(
        touched(world, (struct op){.kind = OP_DEVICE_UNBIND, .device = {.address = "", .ifname = "re0"}}));
    /* Once the bridge is the way, guests' nics may still come and go. */
    world->observed.links.items[0].master = "brext";
    world->observed.routes.items[0].ifname = "brext";
    found(world, NULL);
    assert_false(
        touched(world, (struct op){.kind = OP_PORT_REMOVE, .port = {.ifname = "tap0", .bridge = "brext"}}));
    assert_true(
        touched(world, (struct op){.kind = OP_PORT_REMOVE, .port = {.ifname = "re0", .bridge = "brext"}}));
    assert_true(touched(world, (struct op){.kind = OP_LINK_DELETE, .link = {.name = "brext"}}));
}

/* Where a neighbour is asked for: not on ports, which answer no more; also where an address says so. */
static void test_candidates(void **state)
{
    struct world *world = *state;
    struct ip gateway;
    add_link(world, "re0", "", "", "");
    add_link(world, "re1", "", "", "");
    add_route(world, "0.0.0.0/0", "192.168.87.1", "re0", 0);
    found(world, NULL);
    ip_parse("192.168.87.1", &gateway);
    const char *const *near = access_candidates(&world->arena, &world->access, &world->observed, &gateway);
    assert_string_equal(near[0], "re0");
    assert_null(near[1]);
    world->observed.links.items[0].master = "brext";
    add_link(world, "brext", "bridge", "", "");
    struct address *address = vec_push(&world->arena, &world->observed.addresses);
    *address = (struct address){.ifname = "re1"};
    prefix_parse("192.168.87.9/24", &address->prefix);
    access_follow(&world->arena, &world->observed, &world->access);
    near = access_candidates(&world->arena, &world->access, &world->observed, &gateway);
    assert_string_equal(near[0], "re1");
    assert_string_equal(near[1], "brext");
    assert_null(near[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_interfaces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gateways_and_the_callers_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_a_plan_touches, setup, teardown),
        cmocka_unit_test_setup_teardown(test_candidates, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
