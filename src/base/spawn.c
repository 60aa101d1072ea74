/* spawn.c: fork and exec behind spawn.h. */
#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#ifdef __FreeBSD__
#include <sys/procctl.h>
#else
#include <sys/prctl.h>
#endif
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/privilege.h"
#include "base/text.h"

#define SEARCH_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { OUTPUT_LIMIT = 1 << 20 };

char *const spawn_environment[] = {"PATH=" SEARCH_PATH, "LC_ALL=C", NULL};

const char *program_find(struct arena *arena, const char *name)
{
    if (strchr(name, '/'))
        return access(name, X_OK) == 0 ? name : NULL;
    for (const char *start = SEARCH_PATH; *start;) {
        size_t length = strcspn(start, ":");
        char *path = arena_printf(arena, "%.*s/%s", (int)length, start, name);
        if (access(path, X_OK) == 0)
            return path;
        start += length + (start[length] == ':');
    }
    return NULL;
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Source: PR_SET_PDEATHSIG(2const); procctl(2), PROC_PDEATHSIG_CTL. */
void spawn_die_with(pid_t parent)
{
#ifdef __FreeBSD__
    int number = SIGKILL;
    procctl(P_PID, 0, PROC_PDEATHSIG_CTL, &number);
#else
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    if (getppid() != parent)
        _exit(127);
}

/* In the child: standard descriptors in place, everything above closed, signals as a fresh program expects
 * them. */
static _Noreturn void child(const char *path, const char *const argv[], int in, int out, int errors,
                            int report)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (dup2(in, 0) >= 0 && dup2(out, 1) >= 0 && dup2(errors, 2) >= 0) {
        /* `report` is moved to 3 and closes itself when exec succeeds. */
        if (report != 3 && dup2(report, 3) < 0)
            _exit(127);
        fcntl(3, F_SETFD, FD_CLOEXEC);
        closefrom(4);
        privilege_keep(PRIVILEGE_HELPER);
        execve(path, (char *const *)argv, spawn_environment);
    }
    int code = errno;
    (void)!write(3, &code, sizeof(code));
    _exit(127);
}

struct stream {
    int fd;
    struct text text;
};

static void stream_read(struct stream *stream)
{
    char buffer[4096];
    ssize_t got = read(stream->fd, buffer, sizeof(buffer));
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got <= 0) {
        fd_close(&stream->fd);
        return;
    }
    if (stream->text.arena && stream->text.length < OUTPUT_LIMIT)
        text_add_bytes(&stream->text, buffer, (size_t)got);
}

/* Feed the input and read both outputs until the child closed them or the time is over.  A daemon that keeps
 * a copy of stderr would hold us: the caller's child has exited by then, which `pid` tells. */
static int converse(struct spawn *spawn, pid_t pid, int in, struct stream *out, struct stream *errors,
                    int *status)
{
    const char *rest = spawn->input ? spawn->input : "";
    size_t left = strlen(rest);
    long long end = spawn->timeout_ms ? now_ms() + spawn->timeout_ms : 0;
    _cleanup_fd_ int feed = in;
    bool exited = false;
    int wait_ms = 1;
    if (!left)
        fd_close(&feed);
    for (;;) {
        if (!exited && waitpid(pid, status, WNOHANG) == pid)
            exited = true;
        if (exited && out->fd < 0 && errors->fd < 0)
            return 0;
        struct pollfd fds[3] = {{.fd = out->fd, .events = POLLIN},
                                {.fd = errors->fd, .events = POLLIN},
                                {.fd = feed, .events = POLLOUT}};
        int ready = poll(fds, 3, exited ? 0 : wait_ms);
        if (wait_ms < 5)
            wait_ms++;
        if (ready == 0 && exited)
            return 0;
        if (fds[0].revents)
            stream_read(out);
        if (fds[1].revents)
            stream_read(errors);
        if (fds[2].revents) {
            ssize_t put = write(feed, rest, left);
            if (put > 0) {
                rest += put;
                left -= (size_t)put;
            }
            if (!left || (put < 0 && errno != EAGAIN && errno != EINTR))
                fd_close(&feed);
        }
        if (!exited && end && now_ms() > end) {
            kill(pid, SIGKILL);
            waitpid(pid, status, 0);
            return -ETIMEDOUT;
        }
    }
}

int spawn_run(struct spawn *spawn, struct err *err)
{
    _cleanup_arena_ struct arena scratch = {0};
    const char *path = program_find(&scratch, spawn->argv[0]);
    if (!path)
        return err_set(err, ENOENT, "'%s' is not installed", spawn->argv[0]);

    _cleanup_fd_ int in_read = -1, in_write = -1, out_write = -1, err_write = -1, report_read = -1,
                     report_write = -1;
    struct stream out = {.fd = -1, .text = {.arena = spawn->arena}};
    struct stream errors = {.fd = -1, .text = {.arena = spawn->arena}};
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) < 0)
        return err_errno(err, errno, "starting '%s'", path);
    in_read = pair[0], in_write = pair[1];
    if (pipe2(pair, O_CLOEXEC) < 0)
        return err_errno(err, errno, "starting '%s'", path);
    _cleanup_fd_ int out_read = pair[0];
    out_write = pair[1];
    if (pipe2(pair, O_CLOEXEC) < 0)
        return err_errno(err, errno, "starting '%s'", path);
    _cleanup_fd_ int err_read = pair[0];
    err_write = pair[1];
    if (pipe2(pair, O_CLOEXEC) < 0)
        return err_errno(err, errno, "starting '%s'", path);
    report_read = pair[0], report_write = pair[1];
    fcntl(in_write, F_SETFL, O_NONBLOCK);

    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return err_errno(err, errno, "starting '%s'", path);
    if (pid == 0)
        spawn_die_with(parent);
    if (pid == 0)
        child(path, spawn->argv, in_read, out_write, err_write, report_write);
    fd_close(&in_read);
    fd_close(&out_write);
    fd_close(&err_write);
    fd_close(&report_write);

    int code = 0;
    ssize_t got;
    do
        got = read(report_read, &code, sizeof(code));
    while (got < 0 && errno == EINTR);
    if (got == (ssize_t)sizeof(code)) {
        waitpid(pid, NULL, 0);
        return err_errno(err, code, "starting '%s'", path);
    }

    int status = 0;
    out.fd = fd_steal(&out_read);
    errors.fd = fd_steal(&err_read);
    int rc = converse(spawn, pid, fd_steal(&in_write), &out, &errors, &status);
    fd_close(&out.fd);
    fd_close(&errors.fd);
    spawn->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (spawn->arena) {
        spawn->output = (char *)text_get(&out.text);
        spawn->errors = (char *)text_get(&errors.text);
    }
    if (rc < 0)
        return err_set(err, rc, "'%s' did not end within %d ms", path, spawn->timeout_ms);
    return 0;
}

int spawn_check(struct spawn *spawn, struct err *err)
{
    int rc = spawn_run(spawn, err);
    if (rc < 0 || spawn->status == 0)
        return rc;
    size_t length = spawn->errors ? strlen(spawn->errors) : 0;
    while (length && spawn->errors[length - 1] == '\n')
        spawn->errors[--length] = '\0';
    const char *tail = length > 400 ? spawn->errors + length - 400 : spawn->errors;
    if (length)
        return err_set(err, EIO, "'%s' ended with status %d: %s", spawn->argv[0], spawn->status, tail);
    return err_set(err, EIO, "'%s' ended with status %d", spawn->argv[0], spawn->status);
}
