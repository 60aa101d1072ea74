/* test_nic_parent.c: a program whose taps stay when it ends (FreeBSD): its parent takes them away, however it
 * ended. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "engine/nic.h"

/* A host with nothing but taps that are to be closed. */
static unsigned closed;

static int count_close(struct host *host, const char *tap, struct err *err)
{
    (void)host, (void)err;
    assert_string_equal(tap, "tap7");
    closed++;
    return 0;
}

static const struct host_backend backend = {.name = "taps", .nic_close = count_close};
static struct host host = {.backend = &backend};

struct fixture {
    struct arena arena;
    struct nics nics;
    struct err err;
};

static int setup(void **state)
{
    struct fixture *fixture = test_calloc(1, sizeof(*fixture));
    fixture->nics = (struct nics){.host = &host, .machine = "-"};
    *vec_push(&fixture->arena, &fixture->nics.specs) = (struct nic_spec){.network = "brnat"};
    struct nic_open *nic = vec_push(&fixture->arena, &fixture->nics.open);
    *nic = (struct nic_open){.tap = "tap7", .lock_fd = -1};
    memset(nic->fds, -1, sizeof(nic->fds));
    memset(nic->vhost_fds, -1, sizeof(nic->vhost_fds));
    closed = 0;
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

static int run(struct fixture *fixture, const char *script)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    int status = -1;
    if (nics_run(&fixture->arena, &fixture->nics, argv, &status, &fixture->err) < 0)
        fail_msg("%s", fixture->err.text);
    assert_int_equal(closed, 1);
    return status;
}

static void test_its_status_is_the_programs(void **state)
{
    assert_int_equal(run(*state, "[ {tap0} = tap7 ] && exit 42"), 42);
}

static void test_a_program_that_was_killed(void **state)
{
    assert_int_equal(run(*state, "kill -KILL $$"), 128 + SIGKILL);
}

static void test_a_program_that_is_not_there(void **state)
{
    struct fixture *fixture = *state;
    const char *const argv[] = {"/nonexistent", NULL};
    int status;
    assert_int_equal(nics_run(&fixture->arena, &fixture->nics, argv, &status, &fixture->err), -ENOENT);
    assert_non_null(strstr(fixture->err.text, "/nonexistent"));
    assert_int_equal(closed, 1);
}

static void test_a_signal_is_passed_on_and_the_tap_goes(void **state)
{
    int status, ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ready[1], 1);
        _exit(run(*state, "trap 'exit 7' TERM; echo; while :; do sleep 0.02; done"));
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    kill(pid, SIGTERM);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    close(ready[0]);
    close(ready[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_its_status_is_the_programs),
        TEST(test_a_program_that_was_killed),
        TEST(test_a_program_that_is_not_there),
        TEST(test_a_signal_is_passed_on_and_the_tap_goes),
    };
    return cmocka_run_group_tests_name("nic_parent", tests, NULL, NULL);
}
