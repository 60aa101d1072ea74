/* test_agent.c: the guest's agent, played by a child behind a socket: what it says, and what it leaves out.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "hyper/agent.h"

struct play {
    char path[64];
    pid_t pid;
    int listener, heard; /* heard: what the agent was told, when it has ended */
};

static int setup(void **state)
{
    struct play *play = test_calloc(1, sizeof(*play));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(play->path, sizeof(play->path), "/tmp/vmwire-agent.%d", (int)getpid());
    memcpy(address.sun_path, play->path, strlen(play->path) + 1);
    unlink(play->path);
    play->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    play->heard = -1;
    assert_int_equal(bind(play->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(play->listener, 1), 0);
    *state = play;
    return 0;
}

static int teardown(void **state)
{
    struct play *play = *state;
    if (play->pid > 0)
        waitpid(play->pid, NULL, 0);
    close(play->listener);
    fd_close(&play->heard);
    unlink(play->path);
    test_free(play);
    return 0;
}

/* Answer each line with the next of `says`; "" is silence, and the end closes.  `endless`: the last again and
 * again. */
static void agent(struct play *play, const char *const says[], bool endless)
{
    int pair[2];
    assert_int_equal(pipe(pair), 0);
    play->heard = pair[0];
    play->pid = fork();
    assert_true(play->pid >= 0);
    if (play->pid == 0) {
        int fd = accept(play->listener, NULL, NULL);
        char line[512];
        for (size_t i = 0; says[i]; i++) {
            ssize_t got = read(fd, line, sizeof(line));
            if (got <= 0)
                _exit(0);
            (void)!write(pair[1], line, (size_t)got);
            do {
                if (send(fd, says[i], strlen(says[i]), MSG_NOSIGNAL) < 0)
                    _exit(0);
            } while (endless);
        }
        (void)!read(fd, line, sizeof(line));
        _exit(0);
    }
    close(pair[1]);
}

static int ask(struct play *play, int timeout_ms, struct err *err)
{
    struct ip target;
    ip_parse("8.8.8.8", &target);
    return agent_ping(play->path, &target, timeout_ms, err);
}

static void test_it_is_told_to_ping(void **state)
{
    struct play *play = *state;
    char heard[1024] = "";
    struct err err = {0};
    /* Before the mark stands the end of an answer to somebody before us. */
    agent(play,
          (const char *const[]){"urn\": {\"pid\": 1}}\n\xff{\"return\": 118}\n",
                                "{\"return\": {\"pid\": 2}}\n", NULL},
          false);
    assert_int_equal(ask(play, 5000, &err), 0);
    waitpid(play->pid, NULL, 0);
    play->pid = 0;
    assert_true(read(play->heard, heard, sizeof(heard) - 1) > 0);
    assert_non_null(strstr(heard, "\"path\": \"ping\", \"arg\": [\"-c\", \"4\", \"8.8.8.8\"]"));
}

static void test_it_refuses(void **state)
{
    struct play *play = *state;
    struct err err = {0};
    agent(play,
          (const char *const[]){
              "\xff{\"return\": 118}\n",
              "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Failed to execute\"}}\n", NULL},
          false);
    assert_int_equal(ask(play, 5000, &err), -EIO);
    assert_non_null(strstr(err.text, "Failed to execute"));
}

static void test_nobody_is_there(void **state)
{
    struct play *play = *state;
    struct err err = {0};
    agent(play, (const char *const[]){"", NULL}, false);
    assert_int_equal(ask(play, 50, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.text, "qemu-ga"));
}

static void test_a_guest_that_never_stops_ends_with_the_time(void **state)
{
    struct play *play = *state;
    struct err err = {0};
    agent(play, (const char *const[]){"nothing of use ", NULL}, true);
    assert_int_equal(ask(play, 100, &err), -ETIMEDOUT);
}

static void test_a_guest_that_marks_and_never_ends_its_line(void **state)
{
    struct play *play = *state;
    struct err err = {0};
    agent(play, (const char *const[]){"\xff", NULL}, true);
    assert_true(ask(play, 300, &err) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_it_is_told_to_ping, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_guest_that_never_stops_ends_with_the_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_guest_that_marks_and_never_ends_its_line, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
