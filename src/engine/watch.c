/* watch.c: the loop of watch.h. */
#include "engine/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "base/process.h"

enum {
    SETTLE_MS = 20,      /* since the last event */
    SETTLE_MAX_MS = 150, /* since the first one */
    BREATHE_MS = 200,    /* after a look that found nothing: events that do not concern us come in storms */
    FIGHT_ROUNDS = 5,    /* the same changes, */
    FIGHT_MS = 10000,    /* within this time */
    BACKOFF_FIRST_MS = 1000,
    BACKOFF_LAST_MS = 60000,
    PEACE_MS = 60000, /* without a change: nobody fights any longer */
};

#define NEVER INT64_MAX

struct watch {
    struct host *host;
    const struct watch_request *request;
    const sigset_t *while_waiting;
    struct arena arena; /* of the services, made anew after each look */
    VEC(struct process) services;
    int fds[HOST_WATCH_COUNT];
    struct host_watch_author author;
    int64_t first_ms, last_ms; /* events that no look has seen; NEVER: none */
    int64_t not_before_ms;     /* no look before */
    int64_t again_ms;          /* a look then, whatever happens; NEVER: none */
    int backoff_ms;
    uint64_t what; /* the last changes, and when they were made */
    int64_t rounds[FIGHT_ROUNDS];
    uint64_t said;
    bool bad_file;
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void say(const struct watch *watch, const char *text)
{
    watch->request->say(watch->request->context, text);
}

/* --- one watcher */

static const char *lock_path(struct arena *arena, const char *run_dir)
{
    return arena_printf(arena, "%s/watch", run_dir);
}

static int lock_take(struct host *host, struct arena *arena, struct err *err)
{
    const char *path = lock_path(arena, host->backend->run_dir);
    int rc = directory_make(host->backend->run_dir, 0700, err);
    if (rc < 0)
        return rc;
    _cleanup_fd_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(err, errno, "opening '%s'", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return err_set(err, EBUSY, "another 'vmwire watch' runs already (it holds the lock on '%s')", path);
    return fd_steal(&fd);
}

bool watch_running(const char *run_dir)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_fd_ int fd = open(lock_path(&arena, run_dir), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

/* --- looking */

static void services_close(struct watch *watch)
{
    vec_foreach (&watch->services, service)
        process_close(service);
    arena_free(&watch->arena);
    watch->arena = (struct arena){0};
    watch->services.items = NULL;
    watch->services.count = watch->services.capacity = 0;
}

/* The end of each is an event. */
static void services_open(struct watch *watch)
{
    _cleanup_arena_ struct arena scratch = {0};
    struct observed observed = {.run_dir = watch->host->backend->run_dir};
    services_close(watch);
    if (watch->host->backend->observe(watch->host, &scratch, HOST_OBSERVE_SERVICES, &observed, NULL) < 0)
        return;
    vec_foreach (&observed.services, service) {
        struct process process = {.fd = -1};
        if (process_open(&process, service->pid) == 0)
            *vec_push(&watch->arena, &watch->services) = process;
    }
}

static _Noreturn void child(const struct watch *watch, int report)
{
    struct watch_look look = {.said = watch->said};
    struct sigaction usual = {.sa_handler = SIG_DFL};
    sigset_t none;
    const int signals[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &usual, NULL);
    /* What is begun is ended: the watcher waits for it. */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    watch->request->look(watch->request->context, &look);
    _exit(fd_write_all(report, &look, sizeof(look)) < 0);
}

static void look(struct watch *watch, struct watch_look *found)
{
    int pair[2], status;
    /* What is there by now, this look sees; and it may still be the last child's, which the next lines
     * forget. */
    for (int kind = 0; kind < HOST_WATCH_FILE; kind++)
        watch->host->backend->watch_read(watch->host, (enum host_watch_kind)kind, watch->fds[kind],
                                         watch->request->path, &watch->author);
    *found = (struct watch_look){.failed = true};
    if (pipe2(pair, O_CLOEXEC) < 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        child(watch, pair[1]);
    }
    close(pair[1]);
    watch->author.self = pid;
    struct watch_look heard;
    char *bytes = (char *)&heard;
    size_t length = 0;
    while (pid > 0 && length < sizeof(heard)) {
        ssize_t got = read(pair[0], bytes + length, sizeof(heard) - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    close(pair[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (length == sizeof(heard))
        *found = heard;
    found->first[sizeof(found->first) - 1] = '\0';
}

/* --- fights and failures */

static void back_off(struct watch *watch)
{
    watch->backoff_ms = !watch->backoff_ms                        ? BACKOFF_FIRST_MS
                        : watch->backoff_ms < BACKOFF_LAST_MS / 2 ? watch->backoff_ms * 2
                                                                  : BACKOFF_LAST_MS;
    watch->not_before_ms = watch->again_ms = now_ms() + watch->backoff_ms;
}

static const char *author_text(struct watch *watch, struct arena *arena)
{
    struct host_watch_author *author = &watch->author;
    watch->host->backend->watch_author(watch->host, arena, author);
    if (!author->port && *author->suspects)
        return arena_printf(arena, "; the kernel does not say by whom, but these could: %s",
                            author->suspects);
    if (!author->port)
        return "; the kernel does not say by whom";
    if (!*author->program)
        return arena_printf(arena, "; the last change was a process's that has ended (netlink port %u)",
                            author->port);
    return arena_printf(arena, "; the last change was made by '%s' (pid %d)", author->program,
                        (int)author->pid);
}

/* True when these changes have been made too often. */
static bool fought(struct watch *watch, const struct watch_look *found)
{
    if (found->what != watch->what)
        memset(watch->rounds, 0, sizeof(watch->rounds));
    watch->what = found->what;
    memmove(watch->rounds, watch->rounds + 1, sizeof(watch->rounds) - sizeof(watch->rounds[0]));
    int64_t now = watch->rounds[FIGHT_ROUNDS - 1] = now_ms();
    /* Once backing off, every further round counts. */
    return watch->backoff_ms || (watch->rounds[0] && now - watch->rounds[0] < FIGHT_MS);
}

static void settle_accounts(struct watch *watch, const struct watch_look *found)
{
    _cleanup_arena_ struct arena arena = {0};
    int64_t calm_since = watch->rounds[FIGHT_ROUNDS - 1];
    watch->again_ms = NEVER;
    watch->not_before_ms = found->changes ? 0 : now_ms() + BREATHE_MS;
    watch->bad_file = found->bad_file;
    if (found->failed) {
        back_off(watch);
        if (found->said != watch->said)
            say(watch, arena_printf(&arena, "looking again in %d s, and less often later",
                                    watch->backoff_ms / 1000));
    } else if (found->changes && fought(watch, found)) {
        const char *author = author_text(watch, &arena);
        back_off(watch);
        say(watch, arena_printf(&arena, "something undoes this again and again: %s%s; looking again in %d s",
                                found->first, author, watch->backoff_ms / 1000));
    } else if (!found->changes && now_ms() - calm_since > PEACE_MS) {
        watch->backoff_ms = 0;
    }
    watch->said = found->said;
}

/* --- waiting */

static void happened(struct watch *watch)
{
    watch->last_ms = now_ms();
    if (watch->first_ms == NEVER)
        watch->first_ms = watch->last_ms;
}

static int64_t due_ms(const struct watch *watch)
{
    int64_t due = NEVER;
    if (watch->first_ms != NEVER) {
        due = watch->last_ms + SETTLE_MS;
        if (due > watch->first_ms + SETTLE_MAX_MS)
            due = watch->first_ms + SETTLE_MAX_MS;
        if (due < watch->not_before_ms)
            due = watch->not_before_ms;
    }
    return due < watch->again_ms ? due : watch->again_ms;
}

static void events_read(struct watch *watch, const struct pollfd fds[], size_t count)
{
    for (int kind = 0; kind < HOST_WATCH_COUNT; kind++) {
        if (!fds[kind].revents ||
            !watch->host->backend->watch_read(watch->host, (enum host_watch_kind)kind, watch->fds[kind],
                                              watch->request->path, &watch->author))
            continue;
        if (kind != HOST_WATCH_FILE) {
            if (!watch->bad_file)
                happened(watch);
            continue;
        }
        happened(watch);
        /* Somebody is at work here: no holding back. */
        watch->backoff_ms = 0;
        watch->not_before_ms = 0;
        memset(watch->rounds, 0, sizeof(watch->rounds));
    }
    for (size_t i = HOST_WATCH_COUNT; i < count; i++) {
        if (!fds[i].revents)
            continue;
        process_close(&watch->services.items[i - HOST_WATCH_COUNT]);
        happened(watch);
    }
}

/* Until something is due; false when watching is to end. */
static bool wait_due(struct watch *watch)
{
    _cleanup_arena_ struct arena arena = {0};
    size_t count = HOST_WATCH_COUNT + watch->services.count;
    struct pollfd *fds = arena_alloc(&arena, count * sizeof(*fds));
    for (;;) {
        int64_t due = due_ms(watch), left = due - now_ms();
        if (*watch->request->stop)
            return false;
        if (left <= 0)
            return true;
        for (size_t i = 0; i < count; i++)
            fds[i] = (struct pollfd){
                .fd = i < HOST_WATCH_COUNT ? watch->fds[i] : watch->services.items[i - HOST_WATCH_COUNT].fd,
                .events = POLLIN};
        struct timespec time = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
        if (ppoll(fds, count, due == NEVER ? NULL : &time, watch->while_waiting) > 0)
            events_read(watch, fds, count);
    }
}

int engine_watch(struct host *host, const struct watch_request *request, const sigset_t *while_waiting,
                 struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct watch watch = {
        .host = host, .request = request, .while_waiting = while_waiting, .first_ms = NEVER, .again_ms = 0};
    if (!host->backend->watch_open)
        return err_set(err, ENOTSUP,
                       "this host has no events that could be watched: run 'vmwire up' when "
                       "something has changed");
    _cleanup_fd_ int lock_fd = lock_take(host, &arena, err);
    if (lock_fd < 0)
        return lock_fd;
    int rc = host->backend->watch_open(host, request->path, watch.fds, err);
    while (rc == 0 && wait_due(&watch)) {
        struct watch_look found;
        watch.first_ms = NEVER;
        services_open(&watch); /* before: one that ends while the child looks is not missed */
        look(&watch, &found);
        settle_accounts(&watch, &found);
        if (found.changes)
            happened(&watch); /* and those that it started are known by the next look */
        memory_trim();
    }
    services_close(&watch);
    for (int i = 0; rc == 0 && i < HOST_WATCH_COUNT; i++)
        fd_close(&watch.fds[i]);
    unlink(lock_path(&arena, host->backend->run_dir));
    rmdir(host->backend->run_dir);
    return rc;
}
