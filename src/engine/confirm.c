/* confirm.c: the socket between a guard that waits and those who ask it: confirm.h. */
#include "engine/confirm.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

enum {
    QUESTION_WAIT_MS = 500,  /* for the word of somebody who has connected */
    ANSWER_WAIT_MS = 900,    /* for the guard's, to a reader */
    DECIDE_WAIT_MS = 120000, /* undoing may take its time */
    WAITING_MAX = 8
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

const char *confirm_path(struct arena *arena, const char *run_dir)
{
    return arena_printf(arena, "%s/confirm", run_dir);
}

static bool address_fill(const char *path, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address->sun_path))
        return false;
    strcpy(address->sun_path, path);
    return true;
}

static volatile sig_atomic_t told_to_end;
static sigset_t while_waiting;

static void end_now(int number)
{
    (void)number;
    told_to_end = 1;
}

/* Blocked but while waiting, so that it is not missed; `while_waiting` lets it through. */
static void signal_watch(void)
{
    sigset_t end;
    struct sigaction action = {.sa_handler = end_now};
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigprocmask(SIG_BLOCK, &end, &while_waiting);
    sigdelset(&while_waiting, SIGTERM);
    sigaction(SIGTERM, &action, NULL);
}

int confirm_open(const char *path, struct err *err)
{
    struct sockaddr_un address;
    if (!address_fill(path, &address))
        return err_errno(err, ENAMETOOLONG, "waiting for a confirmation at '%s'", path);
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(path);
    mode_t old = umask(0177);
    bool bound = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    umask(old);
    if (!bound || listen(fd, WAITING_MAX) < 0)
        return err_errno(err, errno, "waiting for a confirmation at '%s'", path);
    signal_watch();
    return fd_steal(&fd);
}

/* One byte: 'k' keep, 'u' undo, '?' how long; 0 when none came. */
static char word_read(int fd, int timeout_ms)
{
    struct pollfd input = {.fd = fd, .events = POLLIN};
    char word = 0;
    if (poll(&input, 1, timeout_ms) <= 0 || read(fd, &word, 1) != 1)
        return 0;
    return word;
}

enum confirm_end confirm_wait(int fd, int timeout_ms, int *answer_fd)
{
    int64_t end_ms = now_ms() + timeout_ms, left_ms;
    *answer_fd = -1;
    while ((left_ms = end_ms - now_ms()) > 0) {
        struct pollfd input = {.fd = fd, .events = POLLIN};
        struct timespec left = {.tv_sec = left_ms / 1000, .tv_nsec = left_ms % 1000 * 1000000};
        if (told_to_end)
            return CONFIRM_UNDO;
        if (ppoll(&input, 1, &left, &while_waiting) <= 0)
            continue;
        _cleanup_fd_ int peer = accept(fd, NULL, NULL);
        if (peer < 0)
            continue;
        char word = word_read(peer, QUESTION_WAIT_MS);
        if (word == 'k' || word == 'u') {
            *answer_fd = fd_steal(&peer);
            return word == 'k' ? CONFIRM_KEEP : CONFIRM_UNDO;
        }
        char text[32];
        int length = snprintf(text, sizeof(text), "%d", (int)(end_ms - now_ms()));
        if (word == '?')
            (void)!send(peer, text, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    return CONFIRM_TIMEOUT;
}

void confirm_answer(int *answer_fd, const char *text)
{
    if (*answer_fd >= 0)
        (void)!send(*answer_fd, text, strlen(text) + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    fd_close(answer_fd);
}

/* The answer to a word, NUL-terminated; its length, or a negative errno: -ESRCH nobody listens. */
static ssize_t converse(const char *run_dir, char word, int timeout_ms, char *answer, size_t size)
{
    _cleanup_arena_ struct arena arena = {0};
    struct sockaddr_un address;
    if (!address_fill(confirm_path(&arena, run_dir), &address))
        return -ESRCH;
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        send(fd, &word, 1, MSG_NOSIGNAL) != 1)
        return -ESRCH;
    size_t length = 0;
    for (int64_t end_ms = now_ms() + timeout_ms, left_ms;
         length + 1 < size && (left_ms = end_ms - now_ms()) > 0;) {
        struct pollfd input = {.fd = fd, .events = POLLIN};
        if (poll(&input, 1, (int)left_ms) <= 0)
            continue;
        ssize_t got = read(fd, answer + length, size - 1 - length);
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    answer[length] = '\0';
    return length ? (ssize_t)length : -EPIPE;
}

bool confirm_pending(const char *run_dir, int *left_ms)
{
    char answer[32];
    if (converse(run_dir, '?', ANSWER_WAIT_MS, answer, sizeof(answer)) < 0)
        return false;
    return sscanf(answer, "%d", left_ms) == 1;
}

int confirm_decide(const char *run_dir, bool keep, struct err *err)
{
    char answer[ERR_TEXT_MAX];
    ssize_t got = converse(run_dir, keep ? 'k' : 'u', DECIDE_WAIT_MS, answer, sizeof(answer));
    if (got == -ESRCH)
        return err_set(err, ESRCH,
                       "no change waits to be confirmed (it was undone already, or never made with "
                       "'up --confirm')");
    if (got < 0)
        return err_set(err, EIO,
                       "the guard of the change ended without a word; 'vmwire status' shows what is");
    return *answer ? err_set(err, EIO, "%s", answer) : 0;
}
