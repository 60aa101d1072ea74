/* test_qmp.c: the QMP client against a peer that is right, wrong, slow, or gone at any byte. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "hyper/qmp.h"

#define GREETING                                                                                             \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, \"package\": \"\"}, "   \
    "\"capabilities\": [\"oob\"]}}\r\n"
#define DONE "{\"return\": {}}\r\n"
#define EVENT "{\"timestamp\": {\"seconds\": 1, \"microseconds\": -2.5e3}, \"event\": \"RESUME\"}\r\n"

static int parse(const char *line, struct qmp_message *message)
{
    /* In memory of its own size, so that a byte too far is seen by the sanitizer. */
    size_t length = strlen(line);
    _cleanup_free_ char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, line, length);
    return qmp_parse(copy, length, message);
}

static void test_messages_are_told_apart(void **state)
{
    (void)state;
    struct qmp_message message;
    assert_int_equal(parse(GREETING, &message), 0);
    assert_int_equal(message.kind, QMP_GREETING);
    assert_int_equal(parse(DONE, &message), 0);
    assert_int_equal(message.kind, QMP_RETURN);
    assert_int_equal(parse(EVENT, &message), 0);
    assert_int_equal(message.kind, QMP_EVENT);
    assert_string_equal(message.text, "RESUME");
    assert_int_equal(
        parse("{\"error\": {\"class\": \"GenericError\", \"desc\": \"a\\u0041\\n\\\"b\\u20ac\"}}", &message),
        0);
    assert_int_equal(message.kind, QMP_ERROR);
    assert_string_equal(message.text, "aA \"b?");
    assert_string_equal(message.class, "GenericError");
    assert_int_equal(parse(" { } ", &message), 0);
    assert_int_equal(message.kind, QMP_OTHER);
    /* An inner member is not an outer one. */
    assert_int_equal(parse("{\"x\": {\"return\": 1, \"event\": 5}}", &message), 0);
    assert_int_equal(message.kind, QMP_OTHER);
}

static void test_what_is_not_one_object_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        " ",
        "null",
        "[]",
        "{",
        "}",
        "{}}",
        "{} x",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":-}",
        "{\"a\":1.}",
        "{\"a\":1e}",
        "{\"a\":+1}",
        "{\"a\":tru}",
        "{\"a\":\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\u12",
        "{\"a\":\"\t\"}",
        "{\"a\":[1,]}",
        "{\"a\":[1 2]}",
        "{\"event\":1}",
        "{\"error\":\"x\"}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":nan}",
        "{,}",
        "{\"a\":\"\\",
        "{\"error\":{\"desc\":1}}",
    };
    (void)state;
    struct qmp_message message;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (parse(wrong[i], &message) != -EPROTO)
            fail_msg("taken: %s", wrong[i]);
    assert_int_equal(qmp_parse("{\"a\0\":1}", 8, &message), -EPROTO);
}

static void test_nesting_is_bounded(void **state)
{
    (void)state;
    struct qmp_message message;
    size_t depth = 200000;
    _cleanup_free_ char *deep = malloc(depth + 6);
    assert_non_null(deep);
    memcpy(deep, "{\"a\":", 5);
    memset(deep + 5, '[', depth);
    deep[5 + depth] = '\0';
    assert_int_equal(parse(deep, &message), -EPROTO);
    char fits[256] = "{\"a\":";
    memset(fits + 5, '[', QMP_DEPTH_MAX - 1);
    memset(fits + 5 + QMP_DEPTH_MAX - 1, ']', QMP_DEPTH_MAX - 1);
    strcat(fits, "}");
    assert_int_equal(parse(fits, &message), 0);
}

static void test_every_cut_and_every_changed_byte_ends(void **state)
{
    static const char line[] =
        "{\"error\": {\"class\": \"G\", \"desc\": \"a\\u00e9\\n\"}, \"x\": [1, -2.5e+3, true]}";
    (void)state;
    struct qmp_message message;
    for (size_t length = 0; length < sizeof(line) - 1; length++) {
        _cleanup_free_ char *copy = malloc(length + 1);
        assert_non_null(copy);
        memcpy(copy, line, length);
        assert_int_equal(qmp_parse(copy, length, &message), -EPROTO);
    }
    for (size_t at = 0; at < sizeof(line) - 1; at++) {
        for (int byte = 0; byte < 256; byte++) {
            char copy[sizeof(line)];
            memcpy(copy, line, sizeof(line));
            copy[at] = (char)byte;
            qmp_parse(copy, sizeof(line) - 1, &message);
            assert_non_null(memchr(message.text, '\0', sizeof(message.text)));
        }
    }
}

static void test_long_text_is_cut(void **state)
{
    (void)state;
    struct qmp_message message;
    char line[4096] = "{\"event\": \"";
    memset(line + 11, 'x', 3000);
    strcpy(line + 3011, "\"}");
    assert_int_equal(parse(line, &message), 0);
    assert_int_equal(strlen(message.text), QMP_TEXT_MAX - 1);
}

/* A peer that has said all it will say: the client's socket with `says` waiting in it, the other end `closed`
 * or not. */
static int peer(const char *says, size_t length, bool closed, int *other)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(fd_write_all(pair[1], says, length), 0);
    *other = pair[1];
    if (closed)
        shutdown(pair[1], SHUT_WR);
    return pair[0];
}

static void test_greeting_command_and_events(void **state)
{
    static const char says[] = "\r\n" GREETING EVENT DONE EVENT DONE
                               "{\"error\": {\"desc\": \"no guest\"}}\n" EVENT "{\"event\": \"STOP\"}\n";
    (void)state;
    _cleanup_fd_ int other = -1;
    _cleanup_qmp_ struct qmp qmp;
    struct err err = {0};
    assert_int_equal(qmp_attach(&qmp, peer(says, strlen(says), false, &other), 1000, &err), 0);
    assert_int_equal(qmp_execute(&qmp, "system_powerdown", 1000, &err), 0);
    assert_int_equal(qmp_execute(&qmp, "cont", 1000, &err), -EIO);
    assert_string_equal(err.text, "QMP command 'cont': no guest");
    assert_int_equal(qmp_wait_event(&qmp, "STOP", 1000, &err), 0);
    assert_int_equal(qmp_wait_event(&qmp, "STOP", 10, &err), -ETIMEDOUT);
    assert_int_equal(qmp_execute(&qmp, "a\"b", 10, &err), -EINVAL);
    char heard[256];
    ssize_t got = read(other, heard, sizeof(heard) - 1);
    assert_true(got > 0);
    heard[got] = '\0';
    assert_string_equal(heard, "{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"system_powerdown\"}\n"
                               "{\"execute\": \"cont\"}\n");
}

/* A descriptor goes with its command, and no other; an unknown device is told apart. */
static void test_a_command_takes_arguments_and_a_descriptor(void **state)
{
    static const char says[] = GREETING DONE DONE DONE
        "{\"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"Device 'card1' not found\"}}\n";
    static const char wanted[] = "{\"execute\": \"getfd\", \"arguments\": {\"fdname\": \"a\"}}\n";
    (void)state;
    _cleanup_fd_ int other = -1, got = -1;
    _cleanup_qmp_ struct qmp qmp;
    struct err err = {0};
    char bytes[CMSG_SPACE(4 * sizeof(int))] __attribute__((aligned(8)));
    assert_int_equal(qmp_attach(&qmp, peer(says, strlen(says), false, &other), 1000, &err), 0);
    char heard[256];
    assert_true(read(other, heard, sizeof(heard)) > 0);
    int pair[2];
    assert_int_equal(pipe(pair), 0);
    assert_int_equal(qmp_call(&qmp, "getfd", "{\"fdname\": \"a\"}", pair[1], 1000, &err), 0);
    struct iovec part = {.iov_base = heard, .iov_len = sizeof(heard)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = bytes, .msg_controllen = sizeof(bytes)};
    ssize_t length = recvmsg(other, &message, 0);
    assert_int_equal(length, strlen(wanted));
    assert_memory_equal(heard, wanted, strlen(wanted));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    assert_non_null(header);
    assert_int_equal(header->cmsg_type, SCM_RIGHTS);
    assert_int_equal(header->cmsg_len, CMSG_LEN(sizeof(int)));
    memcpy(&got, CMSG_DATA(header), sizeof(got));
    assert_int_equal(write(got, "x", 1), 1);
    assert_int_equal(read(pair[0], heard, 1), 1);
    close(pair[0]);
    close(pair[1]);

    assert_int_equal(qmp_call(&qmp, "cont", NULL, -1, 1000, &err), 0);
    message.msg_controllen = sizeof(bytes);
    assert_true(recvmsg(other, &message, 0) > 0);
    assert_null(CMSG_FIRSTHDR(&message));
    assert_int_equal(qmp_call(&qmp, "device_del", "{\"id\": \"card1\"}", -1, 1000, &err), -ENODEV);
    assert_string_equal(err.text, "QMP command 'device_del': Device 'card1' not found");
    char long_one[QMP_COMMAND_MAX + 1];
    memset(long_one, ' ', sizeof(long_one) - 1);
    long_one[sizeof(long_one) - 1] = '\0';
    assert_int_equal(qmp_call(&qmp, "cont", long_one, -1, 1000, &err), -EINVAL);
}

static void test_close_at_every_byte(void **state)
{
    static const char says[] = GREETING EVENT DONE;
    (void)state;
    for (size_t length = 0; length < strlen(says) - 1; length++) {
        _cleanup_fd_ int other = -1;
        struct qmp qmp;
        struct err err = {0};
        assert_int_equal(qmp_attach(&qmp, peer(says, length, true, &other), 1000, &err), -ECONNRESET);
        assert_int_equal(qmp.fd, -1);
        assert_null(qmp.buffer);
        assert_non_null(strstr(err.text, "closed"));
    }
}

static void test_peer_gone_both_ways_is_no_signal(void **state)
{
    (void)state;
    int other;
    struct qmp qmp;
    int fd = peer(GREETING, strlen(GREETING), false, &other);
    close(other);
    assert_int_equal(qmp_attach(&qmp, fd, 1000, NULL), -ECONNRESET);
}

static void test_garbage_is_refused(void **state)
{
    static const char *const garbage[] = {"SSH-2.0-x\r\n", DONE, EVENT, "{}\n", "\xff\xfe\n", GREETING "x\n"};
    (void)state;
    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        _cleanup_fd_ int other = -1;
        struct qmp qmp;
        struct err err = {0};
        assert_int_equal(qmp_attach(&qmp, peer(garbage[i], strlen(garbage[i]), false, &other), 1000, &err),
                         -EPROTO);
        assert_non_null(strstr(err.text, "not QMP"));
    }
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A child that sends `says` over and over until nobody listens. */
static pid_t babbler(const char *says, int *fd)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(pair[0]);
        while (send(pair[1], says, strlen(says), MSG_NOSIGNAL) > 0)
            ;
        _exit(0);
    }
    close(pair[1]);
    *fd = pair[0];
    return pid;
}

static void test_endless_line_is_refused(void **state)
{
    (void)state;
    int fd;
    struct qmp qmp;
    pid_t pid = babbler("                ", &fd);
    assert_int_equal(qmp_attach(&qmp, fd, 20000, NULL), -EPROTO);
    waitpid(pid, NULL, 0);
}

static void test_endless_events_end_with_the_time(void **state)
{
    (void)state;
    int fd;
    struct qmp qmp;
    struct err err = {0};
    long long start = now_ms();
    pid_t pid = babbler(GREETING, &fd);
    assert_int_equal(qmp_attach(&qmp, fd, 100, &err), -ETIMEDOUT);
    assert_in_range(now_ms() - start, 90, 10000);
    waitpid(pid, NULL, 0);
}

static void test_silence_ends_with_the_time(void **state)
{
    (void)state;
    _cleanup_fd_ int other = -1;
    struct qmp qmp;
    struct err err = {0};
    assert_int_equal(qmp_attach(&qmp, peer("", 0, false, &other), 20, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.text, "another client"));
}

static void test_socket_that_is_not_there(void **state)
{
    (void)state;
    char long_path[200];
    memset(long_path, 'a', sizeof(long_path) - 1);
    long_path[sizeof(long_path) - 1] = '\0';
    struct qmp qmp;
    assert_int_equal(qmp_open(&qmp, "/nonexistent/qmp", 10, NULL), -ENOENT);
    assert_int_equal(qmp_open(&qmp, long_path, 10, NULL), -ENAMETOOLONG);
    qmp_close(&qmp);
    qmp_close(&qmp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_are_told_apart),
        cmocka_unit_test(test_what_is_not_one_object_is_refused),
        cmocka_unit_test(test_nesting_is_bounded),
        cmocka_unit_test(test_every_cut_and_every_changed_byte_ends),
        cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_greeting_command_and_events),
        cmocka_unit_test(test_a_command_takes_arguments_and_a_descriptor),
        cmocka_unit_test(test_close_at_every_byte),
        cmocka_unit_test(test_peer_gone_both_ways_is_no_signal),
        cmocka_unit_test(test_garbage_is_refused),
        cmocka_unit_test(test_endless_line_is_refused),
        cmocka_unit_test(test_endless_events_end_with_the_time),
        cmocka_unit_test(test_silence_ends_with_the_time),
        cmocka_unit_test(test_socket_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
