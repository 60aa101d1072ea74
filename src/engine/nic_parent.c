/* nic_parent.c: a program with nics on a host where a tap does not go with its descriptors (nics_run of
 * nic.h): its parent waits, and takes the taps away. */
#include "engine/nic.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

enum { PASSED = 4 };

static const int passed[PASSED] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT};
static volatile sig_atomic_t child_pid;

static void pass_on(int signal)
{
    if (child_pid > 0)
        kill((pid_t)child_pid, signal);
}

/* It does not come back; what it could not do is told through the pipe, which closes when it could. */
static _Noreturn void become(struct arena *arena, const struct nics *nics, const char *const argv[],
                             int tell_fd, const sigset_t *mask)
{
    struct err err = {0};
    for (int i = 0; i < PASSED; i++)
        signal(passed[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    int rc = exec_nics(arena, nics, argv, NULL, &err);
    (void)!write(tell_fd, &rc, sizeof(rc));
    (void)fd_write_all(tell_fd, err.text, strlen(err.text) + 1);
    _exit(127);
}

/* Why it did not start: 0 when it did. */
static int failure_read(int fd, struct err *err)
{
    char text[ERR_TEXT_MAX] = "";
    int code = 0;
    size_t length = 0;
    if (read(fd, &code, sizeof(code)) != (ssize_t)sizeof(code))
        return 0;
    for (ssize_t got;
         length < sizeof(text) - 1 && (got = read(fd, text + length, sizeof(text) - 1 - length)) > 0;)
        length += (size_t)got;
    return err_set(err, code, "%s", text);
}

int nics_run(struct arena *arena, struct nics *nics, const char *const argv[], int *exit_status,
             struct err *err)
{
    int pair[2], status = 0;
    struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART}, former[PASSED];
    sigset_t held, mask;
    if (pipe2(pair, O_CLOEXEC) < 0)
        return err_errno(err, errno, "starting '%s'", argv[0]);
    _cleanup_fd_ int listen_fd = pair[0], tell_fd = pair[1];
    sigemptyset(&held);
    for (int i = 0; i < PASSED; i++)
        sigaddset(&held, passed[i]);
    sigprocmask(SIG_BLOCK, &held, &mask);
    pid_t pid = fork();
    if (pid == 0)
        become(arena, nics, argv, tell_fd, &mask);
    int failure = errno;
    child_pid = pid;
    for (int i = 0; i < PASSED; i++)
        sigaction(passed[i], &action, &former[i]);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    fd_close(&tell_fd);
    int rc = pid < 0 ? err_errno(err, failure, "starting '%s'", argv[0]) : failure_read(listen_fd, err);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    child_pid = 0;
    for (int i = 0; i < PASSED; i++)
        sigaction(passed[i], &former[i], NULL);
    nics_close(nics);
    *exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return rc;
}
