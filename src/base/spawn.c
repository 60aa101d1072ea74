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
#include "base/process.h"
#include "base/text.h"

#define SEARCH_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { OUTPUT_LIMIT = 1 << 20, ASK_MS = 5 };

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

/* In the child, which has its parent's memory: standard descriptors in place, everything above closed,
 * signals as a fresh program expects them. */
static _Noreturn void become(const char *path, const char *const argv[], int in, int out, int errors,
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

/* A program that runs.  `process` tells its end; without one (no descriptors left) it is asked now and then.
 */
struct child {
    struct spawn *spawn;
    const char *path;
    pid_t pid; /* 0: none */
    struct process process;
    struct stream out, errors;
    int feed;
    const char *rest; /* of its input */
    long long end_ms; /* 0: no bound */
    int status;       /* waitpid(2)'s */
};

enum { STREAM_END, STREAM_OUT, STREAM_ERRORS, STREAM_FEED, STREAMS };

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

static void child_feed(struct child *child)
{
    ssize_t put = write(child->feed, child->rest, strlen(child->rest));
    if (put > 0)
        child->rest += put;
    if (!*child->rest || (put < 0 && errno != EAGAIN && errno != EINTR))
        fd_close(&child->feed);
}

static void child_fds(const struct child *child, struct pollfd fds[STREAMS])
{
    fds[STREAM_END] = (struct pollfd){.fd = child->process.fd, .events = POLLIN};
    fds[STREAM_OUT] = (struct pollfd){.fd = child->out.fd, .events = POLLIN};
    fds[STREAM_ERRORS] = (struct pollfd){.fd = child->errors.fd, .events = POLLIN};
    fds[STREAM_FEED] = (struct pollfd){.fd = child->feed, .events = POLLOUT};
}

/* What is there of both outputs.  A daemon that keeps a copy of stderr does not hold us. */
static void child_drain(struct child *child)
{
    struct pollfd fds[STREAMS];
    for (;;) {
        child_fds(child, fds);
        if (poll(fds + STREAM_OUT, 2, 0) <= 0)
            return;
        if (fds[STREAM_OUT].revents)
            stream_read(&child->out);
        if (fds[STREAM_ERRORS].revents)
            stream_read(&child->errors);
    }
}

/* Nobody else may come between vfork and what follows it: the child has our memory. */
static pid_t start(const char *path, const char *const argv[], int in, int out, int errors, int report)
{
    pid_t parent = getpid(), pid = vfork();
    if (pid == 0) {
        spawn_die_with(parent);
        become(path, argv, in, out, errors, report);
    }
    return pid;
}

static int pipe_make(int *reader, int *writer)
{
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) < 0)
        return -errno;
    *reader = pair[0];
    *writer = pair[1];
    return 0;
}

/* Started, and the program's own by now: else a negative errno, and nothing of it is left. */
static int child_start(struct child *child, struct spawn *spawn, struct arena *scratch, struct err *err)
{
    _cleanup_fd_ int in_read = -1, in_write = -1, out_read = -1, out_write = -1, err_read = -1,
                     err_write = -1, report_read = -1, report_write = -1;
    *child = (struct child){.spawn = spawn,
                            .process = {.fd = -1},
                            .out = {.fd = -1, .text = {.arena = spawn->arena}},
                            .errors = {.fd = -1, .text = {.arena = spawn->arena}},
                            .feed = -1,
                            .rest = spawn->input ? spawn->input : "",
                            .end_ms = spawn->timeout_ms ? now_ms() + spawn->timeout_ms : 0};
    child->path = program_find(scratch, spawn->argv[0]);
    if (!child->path)
        return err_set(err, ENOENT, "'%s' is not installed", spawn->argv[0]);
    int rc = pipe_make(&in_read, &in_write);
    rc = rc < 0 ? rc : pipe_make(&out_read, &out_write);
    rc = rc < 0 ? rc : pipe_make(&err_read, &err_write);
    rc = rc < 0 ? rc : pipe_make(&report_read, &report_write);
    if (rc < 0)
        return err_errno(err, rc, "starting '%s'", child->path);
    fcntl(in_write, F_SETFL, O_NONBLOCK);

    pid_t pid = start(child->path, spawn->argv, in_read, out_write, err_write, report_write);
    if (pid < 0)
        return err_errno(err, errno, "starting '%s'", child->path);
    fd_close(&report_write);
    int code = 0;
    ssize_t got;
    do
        got = read(report_read, &code, sizeof(code));
    while (got < 0 && errno == EINTR);
    if (got == (ssize_t)sizeof(code)) {
        waitpid(pid, NULL, 0);
        return err_errno(err, code, "starting '%s'", child->path);
    }
    child->pid = pid;
    (void)process_open(&child->process, pid);
    child->out.fd = fd_steal(&out_read);
    child->errors.fd = fd_steal(&err_read);
    child->feed = *child->rest ? fd_steal(&in_write) : -1;
    return 0;
}

/* It has ended, or had to: what it gave goes to its spawn. */
static int child_end(struct child *child, int rc, struct err *err)
{
    struct spawn *spawn = child->spawn;
    child_drain(child);
    process_close(&child->process);
    fd_close(&child->out.fd);
    fd_close(&child->errors.fd);
    fd_close(&child->feed);
    child->pid = 0;
    spawn->status = WIFEXITED(child->status) ? WEXITSTATUS(child->status) : 128 + WTERMSIG(child->status);
    if (spawn->arena) {
        spawn->output = (char *)text_get(&child->out.text);
        spawn->errors = (char *)text_get(&child->errors.text);
    }
    return rc < 0 ? err_set(err, rc, "'%s' did not end within %d ms", child->path, spawn->timeout_ms) : 0;
}

/* What poll(2) found: 1 while it runs, else as spawn_run's. */
static int child_go_on(struct child *child, const struct pollfd fds[STREAMS], struct err *err)
{
    if (fds[STREAM_OUT].revents)
        stream_read(&child->out);
    if (fds[STREAM_ERRORS].revents)
        stream_read(&child->errors);
    if (fds[STREAM_FEED].revents)
        child_feed(child);
    bool ended = fds[STREAM_END].revents || child->process.fd < 0;
    if (ended && waitpid(child->pid, &child->status, WNOHANG) == child->pid)
        return child_end(child, 0, err);
    if (child->end_ms && now_ms() > child->end_ms) {
        kill(child->pid, SIGKILL);
        waitpid(child->pid, &child->status, 0);
        return child_end(child, -ETIMEDOUT, err);
    }
    return 1;
}

/* Until something happens to one of them. */
static void children_wait(const struct child children[], size_t count, struct pollfd fds[][STREAMS])
{
    long long wait_ms = -1, now = now_ms();
    for (size_t i = 0; i < count; i++) {
        const struct child *child = &children[i];
        child_fds(child, fds[i]);
        long long left_ms = child->end_ms ? (child->end_ms > now ? child->end_ms - now + 1 : 0) : -1;
        if (child->process.fd < 0)
            left_ms = ASK_MS;
        if (left_ms >= 0 && (wait_ms < 0 || left_ms < wait_ms))
            wait_ms = left_ms;
    }
    if (poll(&fds[0][0], count * STREAMS, (int)wait_ms) < 0) {
        for (size_t i = 0; i < count; i++)
            for (int k = 0; k < STREAMS; k++)
                fds[i][k].revents = 0;
    }
}

int spawn_run(struct spawn *spawn, struct err *err)
{
    _cleanup_arena_ struct arena scratch = {0};
    struct child child;
    struct pollfd fds[1][STREAMS];
    int rc = child_start(&child, spawn, &scratch, err);
    if (rc < 0)
        return rc;
    do
        children_wait(&child, 1, fds);
    while ((rc = child_go_on(&child, fds[0], err)) > 0);
    return rc;
}

static int check_status(struct spawn *spawn, struct err *err)
{
    if (spawn->status == 0)
        return 0;
    size_t length = spawn->errors ? strlen(spawn->errors) : 0;
    while (length && spawn->errors[length - 1] == '\n')
        spawn->errors[--length] = '\0';
    const char *tail = length > 400 ? spawn->errors + length - 400 : spawn->errors;
    if (length)
        return err_set(err, EIO, "'%s' ended with status %d: %s", spawn->argv[0], spawn->status, tail);
    return err_set(err, EIO, "'%s' ended with status %d", spawn->argv[0], spawn->status);
}

int spawn_check(struct spawn *spawn, struct err *err)
{
    int rc = spawn_run(spawn, err);
    return rc < 0 ? rc : check_status(spawn, err);
}

static bool succeeded(struct spawn *spawn, int rc, const struct err *err)
{
    spawn->result = rc;
    spawn->failure = rc < 0 ? arena_strdup(spawn->arena, err->text) : NULL;
    return rc == 0;
}

void spawn_check_all(struct spawn spawns[], size_t count, bool go_on)
{
    _cleanup_arena_ struct arena scratch = {0};
    struct child children[SPAWN_AT_ONCE];
    struct pollfd fds[SPAWN_AT_ONCE][STREAMS];
    size_t running = 0, next = 0;
    bool well = true;
    while (running || next < count) {
        for (; next < count && running < SPAWN_AT_ONCE; next++) {
            struct err err = {0};
            int rc = well || go_on ? child_start(&children[running], &spawns[next], &scratch, &err)
                                   : err_set(&err, ECANCELED, "another one has failed");
            if (rc == 0)
                running++;
            else
                well = succeeded(&spawns[next], rc, &err);
        }
        if (running)
            children_wait(children, running, fds);
        for (size_t i = running; i-- > 0;) {
            struct err err = {0};
            struct spawn *spawn = children[i].spawn;
            int rc = child_go_on(&children[i], fds[i], &err);
            if (rc > 0)
                continue;
            well &= succeeded(spawn, rc < 0 ? rc : check_status(spawn, &err), &err);
            children[i] = children[--running];
        }
    }
}
