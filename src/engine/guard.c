/* guard.c: the process that makes a change and undoes one that cuts the host off: guard.h. */
#include "engine/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "engine/apply.h"
#include "engine/confirm.h"
#include "engine/hotplug.h"
#include "plan/access.h"

enum {
    REACHES_MAX = 16,
    AGAIN_MS = 2000, /* after rolling back */
    OBSERVE = HOST_OBSERVE_LINKS | HOST_OBSERVE_ADDRESSES,
};

struct guard {
    struct engine *engine;
    const struct plan *plan;
    const struct guard_request *request;
    struct access access;
    struct reach reaches[REACHES_MAX]; /* who answered before */
    size_t count;
    int fd;                                 /* the socket to the other side */
    const struct engine_listener *listener; /* the caller's */
};

/* --- who answers */

static void reach_add(struct guard *guard, enum reach_kind kind, const char *who, const struct ip *ip,
                      const char *ifname)
{
    if (guard->count < REACHES_MAX)
        guard->reaches[guard->count++] =
            (struct reach){.kind = kind, .who = who, .ip = *ip, .ifname = ifname ? ifname : ""};
}

static int ask(struct guard *guard, const struct observed *observed, int timeout_ms, struct err *err)
{
    struct arena *arena = guard->engine->arena;
    VEC(const char *) names = {0};
    for (size_t i = 0; i < guard->count; i++) {
        if (guard->reaches[i].kind != REACH_NEIGHBOUR)
            continue;
        for (const char *const *near =
                 access_candidates(arena, &guard->access, observed, &guard->reaches[i].ip);
             *near; near++) {
            bool known = false;
            vec_foreach (&names, name)
                known |= strcmp(*name, *near) == 0;
            if (!known)
                *vec_push(arena, &names) = *near;
        }
    }
    *vec_push(arena, &names) = NULL;
    struct reach_request request = {.reaches = guard->reaches,
                                    .count = guard->count,
                                    .interfaces = names.items,
                                    .timeout_ms = timeout_ms,
                                    .stop_fd = guard->fd};
    return guard->engine->host->backend->reach(guard->engine->host, &request, err);
}

static void look_before(struct guard *guard, const struct ip *caller)
{
    struct engine *engine = guard->engine;
    struct err err = {0};
    bool outside = access_end_leases(&guard->access, guard->plan);
    vec_foreach (&guard->access.gateways, gateway) {
        reach_add(guard, REACH_NEIGHBOUR, "the default gateway", &gateway->ip, gateway->ifname);
        /* Frames of our own go past the host's firewall, whose rules may name the uplink; a ping does not. */
        if (gateway->ip.family == AF_INET)
            reach_add(guard, REACH_ECHO, "the default gateway", &gateway->ip, gateway->ifname);
    }
    if (ip_is_set(caller)) {
        if (guard->access.caller_on_link)
            reach_add(guard, REACH_NEIGHBOUR, "your end of the SSH connection", caller, "");
        reach_add(guard, REACH_ECHO, "your end of the SSH connection", caller, "");
    }
    if (outside)
        guard->count +=
            reach_name_servers(engine->arena, guard->reaches + guard->count, REACHES_MAX - guard->count);
    int before_ms = guard->request->before_ms ? guard->request->before_ms : GUARD_BEFORE_MS;
    int rc = ask(guard, &engine->observed, before_ms, &err);
    size_t asked = guard->count, answered = 0;
    for (size_t i = 0; i < asked; i++) {
        if (guard->reaches[i].answered)
            guard->reaches[answered++] = guard->reaches[i];
    }
    guard->count = answered;
    for (size_t i = 0; i < answered; i++)
        guard->reaches[i].answered = false;
    if (rc < 0 && rc != -ETIMEDOUT)
        engine_note(engine, "whether the change cuts this host off cannot be checked: %s", err.text);
    else if (asked && !answered)
        engine_note(engine,
                    "whether the change cuts this host off cannot be checked: neither gateway nor name "
                    "server answers now");
}

static const char *way_of_asking(const struct reach *reach)
{
    switch (reach->kind) {
    case REACH_NEIGHBOUR:
        return reach->ip.family == AF_INET6 ? "neighbour discovery" : "ARP";
    case REACH_ECHO:
        return "ping";
    case REACH_NAME_SERVER:
        return "DNS";
    }
    return "";
}

static int look_after(struct guard *guard, struct err *err)
{
    struct engine *engine = guard->engine;
    struct observed now = {.run_dir = engine->observed.run_dir};
    int rc = engine->host->backend->observe(engine->host, engine->arena, OBSERVE, &now, err);
    if (rc < 0)
        return rc;
    access_follow(engine->arena, &now, &guard->access);
    rc = ask(guard, &now, guard->request->guard_ms, err);
    if (rc == -ECANCELED)
        return err_set(err, rc, "the command that made this change has ended");
    if (rc != -ETIMEDOUT)
        return rc;
    bool first = true;
    for (size_t i = 0; i < guard->count; i++) {
        const struct reach *reach = &guard->reaches[i];
        if (reach->answered)
            continue;
        const char *text = arena_printf(
            engine->arena, "%s %s does not answer (%s) after the change, as it did before; asked for %g s",
            reach->who, IP_TEXT(&reach->ip), way_of_asking(reach), guard->request->guard_ms / 1000.0);
        if (first)
            err_set(err, EHOSTUNREACH, "the change would cut this host off: %s", text);
        else
            err_append(err, "and %s", text);
        first = false;
    }
    return -EHOSTUNREACH;
}

/* After rolling back: has it helped? */
static void look_again(struct guard *guard, struct err *err)
{
    struct engine *engine = guard->engine;
    struct observed now = {.run_dir = engine->observed.run_dir};
    if (engine->host->backend->observe(engine->host, engine->arena, OBSERVE, &now, NULL) < 0)
        return;
    access_follow(engine->arena, &now, &guard->access);
    if (ask(guard, &now, AGAIN_MS, NULL) == 0)
        err_append(err, "this host is reached as before");
    else
        err_append(err, "and yet it does not answer: whatever keeps it away is no longer the change");
}

/* --- the guard */

enum message_type { MESSAGE_STEP, MESSAGE_NOTE, MESSAGE_PENDING, MESSAGE_END };

struct message {
    enum message_type type;
    int code;
    size_t index;
    char text[ERR_TEXT_MAX];
};

static void tell(const struct guard *guard, enum message_type type, int code, size_t index, const char *text)
{
    struct message message = {.type = type, .code = code, .index = index};
    size_t length = strlen(text) < sizeof(message.text) ? strlen(text) : sizeof(message.text) - 1;
    memcpy(message.text, text, length);
    /* A caller that is stopped stops nothing: what it misses is told by the exit status. */
    (void)!send(guard->fd, &message, offsetof(struct message, text) + length + 1,
                MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void tell_step(void *context, const struct op *op, size_t index, size_t count)
{
    (void)op, (void)count;
    tell(context, MESSAGE_STEP, 0, index, "");
}

static void tell_note(void *context, const char *text)
{
    tell(context, MESSAGE_NOTE, 0, 0, text);
}

static bool caller_gone(void *context)
{
    const struct guard *guard = context;
    char byte;
    ssize_t got = recv(guard->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

static int transact(struct guard *guard, struct journal *journal, struct err *err)
{
    struct engine *engine = guard->engine;
    int rc = journal_open(journal, engine->arena, engine->host->backend->run_dir, err);
    if (rc < 0)
        return rc;
    rc = apply_steps(engine, guard->plan, journal, caller_gone, guard, err);
    if (rc == 0)
        rc = look_after(guard, err);
    if (rc == 0 && caller_gone(guard))
        rc = err_set(err, ECANCELED, "the command that made this change has ended");
    if (rc == 0)
        return 0;
    journal_close(journal);
    apply_roll_back(engine, err);
    if (rc == -EHOSTUNREACH)
        look_again(guard, err);
    return rc;
}

/* The terminal may be gone: the log has it too. */
static void say(const struct guard *guard, const char *text)
{
    const struct engine_listener *listener = guard->listener;
    if (listener && listener->note)
        listener->note(listener->context, text);
    if (listener && listener->log)
        listener->log(listener->context, text);
}

static void hold_nothing(int last)
{
    _cleanup_fd_ int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; nothing >= 0 && fd <= last; fd++)
        dup2(nothing, fd);
}

static _Noreturn void wait_confirmation(struct guard *guard, struct journal *journal)
{
    struct engine *engine = guard->engine;
    struct err err = {0};
    int answer_fd = -1, rc = 0;
    const char *path = confirm_path(engine->arena, engine->host->backend->run_dir);
    int fd = confirm_open(path, &err);
    if (fd < 0) {
        journal_close(journal);
        apply_roll_back(engine, &err);
        tell(guard, MESSAGE_END, err.code, 0, err.text);
        _exit(1);
    }
    tell(guard, MESSAGE_PENDING, 0, 0, "");
    fd_close(&guard->fd);
    hold_nothing(STDERR_FILENO);
    enum confirm_end end = confirm_wait(fd, guard->request->confirm_ms, &answer_fd);
    *err.text = '\0';
    if (end == CONFIRM_KEEP) {
        rc = journal_commit(journal, &err);
    } else {
        err_set(&err, ECANCELED,
                end == CONFIRM_UNDO ? "the change was undone as asked"
                                    : "the change was not confirmed in time");
        journal_close(journal);
        apply_roll_back(engine, &err);
        hotplug_replug(engine, guard->plan);
        say(guard, err.text);
        if (end == CONFIRM_UNDO && !strstr(err.text, "did not succeed"))
            *err.text = '\0';
        rc = 1;
    }
    unlink(path);
    engine_close(engine);
    confirm_answer(&answer_fd, err.text);
    _exit(rc == 0 ? 0 : 1);
}

static _Noreturn void guard_main(struct guard *guard)
{
    const int deaf[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTOU, SIGTTIN, SIGPIPE};
    struct engine_listener listener = {.context = guard, .step = tell_step, .note = tell_note};
    struct journal journal = {.fd = -1};
    struct err err = {0};
    setsid();
    for (size_t i = 0; i < sizeof(deaf) / sizeof(deaf[0]); i++)
        signal(deaf[i], SIG_IGN);
    hold_nothing(STDOUT_FILENO);
    guard->listener = guard->engine->listener;
    guard->engine->listener = &listener;
    int rc = transact(guard, &journal, &err);
    if (rc == 0 && guard->request->confirm_ms)
        wait_confirmation(guard, &journal);
    if (rc == 0)
        rc = journal_commit(&journal, &err);
    if (rc < 0 && caller_gone(guard))
        say(guard, err.text);
    engine_close(guard->engine);
    tell(guard, MESSAGE_END, rc, 0, err.text);
    _exit(rc < 0 ? 1 : 0);
}

/* --- the caller */

/* The guard was killed: the caller does what it would have done, through sockets of its own, as the guard's
 * may hold half an answer. */
static int undo_instead(struct engine *engine, struct err *err)
{
    struct host *fresh = NULL, *shared = engine->host;
    err_set(err, EINTR, "the process that made this change was killed");
    if (host_open(&fresh, err) < 0)
        return err->code;
    engine->host = fresh;
    apply_roll_back(engine, err);
    engine->host = shared;
    host_close(&fresh);
    return err->code;
}

/* True for the guard's last word, whose code goes to `code`. */
static bool hear(const struct guard *guard, const struct message *message, bool *pending, int *code,
                 struct err *err)
{
    const struct engine_listener *listener = guard->engine->listener;
    switch (message->type) {
    case MESSAGE_STEP:
        if (listener && listener->step && message->index < guard->plan->steps.count)
            listener->step(listener->context, &guard->plan->steps.items[message->index].op, message->index,
                           guard->plan->steps.count);
        return false;
    case MESSAGE_NOTE:
        engine_note(guard->engine, "%s", message->text);
        return false;
    case MESSAGE_PENDING:
        *pending = true;
        return true;
    case MESSAGE_END:
        *code = message->code < 0 ? err_set(err, message->code, "%s", message->text) : 0;
        return true;
    }
    return false;
}

static int follow(struct guard *guard, pid_t pid, bool *pending, struct err *err)
{
    struct message message;
    bool ended = false;
    int status = 0, code = 0;
    while (!ended) {
        ssize_t got = recv(guard->fd, &message, sizeof(message), 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= (ssize_t)offsetof(struct message, text))
            break;
        message.text[sizeof(message.text) - 1] = '\0';
        ended = hear(guard, &message, pending, &code, err);
    }
    fd_close(&guard->fd);
    if (*pending)
        return 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (ended)
        return code;
    if (!WIFEXITED(status))
        return undo_instead(guard->engine, err);
    return WEXITSTATUS(status) == 0
               ? 0
               : err_set(err, EIO, "the change was undone ('vmwire status' shows what is)");
}

static int guard_start(struct guard *guard, bool *pending, struct err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(err, errno, "starting the guard of the change");
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        guard->fd = pair[1];
        guard_main(guard);
    }
    int code = errno;
    close(pair[1]);
    guard->fd = pair[0];
    if (pid > 0)
        return follow(guard, pid, pending, err);
    fd_close(&guard->fd);
    return err_errno(err, code, "starting the guard of the change");
}

int engine_change(struct engine *engine, const struct plan *plan, const struct guard_request *request,
                  bool *pending, struct err *err)
{
    struct guard guard = {.engine = engine, .plan = plan, .request = request, .fd = -1};
    bool unused = false;
    if (!pending)
        pending = &unused;
    *pending = false;
    if (plan->steps.count == 0)
        return 0;
    struct ip caller = reach_caller(engine->arena);
    access_find(engine->arena, &engine->observed, &caller, &guard.access);
    bool touched = access_touched(&guard.access, &engine->observed, plan);
    bool guarded = touched || request->confirm_ms;
    if (touched && request->guard_ms)
        look_before(&guard, &caller);
    int rc = guarded ? guard_start(&guard, pending, err) : engine_apply(engine, plan, err);
    if (guarded && engine->host->backend->reach_end)
        engine->host->backend->reach_end(engine->host);
    if (rc == 0)
        hotplug_replug(engine, plan);
    return rc;
}
