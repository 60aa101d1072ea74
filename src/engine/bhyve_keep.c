/* bhyve_keep.c: the loop around bhyve: bhyve_keep.h.
 *
 * What it says on stderr passes through here, so that the reason of a failure is known as well as shown.  It
 * keeps SIGPIPE ignored: whoever kills this process must not kill the guest with it. */
#include "engine/bhyve_keep.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/process.h"
#include "base/spawn.h"

enum { DESTROY_TIMEOUT_MS = 30000, LOOK_MS = 20, PASSED = 4 };

static const int passed[PASSED] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT};
static volatile sig_atomic_t kept_pid, stopping;

static void pass_on(int signal)
{
    stopping = 1;
    if (kept_pid > 0)
        kill((pid_t)kept_pid, signal);
}

/* "is not created" and status 1 are as good as success; whatever else stands in the way bhyve will say. */
static void destroy(const struct keep *keep)
{
    struct spawn spawn = {.argv = keep->destroy, .timeout_ms = DESTROY_TIMEOUT_MS};
    spawn_run(&spawn, NULL);
}

static _Noreturn void become_bhyve(const struct keep *keep, const sigset_t *mask, int errors, int report)
{
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < PASSED; i++)
        signal(passed[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    int null = keep->background ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;
    if (null >= 0)
        dup2(null, 0);
    if (keep->background)
        dup2(errors, 1);
    dup2(errors, 2);
    execve(keep->argv[0], (char *const *)keep->argv, keep->environment);
    int code = errno;
    (void)!write(report, &code, sizeof(code));
    _exit(127);
}

/* Started, with the signals held back until kept_pid tells where they go; `pid` 0: one came before. */
static int start(const struct keep *keep, int *errors, pid_t *pid, struct err *err)
{
    int words[2], reports[2], code = 0;
    sigset_t held, former;
    if (pipe2(words, O_CLOEXEC) < 0)
        return err_errno(err, errno, "starting '%s'", keep->argv[0]);
    _cleanup_fd_ int words_in = words[0], words_out = words[1];
    if (pipe2(reports, O_CLOEXEC) < 0)
        return err_errno(err, errno, "starting '%s'", keep->argv[0]);
    _cleanup_fd_ int report_in = reports[0], report_out = reports[1];
    sigemptyset(&held);
    for (int i = 0; i < PASSED; i++)
        sigaddset(&held, passed[i]);
    sigprocmask(SIG_BLOCK, &held, &former);
    *pid = stopping ? 0 : fork();
    if (stopping) {
        sigprocmask(SIG_SETMASK, &former, NULL);
        return 0;
    }
    if (*pid == 0)
        become_bhyve(keep, &former, words_out, report_out);
    kept_pid = *pid;
    int failure = errno;
    sigprocmask(SIG_SETMASK, &former, NULL);
    if (*pid < 0)
        return err_errno(err, failure, "starting '%s'", keep->argv[0]);
    fd_close(&report_out);
    ssize_t got;
    do
        got = read(report_in, &code, sizeof(code));
    while (got < 0 && errno == EINTR);
    if (got == (ssize_t)sizeof(code)) {
        kept_pid = 0;
        waitpid(*pid, NULL, 0);
        return err_errno(err, code, "starting '%s'", keep->argv[0]);
    }
    const char *digits = arena_printf(keep->arena, "%d\n", (int)*pid);
    file_write_atomic(keep->pid_path, digits, strlen(digits), 0600, NULL);
    *errors = fd_steal(&words_in);
    return 0;
}

/* The last of what it says is kept. */
static void keep_words(struct keep *keep, const char *bytes, size_t length)
{
    const size_t room = sizeof(keep->words) - 1;
    size_t used = strlen(keep->words);
    if (length > room) {
        bytes += length - room;
        length = room;
    }
    if (used + length > room) {
        size_t over = used + length - room;
        memmove(keep->words, keep->words + over, used - over);
        used -= over;
    }
    for (size_t i = 0; i < length; i++)
        keep->words[used + i] = bytes[i] ? bytes[i] : ' ';
    keep->words[used + length] = '\0';
}

static bool has_started(const struct keep *keep, pid_t pid)
{
    _cleanup_arena_ struct arena scratch = {0};
    const char *const *argv = process_argv(&scratch, pid);
    if (argv && argv[0] && strcmp(argv[0], bhyve_title(&scratch, keep->machine)) == 0)
        return true;
    return keep->waiting && keep->waiting(pid, keep->data);
}

/* Until it has ended; its status as sh has it. */
static void attend(struct keep *keep, pid_t pid, int errors, bool *told)
{
    int status = 0;
    bool ended = false;
    while (!ended || errors >= 0) {
        ended = ended || waitpid(pid, &status, WNOHANG) == pid;
        bool look = !*told && !ended && keep->started;
        struct pollfd poller = {.fd = errors, .events = POLLIN};
        int ready = poll(&poller, 1, ended ? 0 : look ? LOOK_MS : -1);
        char bytes[512];
        ssize_t got = ready > 0 ? read(errors, bytes, sizeof(bytes)) : -1;
        if (got > 0) {
            keep_words(keep, bytes, (size_t)got);
            if (!keep->background)
                (void)fd_write_all(STDERR_FILENO, bytes, (size_t)got);
        } else if ((ready > 0 && (got == 0 || errno != EINTR)) || (ended && ready == 0)) {
            fd_close(&errors);
        }
        if (look && has_started(keep, pid)) {
            *told = true;
            keep->started(keep->data);
        }
        if (errors < 0 && !ended)
            ended = waitpid(pid, &status, 0) == pid || errno == ECHILD;
    }
    kept_pid = 0;
    keep->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* bhyve sets the terminal of a serial console raw, and does not put it back when it is killed. */
static void terminal_restore(const struct termios *former)
{
    void (*stops)(int) = signal(SIGTTOU, SIG_IGN);
    tcsetattr(STDIN_FILENO, TCSADRAIN, former);
    signal(SIGTTOU, stops);
}

static bool stopped(const struct keep *keep)
{
    return stopping || access(keep->stop_path, F_OK) == 0;
}

int bhyve_keep(struct keep *keep, enum bhyve_end *end, struct err *err)
{
    struct sigaction action = {.sa_handler = pass_on}, former[PASSED];
    struct termios terminal;
    bool raw = !keep->background && tcgetattr(STDIN_FILENO, &terminal) == 0, told = false;
    int rc = 0;
    stopping = 0;
    for (int i = 0; i < PASSED; i++)
        sigaction(passed[i], &action, &former[i]);
    for (*end = BHYVE_REBOOT; rc == 0 && *end == BHYVE_REBOOT && !stopped(keep);) {
        pid_t pid = 0;
        int errors = -1;
        keep->words[0] = '\0';
        destroy(keep);
        rc = start(keep, &errors, &pid, err);
        if (rc == 0 && pid) {
            attend(keep, pid, errors, &told);
            /* A usage error has words and makes no node; -D in `extra` takes the node away, without a word.
             */
            *end = bhyve_exit(keep->status, access(keep->node, F_OK) == 0 || !*keep->words);
        }
        if (raw)
            terminal_restore(&terminal);
    }
    destroy(keep);
    for (int i = 0; i < PASSED; i++)
        sigaction(passed[i], &former[i], NULL);
    return rc;
}
