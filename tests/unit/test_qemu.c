/* test_qemu.c: machine entries as QEMU command lines, held by tests/golden/argv/NAME (one word a line;
 * VMWIRE_GOLDEN_WRITE=1 writes them anew); nics as `--nic` says them, and placeholders. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/text.h"
#include "engine/nic.h"
#include "hyper/hyper.h"

/* A machine and the options that `run` would give. */
struct fixture {
    struct arena arena;
    struct machine machine;
    struct hyper_options options;
    struct err err;
};

static int setup(void **state)
{
    struct fixture *fixture = test_calloc(1, sizeof(*fixture));
    fixture->machine = (struct machine){.name = "vm0", .cpus = 2, .memory_bytes = (uint64_t)4 << 30};
    fixture->options = (struct hyper_options){.accelerated = true,
                                              .vhost = true,
                                              .qmp_path = "/run/vmwire/machine/vm0/qmp",
                                              .pid_path = "/run/vmwire/machine/vm0/pid",
                                              .serial_path = "/run/vmwire/machine/vm0/serial",
                                              .wait_path = "/run/vmwire/machine/vm0/wait",
                                              .directory = "/srv/lab"};
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    arena_free(&fixture->arena);
    test_free(fixture);
    return 0;
}

static struct nic *add_nic(struct fixture *fixture, const char *network, unsigned queues)
{
    struct nic *nic = vec_push(&fixture->arena, &fixture->machine.nics);
    *nic = (struct nic){.network = network, .queues = queues};
    return nic;
}

static struct disk *add_disk(struct fixture *fixture, const char *path, enum disk_format format)
{
    struct disk *disk = vec_push(&fixture->arena, &fixture->machine.disks);
    *disk = (struct disk){.path = path, .format = format};
    return disk;
}

static const char *const *make_argv(struct fixture *fixture)
{
    const char *const *argv = NULL;
    int rc = qemu_argv(&fixture->arena, &fixture->machine, &fixture->options, &argv, &fixture->err);
    if (rc < 0)
        fail_msg("%s", fixture->err.text);
    return argv;
}

static void check_golden(struct fixture *fixture, const char *name)
{
    struct text words = {.arena = &fixture->arena};
    for (const char *const *word = make_argv(fixture); *word; word++)
        text_add(&words, "%s\n", *word);
    const char *path =
        arena_printf(&fixture->arena, "%s/tests/golden/argv/%s", getenv("VMWIRE_SOURCE"), name);
    if (getenv("VMWIRE_GOLDEN_WRITE"))
        assert_int_equal(file_write_atomic(path, words.data, words.length, 0644, NULL), 0);
    char *golden;
    if (file_read(&fixture->arena, AT_FDCWD, path, 1 << 16, &golden, NULL, &fixture->err) < 0)
        fail_msg("%s", fixture->err.text);
    assert_string_equal(text_get(&words), golden);
}

static bool has_word(const char *const *argv, const char *word)
{
    for (; *argv; argv++)
        if (strcmp(*argv, word) == 0)
            return true;
    return false;
}

static bool has_part(const char *const *argv, const char *part)
{
    for (; *argv; argv++)
        if (strstr(*argv, part))
            return true;
    return false;
}

static void test_minimal_nat_machine(void **state)
{
    struct fixture *fixture = *state;
    fixture->machine.cpus = 0;
    fixture->machine.memory_bytes = 0;
    fixture->options.accelerated = false;
    fixture->options.vhost = false;
    add_nic(fixture, "brnat", 0);
    check_golden(fixture, "nat");
}

/* Only where it is not what every guest has by itself. */
static void test_an_mtu_is_told_to_virtio_nics(void **state)
{
    struct fixture *fixture = *state;
    add_nic(fixture, "brnat", 0);
    add_nic(fixture, "brext", 2);
    add_nic(fixture, "brnat", 0)->model = NIC_E1000;
    add_nic(fixture, "down", 0);
    fixture->options.mtus = (const uint32_t[]){1500, 9000, 9000, 0};
    check_golden(fixture, "mtu");
}

/* The firmware could not give more of them their I/O ports. */
static void test_the_ninth_e1000_is_on_the_root_bus(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 10; i++)
        add_nic(fixture, "brnat", 0)->model = i == 8 ? NIC_VIRTIO : NIC_E1000;
    const char *const *argv = make_argv(fixture);
    assert_true(has_part(argv, "e1000,id=card7,bus=port7,"));
    assert_true(has_part(argv, "virtio-net-pci,id=card8,bus=port8,"));
    assert_true(has_part(argv, "e1000,id=card9,bus=pcie.0,"));
    assert_true(has_part(argv, "id=port17,") && !has_part(argv, "id=port18,"));
}

static void test_multi_queue_with_vhost(void **state)
{
    struct fixture *fixture = *state;
    add_nic(fixture, "brnat", 4);
    check_golden(fixture, "multi-queue");
}

/* A directory with an OVMF in it, so that the test does not depend on the package. */
static char *firmware_make(struct fixture *fixture, const char *directory)
{
    struct hyper_firmware found;
    assert_int_equal(qemu_firmware_find(&fixture->arena, directory, &found, &fixture->err), -ENOENT);
    assert_non_null(strstr(fixture->err.text, "package: ovmf"));
    static const char *const names[] = {"OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"};
    for (int i = 0; i < 2; i++) {
        const char *path = arena_printf(&fixture->arena, "%s/%s", directory, names[i]);
        assert_int_equal(file_write_atomic(path, "x", 1, 0600, NULL), 0);
    }
    return arena_strdup(&fixture->arena, directory);
}

static void test_uefi_and_vnc(void **state)
{
    struct fixture *fixture = *state;
    char directory[] = "/tmp/ovmf,testXXXXXX";
    assert_non_null(mkdtemp(directory));
    fixture->options.firmware_directory = firmware_make(fixture, directory);
    fixture->options.vars_path = "/var/lib/vmwire/machine/vm0/efivars.fd";
    fixture->machine.firmware = FIRMWARE_UEFI;
    fixture->machine.cdrom = "FreeBSD-11.0.iso";
    fixture->machine.tablet = true;
    fixture->machine.display = (struct display){.on = true,
                                                .vnc_ip = {.family = AF_INET},
                                                .vnc_port = 5900,
                                                .width = 800,
                                                .height = 600,
                                                .wait = true};
    add_disk(fixture, "vm0.raw", DISK_RAW);
    add_nic(fixture, "brext", 1);
    const char *const *argv = make_argv(fixture);
    const char *code = arena_printf(
        &fixture->arena, "if=pflash,unit=0,format=raw,readonly=on,file=/tmp/ovmf,,%s/OVMF_CODE_4M.fd",
        directory + 10);
    assert_true(has_word(argv, code));

    fixture->options.vars_path = NULL; /* a throw-away store */
    argv = make_argv(fixture);
    assert_true(has_part(argv, "if=pflash,unit=1,format=raw,snapshot=on,file=/tmp/ovmf,,"));
    static const char *const names[] = {"OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"};
    for (int i = 0; i < 2; i++)
        unlink(arena_printf(&fixture->arena, "%s/%s", directory, names[i]));
    rmdir(directory);

    fixture->options.vars_path = "/var/lib/vmwire/machine/vm0/efivars.fd";
    fixture->options.firmware_directory = NULL;
    if (access("/usr/share/OVMF/OVMF_CODE_4M.fd", F_OK) < 0)
        skip();
    check_golden(fixture, "uefi-vnc");
}

static void test_direct_kernel_boot(void **state)
{
    struct fixture *fixture = *state;
    fixture->machine.kernel = "vmlinuz";
    fixture->machine.initrd = "initrd,1.gz"; /* QEMU takes these as they are */
    fixture->machine.cmdline = "console=ttyS0 root=/dev/vda,ro";
    add_nic(fixture, "brnat", 1);
    check_golden(fixture, "kernel");
}

static void test_two_nics(void **state)
{
    struct fixture *fixture = *state;
    add_nic(fixture, "brext", 1);
    add_nic(fixture, "brnat", 2);
    check_golden(fixture, "two-nics");
}

static void test_e1000_has_no_vhost(void **state)
{
    struct fixture *fixture = *state;
    add_nic(fixture, "brnat", 1)->model = NIC_E1000;
    check_golden(fixture, "e1000");
}

static void test_qcow2_disks_and_extra(void **state)
{
    struct fixture *fixture = *state;
    add_disk(fixture, "/images/vm0.qcow2", DISK_QCOW2);
    add_disk(fixture, "data.raw", DISK_RAW)->read_only = true;
    *vec_push(&fixture->arena, &fixture->machine.extra) = "-device";
    *vec_push(&fixture->arena, &fixture->machine.extra) = "{\"driver\": \"pvpanic\"}";
    fixture->options.background = true;
    check_golden(fixture, "qcow2");
}

static void test_path_with_comma_and_space(void **state)
{
    struct fixture *fixture = *state;
    fixture->options.directory = "/srv/my machines, all";
    add_disk(fixture, "a,b c.raw,readonly=on", DISK_RAW);
    fixture->machine.cdrom = "/iso/x,,y.iso";
    fixture->machine.firmware = FIRMWARE_PATH;
    fixture->machine.firmware_path = "bios,1.bin";
    check_golden(fixture, "comma");
}

static void test_relative_path_without_directory_is_no_protocol(void **state)
{
    struct fixture *fixture = *state;
    fixture->options.directory = NULL;
    add_disk(fixture, "nbd:10.0.0.1:10809", DISK_RAW);
    assert_true(has_part(make_argv(fixture), "file=./nbd:"));
}

static void test_serial_choices(void **state)
{
    struct fixture *fixture = *state;
    assert_true(has_part(make_argv(fixture), "stdio,id=serial0"));
    fixture->options.background = true;
    assert_true(has_part(make_argv(fixture), "path=/run/vmwire/machine/vm0/serial"));
    fixture->machine.serial = SERIAL_STDIO;
    assert_true(has_part(make_argv(fixture), "path=/run/vmwire/machine/vm0/serial"));
    fixture->machine.serial = SERIAL_OFF;
    assert_false(has_part(make_argv(fixture), "serial0"));
    fixture->options.background = false;
    fixture->machine.serial = SERIAL_SOCKET;
    assert_true(has_part(make_argv(fixture), "path=/run/vmwire/machine/vm0/serial"));
    fixture->options.serial_path = NULL;
    assert_false(has_part(make_argv(fixture), "serial0"));
}

static void test_guest_is_held_only_where_somebody_lets_it_go(void **state)
{
    struct fixture *fixture = *state;
    fixture->machine.display = (struct display){.on = true, .vnc_ip = {.family = AF_INET6}, .vnc_port = 5901};
    assert_false(has_word(make_argv(fixture), "-S"));
    fixture->machine.display.wait = true;
    assert_true(has_word(make_argv(fixture), "-S"));
    assert_true(has_word(make_argv(fixture), "[::]:1"));
    fixture->options.wait_path = NULL;
    assert_false(has_word(make_argv(fixture), "-S"));
}

static void test_own_sandbox_takes_the_place_of_ours(void **state)
{
    struct fixture *fixture = *state;
    *vec_push(&fixture->arena, &fixture->machine.extra) = "-sandbox";
    *vec_push(&fixture->arena, &fixture->machine.extra) = "off";
    assert_false(has_part(make_argv(fixture), "obsolete=deny"));
}

static void refused(struct fixture *fixture, const char *words)
{
    const char *const *argv;
    assert_int_equal(qemu_argv(&fixture->arena, &fixture->machine, &fixture->options, &argv, &fixture->err),
                     -EINVAL);
    if (!strstr(fixture->err.text, words))
        fail_msg("'%s' is not in: %s", words, fixture->err.text);
}

static void test_refusals_name_machine_and_key(void **state)
{
    struct fixture *fixture = *state;
    add_nic(fixture, "brnat", 2)->model = NIC_E1000;
    refused(fixture, "machine 'vm0': nic 0: an e1000 has one queue");
    fixture->machine.nics.count = 0;
    fixture->machine.initrd = "initrd";
    refused(fixture, "machine 'vm0': 'initrd' needs 'kernel'");
    fixture->machine.initrd = NULL;
    fixture->machine.display = (struct display){.on = true, .vnc_ip = {.family = AF_INET}, .vnc_port = 80};
    refused(fixture, "VNC port 80");
}

/* ---- nics ---- */

static void test_nic_text_is_read_and_written(void **state)
{
    struct fixture *fixture = *state;
    struct nic_spec spec;
    assert_int_equal(nic_parse(&fixture->arena, "brnat", &spec, NULL), 0);
    assert_string_equal(spec.network, "brnat");
    assert_true(mac_is_zero(&spec.mac));
    assert_int_equal(spec.queues, 1);
    const char *whole = "brnat,mac=02:00:00:00:00:0a,queues=2,vhost=off,vnet_hdr=on";
    assert_int_equal(nic_parse(&fixture->arena, whole, &spec, &fixture->err), 0);
    assert_int_equal(spec.queues, 2);
    assert_int_equal(spec.vhost, NIC_OFF);
    assert_int_equal(spec.vnet_header, NIC_ON);
    assert_string_equal(nic_format(&fixture->arena, &spec), whole);
}

static void test_nic_text_that_is_wrong_is_refused(void **state)
{
    static const char *const wrong[] = {"",
                                        ",",
                                        "-x",
                                        "a/b",
                                        "../x",
                                        "br0,",
                                        "br0,mac",
                                        "br0,mac=",
                                        "br0,mac=03:00:00:00:00:01",
                                        "br0,mac=00:00:00:00:00:00",
                                        "br0,mac=02:00:00:00:00",
                                        "br0,queues=0",
                                        "br0,queues=17",
                                        "br0,queues=-1",
                                        "br0,queues= 1",
                                        "br0,queues=1x",
                                        "br0,queues=99999999999999999999",
                                        "br0,vhost=yes",
                                        "br0,vnet_hdr=",
                                        "br0,que=1"};
    struct fixture *fixture = *state;
    struct nic_spec spec;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (nic_parse(&fixture->arena, wrong[i], &spec, &fixture->err) != -EINVAL)
            fail_msg("'%s' was taken", wrong[i]);
        assert_non_null(strstr(fixture->err.text, "--nic '"));
    }
    nic_parse(&fixture->arena, "br0,queue=2", &spec, &fixture->err);
    assert_non_null(strstr(fixture->err.text, "did you mean 'queues='?"));
}

static void test_random_mac_is_local_and_unicast(void **state)
{
    (void)state;
    struct mac a = nic_mac_random(), b = nic_mac_random();
    assert_int_equal(a.bytes[0], 0x02);
    assert_false(mac_equal(&a, &b));
}

static void open_fake(struct fixture *fixture, struct nics *nics, unsigned queues, int first_fd, bool vhost)
{
    struct nic_spec *spec = vec_push(&fixture->arena, &nics->specs);
    *spec = (struct nic_spec){.network = "brnat", .mac = {{2, 0, 0, 0, 0, 1}}, .queues = queues};
    struct nic_open *nic = vec_push(&fixture->arena, &nics->open);
    memset(nic->fds, -1, sizeof(nic->fds));
    memset(nic->vhost_fds, -1, sizeof(nic->vhost_fds));
    strcpy(nic->tap, "tap7");
    nic->queues = queues;
    for (unsigned i = 0; i < queues; i++) {
        nic->fds[i] = first_fd + (int)i;
        nic->vhost_fds[i] = vhost ? first_fd + 10 + (int)i : -1;
    }
}

static void test_an_agent_has_its_port_only_where_it_is_asked_for(void **state)
{
    struct fixture *fixture = *state;
    fixture->options.agent_path = "/run/vmwire/machine/vm0/agent";
    assert_null(strstr(shell_join(&fixture->arena, make_argv(fixture)), "agent0"));
    fixture->machine.agent = true;
    assert_non_null(strstr(shell_join(&fixture->arena, make_argv(fixture)),
                           "-device virtio-serial-pci -chardev "
                           "socket,id=agent0,server=on,wait=off,path=/run/vmwire/machine/vm0/agent -device "
                           "virtserialport,chardev=agent0,name=org.qemu.guest_agent.0"));
    fixture->options.agent_path = NULL; /* `args`: a line without control sockets */
    assert_null(strstr(shell_join(&fixture->arena, make_argv(fixture)), "agent0"));
}

static void test_placeholders_are_filled_in(void **state)
{
    struct fixture *fixture = *state;
    struct nics nics = {.machine = "-"};
    open_fake(fixture, &nics, 1, 100, false);
    open_fake(fixture, &nics, 2, 200, true);
    const char *const argv[] = {"{tap0}", "a{fd0}b{mac0}", "{fds1}:{vhostfds1},{fds0}", "", NULL};
    const char *const *filled;
    assert_int_equal(nic_substitute(&fixture->arena, &nics, argv, &filled, &fixture->err), 0);
    assert_string_equal(filled[0], "tap7");
    assert_string_equal(filled[1], "a100b02:00:00:00:00:01");
    assert_string_equal(filled[2], "200:201:210:211,100");
    assert_string_equal(filled[3], "");
    assert_null(filled[4]);
}

static void test_other_braces_are_left_alone(void **state)
{
    struct fixture *fixture = *state;
    struct nics nics = {.machine = "-"};
    open_fake(fixture, &nics, 1, 100, false);
    const char *const argv[] = {"{{fd}", "{\"a\":{\"b\":0}}", "{fd0", "{fdx0}", "{fd-1}", "{}",
                                "{",     "{{fd0}}",           NULL};
    const char *const *filled;
    assert_int_equal(nic_substitute(&fixture->arena, &nics, argv, &filled, &fixture->err), 0);
    for (int i = 0; i < 7; i++)
        assert_string_equal(filled[i], argv[i]);
    assert_string_equal(filled[7], "{100}");
}

static void test_placeholder_beyond_the_nics_is_refused(void **state)
{
    static const char *const wrong[] = {"{fd1}", "x{mac1}", "{tap99999999999999999999999}", "{fds00001}"};
    struct fixture *fixture = *state;
    struct nics nics = {.machine = "-"};
    open_fake(fixture, &nics, 1, 100, false);
    const char *const *filled;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const char *const argv[] = {"true", wrong[i], NULL};
        assert_int_equal(nic_check_argv(argv, 1, &fixture->err), -EINVAL);
        assert_int_equal(nic_substitute(&fixture->arena, &nics, argv, &filled, &fixture->err), -EINVAL);
    }
    const char *const vhost[] = {"{vhostfds0}", NULL};
    assert_int_equal(nic_substitute(&fixture->arena, &nics, vhost, &filled, &fixture->err), -ENODEV);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_minimal_nat_machine),
        TEST(test_an_mtu_is_told_to_virtio_nics),
        TEST(test_the_ninth_e1000_is_on_the_root_bus),
        TEST(test_multi_queue_with_vhost),
        TEST(test_uefi_and_vnc),
        TEST(test_direct_kernel_boot),
        TEST(test_two_nics),
        TEST(test_e1000_has_no_vhost),
        TEST(test_qcow2_disks_and_extra),
        TEST(test_path_with_comma_and_space),
        TEST(test_relative_path_without_directory_is_no_protocol),
        TEST(test_serial_choices),
        TEST(test_guest_is_held_only_where_somebody_lets_it_go),
        TEST(test_own_sandbox_takes_the_place_of_ours),
        TEST(test_refusals_name_machine_and_key),
        TEST(test_nic_text_is_read_and_written),
        TEST(test_nic_text_that_is_wrong_is_refused),
        TEST(test_random_mac_is_local_and_unicast),
        TEST(test_placeholders_are_filled_in),
        TEST(test_an_agent_has_its_port_only_where_it_is_asked_for),
        TEST(test_other_braces_are_left_alone),
        TEST(test_placeholder_beyond_the_nics_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
