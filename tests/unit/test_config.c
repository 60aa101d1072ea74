/* test_config.c: the file: every mistake of tests/golden/bad word for word, the examples, the bounds, the
 * permissions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "config/config.h"

/* What one load gave. */
struct loaded {
    struct arena arena;
    struct model model;
    struct problems problems;
    struct err err;
    int rc;
};

static char directory[] = "/tmp/vmwire-test-XXXXXX";
static char path[64];

static int directory_setup(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof(path), "%s/vmwire.yaml", directory);
    return 0;
}

static int directory_teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

static void file_put(const char *bytes, size_t length)
{
    unlink(path);
    assert_int_equal(file_write_atomic(path, bytes, length, 0600, NULL), 0);
}

static struct loaded *load(void)
{
    struct loaded *loaded = calloc(1, sizeof(*loaded));
    loaded->rc = config_load(&loaded->arena, path, "", &loaded->model, &loaded->problems, &loaded->err);
    return loaded;
}

static struct loaded *load_bytes(const char *bytes, size_t length)
{
    file_put(bytes, length);
    return load();
}

static struct loaded *load_text(const char *text)
{
    return load_bytes(text, strlen(text));
}

static void loaded_free(struct loaded *loaded)
{
    arena_free(&loaded->arena);
    free(loaded);
}

static void assert_clean(struct loaded *loaded)
{
    vec_foreach (&loaded->problems.list, problem)
        print_error("%s\n", problem_text(&loaded->problems, problem));
    assert_int_equal(loaded->rc, 0);
    assert_int_equal(loaded->problems.list.count, 0);
}

static const char *problems_text(struct loaded *loaded, const char *name)
{
    struct text out = {.arena = &loaded->arena};
    loaded->problems.file = name;
    vec_foreach (&loaded->problems.list, problem)
        text_add(&out, "%s\n", problem_text(&loaded->problems, problem));
    return text_get(&out);
}

static const char *source(struct arena *arena, const char *below)
{
    const char *root = getenv("VMWIRE_SOURCE");
    assert_non_null(root);
    return arena_printf(arena, "%s/%s", root, below);
}

static size_t yaml_files_each(const char *folder, void (*each)(const char *file, const char *name))
{
    DIR *dir = opendir(folder);
    size_t count = 0;
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *ending = strrchr(entry->d_name, '.');
        if (!ending || strcmp(ending, ".yaml") != 0)
            continue;
        char file[4096];
        snprintf(file, sizeof(file), "%s/%s", folder, entry->d_name);
        each(file, entry->d_name);
        count++;
    }
    closedir(dir);
    return count;
}

static size_t golden_failures;

static void golden_compare(const char *file, const char *name)
{
    _cleanup_arena_ struct arena arena = {0};
    char *bytes, *expected;
    size_t length;
    assert_int_equal(file_read(&arena, AT_FDCWD, file, CONFIG_SIZE_MAX, &bytes, &length, NULL), 0);
    const char *beside = arena_printf(&arena, "%.*s.expected", (int)(strlen(file) - strlen(".yaml")), file);
    assert_int_equal(file_read(&arena, AT_FDCWD, beside, CONFIG_SIZE_MAX, &expected, NULL, NULL), 0);
    struct loaded *loaded = load_bytes(bytes, length);
    assert_int_equal(loaded->rc, 0);
    assert_true(problem_count(&loaded->problems) > 0);
    const char *got = problems_text(loaded, name);
    if (strcmp(got, expected) != 0) {
        print_error("%s: expected\n%sgot\n%s", name, expected, got);
        golden_failures++;
    }
    loaded_free(loaded);
}

static void every_mistake_is_reported_as_the_golden_files_say(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    size_t count = yaml_files_each(source(&arena, "tests/golden/bad"), golden_compare);
    assert_true(count > 60);
    assert_int_equal(golden_failures, 0);
}

static void example_check(const char *file, const char *name)
{
    _cleanup_arena_ struct arena arena = {0};
    char *bytes;
    size_t length;
    (void)name;
    assert_int_equal(file_read(&arena, AT_FDCWD, file, CONFIG_SIZE_MAX, &bytes, &length, NULL), 0);
    struct loaded *loaded = load_bytes(bytes, length);
    assert_clean(loaded);
    assert_true(loaded->model.networks.count > 0);
    loaded_free(loaded);
}

static void the_examples_have_no_problems(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    assert_true(yaml_files_each(source(&arena, "examples"), example_check) >= 3);
}

static void networks_arrive_with_their_values_and_places(void **state)
{
    (void)state;
    struct loaded *loaded = load_text("networks:\n"
                                      "  brext:\n"
                                      "    mode: bridged\n"
                                      "    uplink: re1\n"
                                      "    address: 192.168.87.9/24\n"
                                      "    mac: shared\n"
                                      "  brnat: {mode: nat, subnet: 10.0.0.0/24, uplink: re0, dhcp: off}\n"
                                      "  br2: {mode: nat, subnet: 10.0.2.0/24, dhcp: 10.0.2.10-10.0.2.20}\n"
                                      "  nic1: {mode: passthrough, device: \"0000:03:1f.7\"}\n"
                                      "  nic2: {mode: passthrough, device: 4/5/6}\n"
                                      "  nic3: {mode: passthrough, device: re2}\n");
    assert_clean(loaded);
    struct network *networks = loaded->model.networks.items;
    assert_int_equal(loaded->model.networks.count, 6);
    assert_string_equal(networks[0].name, "brext");
    assert_int_equal(networks[0].mode, NETWORK_BRIDGED);
    assert_string_equal(networks[0].uplink, "re1");
    assert_int_equal(networks[0].address, ADDRESS_STATIC);
    assert_string_equal(PREFIX_TEXT(&networks[0].address_prefix), "192.168.87.9/24");
    assert_true(networks[0].mac_shared);
    assert_int_equal(networks[0].pos.line, 2);
    assert_int_equal(networks[0].pos.column, 3);
    assert_int_equal(networks[0].mode_pos.line, 3);
    assert_int_equal(networks[0].uplink_pos.line, 4);
    assert_int_equal(networks[0].uplink_pos.column, 13);
    assert_int_equal(networks[0].address_pos.line, 5);
    assert_int_equal(networks[0].mac_pos.line, 6);
    assert_false(networks[1].dhcp);
    assert_string_equal(networks[1].uplink, "re0");
    assert_int_equal(networks[1].subnet_pos.column, 30);
    assert_true(networks[2].dhcp);
    assert_null(networks[2].uplink);
    assert_string_equal(IP_TEXT(&networks[2].dhcp_last), "10.0.2.20");
    assert_int_equal(networks[3].device.kind, DEVICE_PCI);
    assert_int_equal(networks[3].device.bus, 3);
    assert_int_equal(networks[3].device.slot, 31);
    assert_int_equal(networks[3].device.function, 7);
    assert_int_equal(networks[3].device_pos.line, 9);
    assert_int_equal(networks[4].device.kind, DEVICE_SELECTOR);
    assert_int_equal(networks[4].device.slot, 5);
    assert_int_equal(networks[5].device.kind, DEVICE_INTERFACE);
    assert_string_equal(networks[5].device.text, "re2");
    assert_string_equal(loaded->model.directory, directory);
    loaded_free(loaded);
}

static void machines_arrive_with_their_values(void **state)
{
    (void)state;
    struct loaded *loaded =
        load_text("networks: {brnat: {mode: nat, subnet: 10.0.0.0/24}}\n"
                  "machines:\n"
                  "  vm0:\n"
                  "    cpus: 4\n"
                  "    memory: 1536M\n"
                  "    firmware: /usr/share/OVMF/OVMF.fd\n"
                  "    kernel: vmlinuz,with,commas\n"
                  "    initrd: initrd.img\n"
                  "    cmdline: console=ttyS0 quiet\n"
                  "    cdrom: a b.iso\n"
                  "    disks: [{path: a.qcow2, read_only: yes}, {path: b.img},\n"
                  "            {path: c.qcow2, format: raw}]\n"
                  "    display: {vnc: \"[::1]:5907\", width: 800, height: 600, wait: true}\n"
                  "    tablet: no\n"
                  "    agent: yes\n"
                  "    serial: off\n"
                  "    extra: [-device, \"virtio-rng-pci\", 7]\n"
                  "    nics:\n"
                  "      - {network: brnat, mac: 00:A0:98:1b:c8:07, queues: 2}\n"
                  "      - {network: brnat, model: e1000}\n"
                  "  vm1: {display: {vnc: \"0.0.0.0:5900\"}}\n"
                  "  vm2: {memory: 1073741824, display: off, nics: , disks: []}\n");
    assert_clean(loaded);
    struct machine *machine = &loaded->model.machines.items[0];
    assert_int_equal(machine->cpus, 4);
    assert_int_equal(machine->memory_bytes, 1536ULL << 20);
    assert_int_equal(machine->firmware, FIRMWARE_PATH);
    assert_string_equal(machine->firmware_path, "/usr/share/OVMF/OVMF.fd");
    assert_string_equal(machine->kernel, "vmlinuz,with,commas");
    assert_string_equal(machine->initrd, "initrd.img");
    assert_string_equal(machine->cmdline, "console=ttyS0 quiet");
    assert_string_equal(machine->cdrom, "a b.iso");
    assert_int_equal(machine->disks.count, 3);
    assert_int_equal(machine->disks.items[0].format, DISK_QCOW2);
    assert_true(machine->disks.items[0].read_only);
    assert_int_equal(machine->disks.items[1].format, DISK_RAW);
    assert_int_equal(machine->disks.items[2].format, DISK_RAW);
    assert_true(machine->display.on);
    assert_string_equal(IP_TEXT(&machine->display.vnc_ip), "::1");
    assert_int_equal(machine->display.vnc_port, 5907);
    assert_int_equal(machine->display.width, 800);
    assert_true(machine->display.wait);
    assert_false(machine->tablet);
    assert_true(machine->agent);
    assert_int_equal(machine->serial, SERIAL_OFF);
    assert_int_equal(machine->extra.count, 3);
    assert_string_equal(machine->extra.items[0], "-device");
    assert_string_equal(machine->extra.items[2], "7");
    struct nic *nics = machine->nics.items;
    assert_string_equal(MAC_TEXT(&nics[0].mac), "00:a0:98:1b:c8:07");
    assert_true(nics[0].mac_given);
    assert_int_equal(nics[0].mac_pos.line, 19);
    assert_int_equal(nics[0].mac_pos.column, 31);
    assert_int_equal(nics[0].queues, 2);
    assert_int_equal(nics[1].model, NIC_E1000);
    assert_int_equal(nics[1].mac.bytes[0], 2);

    machine = &loaded->model.machines.items[1];
    assert_int_equal(machine->cpus, 1);
    assert_int_equal(machine->memory_bytes, 1ULL << 30);
    assert_true(machine->tablet);
    machine = &loaded->model.machines.items[2];
    assert_int_equal(machine->memory_bytes, 1ULL << 30);
    assert_false(machine->display.on);
    assert_false(machine->tablet);
    loaded_free(loaded);
}

static void booleans_have_six_spellings(void **state)
{
    (void)state;
    static const char *const on[] = {"yes", "on", "true", "True", "YES"};
    static const char *const off[] = {"no", "off", "false", "False", "OFF"};
    for (size_t i = 0; i < 5; i++) {
        for (int value = 0; value < 2; value++) {
            char text[256];
            snprintf(text, sizeof(text), "networks: {br: {mode: nat, subnet: 10.0.0.0/24, dhcp: %s}}\n",
                     value ? on[i] : off[i]);
            struct loaded *loaded = load_text(text);
            assert_clean(loaded);
            assert_int_equal(loaded->model.networks.items[0].dhcp, value);
            loaded_free(loaded);
        }
    }
}

static void line_ends_and_byte_order_mark_change_no_column(void **state)
{
    (void)state;
    struct loaded *loaded = load_text("\xef\xbb\xbfnetworks:\r\n  br\xc3\xbc: {mode: natt}\r\n");
    assert_int_equal(loaded->problems.list.count, 2);
    assert_int_equal(loaded->problems.list.items[1].pos.line, 2);
    assert_int_equal(loaded->problems.list.items[1].pos.column, 15);
    loaded_free(loaded);
}

static void ten_megabytes_are_refused_before_they_are_read(void **state)
{
    (void)state;
    file_put("networks: {}\n", 13);
    assert_int_equal(truncate(path, 10 * 1024 * 1024), 0);
    struct loaded *loaded = load();
    assert_int_equal(loaded->rc, -EFBIG);
    assert_non_null(strstr(loaded->err.text, "10485760 bytes"));
    loaded_free(loaded);
}

static void a_file_that_others_may_write_is_refused_with_the_cure(void **state)
{
    (void)state;
    static const struct {
        mode_t mode;
        const char *who;
    } cases[] = {{0620, "its group"}, {0602, "everybody"}, {0666, "everybody"}};
    file_put("networks: {br: {mode: nat, subnet: 10.0.0.0/24}}\n", 49);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(chmod(path, cases[i].mode), 0);
        struct loaded *loaded = load();
        assert_int_equal(loaded->rc, -EPERM);
        assert_non_null(strstr(loaded->err.text, cases[i].who));
        assert_non_null(strstr(loaded->err.text, "chmod go-w /tmp/vmwire-test-"));
        assert_int_equal(loaded->model.networks.count, 0);
        loaded_free(loaded);
    }
    assert_int_equal(chmod(path, 0644), 0);
    struct loaded *loaded = load();
    assert_clean(loaded);
    loaded_free(loaded);
}

static void a_file_of_another_user_is_refused_with_the_cure(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    file_put("networks: {br: {mode: nat, subnet: 10.0.0.0/24}}\n", 49);
    if (chown(path, 12345, 12345) != 0)
        skip(); /* a user namespace without that user */
    struct loaded *loaded = load();
    assert_int_equal(loaded->rc, -EPERM);
    assert_non_null(strstr(loaded->err.text, "chown 0 /tmp/vmwire-test-"));
    loaded_free(loaded);
}

static void a_file_of_root_is_good_for_everybody(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    file_put("networks: {br: {mode: nat, subnet: 10.0.0.0/24}}\n", 49);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(chmod(directory, 0755), 0);
    int changed = seteuid(12345);
    struct loaded *loaded = load();
    assert_int_equal(seteuid(0), 0);
    assert_clean(loaded);
    loaded_free(loaded);
    if (changed != 0)
        skip(); /* a user namespace without that user */
}

static void of_two_entries_with_one_name_the_first_counts(void **state)
{
    (void)state;
    struct loaded *loaded = load_text("networks:\n  br: {mode: nat, subnet: 10.0.0.0/24}\n"
                                      "  br: {mode: nat, subnet: 10.0.1.0/24}\n");
    assert_int_equal(loaded->problems.list.count, 1);
    assert_int_equal(loaded->model.networks.count, 1);
    assert_string_equal(PREFIX_TEXT(&loaded->model.networks.items[0].subnet), "10.0.0.0/24");
    loaded_free(loaded);
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    unlink(path);
    struct loaded *loaded = load();
    assert_int_equal(loaded->rc, -ENOENT);
    loaded_free(loaded);
    assert_int_equal(mkdir(path, 0700), 0);
    loaded = load();
    assert_int_equal(loaded->rc, -EISDIR);
    loaded_free(loaded);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    loaded = load(); /* and does not wait for a writer */
    assert_int_equal(loaded->rc, -EINVAL);
    loaded_free(loaded);
}

static void a_bomb_of_depth_or_aliases_is_cheap(void **state)
{
    (void)state;
    enum { SIZE = CONFIG_SIZE_MAX };
    static const char *const beginnings[] = {"a: ", "networks: ", "- "};
    static const char *const units[] = {"[",  "{a: ", "- ",   "&a ", "*a ", "!!a ",
                                        "? ", "[a, ", "\"\\", "|",   "a: "};
    char *text = malloc(SIZE);
    clock_t before = clock();
    for (size_t b = 0; b < 3; b++) {
        for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
            size_t at = strlen(beginnings[b]), step = strlen(units[u]);
            memcpy(text, beginnings[b], at);
            for (; at + step <= SIZE; at += step)
                memcpy(text + at, units[u], step);
            struct loaded *loaded = load_bytes(text, at);
            assert_int_equal(loaded->rc, 0);
            assert_true(problem_count(&loaded->problems) > 0);
            loaded_free(loaded);
        }
    }
    free(text);
    assert_true((double)(clock() - before) / CLOCKS_PER_SEC < 60);
}

static void endless_lines_and_brackets_are_refused(void **state)
{
    (void)state;
    enum { SIZE = 1024 * 1024 };
    static const struct {
        const char *unit, *says;
    } cases[] = {{"xxxxxxxx", "a line of 1048576 bytes; 32768 is the most"},
                 {"  [[\n", "1000 brackets are open here"},
                 {"{a: \n", "1000 brackets are open here"}};
    char *text = malloc(SIZE);
    for (size_t i = 0; i < 3; i++) {
        size_t step = strlen(cases[i].unit), at = 0;
        for (; at + step <= SIZE; at += step)
            memcpy(text + at, cases[i].unit, step);
        struct loaded *loaded = load_bytes(text, at);
        assert_non_null(strstr(problems_text(loaded, "x"), cases[i].says));
        loaded_free(loaded);
    }
    free(text);
}

static void a_flood_of_mistakes_ends(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct text text = {.arena = &arena};
    text_add(&text, "networks:\n");
    for (int i = 0; i < 20000; i++)
        text_add(&text, "  br%d: {mode: natt, uplnk: x, subnet: y}\n", i);
    struct loaded *loaded = load_text(text_get(&text));
    assert_int_equal(loaded->rc, 0);
    assert_true(loaded->problems.list.count >= 500 && loaded->problems.list.count < 520);
    assert_non_null(strstr(problems_text(loaded, "x"), "the rest of the file was not looked at"));
    loaded_free(loaded);
}

/* `machines` machines as people write them, on `networks` networks. */
static const char *large_file(struct arena *arena, int networks, int machines)
{
    struct text text = {.arena = arena};
    text_add(&text, "networks:\n");
    for (int i = 0; i < networks; i++)
        text_add(&text, "  br%d:\n    mode: nat\n    subnet: 10.%d.%d.0/24\n", i, i / 250, i % 250);
    text_add(&text, "machines:\n");
    for (int i = 0; i < machines; i++)
        text_add(
            &text,
            "  vm%d:\n    cpus: 2\n    memory: 4G\n    firmware: uefi\n    disks: [{path: /vm/vm%d.raw}]\n"
            "    display: {vnc: \"127.0.0.1:%d\", width: 800, height: 600}\n    serial: socket\n    nics:\n"
            "      - {network: br%d, mac: \"00:a0:98:00:%02x:%02x\"}\n      - {network: br0}\n",
            i, i, 5900 + i, i % networks, i / 256, i % 256);
    return text_get(&text);
}

/* Processor seconds to load so many machines. */
static double load_seconds(int networks, int machines)
{
    _cleanup_arena_ struct arena arena = {0};
    const char *text = large_file(&arena, networks, machines);
    clock_t before = clock();
    struct loaded *loaded = load_text(text);
    double seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
    assert_clean(loaded);
    assert_int_equal(loaded->model.machines.count, machines);
    loaded_free(loaded);
    return seconds;
}

static void four_thousand_machines_load_in_well_under_a_second(void **state)
{
    (void)state;
    double one = load_seconds(250, 1000), four = load_seconds(1000, 4000);
    /* Measured at 0.06 s, 0.4 s with sanitizers; several seconds under valgrind, but never more than in
     * proportion. */
    assert_true(four < 1 || four < 8 * one);
}

static void a_text_may_end_anywhere(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    char *text;
    size_t length;
    assert_int_equal(file_read(&arena, AT_FDCWD, source(&arena, "examples/article.yaml"), CONFIG_SIZE_MAX,
                               &text, &length, NULL),
                     0);
    for (size_t end = 0; end <= length; end++) {
        struct arena own = {0};
        struct model model = {0};
        struct problems problems = {.arena = &own};
        char *cut = malloc(end ? end : 1); /* exactly so long, so that a sanitizer sees a byte too far */
        memcpy(cut, text, end);
        config_parse(&own, cut, end, &model, &problems);
        free(cut);
        model_check(&model, &own, "", &problems);
        arena_free(&own);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mistake_is_reported_as_the_golden_files_say),
        cmocka_unit_test(the_examples_have_no_problems),
        cmocka_unit_test(networks_arrive_with_their_values_and_places),
        cmocka_unit_test(machines_arrive_with_their_values),
        cmocka_unit_test(booleans_have_six_spellings),
        cmocka_unit_test(line_ends_and_byte_order_mark_change_no_column),
        cmocka_unit_test(ten_megabytes_are_refused_before_they_are_read),
        cmocka_unit_test(a_file_that_others_may_write_is_refused_with_the_cure),
        cmocka_unit_test(a_file_of_another_user_is_refused_with_the_cure),
        cmocka_unit_test(a_file_of_root_is_good_for_everybody),
        cmocka_unit_test(of_two_entries_with_one_name_the_first_counts),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(a_bomb_of_depth_or_aliases_is_cheap),
        cmocka_unit_test(endless_lines_and_brackets_are_refused),
        cmocka_unit_test(a_flood_of_mistakes_ends),
        cmocka_unit_test(four_thousand_machines_load_in_well_under_a_second),
        cmocka_unit_test(a_text_may_end_anywhere),
    };
    return cmocka_run_group_tests(tests, directory_setup, directory_teardown);
}
