/* test_device.c: PCI devices: recorded sysfs trees, verdicts, records. */
#include "device_world.h"

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

/* Two ports on one device, and a card whose interface hangs on a child; either's driver_override. */
static void test_tree_ports(void **state)
{
    struct world *world = *state;
    tree_read(world, "ports");
    const struct device *ports = device(world, "0000:03:00.0"), *virtio = device(world, "0000:04:00.0");
    assert_string_equal(ports->ifname, "ens1");
    assert_int_equal(ports->other_ifnames.count, 2);
    assert_ptr_equal(device_of_interface(&world->observed, "ens1d1"), ports);
    assert_ptr_equal(device_of_interface(&world->observed, "ens1d2"), ports);
    assert_int_equal(ports->numa_node, 1);
    assert_string_equal(ports->override, "");
    assert_string_equal(virtio->ifname, "ens4");
    assert_int_equal(virtio->other_ifnames.count, 0);
    assert_int_equal(virtio->numa_node, 0);
    assert_string_equal(virtio->override, "virtio-pci");
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
    const struct device *sixth = device(world, "0000:06:00.0"), *seventh = device(world, "0000:07:00.0");
    assert_true(sixth->network && seventh->network);
    assert_int_equal(sixth->vendor, 0);
    assert_int_equal(sixth->product, 0);
    assert_int_equal(sixth->numa_node, -1);
    assert_int_equal(sixth->functions_total, 0);
    assert_int_equal(sixth->functions_now, 0);
    assert_int_equal(sixth->functions_offset, 0);
    assert_int_equal(sixth->functions_stride, 0);
    assert_true(sixth->functions_probe);
    assert_string_equal(sixth->driver, "");
    assert_string_equal(sixth->ifname, "");
    assert_int_equal(sixth->group, -1);
    assert_int_equal(seventh->group, 4);
    assert_int_equal(seventh->members.count, 0);
    assert_string_equal(seventh->parent, "0000:06:00.0");
    assert_null(device_find(&world->observed, "junk"));
    assert_null(device_find(&world->observed, "0000:08:00.0x"));
    assert_int_equal(world->observed.devices.count, 5);
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
    /* Whether it does is left to the guard then. */
    assert_string_equal(fault(world, "0000:01:00.0", &(struct device_asker){.in_use_take = true}), "fit");
    assert_says(fault(world, "0000:05:01.0", NULL), "IOMMU group 11 also holds 0000:05:02.0 (e1000)");
    const char *const both[] = {"0000:05:01.0", "0000:05:02.0", NULL};
    assert_string_equal(fault(world, "0000:05:01.0", &(struct device_asker){.together = both}), "fit");
    add_address(world, "n1", "192.0.2.7/24");
    assert_says(fault(world, "0000:02:00.0", NULL), "the host uses it (n1: address 192.0.2.7/24)");
    assert_says(fault(world, "0000:02:00.0", NULL), "in_use: take");
    assert_string_equal(fault(world, "0000:02:00.0", &(struct device_asker){.in_use_take = true}), "fit");
    n2->master = "br0";
    assert_says(fault(world, "0000:03:00.0", NULL), "port of 'br0'");
    /* Over a bridge, and over a VLAN of that. */
    const struct device_asker take = {.in_use_take = true};
    add_link(world, "br0");
    add_link(world, "br0.7")->lower = "br0";
    add_route(world, "br0.7", "0.0.0.0/0", "192.168.88.1");
    assert_says(fault(world, "0000:03:00.0", NULL), "would cut the host off");
    assert_says(device_use(&world->arena, &world->observed, device(world, "0000:03:00.0")),
                "port of 'br0', over which the default route leads");
    /* What would not come back. */
    struct link *vlan = add_link(world, "n1.20");
    vlan->lower = "n1", vlan->kind = "vlan";
    assert_says(fault(world, "0000:02:00.0", &take),
                "'n1.20' (vlan) stands on n1 and would be gone for good");
    assert_says(fault(world, "0000:02:00.0", NULL), "'n1.20' (vlan) stands on n1");
    vlan->kind = "veth"; /* its other end */
    assert_string_equal(fault(world, "0000:02:00.0", &take), "fit");
    add_route(world, "n1", "198.51.100.0/24", "192.0.2.1");
    world->observed.routes.items[world->observed.routes.count - 1].unmovable = true;
    assert_says(fault(world, "0000:02:00.0", &take), "the route 198.51.100.0/24 on n1 has attributes");
    world->observed.routes.count--;
    ((struct device *)device(world, "0000:02:00.0"))->functions_now = 2;
    assert_says(fault(world, "0000:02:00.0", &(struct device_asker){.in_use_take = true}),
                "its 2 SR-IOV functions would go with it");
    world->observed.vfio = false;
    assert_says(fault(world, "0000:02:00.0", NULL), "no vfio-pci");
    world->observed.iommu_remaps = false;
    assert_says(fault(world, "0000:02:00.0", NULL), "allow_unsafe_interrupts=1");
    world->observed.iommu = false;
    assert_says(fault(world, "0000:02:00.0", NULL), "intel_iommu=on");
}

/* All ports of a card go with it. */
static void test_faults_of_ports(void **state)
{
    struct world *world = *state;
    const struct device_asker take = {.in_use_take = true};
    tree_read(world, "ports");
    add_link(world, "ens1");
    struct link *second = add_link(world, "ens1d1");
    second->up = false;
    assert_string_equal(fault(world, "0000:03:00.0", NULL), "fit");
    second->up = true;
    assert_says(fault(world, "0000:03:00.0", &take), "the host uses its other interface 'ens1d1' (up)");
    add_address(world, "ens1d1", "192.0.2.9/24");
    assert_says(fault(world, "0000:03:00.0", &take),
                "the host uses its other interface 'ens1d1' (address 192.0.2.9/24), which goes with it");
    assert_string_equal(device_use(&world->arena, &world->observed, device(world, "0000:03:00.0")),
                        "'ens1d1' too: address 192.0.2.9/24");
    add_route(world, "ens1d1", "0.0.0.0/0", "192.0.2.1");
    assert_says(fault(world, "0000:03:00.0", NULL), "would cut the host off");
}

/* A port that is taken must be able to become one again. */
static void test_faults_of_masters(void **state)
{
    struct world *world = *state;
    const struct device_asker take = {.in_use_take = true};
    tree_read(world, "device");
    for (const char *const *name = (const char *const[]){"n0", "n1", "n2", "m0", NULL}; *name; name++)
        add_link(world, *name);
    struct link *n1 = &world->observed.links.items[1], *n2 = n1 + 1, *master = n2 + 1;
    n1->master = "m0", master->kind = "vrf";
    assert_says(fault(world, "0000:02:00.0", &take), "could not be made a port of 'm0' (vrf) again");
    master->kind = "bond";
    assert_says(fault(world, "0000:02:00.0", &take), "bond 'm0' has no other port");
    assert_string_equal(device_use(&world->arena, &world->observed, device(world, "0000:02:00.0")),
                        "port of bond 'm0'");
    n2->master = "m0";
    assert_says(fault(world, "0000:02:00.0", NULL), "port of bond 'm0'");
    assert_string_equal(fault(world, "0000:02:00.0", &take), "fit");
    master->kind = "bridge";
    assert_string_equal(fault(world, "0000:02:00.0", &take), "fit");
    n1->port_tuned = true;
    assert_says(fault(world, "0000:02:00.0", &take), "n1 is a port of 'm0' with settings of its own, which");
    n1->port_tuned = false, master->filters_vlans = true;
    assert_says(fault(world, "0000:02:00.0", &take), "with settings of its own (VLANs), which");
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
    op.device = (struct device_driver){"0000:02:00.0", "e1000e", "n1", "vfio-pci"};
    *vec_push(&world->arena, &record.former) = op;
    const char *text = device_record_format(&world->arena, &record);
    assert_string_equal(text,
                        "network nic1\nmachine vm0\nkeep\n"
                        "former device-unbind network=nic1 address=0000:02:00.0 driver=e1000e ifname=n1 "
                        "override=vfio-pci\n");
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_tree_devices),
        TEST(test_tree_functions),
        TEST(test_tree_malformed),
        TEST(test_no_pci),
        TEST(test_tree_ports),
        TEST(test_faults_of_ports),
        TEST(test_faults_of_masters),
        TEST(test_interrupts),
        TEST(test_faults),
        TEST(test_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
