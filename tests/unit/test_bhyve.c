/* test_bhyve.c: machine entries as bhyve command lines: the article's three, word for word
 * (tests/golden/article), others (tests/golden/argv/bhyve-NAME; VMWIRE_GOLDEN_WRITE=1 writes them anew); what
 * bhyve cannot do; its MACs and exit statuses, as a real bhyve gave them. */
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
#include "config/config.h"
#include "engine/nic.h"
#include "hyper/bhyve.h"
#include "hyper/hyper.h"

struct fixture {
    struct arena arena;
    struct model model;
    struct machine machine;
    struct hyper_options options;
    struct err err;
};

static int setup(void **state)
{
    struct fixture *fixture = test_calloc(1, sizeof(*fixture));
    fixture->machine = (struct machine){.name = "vm0", .cpus = 2, .memory_bytes = (uint64_t)4 << 30};
    fixture->options = (struct hyper_options){.directory = "/vm"};
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

static char *golden_read(struct fixture *fixture, const char *name)
{
    const char *path = arena_printf(&fixture->arena, "%s/tests/golden/%s", getenv("VMWIRE_SOURCE"), name);
    char *text;
    if (file_read(&fixture->arena, AT_FDCWD, path, 1 << 16, &text, NULL, &fixture->err) < 0)
        fail_msg("%s", fixture->err.text);
    return text;
}

static const char *const *make_argv(struct fixture *fixture)
{
    const char *const *argv = NULL;
    if (bhyve_argv(&fixture->arena, &fixture->machine, &fixture->options, &argv, &fixture->err) < 0)
        fail_msg("%s", fixture->err.text);
    return argv;
}

static void check_golden(struct fixture *fixture, const char *name)
{
    struct text words = {.arena = &fixture->arena};
    for (const char *const *word = make_argv(fixture); *word; word++)
        text_add(&words, "%s\n", *word);
    if (getenv("VMWIRE_GOLDEN_WRITE")) {
        const char *path =
            arena_printf(&fixture->arena, "%s/tests/golden/argv/%s", getenv("VMWIRE_SOURCE"), name);
        assert_int_equal(file_write_atomic(path, words.data, words.length, 0644, NULL), 0);
    }
    assert_string_equal(text_get(&words),
                        golden_read(fixture, arena_printf(&fixture->arena, "argv/%s", name)));
}

/* The words of a shell command over several lines, one space between. */
static const char *flat(struct fixture *fixture, char *text)
{
    struct text out = {.arena = &fixture->arena};
    for (char *word; (word = strsep(&text, " \n"));) {
        if (*word && strcmp(word, "\\") != 0)
            text_add(&out, "%s%s", out.length ? " " : "", word);
    }
    return text_get(&out);
}

/* The article's file gives the article's line; its tap was tap1. */
static void check_article(struct fixture *fixture, const char *name)
{
    struct problems problems = {.arena = &fixture->arena, .file = name};
    char *yaml = golden_read(fixture, arena_printf(&fixture->arena, "article/%s.yaml", name));
    config_parse(&fixture->arena, yaml, strlen(yaml), &fixture->model, &problems);
    model_check(&fixture->model, &fixture->arena, "", &problems);
    assert_int_equal(problem_count(&problems), 0);
    fixture->machine = fixture->model.machines.items[0];
    fixture->options.directory = NULL;
    const struct network *network = network_find(&fixture->model, fixture->machine.nics.items[0].network);
    const char *devices[] = {network->mode == NETWORK_PASSTHROUGH ? network->device.text : NULL};
    fixture->options.devices = devices;

    struct nics nics = {.machine = "vm0"};
    if (!devices[0]) {
        *vec_push(&fixture->arena, &nics.specs) = (struct nic_spec){.network = network->name};
        *vec_push(&fixture->arena, &nics.open) = (struct nic_open){.tap = "tap1"};
    }
    const char *const *argv;
    assert_int_equal(nic_substitute(&fixture->arena, &nics, make_argv(fixture), &argv, &fixture->err), 0);
    char *lines = golden_read(fixture, arena_printf(&fixture->arena, "article/%s.sh", name));
    assert_string_equal(shell_join(&fixture->arena, argv), flat(fixture, lines));
}

static void test_article_bridged(void **state)
{
    check_article(*state, "bridged");
}

static void test_article_nat(void **state)
{
    check_article(*state, "nat");
}

static void test_article_passthrough(void **state)
{
    check_article(*state, "passthrough");
}

static struct nic *add_nic(struct fixture *fixture, const char *mac)
{
    struct nic *nic = vec_push(&fixture->arena, &fixture->machine.nics);
    *nic = (struct nic){.network = "brnat"};
    mac_parse(mac, &nic->mac);
    return nic;
}

static struct disk *add_disk(struct fixture *fixture, const char *path)
{
    struct disk *disk = vec_push(&fixture->arena, &fixture->machine.disks);
    *disk = (struct disk){.path = path};
    return disk;
}

/* Functions of one slot; a passed-through nic between two taps; the tap's placeholders count taps only. */
static void test_many_devices(void **state)
{
    struct fixture *fixture = *state;
    const char *const devices[] = {NULL, "0000:04:00.1", NULL, "pci0:3:0:0"};
    fixture->options.devices = devices;
    fixture->machine.memory_bytes = (uint64_t)1536 << 20;
    add_disk(fixture, "a.raw");
    add_disk(fixture, "/srv/b.img")->read_only = true;
    add_nic(fixture, "02:00:00:00:00:01");
    add_nic(fixture, "02:00:00:00:00:02");
    add_nic(fixture, "00:a0:98:26:03:39"); /* bhyve's own of 5:1 */
    add_nic(fixture, "02:00:00:00:00:04");
    fixture->machine.nics.items[0].model = NIC_E1000;
    check_golden(fixture, "bhyve-many");
}

static void test_background_has_an_nmdm_console_and_extra_is_before_the_name(void **state)
{
    struct fixture *fixture = *state;
    fixture->options.background = true;
    fixture->machine.firmware = FIRMWARE_PATH;
    fixture->machine.firmware_path = "rom.fd";
    fixture->machine.display = (struct display){.on = true, .vnc_port = 5901};
    ip_parse("::1", &fixture->machine.display.vnc_ip);
    *vec_push(&fixture->arena, &fixture->machine.extra) = "-P";
    check_golden(fixture, "bhyve-background");
}

static void test_serial_off_has_no_com1(void **state)
{
    struct fixture *fixture = *state;
    fixture->machine.serial = SERIAL_OFF;
    check_golden(fixture, "bhyve-no-serial");
}

static void check_refused(struct fixture *fixture, const char *part)
{
    const char *const *argv;
    fixture->err = (struct err){0};
    assert_int_equal(bhyve_argv(&fixture->arena, &fixture->machine, &fixture->options, &argv, &fixture->err),
                     -EINVAL);
    if (!strstr(fixture->err.text, part) || !strstr(fixture->err.text, "machine '"))
        fail_msg("'%s' does not say '%s'", fixture->err.text, part);
}

static void test_what_bhyve_cannot_do_is_refused_by_machine_and_key(void **state)
{
    struct fixture *fixture = *state;
    const struct machine plain = fixture->machine;
#define REFUSED(part, ...)                                                                                   \
    do {                                                                                                     \
        fixture->machine = plain;                                                                            \
        __VA_ARGS__;                                                                                         \
        check_refused(fixture, part);                                                                        \
    } while (0)
    REFUSED("machine 'vm0': firmware: bhyve has no BIOS", fixture->machine.firmware = FIRMWARE_BIOS);
    REFUSED("agent: vmwire gives a bhyve machine no channel", fixture->machine.agent = true);
    REFUSED("kernel: bhyve boots no kernel", fixture->machine.kernel = "vmlinuz");
    REFUSED("cmdline: ", fixture->machine.cmdline = "quiet");
    REFUSED("at most 31", fixture->machine.name = "a2345678901234567890123456789012");
    REFUSED("disk 1: bhyve reads no qcow2", add_disk(fixture, "a.qcow2")->format = DISK_QCOW2);
    REFUSED("disk 1: bhyve cannot open 'a,b.raw'", add_disk(fixture, "a,b.raw"));
    REFUSED("cdrom: bhyve cannot open", fixture->machine.cdrom = "a,b.iso");
    REFUSED("display: 1920x1201",
            fixture->machine.display = (struct display){.on = true, .width = 1920, .height = 1201});
    REFUSED("disks: 9 are more than the 8", for (int i = 0; i < 9; i++) add_disk(fixture, "d.raw"));
    REFUSED("nics: more than the 8", for (int i = 0; i < 9; i++) add_nic(fixture, "02:00:00:00:00:01"));
    fixture->options.devices = (const char *const[]){"0001:03:00.0"};
    REFUSED("PCI domain 1", add_nic(fixture, "02:00:00:00:00:01"));
#undef REFUSED
}

/* Transcripts 05 and 06: "mac 00a0981bc807" of vm0's 5:0, 5:1, 6:0, and vm1's 5:0. */
static void test_macs_that_bhyve_makes(void **state)
{
    static const struct {
        const char *machine;
        unsigned slot, function;
        const char *mac;
    } seen[] = {{"vm0", 5, 0, "00:a0:98:1b:c8:07"}, {"vm0", 5, 1, "00:a0:98:26:03:39"},
                {"vm0", 6, 0, "00:a0:98:3b:23:23"}, {"vm1", 5, 0, "00:a0:98:1d:21:8e"},
                {"vm1", 2, 0, "00:a0:98:27:a7:18"}, {"vm2", 2, 0, "00:a0:98:27:42:4c"},
                {"vmg", 5, 0, "00:a0:98:27:b5:6c"}, {"vmg", 6, 0, "00:a0:98:b4:13:75"}};
    (void)state;
    for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++) {
        struct mac mac;
        bhyve_mac(seen[i].machine, seen[i].slot, seen[i].function, &mac);
        assert_string_equal(MAC_TEXT(&mac), seen[i].mac);
    }
    /* RFC 1321, A.5, has no such words; md5sum(1) of 60 bytes, which take two blocks. */
    struct mac mac;
    bhyve_mac("a2345678901234567890123456789012345678901234567890123456", 5, 0, &mac);
    assert_string_equal(MAC_TEXT(&mac), "00:a0:98:37:c9:e6");
}

static void test_devices_of_every_form(void **state)
{
    static const char *const same[] = {"3/0/1", "pci0:3:0:1", "0000:03:00.1"};
    static const char *const none[] = {"", "re1", "3/0", "3/0/0x", "pci0:3:0", "0000:03:00", "3:0:0"};
    struct bhyve_device device;
    (void)state;
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        assert_int_equal(bhyve_device_parse(same[i], &device), 0);
        assert_int_equal(device.domain, 0);
        assert_int_equal(device.bus, 3);
        assert_int_equal(device.slot, 0);
        assert_int_equal(device.function, 1);
    }
    assert_int_equal(bhyve_device_parse("0000:1a:00.0", &device), 0);
    assert_int_equal(device.bus, 0x1a);
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_int_equal(bhyve_device_parse(none[i], &device), -EINVAL);
}

/* Transcripts 02 to 05. */
static void test_exit_statuses_mean_what_a_real_bhyve_meant(void **state)
{
    (void)state;
    assert_int_equal(bhyve_exit(0, true), BHYVE_REBOOT);
    assert_int_equal(bhyve_exit(1, true), BHYVE_POWER_OFF);
    assert_int_equal(bhyve_exit(1, false), BHYVE_USAGE);
    assert_int_equal(bhyve_exit(2, true), BHYVE_HALT);
    assert_int_equal(bhyve_exit(3, true), BHYVE_TRIPLE_FAULT);
    assert_int_equal(bhyve_exit(134, true), BHYVE_TRIPLE_FAULT);
    assert_int_equal(bhyve_exit(4, true), BHYVE_ERROR);
    assert_int_equal(bhyve_exit(71, false), BHYVE_ERROR);
    assert_int_equal(bhyve_exit(64, false), BHYVE_USAGE);
    assert_int_equal(bhyve_exit(139, true), BHYVE_CRASH);
    assert_int_equal(bhyve_exit(137, true), BHYVE_KILLED);
    assert_int_equal(bhyve_exit(143, true), BHYVE_KILLED);
}

/* As pgrep shows it: transcript 07 has what ps shows. */
static void test_a_bhyve_is_known_by_its_title_and_before_by_its_command_line(void **state)
{
    static const char text[] = "31 sh bhyve.sh\n57 bhyve: vm1\n125 /usr/sbin/bhyve -c 2 -m 4G -w -H vm0\n"
                               "126 bhyvectl --destroy --vm=vm2\n127 bhyve: my-vm3\n";
    (void)state;
    assert_int_equal(bhyve_pid_parse(text, "vm1"), 57);
    assert_int_equal(bhyve_pid_parse(text, "vm0"), 125);
    assert_int_equal(bhyve_pid_parse(text, "vm2"), 0);
    assert_int_equal(bhyve_pid_parse(text, "vm3"), 0);
    assert_int_equal(bhyve_pid_parse(text, "vm"), 0);
    assert_int_equal(bhyve_pid_parse(text, "bhyve.sh"), 0);
    assert_int_equal(bhyve_pid_parse("", "vm0"), 0);
}

static void check_meaning(struct fixture *fixture, const char *said, const char *words, const char *meaning)
{
    assert_string_equal(bhyve_last_words(&fixture->arena, said), words);
    const char *found = bhyve_meaning(said);
    if (!found || !strstr(found, meaning))
        fail_msg("'%s' means '%s'", said, found ? found : "nothing");
}

/* Transcripts 02, 04 and 08: the errno behind the last words is often another call's. */
static void test_why_bhyve_failed_at_once_is_in_the_line_before_the_last(void **state)
{
    struct fixture *fixture = *state;
    check_meaning(fixture, "vm_create: No such file or directory\n", "vm_create: No such file or directory",
                  "kldload vmm");
    check_meaning(fixture, "vm_create: Device not configured\n", "vm_create: Device not configured",
                  "no usable virtualisation");
    check_meaning(fixture, "vm_create: Operation not permitted\n", "vm_create: Operation not permitted",
                  "as root");
    check_meaning(fixture, "vm_reinit: Device busy\n", "vm_reinit: Device busy", "of this name");
    check_meaning(fixture,
                  "open of tap device /dev/tap0 failed\ndevice emulation initialization error: Device busy\n",
                  "open of tap device /dev/tap0 failed", "in use by another program");
    check_meaning(
        fixture,
        "bind: Address already in use\ndevice emulation initialization error: Address already in use\n",
        "bind: Address already in use", "the display's port");
    check_meaning(fixture,
                  "Error opening bootrom \"/vm/nosuch.fd\": No such file or directory\n"
                  "device emulation initialization error: No such file or directory\n",
                  "Error opening bootrom \"/vm/nosuch.fd\": No such file or directory", "pkg install");
    check_meaning(fixture,
                  "Invalid bootrom size 2048\n"
                  "device emulation initialization error: No such file or directory\n",
                  "Invalid bootrom size 2048", "no boot ROM");
    check_meaning(fixture,
                  "bhyve: PCI device at 0/3/0 is not using the ppt(4) driver\n"
                  "device emulation initialization error: Device busy\n",
                  "bhyve: PCI device at 0/3/0 is not using the ppt(4) driver", "no IOMMU");
    check_meaning(fixture, "pci slot 5:0 already occupied!\n", "pci slot 5:0 already occupied!", "`extra`");
    /* a tap that is not there: nothing else is said */
    assert_string_equal(
        bhyve_last_words(&fixture->arena,
                         "device emulation initialization error: No such file or directory\n"),
        "device emulation initialization error: No such file or directory");
    assert_null(bhyve_meaning("fbuf frame buffer base: 0x811800000 [sz 16777216]\n"));
    assert_string_equal(bhyve_last_words(&fixture->arena, ""), "");
}

static void test_bhyvectl_is_asked_by_name(void **state)
{
    struct fixture *fixture = *state;
    const char *const *argv = bhyve_control(&fixture->arena, "vm0", BHYVE_DESTROY);
    assert_string_equal(shell_join(&fixture->arena, argv), "bhyvectl --destroy --vm=vm0");
    assert_string_equal(bhyve_node(&fixture->arena, "vm0"), "/dev/vmm/vm0");
    assert_string_equal(bhyve_console(&fixture->arena, "vm0", 'B'), "/dev/nmdm-vm0B");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_article_bridged),
        TEST(test_article_nat),
        TEST(test_article_passthrough),
        TEST(test_many_devices),
        TEST(test_background_has_an_nmdm_console_and_extra_is_before_the_name),
        TEST(test_serial_off_has_no_com1),
        TEST(test_what_bhyve_cannot_do_is_refused_by_machine_and_key),
        TEST(test_macs_that_bhyve_makes),
        TEST(test_devices_of_every_form),
        TEST(test_exit_statuses_mean_what_a_real_bhyve_meant),
        TEST(test_a_bhyve_is_known_by_its_title_and_before_by_its_command_line),
        TEST(test_why_bhyve_failed_at_once_is_in_the_line_before_the_last),
        TEST(test_bhyvectl_is_asked_by_name),
    };
    return cmocka_run_group_tests_name("bhyve", tests, NULL, NULL);
}
