/* test_bhyve_keep.c: the loop around bhyve, with programs that end as a real bhyve was seen to end (there is
 * none on Linux): what it does about each end, before each start, and when somebody wants it to stop. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/spawn.h"
#include "engine/bhyve_keep.h"

enum { WAIT_TRIES = 500, WAIT_MS = 10 };

struct fixture {
    struct arena arena;
    char folder[32];
    struct keep keep;
    struct err err;
    unsigned started;
};

static const char *in_folder(struct fixture *fixture, const char *name)
{
    return arena_printf(&fixture->arena, "%s/%s", fixture->folder, name);
}

static const char *const *shell(struct fixture *fixture, const char *script)
{
    const char **argv = arena_alloc(&fixture->arena, 4 * sizeof(*argv));
    argv[0] = program_find(&fixture->arena, "bash");
    argv[1] = "-c";
    argv[2] = arena_printf(&fixture->arena, "cd %s; %s", fixture->folder, script);
    argv[3] = NULL;
    return argv;
}

static int setup(void **state)
{
    struct fixture *fixture = test_calloc(1, sizeof(*fixture));
    assert_non_null(program_find(&fixture->arena, "bash")); /* for exec -a */
    strcpy(fixture->folder, "/tmp/vmwire-keep-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    fixture->keep = (struct keep){.arena = &fixture->arena,
                                  .machine = "vm0",
                                  .destroy = shell(fixture, "echo destroy >>log; rm -f node"),
                                  .node = in_folder(fixture, "node"),
                                  .environment = spawn_environment,
                                  .pid_path = in_folder(fixture, "pid"),
                                  .stop_path = in_folder(fixture, "stop"),
                                  .background = true,
                                  .data = fixture};
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    struct spawn spawn = {.argv = (const char *const[]){"rm", "-r", fixture->folder, NULL}};
    spawn_run(&spawn, NULL);
    arena_free(&fixture->arena);
    test_free(fixture);
    return 0;
}

static enum bhyve_end keep(struct fixture *fixture, const char *script)
{
    enum bhyve_end end;
    fixture->keep.argv = shell(fixture, script);
    if (bhyve_keep(&fixture->keep, &end, &fixture->err) < 0)
        fail_msg("%s", fixture->err.text);
    return end;
}

static void expect_log(struct fixture *fixture, const char *log)
{
    char *text;
    assert_int_equal(file_read(&fixture->arena, AT_FDCWD, in_folder(fixture, "log"), 4096, &text, NULL, NULL),
                     0);
    assert_string_equal(text, log);
}

static void wait_for(struct fixture *fixture, const char *name)
{
    for (int i = 0; i < WAIT_TRIES; i++) {
        if (access(in_folder(fixture, name), F_OK) == 0)
            return;
        poll(NULL, 0, WAIT_MS);
    }
    fail_msg("%s does not come", name);
}

/* --- ends */

static void test_a_reboot_starts_it_again_and_vmm_is_cleaned_each_time(void **state)
{
    struct fixture *fixture = *state;
    enum bhyve_end end = keep(fixture, "echo start >>log; touch node; "
                                       "[ $(grep -c start log) = 3 ] && exit 1; exit 0");
    assert_int_equal(end, BHYVE_POWER_OFF);
    assert_int_equal(fixture->keep.status, 1);
    expect_log(fixture, "destroy\nstart\ndestroy\nstart\ndestroy\nstart\ndestroy\n");
}

static void test_a_usage_error_is_1_too_and_no_power_off(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(keep(fixture, "echo start >>log; echo 'Usage: bhyve' >&2; exit 1"), BHYVE_USAGE);
    expect_log(fixture, "destroy\nstart\ndestroy\n");
    assert_string_equal(fixture->keep.words, "Usage: bhyve\n");
}

static void test_a_node_that_was_left_over_does_not_make_it_a_power_off(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(file_write_atomic(fixture->keep.node, "", 0, 0600, NULL), 0);
    assert_int_equal(keep(fixture, "echo 'Usage: bhyve' >&2; exit 1"), BHYVE_USAGE);
}

static void test_a_guest_that_leaves_no_node_powered_off_when_bhyve_says_nothing(void **state)
{
    assert_int_equal(keep(*state, "exit 1"), BHYVE_POWER_OFF);
}

static void test_every_other_end_ends_it(void **state)
{
    static const struct {
        const char *script;
        enum bhyve_end end;
        int status;
    } ends[] = {{"exit 2", BHYVE_HALT, 2},
                {"exit 3", BHYVE_TRIPLE_FAULT, 3},
                {"ulimit -c 0; kill -ABRT $$", BHYVE_TRIPLE_FAULT, 134},
                {"exit 4", BHYVE_ERROR, 4},
                {"exit 71", BHYVE_ERROR, 71},
                {"ulimit -c 0; kill -SEGV $$", BHYVE_CRASH, 139},
                {"kill -KILL $$", BHYVE_KILLED, 137}};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
        assert_int_equal(keep(fixture, ends[i].script), ends[i].end);
        assert_int_equal(fixture->keep.status, ends[i].status);
    }
}

static void test_what_it_says_is_kept_from_the_end(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(keep(fixture, "for i in {1..400}; do echo line $i; done; "
                                   "printf 'a\\0b\\nopen of tap device /dev/tap0 failed\\n'; exit 4"),
                     BHYVE_ERROR);
    assert_int_equal(strlen(fixture->keep.words), KEEP_WORDS_MAX - 1);
    assert_non_null(strstr(fixture->keep.words, "line 400\na b\nopen of tap device /dev/tap0 failed\n"));
}

static void test_a_program_that_is_not_there(void **state)
{
    struct fixture *fixture = *state;
    enum bhyve_end end;
    fixture->keep.argv = (const char *const[]){"/nonexistent/bhyve", NULL};
    assert_int_equal(bhyve_keep(&fixture->keep, &end, &fixture->err), -ENOENT);
    assert_non_null(strstr(fixture->err.text, "/nonexistent/bhyve"));
}

/* --- starting */

static void count_start(void *data)
{
    struct fixture *fixture = data;
    fixture->started++;
}

static void test_it_has_started_when_it_calls_itself_so(void **state)
{
    struct fixture *fixture = *state;
    fixture->keep.started = count_start;
    /* twice, and told once; the title of another machine, or of a child, is not its own */
    assert_int_equal(
        keep(fixture, "touch node stop; (exec -a 'bhyve: vm0' sleep 0.1); exec -a 'bhyve: vm1' sleep 0.1"),
        BHYVE_REBOOT);
    assert_int_equal(fixture->started, 0);
    unlink(fixture->keep.stop_path);
    assert_int_equal(keep(fixture, "touch node; [ -e once ] && touch stop; touch once; "
                                   "exec -a 'bhyve: vm0' sleep 0.2"),
                     BHYVE_REBOOT);
    assert_int_equal(fixture->started, 1);
}

/* --- stopping; the keeper is a child of the test */

static pid_t keeper_start(struct fixture *fixture, const char *script)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        enum bhyve_end end = keep(fixture, script);
        _exit(100 + (int)end);
    }
    return pid;
}

static int keeper_end(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) - 100;
}

static void test_sigterm_is_the_guests_power_button(void **state)
{
    struct fixture *fixture = *state;
    pid_t pid = keeper_start(fixture, "trap 'exit 1' TERM; touch node ready; while :; do sleep 0.05; done");
    wait_for(fixture, "ready");
    kill(pid, SIGTERM);
    assert_int_equal(keeper_end(pid), BHYVE_POWER_OFF);
}

static void test_a_guest_without_acpi_dies_of_it(void **state)
{
    struct fixture *fixture = *state;
    pid_t pid = keeper_start(fixture, "touch node ready; exec sleep 30");
    wait_for(fixture, "ready");
    kill(pid, SIGTERM);
    assert_int_equal(keeper_end(pid), BHYVE_KILLED);
}

static void test_a_guest_that_reboots_when_it_is_told_to_stop_is_not_started_again(void **state)
{
    struct fixture *fixture = *state;
    pid_t pid = keeper_start(fixture, "trap 'exit 0' TERM; touch node ready; while :; do sleep 0.05; done");
    wait_for(fixture, "ready");
    kill(pid, SIGTERM);
    assert_int_equal(keeper_end(pid), BHYVE_REBOOT);
    expect_log(fixture, "destroy\ndestroy\n");
    /* `vmwire stop` signals bhyve itself, and leaves a file */
    assert_int_equal(keep(fixture, "touch stop; echo again >>log; exit 0"), BHYVE_REBOOT);
    expect_log(fixture, "destroy\ndestroy\ndestroy\nagain\ndestroy\n");
}

static void test_the_pid_file_names_bhyve(void **state)
{
    struct fixture *fixture = *state;
    char *pid;
    pid_t keeper = keeper_start(
        fixture, "echo $$ >own; touch node ready; while [ ! -e go ]; do sleep 0.02; done; exit 2");
    wait_for(fixture, "ready");
    wait_for(fixture, "pid");
    assert_int_equal(file_read(&fixture->arena, AT_FDCWD, fixture->keep.pid_path, 64, &pid, NULL, NULL), 0);
    char *own;
    assert_int_equal(file_read(&fixture->arena, AT_FDCWD, in_folder(fixture, "own"), 64, &own, NULL, NULL),
                     0);
    assert_string_equal(pid, own);
    file_write_atomic(in_folder(fixture, "go"), "", 0, 0600, NULL);
    assert_int_equal(keeper_end(keeper), BHYVE_HALT);
}

static void test_a_guest_survives_the_keepers_end_also_when_bhyve_says_something(void **state)
{
    struct fixture *fixture = *state;
    int status;
    pid_t pid = keeper_start(fixture, "touch node ready; while [ ! -e go ]; do sleep 0.02; done; "
                                      "echo words >&2; echo words; touch survived");
    wait_for(fixture, "ready");
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    file_write_atomic(in_folder(fixture, "go"), "", 0, 0600, NULL);
    wait_for(fixture, "survived");
}

static void test_the_terminal_is_as_it_was_when_bhyve_was_killed(void **state)
{
    struct fixture *fixture = *state;
    int terminal, side;
    struct termios before, after;
    terminal = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    side = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    assert_true(side >= 0);
    assert_int_equal(tcgetattr(side, &before), 0);
    assert_true(before.c_lflag & ICANON);
    fixture->keep.background = false;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(side, 0);
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 2);
        _exit(100 + (int)keep(fixture, "stty raw -echo; stty -a >seen; kill -KILL $$"));
    }
    assert_int_equal(keeper_end(pid), BHYVE_KILLED);
    char *seen;
    assert_int_equal(
        file_read(&fixture->arena, AT_FDCWD, in_folder(fixture, "seen"), 4096, &seen, NULL, NULL), 0);
    assert_non_null(strstr(seen, "-icanon"));
    assert_int_equal(tcgetattr(side, &after), 0);
    assert_int_equal(after.c_lflag, before.c_lflag);
    close(terminal);
    close(side);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_reboot_starts_it_again_and_vmm_is_cleaned_each_time),
        TEST(test_a_usage_error_is_1_too_and_no_power_off),
        TEST(test_a_node_that_was_left_over_does_not_make_it_a_power_off),
        TEST(test_a_guest_that_leaves_no_node_powered_off_when_bhyve_says_nothing),
        TEST(test_every_other_end_ends_it),
        TEST(test_what_it_says_is_kept_from_the_end),
        TEST(test_a_program_that_is_not_there),
        TEST(test_it_has_started_when_it_calls_itself_so),
        TEST(test_sigterm_is_the_guests_power_button),
        TEST(test_a_guest_without_acpi_dies_of_it),
        TEST(test_a_guest_that_reboots_when_it_is_told_to_stop_is_not_started_again),
        TEST(test_the_pid_file_names_bhyve),
        TEST(test_a_guest_survives_the_keepers_end_also_when_bhyve_says_something),
        TEST(test_the_terminal_is_as_it_was_when_bhyve_was_killed),
    };
    return cmocka_run_group_tests_name("bhyve_keep", tests, NULL, NULL);
}
