/* test_device_plan.c: the plans that give PCI devices to machines and back. */
#include "device_world.h"

static struct network *add_network(struct world *world, const char *name, struct device_ref device)
{
    struct network *network = vec_push(&world->arena, &world->model.networks);
    *network = (struct network){.name = name, .mode = NETWORK_PASSTHROUGH, .device = device};
    return network;
}

static struct machine *add_machine(struct world *world, const char *name, const char *network)
{
    struct machine *machine = vec_push(&world->arena, &world->model.machines);
    *machine = (struct machine){.name = name};
    struct nic *nic = vec_push(&world->arena, &machine->nics);
    *nic = (struct nic){.network = network, .mac = nic_mac_derive("", name, 0)};
    return machine;
}

/* The steps as lines, and the files that they write taken into the observation as if they had been applied.
 */
static const char *steps(struct world *world, const struct plan *plan, bool undo)
{
    struct text out = {.arena = &world->arena};
    for (size_t i = 0; i < plan->steps.count; i++) {
        const struct step *step = &plan->steps.items[undo ? plan->steps.count - 1 - i : i];
        struct op op = undo ? step->undo : step->op;
        if (op.kind == OP_FILE_WRITE || op.kind == OP_FILE_REMOVE)
            op.file.content = "";
        text_add(&out, "%s\n", op_format(&world->arena, &op));
    }
    return text_get(&out);
}

static const char *take(struct world *world, const struct machine *machine, struct plan *plan)
{
    const char *const *addresses;
    struct err err = {0};
    world->problems.list.count = 0;
    assert_int_equal(plan_devices_take(&world->arena, &world->model, machine, &world->observed,
                                       &world->problems, plan, &addresses, &err),
                     0);
    return addresses[0];
}

static void apply_files(struct world *world, const struct plan *plan)
{
    vec_foreach (&plan->steps, step) {
        if (step->op.kind == OP_FILE_WRITE)
            *vec_push(&world->arena, &world->observed.files) = step->op.file;
    }
}

static const char *problem(struct world *world)
{
    return world->problems.list.count ? world->problems.list.items[0].text : "no problem";
}

/* The steps of `up` or `down`. */
static const char *network_plan(struct world *world, bool up, struct plan *plan)
{
    struct plan_request request = {.model = up ? &world->model : NULL, .observed = &world->observed};
    struct err err = {0};
    world->problems.list.count = 0;
    assert_int_equal(plan_make(&world->arena, &request, &world->problems, plan, &err), 0);
    return steps(world, plan, false);
}

static void test_take_and_return(void **state)
{
    struct world *world = *state;
    struct plan plan;
    tree_read(world, "device");
    add_link(world, "n1")->mtu = 9000;
    add_address(world, "n1", "192.0.2.7/24");
    add_route(world, "n1", "198.51.100.0/24", "192.0.2.1");
    add_network(world, "nic1", (struct device_ref){.kind = DEVICE_INTERFACE, .text = "n1"})->in_use_take =
        true;
    const struct machine *machine = add_machine(world, "vm0", "nic1");
    assert_string_equal(take(world, machine, &plan), "0000:02:00.0");
    assert_string_equal(problem(world), "no problem");
    assert_string_equal(
        steps(world, &plan, false),
        "file-write network=nic1 path=/run/vmwire/device/0000:02:00.0 mode=384\n"
        "route-remove network=nic1 table=254 to=198.51.100.0/24 type=1 protocol=3 gateway=192.0.2.1 "
        "ifname=n1\n"
        "address-remove network=nic1 ifname=n1 address=192.0.2.7/24\n"
        "link-set network=nic1 ifname=n1 up=0\n"
        "device-bind network=nic1 address=0000:02:00.0 driver=vfio-pci ifname=n1\n");
    const char *undo =
        "device-unbind network=nic1 address=0000:02:00.0 driver=e1000e ifname=n1\n"
        "link-set network=nic1 ifname=n1 mac=00:00:00:00:00:00 mtu=9000 up=1\n"
        "address-add network=nic1 ifname=n1 address=192.0.2.7/24\n"
        "route-add network=nic1 table=254 to=198.51.100.0/24 type=1 protocol=3 gateway=192.0.2.1 "
        "ifname=n1\n"
        "file-remove network=nic1 path=/run/vmwire/device/0000:02:00.0 mode=384\n";
    assert_string_equal(steps(world, &plan, true), undo);
    apply_files(world, &plan);

    /* The interface is gone now; its name still means the card. */
    struct device *card = (struct device *)device(world, "0000:02:00.0");
    card->ifname = "";
    card->driver = "vfio-pci";
    struct device_records records;
    assert_int_equal(device_records_read(&world->arena, &world->observed, &records, NULL), 0);
    assert_ptr_equal(device_of_network(&world->observed, &records, &world->model.networks.items[0].device),
                     card);

    /* Also when another card has got the name meanwhile. */
    struct device *late = (struct device *)device(world, "0000:03:00.0");
    late->ifname = "n1";
    assert_ptr_equal(device_of_network(&world->observed, &records, &world->model.networks.items[0].device),
                     card);
    late->ifname = "n2";

    /* Somebody else cannot have it. */
    const struct machine *other = add_machine(world, "vm1", "nic1");
    take(world, other, &plan);
    assert_says(problem(world), "machine 'vm0' has device 0000:02:00.0; stop it first (vmwire stop vm0)");

    assert_int_equal(plan_devices_return(&world->arena, "vm1", &world->observed, &plan, NULL), 0);
    assert_int_equal(plan.steps.count, 0);
    assert_int_equal(plan_devices_return(&world->arena, "vm0", &world->observed, &plan, NULL), 0);
    const char *back = steps(world, &plan, false);
    assert_int_equal(strncmp(back, undo, strstr(undo, "file-remove") - undo), 0);
    assert_says(back, "file-remove network=nic1 path=/run/vmwire/device/0000:02:00.0");
}

/* Back to its driver with the driver_override of before, and the interface's settings. */
static void test_settings_come_back(void **state)
{
    struct world *world = *state;
    struct plan plan;
    tree_read(world, "ports");
    add_link(world, "ens4")->up = false;
    struct device *card = (struct device *)device(world, "0000:04:00.0");
    *vec_push(&world->arena, &card->sysctls) = (struct sysctl){"net.ipv4.conf.ens4.rp_filter", "2"};
    add_network(world, "nic1", (struct device_ref){.kind = DEVICE_INTERFACE, .text = "ens4"});
    take(world, add_machine(world, "vm0", "nic1"), &plan);
    assert_says(steps(world, &plan, false),
                "device-bind network=nic1 address=0000:04:00.0 driver=vfio-pci ifname=ens4\n");
    assert_says(steps(world, &plan, true),
                "override=virtio-pci\n"
                "sysctl-set network=nic1 name=net.ipv4.conf.ens4.rp_filter value=2\n"
                "link-set network=nic1 ifname=ens4 ");
    apply_files(world, &plan);
    assert_int_equal(plan_devices_return(&world->arena, "vm0", &world->observed, &plan, NULL), 0);
    assert_says(steps(world, &plan, false),
                "device-unbind network=nic1 address=0000:04:00.0 driver=virtio-pci "
                "ifname=ens4 override=virtio-pci\n"
                "sysctl-set network=nic1 name=net.ipv4.conf.ens4.rp_filter value=2\n");
}

/* A bond's port comes back down and without the bond's MAC, and the bond sets it up. */
static void test_port_of_a_bond(void **state)
{
    struct world *world = *state;
    struct plan plan;
    tree_read(world, "device");
    add_link(world, "n1")->master = "bond0";
    add_link(world, "n2")->master = "bond0";
    add_link(world, "bond0")->kind = "bond";
    add_network(world, "nic1", (struct device_ref){.kind = DEVICE_INTERFACE, .text = "n1"})->in_use_take =
        true;
    take(world, add_machine(world, "vm0", "nic1"), &plan);
    assert_string_equal(problem(world), "no problem");
    assert_string_equal(steps(world, &plan, true),
                        "device-unbind network=nic1 address=0000:02:00.0 driver=e1000e ifname=n1\n"
                        "link-set network=nic1 ifname=n1 mtu=1500 up=0\n"
                        "port-add network=nic1 ifname=n1 bridge=bond0\n"
                        "file-remove network=nic1 path=/run/vmwire/device/0000:02:00.0 mode=384\n");
}

static void test_take_refusals(void **state)
{
    struct world *world = *state;
    struct plan plan;
    tree_read(world, "device");
    add_link(world, "veth7")->kind = "veth";
    add_network(world, "a", (struct device_ref){.kind = DEVICE_INTERFACE, .text = "nosuch0"});
    add_network(world, "b", (struct device_ref){.kind = DEVICE_INTERFACE, .text = "veth7"});
    add_network(world, "c", (struct device_ref){.kind = DEVICE_PCI, .text = "0000:00:00.0"});
    add_network(world, "d",
                (struct device_ref){.kind = DEVICE_PCI, .text = "0000:05:01.0", .bus = 5, .slot = 1});
    add_network(world, "e", (struct device_ref){.kind = DEVICE_FUNCTION, .text = "p1", .vf = FUNCTION_AUTO});
    struct device_ref n1 = {.kind = DEVICE_PCI, .text = "0000:02:00.0", .bus = 2};
    struct device_ref n2 = {.kind = DEVICE_PCI, .text = "0000:03:00.0", .bus = 3};
    add_network(world, "f", n1);
    add_network(world, "g", n2);
    add_network(world, "h", (struct device_ref){.kind = DEVICE_INTERFACE, .text = "n2"});
    add_network(world, "i", (struct device_ref){.kind = DEVICE_FUNCTION, .text = "n2", .vf = FUNCTION_AUTO});
    *(struct network *)vec_push(&world->arena, &world->model.networks) =
        (struct network){.name = "bridged", .mode = NETWORK_BRIDGED, .uplink = "n1"};
    static const struct {
        const char *network, *says;
    } cases[] = {
        {"a", "device 'nosuch0' does not exist on this host; `vmwire devices` lists what does"},
        {"b", "interface 'veth7' is no PCI device (it is a veth); `vmwire devices` lists what is"},
        {"c", "device 0000:00:00.0 cannot go to a guest: it is no network device but a host bridge; `vmwire "
              "devices` lists those that are"},
        {"d",
         "device 0000:05:01.0 (p0) cannot go to a guest: IOMMU group 11 also holds 0000:05:02.0 (e1000)"},
        {"e", "functions of 0000:05:02.0 (p1) cannot go to a guest: it has no SR-IOV functions"},
        {"f", "0000:02:00.0 (n1) is the uplink of network 'bridged'; name another card in one of them"},
        {"h", "0000:03:00.0 (n2) is already the device of network 'g'; name another card in one of them"},
        {"i", "0000:03:00.0 (n2) is as a whole the device of network 'g', and its functions go with it"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *name = arena_printf(&world->arena, "vm%zu", i);
        assert_null(take(world, add_machine(world, name, cases[i].network), &plan));
        assert_says(problem(world), cases[i].says);
        assert_int_equal(plan.steps.count, 0);
    }
}

/* A parent without functions, as after boot. */
static struct device *empty_parent(struct world *world)
{
    tree_read(world, "sriov");
    world->observed.devices.count = 0;
    *vec_push(&world->arena, &world->observed.devices) = (struct device){.address = "0000:02:00.0",
                                                                         .class = 0x020000,
                                                                         .driver = "igb",
                                                                         .ifname = "n1",
                                                                         .network = true,
                                                                         .group = 7,
                                                                         .functions_total = 7,
                                                                         .functions_offset = 128,
                                                                         .functions_stride = 2,
                                                                         .functions_probe = true,
                                                                         .parent = ""};
    add_link(world, "n1")->up = false;
    return &world->observed.devices.items[0];
}

static void add_function(struct world *world, const char *address, uint32_t index)
{
    *vec_push(&world->arena, &world->observed.devices) = (struct device){.address = address,
                                                                         .class = 0x020000,
                                                                         .driver = "",
                                                                         .ifname = "",
                                                                         .network = true,
                                                                         .group = 8 + (int)index,
                                                                         .parent = "0000:02:00.0",
                                                                         .index = index};
}

static void test_pool(void **state)
{
    struct world *world = *state;
    struct plan plan;
    struct device *parent = empty_parent(world);
    struct device_ref ref = {.kind = DEVICE_FUNCTION, .text = "n1", .vf = FUNCTION_AUTO};
    ref.settings = (struct function){.fields = FUNCTION_VLAN | FUNCTION_TRUST, .vlan = 20, .trust = true};
    add_network(world, "pool", ref);
    for (int i = 0; i < 3; i++) /* pointers into the list are taken once it is whole */
        add_machine(world, arena_printf(&world->arena, "vm%d", i), "pool");
    const struct machine *machines = world->model.machines.items;
    const char *mac = arena_strdup(&world->arena, MAC_TEXT(&machines[0].nics.items[0].mac));

    assert_string_equal(take(world, &machines[0], &plan), "0000:02:10.0");
    assert_string_equal(steps(world, &plan, false),
                        arena_printf(&world->arena,
                                     "file-write network=pool path=/run/vmwire/device/0000:02:00.0 mode=384\n"
                                     "link-set network=pool ifname=n1 up=1 ipv6=0\n"
                                     "functions-set network=pool address=0000:02:00.0 count=3\n"
                                     "file-write network=pool path=/run/vmwire/device/0000:02:10.0 mode=384\n"
                                     "device-bind network=pool address=0000:02:10.0 driver=vfio-pci\n"
                                     "function-set network=pool ifname=n1 mac=%s vlan=20 trust=1\n",
                                     mac));
    assert_string_equal(steps(world, &plan, true),
                        "function-set network=pool ifname=n1 mac=00:00:00:00:00:00 vlan=0 trust=0\n"
                        "device-unbind network=pool address=0000:02:10.0\n"
                        "file-remove network=pool path=/run/vmwire/device/0000:02:10.0 mode=384\n"
                        "functions-set network=pool address=0000:02:00.0 probe=1\n"
                        "link-set network=pool ifname=n1 up=0 ipv6=1\n"
                        "file-remove network=pool path=/run/vmwire/device/0000:02:00.0 mode=384\n");
    apply_files(world, &plan);
    world->observed.links.items[0].up = true;
    parent->functions_now = 2; /* fewer than the file needs, and one is in use: no more can be made */
    add_function(world, "0000:02:10.0", 0);
    add_function(world, "0000:02:10.2", 1);

    assert_string_equal(take(world, &machines[1], &plan), "0000:02:10.2");
    apply_files(world, &plan);
    assert_null(take(world, &machines[2], &plan));
    assert_says(problem(world), "all 2 functions of 'n1' are taken (0: machine 'vm0', 1: machine 'vm1')");
    assert_int_equal(plan.steps.count, 0);

    /* What comes back is free for the next, and the pool stays until `down`. */
    assert_int_equal(plan_devices_return(&world->arena, "vm1", &world->observed, &plan, NULL), 0);
    const char *back = steps(world, &plan, false);
    assert_says(back, "function-set network=pool ifname=n1 index=1 mac=00:00:00:00:00:00 vlan=0 trust=0\n"
                      "device-unbind network=pool address=0000:02:10.2\nfile-remove");
    assert_null(strstr(back, "functions-set"));
}

static void test_function_by_number(void **state)
{
    struct world *world = *state;
    struct plan plan;
    empty_parent(world);
    add_network(world, "third", (struct device_ref){.kind = DEVICE_FUNCTION, .text = "n1", .vf = 2});
    add_network(world, "ninth", (struct device_ref){.kind = DEVICE_FUNCTION, .text = "n1", .vf = 8});
    add_network(world, "any",
                (struct device_ref){.kind = DEVICE_FUNCTION, .text = "n1", .vf = FUNCTION_AUTO});
    add_machine(world, "vm0", "third");
    add_machine(world, "vm1", "ninth");
    add_machine(world, "vm2", "any");
    const struct machine *machines = world->model.machines.items;
    assert_string_equal(take(world, &machines[0], &plan), "0000:02:10.4");
    assert_says(steps(world, &plan, false), "functions-set network=third address=0000:02:00.0 count=7");
    assert_null(take(world, &machines[1], &plan));
    assert_says(problem(world), "'n1' has 7 functions, numbered from 0; there is no 8");
    assert_string_equal(take(world, &machines[2], &plan), "0000:02:10.0");
}

/* The card and its functions never go to guests at the same time. */
static void test_card_and_functions(void **state)
{
    struct world *world = *state;
    struct plan plan;
    struct device *parent = empty_parent(world);
    add_network(world, "pool",
                (struct device_ref){.kind = DEVICE_FUNCTION, .text = "n1", .vf = FUNCTION_AUTO});
    add_network(world, "card", (struct device_ref){.kind = DEVICE_INTERFACE, .text = "n1"});
    add_machine(world, "vm0", "pool");
    add_machine(world, "vm1", "card");
    const struct machine *machines = world->model.machines.items;
    struct network *networks = world->model.networks.items;

    assert_null(take(world, &machines[0], &plan));
    assert_says(problem(world), "0000:02:00.0 (n1) is as a whole the device of network 'card'");
    assert_null(take(world, &machines[1], &plan));
    assert_says(problem(world), "0000:02:00.0 (n1) has the functions of network 'pool', which go with it");

    /* In one file at a time. */
    struct device_ref card = networks[1].device, pool = networks[0].device;
    networks[1].device = (struct device_ref){0};
    take(world, &machines[0], &plan);
    apply_files(world, &plan);
    parent->functions_now = 1;
    add_function(world, "0000:02:10.0", 0);
    networks[1].device = card, networks[0].device = (struct device_ref){0};
    assert_null(take(world, &machines[1], &plan));
    assert_says(problem(world), "its 1 SR-IOV function would go with it");
    /* Neither when the network that has the functions wants the card now, nor when they went by hand. */
    networks[1].name = "pool", networks[0].name = "card";
    machines[1].nics.items[0].network = "pool";
    assert_null(take(world, &machines[1], &plan));
    assert_says(problem(world), "its 1 SR-IOV function would go with it");
    world->observed.devices.items[0].functions_now = 0;
    assert_null(take(world, &machines[1], &plan));
    assert_says(problem(world), "network 'pool' has functions of it; take that down first");
    assert_int_equal(plan.steps.count, 0);

    world->observed.files.count = 0;
    assert_string_equal(take(world, &machines[1], &plan), "0000:02:00.0");
    apply_files(world, &plan);
    world->observed.devices.items[0].ifname = "";
    machines[0].nics.items[0].network = "card";
    networks[1].device = (struct device_ref){0}, networks[0].device = pool;
    assert_null(take(world, &machines[0], &plan));
    assert_says(problem(world),
                "functions of 0000:02:00.0 cannot go to a guest: machine 'vm1' has the whole card");
}

/* Another machine that has part of a group has all of it. */
static void test_group_at_another_machine(void **state)
{
    struct world *world = *state;
    struct plan plan;
    tree_read(world, "device");
    add_network(world, "p0", (struct device_ref){.kind = DEVICE_INTERFACE, .text = "p0"});
    add_network(world, "p1", (struct device_ref){.kind = DEVICE_INTERFACE, .text = "p1"});
    add_machine(world, "vm0", "p0");
    add_machine(world, "vm1", "p1");
    const struct machine *machines = world->model.machines.items;
    /* Nobody drives the other. */
    vec_foreach (&((struct device *)device(world, "0000:05:01.0"))->members, member)
        member->driver = "";
    assert_string_equal(take(world, &machines[0], &plan), "0000:05:01.0");
    apply_files(world, &plan);
    vec_foreach (&((struct device *)device(world, "0000:05:02.0"))->members, member)
        member->driver = strcmp(member->address, "0000:05:01.0") == 0 ? "vfio-pci" : member->driver;
    assert_null(take(world, &machines[1], &plan));
    assert_says(problem(world),
                "machine 'vm0' has 0000:05:01.0 of the same IOMMU group 11, and a group goes to "
                "one guest as a whole; stop it first (vmwire stop vm0)");
}

/* Functions that others than vmwire's machines have: never is their number lowered meanwhile. */
static void test_pool_that_others_use(void **state)
{
    struct world *world = *state;
    struct plan plan;
    struct device *parent = empty_parent(world);
    struct device_ref ref = {.kind = DEVICE_FUNCTION, .text = "n1", .vf = FUNCTION_AUTO, .functions = 8};
    struct network *pool = add_network(world, "pool", ref);
    add_machine(world, "vm0", "pool");
    add_machine(world, "vm1", "pool");
    const struct machine *machines = world->model.machines.items;
    assert_null(take(world, &machines[0], &plan));
    assert_says(problem(world), "it can have 7 functions, and 'functions: 8' asks for more");
    pool->device.functions = 2;
    take(world, &machines[0], &plan);
    apply_files(world, &plan);
    world->observed.links.items[0].up = true;
    parent->functions_now = 2;
    add_function(world, "0000:02:10.0", 0);
    add_function(world, "0000:02:10.2", 1);
    struct device *other = &world->observed.devices.items[2];

    /* An interface of the host with an address, down though it is. */
    other->driver = "igbvf", other->ifname = "v1";
    add_link(world, "v1")->up = false;
    add_address(world, "v1", "192.0.2.9/24");
    assert_null(take(world, &machines[1], &plan));
    assert_says(problem(world), "(0: machine 'vm0', 1: the host (v1))");
    assert_null(strstr(network_plan(world, false, &plan), "functions-set"));
    assert_says(plan.notes.items[1], "0000:02:10.0: machine 'vm0', 0000:02:10.2: the host (v1)");

    /* Neither when the last machine ends, nor by `down`, while it is another program's. */
    vec_foreach (&plan.steps, step) {
        vec_foreach (&world->observed.files, file) {
            if (step->op.kind == OP_FILE_WRITE && strcmp(file->path, step->op.file.path) == 0)
                *file = step->op.file;
        }
    }
    other->driver = "vfio-pci", other->ifname = "";
    assert_int_equal(plan_devices_return(&world->arena, "vm0", &world->observed, &plan, NULL), 0);
    assert_says(steps(world, &plan, false), "device-unbind network=pool address=0000:02:10.0");
    assert_null(strstr(steps(world, &plan, false), "functions-set"));
    other->driver = "";
    assert_int_equal(plan_devices_return(&world->arena, "vm0", &world->observed, &plan, NULL), 0);
    assert_says(steps(world, &plan, false), "functions-set network=pool address=0000:02:00.0 probe=1\n");
}

/* A function that the host drives goes and comes back as an interface; its group is looked at like a card's.
 */
static void test_function_of_the_host(void **state)
{
    struct world *world = *state;
    struct plan plan;
    struct device *parent = empty_parent(world);
    parent->functions_now = 1;
    world->observed.links.items[0].up = true;
    add_function(world, "0000:02:10.0", 0);
    struct device *function = &world->observed.devices.items[1];
    function->driver = "igbvf", function->ifname = "v0";
    struct link *link = add_link(world, "v0");
    link->up = false;
    add_network(world, "pool",
                (struct device_ref){.kind = DEVICE_FUNCTION, .text = "n1", .vf = FUNCTION_AUTO});
    const struct machine *machine = add_machine(world, "vm0", "pool");
    machine->nics.items[0].mac = (struct mac){{2, 0, 0, 0, 0, 7}};

    assert_string_equal(take(world, machine, &plan), "0000:02:10.0");
    assert_string_equal(steps(world, &plan, false),
                        "file-write network=pool path=/run/vmwire/device/0000:02:10.0 mode=384\n"
                        "link-set network=pool ifname=v0 up=0\n"
                        "device-bind network=pool address=0000:02:10.0 driver=vfio-pci ifname=v0\n"
                        "function-set network=pool ifname=n1 mac=02:00:00:00:00:07\n");
    /* The parent forgets the guest's MAC before the driver comes, which would take it. */
    assert_string_equal(steps(world, &plan, true),
                        "function-set network=pool ifname=n1 mac=00:00:00:00:00:00\n"
                        "device-unbind network=pool address=0000:02:10.0 driver=igbvf ifname=v0\n"
                        "link-set network=pool ifname=v0 mac=00:00:00:00:00:00 mtu=1500 up=0\n"
                        "file-remove network=pool path=/run/vmwire/device/0000:02:10.0 mode=384\n");

    *vec_push(&world->arena, &world->observed.devices.items[1].members) =
        (struct group_member){.address = "0000:07:00.0", .class = 0x0c0300, .driver = "xhci_hcd"};
    assert_null(take(world, machine, &plan));
    assert_says(problem(world),
                "function 0000:02:10.0 (v0) of 'n1' cannot go to a guest: IOMMU group 8 also holds "
                "0000:07:00.0 (xhci_hcd)");
    assert_int_equal(plan.steps.count, 0);
}

/* `down` of a pool takes the functions away and the parent back down; undone, it is up again. */
static void test_pool_down(void **state)
{
    struct world *world = *state;
    struct plan plan;
    struct device *parent = empty_parent(world);
    add_network(world, "pool",
                (struct device_ref){.kind = DEVICE_FUNCTION, .text = "n1", .vf = FUNCTION_AUTO})
        ->bind_up = true;
    add_machine(world, "vm0", "pool");
    network_plan(world, true, &plan);
    assert_string_equal(problem(world), "no problem");
    apply_files(world, &plan);
    parent->functions_now = 1, parent->functions_probe = false;
    struct link *link = &world->observed.links.items[0];
    link->up = true, link->ipv6 = false;
    const char *down = network_plan(world, false, &plan), *undo = steps(world, &plan, true);
    assert_says(down, "functions-set network=pool address=0000:02:00.0 probe=1\n"
                      "link-set network=pool ifname=n1 up=0 ipv6=1\n"
                      "file-remove network=pool path=/run/vmwire/device/0000:02:00.0");
    assert_says(undo, "link-set network=pool ifname=n1 up=1 ipv6=0\n"
                      "functions-set network=pool address=0000:02:00.0 count=1\n");
}

/* `bind: up`, and what a machine does that runs meanwhile. */
static void test_bind_up(void **state)
{
    struct world *world = *state;
    struct plan plan;
    tree_read(world, "device");
    add_link(world, "n1");
    add_network(world, "nic1", (struct device_ref){.kind = DEVICE_INTERFACE, .text = "n1"})->bind_up = true;
    const char *up = network_plan(world, true, &plan);
    assert_string_equal(problem(world), "no problem");
    assert_says(up, "file-write network=nic1 path=/run/vmwire/network/nic1/record");
    assert_says(up, "device-bind network=nic1 address=0000:02:00.0 driver=vfio-pci ifname=n1\n");
    apply_files(world, &plan);
    struct device *card = (struct device *)device(world, "0000:02:00.0");
    card->ifname = "", card->driver = "vfio-pci";
    assert_string_equal(network_plan(world, true, &plan), "");

    /* Given back by hand: drift, which `up` mends. */
    card->ifname = "n1", card->driver = "e1000e";
    assert_string_equal(network_plan(world, true, &plan),
                        "device-bind network=nic1 address=0000:02:00.0 driver=vfio-pci ifname=n1\n");
    card->ifname = "", card->driver = "vfio-pci";

    const char *down = network_plan(world, false, &plan);
    assert_says(down, "device-unbind network=nic1 address=0000:02:00.0 driver=e1000e ifname=n1\n");
    assert_says(down, "file-remove network=nic1 path=/run/vmwire/network/nic1/record");

    /* A machine takes what waits, and `down` meanwhile leaves the device to it. */
    add_machine(world, "vm0", "nic1");
    assert_string_equal(take(world, &world->model.machines.items[0], &plan), "0000:02:00.0");
    assert_string_equal(steps(world, &plan, false),
                        "file-write network=nic1 path=/run/vmwire/device/0000:02:00.0 mode=384\n");
    vec_foreach (&world->observed.files, file) {
        if (strstr(file->path, "/device/"))
            file->content = plan.steps.items[0].op.file.content;
    }
    assert_null(strstr(network_plan(world, false, &plan), "device-unbind"));
    assert_says(plan.notes.items[0], "in use by machine 'vm0'; it goes back when the machine ends");
    vec_foreach (&plan.steps, step) {
        if (step->op.kind == OP_FILE_WRITE)
            assert_null(strstr(step->op.file.content, "keep"));
    }
}

static void test_bind_run_changes_nothing(void **state)
{
    struct world *world = *state;
    struct plan plan;
    tree_read(world, "device");
    add_link(world, "n1");
    add_network(world, "nic1", (struct device_ref){.kind = DEVICE_INTERFACE, .text = "n1"});
    assert_string_equal(network_plan(world, true, &plan), "");
    assert_int_equal(plan.notes.count, 1);
    assert_says(plan.notes.items[0], "device 0000:02:00.0 (n1) goes to vfio-pci when a machine on it starts");
    assert_string_equal(network_plan(world, false, &plan), "");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_take_and_return),
        TEST(test_settings_come_back),
        TEST(test_port_of_a_bond),
        TEST(test_take_refusals),
        TEST(test_group_at_another_machine),
        TEST(test_pool_that_others_use),
        TEST(test_pool),
        TEST(test_function_by_number),
        TEST(test_card_and_functions),
        TEST(test_function_of_the_host),
        TEST(test_pool_down),
        TEST(test_bind_up),
        TEST(test_bind_run_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
