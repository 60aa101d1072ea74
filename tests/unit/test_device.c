/* test_device.c: PCI devices: recorded sysfs trees (tests/golden/sysfs), verdicts, records, and the plans
 * that give devices to machines and back. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/spawn.h"
#include "base/text.h"
#include "host/linux/device.h"
#include "plan/device.h"

struct world {
    struct arena arena;
    struct model model;
    struct observed observed;
    struct problems problems;
    char sysfs[32]; /* the tree on disk; "" none */
};

static int setup(void **state)
{
    struct world *world = test_calloc(1, sizeof(*world));
    world->problems.arena = &world->arena;
    world->observed.run_dir = "/run/vmwire";
    world->observed.vfio = world->observed.iommu_remaps = true;
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    if (*world->sysfs) {
        const char *const argv[] = {"/bin/rm", "-rf", world->sysfs, NULL};
        struct spawn spawn = {.arena = &world->arena, .argv = argv, .timeout_ms = 10000};
        spawn_run(&spawn, NULL);
    }
    arena_free(&world->arena);
    test_free(world);
    return 0;
}

/* --- trees */

/* A line of a recording: "d PATH", "f PATH TEXT" or "l PATH TARGET".  A device's own links are one level
 * nearer to the top than in a real sysfs, where its folder is itself reached through a link. */
static void tree_line(struct world *world, char *line)
{
    char *path = line + 2, *rest = strchr(path, ' ');
    if (rest)
        *rest++ = '\0';
    char *full = arena_printf(&world->arena, "%s/%s", world->sysfs, path), *slash = strrchr(full, '/');
    *slash = '\0';
    assert_int_equal(directory_make(full, 0700, NULL), 0);
    *slash = '/';
    if (line[0] == 'd') {
        assert_int_equal(directory_make(full, 0700, NULL), 0);
    } else if (line[0] == 'f') {
        FILE *file = fopen(full, "w");
        assert_non_null(file);
        fprintf(file, "%s\n", rest ? rest : "");
        fclose(file);
    } else {
        const char *target = rest ? rest : "", *name = strrchr(target, '/');
        if (strcmp(slash, "/iommu_group") == 0 && name)
            target = arena_printf(&world->arena, "../../../../kernel/iommu_groups/%s", name + 1);
        assert_int_equal(symlink(target, full), 0);
    }
}

static void tree_read(struct world *world, const char *name)
{
    strcpy(world->sysfs, "/tmp/vmwire-sysfs-XXXXXX");
    assert_non_null(mkdtemp(world->sysfs));
    const char *path =
        arena_printf(&world->arena, "%s/tests/golden/sysfs/%s.tree", getenv("VMWIRE_SOURCE"), name);
    char *text;
    assert_int_equal(file_read(&world->arena, AT_FDCWD, path, 1 << 20, &text, NULL, NULL), 0);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        tree_line(world, line);
    assert_int_equal(pci_observe(&world->arena, world->sysfs, &world->observed, NULL), 0);
}

static const struct device *device(struct world *world, const char *address)
{
    const struct device *found = device_find(&world->observed, address);
    assert_non_null(found);
    return found;
}

static struct link *add_link(struct world *world, const char *name)
{
    struct link *link = vec_push(&world->arena, &world->observed.links);
    *link = (struct link){
        .name = name, .kind = "", .alias = "", .master = "", .mtu = 1500, .up = true, .ipv6 = true};
    return link;
}

static void add_address(struct world *world, const char *ifname, const char *text)
{
    struct address *address = vec_push(&world->arena, &world->observed.addresses);
    *address = (struct address){.ifname = ifname, .label = ""};
    assert_int_equal(prefix_parse(text, &address->prefix), 0);
}

static void add_route(struct world *world, const char *ifname, const char *to, const char *gateway)
{
    struct route *route = vec_push(&world->arena, &world->observed.routes);
    *route = (struct route){.table = 254, .ifname = ifname, .protocol = 3, .type = 1};
    assert_int_equal(prefix_parse(to, &route->to), 0);
    assert_int_equal(ip_parse(gateway, &route->gateway), 0);
}

static void test_tree_devices(void **state)
{
    struct world *world = *state;
    tree_read(world, "device");
    assert_true(world->observed.iommu);
    const struct device *n1 = device(world, "0000:02:00.0");
    assert_true(n1->network);
    assert_string_equal(n1->ifname, "n1");
    assert_string_equal(n1->driver, "e1000e");
    assert_int_equal(n1->vendor, 0x8086);
    assert_int_equal(n1->product, 0x10d3);
    assert_int_equal(n1->group, 9);
    assert_int_equal(n1->numa_node, -1);
    assert_int_equal(n1->members.count, 0);
    assert_int_equal(n1->functions_total, 0);
    assert_ptr_equal(device_of_interface(&world->observed, "n1"), n1);
    const struct device *p0 = device(world, "0000:05:01.0");
    assert_int_equal(p0->members.count >= 1, 1);
    bool other = false;
    vec_foreach (&p0->members, member)
        other |= strcmp(member->address, "0000:05:02.0") == 0 && strcmp(member->driver, "e1000") == 0;
    assert_true(other);
    assert_false(device(world, "0000:00:00.0")->network);
    for (size_t i = 1; i < world->observed.devices.count; i++)
        assert_true(strcmp(world->observed.devices.items[i - 1].address,
                           world->observed.devices.items[i].address) < 0);
}

static void test_tree_functions(void **state)
{
    struct world *world = *state;
    tree_read(world, "sriov");
    const struct device *parent = device(world, "0000:02:00.0");
    assert_int_equal(parent->functions_total, 7);
    assert_int_equal(parent->functions_now, 2);
    assert_int_equal(parent->functions_offset, 128);
    assert_int_equal(parent->functions_stride, 2);
    assert_false(parent->functions_probe);
    const struct device *second = device(world, "0000:02:10.2");
    assert_string_equal(second->parent, "0000:02:00.0");
    assert_int_equal(second->index, 1);
    assert_string_equal(second->driver, "");
}

/* Nothing that a file says can be believed; what cannot be read is not known, and nothing else breaks. */
static void test_tree_malformed(void **state)
{
    struct world *world = *state;
    tree_read(world, "malformed");
    const struct device *first = device(world, "0000:01:00.0"), *second = device(world, "0000:02:00.0");
    assert_int_equal(first->class, 0);
    assert_int_equal(first->vendor, 0);
    assert_int_equal(first->group, -1);
    assert_false(first->network);
    assert_true(second->network);
    assert_int_equal(second->vendor, 0);
    assert_int_equal(second->numa_node, -1);
    assert_int_equal(second->functions_total, 0);
    assert_string_equal(second->ifname, "");
    assert_int_equal(second->group, 3);
    assert_int_equal(second->members.count, 1);
    assert_string_equal(second->members.items[0].driver, "");
    assert_string_equal(second->parent, "0000:09:00.0");
    assert_int_equal(second->index, 0);
    assert_null(device_find(&world->observed, "0000:04:00.0"));
    assert_null(device_find(&world->observed, "0000:05:00.0"));
    assert_int_equal(device(world, "0000:03:00.0")->class, 0);
}

static void test_no_pci(void **state)
{
    struct world *world = *state;
    assert_int_equal(pci_observe(&world->arena, "/nowhere", &world->observed, NULL), 0);
    assert_int_equal(world->observed.devices.count, 0);
    assert_false(world->observed.iommu);
}

static void test_interrupts(void **state)
{
    (void)state;
    assert_true(
        interrupts_remapped(" 24: 0 0  DMAR-MSI   0-edge\n 25: 0 0  IR-PCI-MSI 49152-edge  PCIe PME\n"));
    assert_false(interrupts_remapped(
        "  2: 0 0  IO-APIC   2-edge\n 24: 0 0  DMAR-MSI 0-edge\n 25: 0 PCI-MSI 1-edge\n"));
    assert_true(interrupts_remapped(" 11: 0 0 GICv3  27 Level  arch_timer\n"));
}

/* --- verdicts */

static const char *fault(struct world *world, const char *address, const struct device_asker *asker)
{
    static const struct device_asker plain;
    const char *text =
        device_fault(&world->arena, &world->observed, device(world, address), asker ? asker : &plain);
    return text ? text : "fit";
}

static void assert_says(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' does not say '%s'", text, part);
}

static void test_faults(void **state)
{
    struct world *world = *state;
    tree_read(world, "device");
    add_link(world, "n0");
    add_link(world, "n1");
    struct link *n2 = add_link(world, "n2");
    add_route(world, "n0", "0.0.0.0/0", "192.168.87.1");
    assert_string_equal(fault(world, "0000:02:00.0", NULL), "fit");
    assert_says(fault(world, "0000:00:00.0", NULL), "no network device but a host bridge");
    assert_says(fault(world, "0000:01:00.0", NULL), "would cut the host off");
    assert_says(fault(world, "0000:01:00.0", &(struct device_asker){.in_use_take = true}),
                "would cut the host off");
    assert_says(fault(world, "0000:05:01.0", NULL), "IOMMU group 11 also holds 0000:05:02.0 (e1000)");
    const char *const both[] = {"0000:05:01.0", "0000:05:02.0", NULL};
    assert_string_equal(fault(world, "0000:05:01.0", &(struct device_asker){.together = both}), "fit");
    add_address(world, "n1", "192.0.2.7/24");
    assert_says(fault(world, "0000:02:00.0", NULL), "the host uses it (n1: address 192.0.2.7/24)");
    assert_says(fault(world, "0000:02:00.0", NULL), "in_use: take");
    assert_string_equal(fault(world, "0000:02:00.0", &(struct device_asker){.in_use_take = true}), "fit");
    n2->master = "br0";
    assert_says(fault(world, "0000:03:00.0", NULL), "port of 'br0'");
    world->observed.vfio = false;
    assert_says(fault(world, "0000:02:00.0", NULL), "no vfio-pci");
    world->observed.iommu_remaps = false;
    assert_says(fault(world, "0000:02:00.0", NULL), "allow_unsafe_interrupts=1");
    world->observed.iommu = false;
    assert_says(fault(world, "0000:02:00.0", NULL), "intel_iommu=on");
}

/* --- records */

static void test_record(void **state)
{
    struct world *world = *state;
    struct device_record record = {.address = "0000:02:00.0",
                                   .network = "nic1",
                                   .machine = "vm0",
                                   .keep = true},
                         back;
    struct op op = {.kind = OP_DEVICE_UNBIND, .network = "nic1"};
    op.device = (struct device_driver){"0000:02:00.0", "e1000e", "n1"};
    *vec_push(&world->arena, &record.former) = op;
    const char *text = device_record_format(&world->arena, &record);
    assert_string_equal(text,
                        "network nic1\nmachine vm0\nkeep\n"
                        "former device-unbind network=nic1 address=0000:02:00.0 driver=e1000e ifname=n1\n");
    assert_int_equal(device_record_parse(&world->arena, "0000:02:00.0", text, &back, NULL), 0);
    assert_string_equal(device_record_format(&world->arena, &back), text);
    static const char *const damaged[] = {"",
                                          "machine vm0\n",
                                          "network \n",
                                          "network a\nformer nothing\n",
                                          "network a\nformer device-unbind frob=1\n",
                                          "network a\nkeep it\n"};
    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
        struct err err = {0};
        assert_int_equal(device_record_parse(&world->arena, "x", damaged[i], &back, &err), -EINVAL);
        assert_true(*err.text);
    }
}

/* --- plans */

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
        "link-set network=nic1 ifname=n1 mac=00:00:00:00:00:00 mtu=9000 up=1 ipv6=1\n"
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
    add_network(world, "e", (struct device_ref){.kind = DEVICE_FUNCTION, .text = "n1", .vf = FUNCTION_AUTO});
    static const struct {
        const char *network, *says;
    } cases[] = {
        {"a", "device 'nosuch0' does not exist on this host; `vmwire devices` lists what does"},
        {"b", "interface 'veth7' is no PCI device (it is a veth)"},
        {"c", "device 0000:00:00.0 cannot go to a guest: it is no network device but a host bridge"},
        {"d",
         "device 0000:05:01.0 (p0) cannot go to a guest: IOMMU group 11 also holds 0000:05:02.0 (e1000)"},
        {"e", "functions of 0000:02:00.0 (n1) cannot go to a guest: it has no SR-IOV functions"},
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
                                     "link-set network=pool ifname=n1 up=1\n"
                                     "functions-set network=pool address=0000:02:00.0 count=3\n"
                                     "file-write network=pool path=/run/vmwire/device/0000:02:10.0 mode=384\n"
                                     "function-set network=pool ifname=n1 mac=%s vlan=20 trust=1\n"
                                     "device-bind network=pool address=0000:02:10.0 driver=vfio-pci\n",
                                     mac));
    assert_string_equal(steps(world, &plan, true),
                        "device-unbind network=pool address=0000:02:10.0\n"
                        "function-set network=pool ifname=n1 mac=00:00:00:00:00:00 vlan=0 trust=0\n"
                        "file-remove network=pool path=/run/vmwire/device/0000:02:10.0 mode=384\n"
                        "functions-set network=pool address=0000:02:00.0 probe=1\n"
                        "link-set network=pool ifname=n1 up=0\n"
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
    assert_says(
        back, "device-unbind network=pool address=0000:02:10.2\nfunction-set network=pool ifname=n1 index=1");
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

/* `up` and `down` of a network with `bind: up`, and of one whose machine runs. */
static const char *network_plan(struct world *world, bool up, struct plan *plan)
{
    struct plan_request request = {.model = up ? &world->model : NULL, .observed = &world->observed};
    struct err err = {0};
    world->problems.list.count = 0;
    assert_int_equal(plan_make(&world->arena, &request, &world->problems, plan, &err), 0);
    return steps(world, plan, false);
}

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
        TEST(test_tree_devices),
        TEST(test_tree_functions),
        TEST(test_tree_malformed),
        TEST(test_no_pci),
        TEST(test_interrupts),
        TEST(test_faults),
        TEST(test_record),
        TEST(test_take_and_return),
        TEST(test_take_refusals),
        TEST(test_pool),
        TEST(test_function_by_number),
        TEST(test_bind_up),
        TEST(test_bind_run_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
