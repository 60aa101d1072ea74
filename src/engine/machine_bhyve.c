/* machine_bhyve.c: machines on bhyve: launch.h.
 *
 * The keeper is vmwire itself for `run`, and a process of its own for `start`.  It holds the machine's lock
 * and the nics' locks, and bhyve inherits them: so the machine runs as long as either lives, and a tap is
 * nobody's only when both have gone.  When the keeper is killed the guest lives on, until it reboots or
 * powers off; what is left then, the next command takes away. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/process.h"
#include "base/spawn.h"
#include "base/text.h"
#include "engine/bhyve_keep.h"
#include "engine/device.h"
#include "engine/launch.h"

enum {
    START_TIMEOUT_MS = 60000,
    QUIT_TIMEOUT_MS = 5000,
    TOOL_TIMEOUT_MS = 30000,
    DESCRIPTORS_MAX = 256,
};

static int module_load(struct arena *arena, const char *module, const char *what_for, struct err *err)
{
    struct spawn load = {.argv = (const char *const[]){"kldload", "-n", module, NULL},
                         .timeout_ms = TOOL_TIMEOUT_MS,
                         .arena = arena};
    int rc = spawn_check(&load, err);
    return rc < 0 ? err_wrap(err, "the module '%s', %s, cannot be loaded", module, what_for) : 0;
}

static bool has_nmdm(const struct launch *launch, bool background)
{
    enum serial_kind serial = launch->machine->serial;
    return serial == SERIAL_SOCKET || (background && serial != SERIAL_OFF);
}

static void control(const char *machine, const char *order)
{
    _cleanup_arena_ struct arena scratch = {0};
    struct spawn spawn = {.argv = bhyve_control(&scratch, machine, order), .timeout_ms = TOOL_TIMEOUT_MS};
    spawn_run(&spawn, NULL);
}

/* A node without a bhyve is left over, and may be destroyed; destroying that of a running one would take the
 * memory from under a guest that is not vmwire's. */
static int name_check(const struct launch *launch, struct err *err)
{
    struct spawn list = {.argv = (const char *const[]){"pgrep", "-lf", "bhyve", NULL},
                         .timeout_ms = TOOL_TIMEOUT_MS,
                         .arena = launch->arena};
    const char *name = launch->machine->name;
    if (access(bhyve_node(launch->arena, name), F_OK) < 0)
        return 0;
    int rc = spawn_run(&list, err);
    pid_t pid = rc == 0 ? bhyve_pid_parse(list.output, name) : 0;
    if (!pid) { /* its devices are free only when it is gone */
        control(name, BHYVE_DESTROY);
        return rc;
    }
    return err_set(err, EBUSY,
                   "machine '%s': a bhyve of this name that vmwire did not start runs already "
                   "(pid %d): end it first, or give the machine another name",
                   name, (int)pid);
}

int bhyve_machine_check(const struct launch *launch, bool background, struct err *err)
{
    struct utsname system;
    if (uname(&system) == 0 && strcmp(system.machine, "amd64") != 0 && strcmp(system.machine, "x86_64") != 0)
        return err_set(err, ENOTSUP,
                       "machine '%s': machines are for bhyve on amd64, and this host is %s; "
                       "`vmwire exec` wires a program of your own",
                       launch->machine->name, system.machine);
    int rc = module_load(launch->arena, "vmm", "which is bhyve's kernel part", err);
    if (rc == 0 && has_nmdm(launch, background))
        rc = module_load(launch->arena, "nmdm", "which makes serial consoles", err);
    if (rc < 0)
        return err_wrap(err, "machine '%s'", launch->machine->name);
    return name_check(launch, err);
}

/* `wait: true`: bhyve waits for a viewer before it says that it has started. */
static bool viewer_awaited(pid_t pid, void *data)
{
    const struct launch *launch = data;
    const struct display *display = &launch->machine->display;
    _cleanup_arena_ struct arena scratch = {0};
    struct listener listener;
    return display->on && display->wait &&
           launch->host->backend->listener_find(launch->host, &scratch, IPPROTO_TCP, NULL, display->vnc_port,
                                                &listener, NULL) == 0 &&
           listener.pid == pid;
}

/* The same words with the program's path; NULL when it is not installed. */
static const char *const *with_path(struct arena *arena, const char *const argv[])
{
    VEC(const char *) words = {0};
    for (size_t i = 0; argv[i]; i++)
        *vec_push(arena, &words) = i ? argv[i] : program_find(arena, argv[0]);
    *vec_push(arena, &words) = NULL;
    return words.items[0] ? words.items : NULL;
}

static int keep_init(struct launch *launch, struct machine_dir *dir, bool background, struct keep *keep,
                     struct err *err)
{
    struct arena *arena = launch->arena;
    const char *name = launch->machine->name;
    const char *const *filled;
    *keep = (struct keep){.arena = arena,
                          .machine = name,
                          .destroy = bhyve_control(arena, name, BHYVE_DESTROY),
                          .node = bhyve_node(arena, name),
                          .environment = launch_environment(arena),
                          .pid_path = dir->pid,
                          .stop_path = dir->stop,
                          .background = background,
                          .waiting = viewer_awaited,
                          .data = launch};
    int rc = nic_substitute(arena, &launch->nics, launch->argv, &filled, err);
    if (rc == 0)
        rc = nics_inherit(&launch->nics, err);
    if (rc == 0 && fd_inherit(dir->lock_fd, 1) < 0)
        rc = err_errno(err, errno, "handing over '%s'", dir->lock);
    if (rc < 0)
        return rc;
    keep->argv = with_path(arena, filled);
    if (!keep->argv)
        return err_set(err, ENOENT, "'bhyve' is not installed");
    if (!has_nmdm(launch, background))
        return 0;
    const char *console = arena_printf(arena, "%s\n", bhyve_console(arena, name, 'B'));
    return file_write_atomic(dir->serial, console, strlen(console), 0600, err);
}

/* What its end means for the caller. */
static int end_tell(const struct launch *launch, const struct keep *keep, enum bhyve_end end,
                    int *exit_status, struct err *err)
{
    *exit_status = end == BHYVE_KILLED ? keep->status : 0;
    if (end == BHYVE_POWER_OFF || end == BHYVE_HALT || end == BHYVE_REBOOT || end == BHYVE_KILLED)
        return 0;
    const char *words = bhyve_last_words(launch->arena, keep->words), *meaning = bhyve_meaning(keep->words);
    err_set(err, EIO, "%s (status %d)%s%s", bhyve_end_text(end), keep->status, *words ? ": " : "", words);
    if (!meaning && end == BHYVE_ERROR)
        launch->host->backend->accelerated(launch->host, launch->arena, &meaning);
    if (meaning)
        err_append(err, "%s", meaning);
    return -EIO;
}

static int keep_machine(struct launch *launch, struct machine_dir *dir, struct keep *keep, int *exit_status,
                        struct err *err)
{
    enum bhyve_end end;
    struct err failure = {0};
    int rc = bhyve_keep(keep, &end, err);
    if (rc == 0)
        rc = end_tell(launch, keep, end, exit_status, err);
    nics_close(&launch->nics);
    int back =
        launch->keeper ? devices_return(launch->host, launch->arena, launch->machine->name, &failure) : 0;
    if (back < 0 && rc == 0)
        rc = err_set(err, back, "has ended, and giving its devices back did not succeed: %s", failure.text);
    else if (back < 0)
        err_append(err, "and giving its devices back did not succeed: %s", failure.text);
    machine_dir_remove(dir);
    return rc < 0 ? err_wrap(err, "machine '%s'", launch->machine->name) : 0;
}

int bhyve_machine_run(struct launch *launch, struct machine_dir *dir, int *exit_status, struct err *err)
{
    struct keep keep;
    int rc = keep_init(launch, dir, false, &keep, err);
    if (rc == 0)
        return keep_machine(launch, dir, &keep, exit_status, err);
    launch_undo(launch, dir, err);
    return err_wrap(err, "machine '%s'", launch->machine->name);
}

/* --- in the background */

struct daemon {
    struct launch *launch;
    int tell_fd; /* to the one who waits for the start */
};

static void tell_started(void *data)
{
    struct daemon *daemon = data;
    (void)fd_write_all(daemon->tell_fd, "+", 1);
    fd_close(&daemon->tell_fd);
}

static bool daemon_viewer_awaited(pid_t pid, void *data)
{
    const struct daemon *daemon = data;
    return viewer_awaited(pid, daemon->launch);
}

/* Descriptors that whoever called vmwire had open stay open in no daemon. */
static void close_others(const struct launch *launch, const struct machine_dir *dir, int tell_fd)
{
    for (int fd = 3; fd < DESCRIPTORS_MAX; fd++) {
        bool ours = fd == dir->lock_fd || fd == tell_fd;
        vec_foreach (&launch->nics.open, nic)
            ours |= fd == nic->lock_fd;
        if (!ours)
            close(fd);
    }
}

static _Noreturn void keep_daemon(struct launch *launch, struct machine_dir *dir, struct keep *keep,
                                  int tell_fd)
{
    struct err err = {0};
    struct daemon daemon = {.launch = launch, .tell_fd = tell_fd};
    int killed;
    setsid();
    close_others(launch, dir, tell_fd);
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd);
    if (null > 2)
        close(null);
    signal(SIGPIPE, SIG_IGN);
    keep->started = tell_started;
    keep->waiting = daemon_viewer_awaited;
    keep->data = &daemon;
    int rc = keep_machine(launch, dir, keep, &killed, &err);
    if (rc == 0 && killed)
        rc = err_set(&err, EIO, "machine '%s': bhyve was killed (status %d)", keep->machine, killed);
    if (daemon.tell_fd >= 0 && rc < 0)
        (void)fd_write_all(daemon.tell_fd, err.text, strlen(err.text));
    else if (daemon.tell_fd >= 0)
        tell_started(&daemon); /* a guest that was done before anybody looked */
    _exit(0);
}

/* "+": it runs; other words: why it does not. */
static int start_await(struct arena *arena, int fd, struct err *err)
{
    struct text words = {.arena = arena};
    for (;;) {
        struct pollfd poller = {.fd = fd, .events = POLLIN};
        int ready = poll(&poller, 1, START_TIMEOUT_MS);
        char bytes[512];
        if (ready == 0)
            return err_set(err, ETIMEDOUT, "bhyve was not ready within %d s and was killed",
                           START_TIMEOUT_MS / 1000);
        ssize_t got = ready > 0 ? read(fd, bytes, sizeof(bytes)) : -1;
        if (got > 0)
            text_add_bytes(&words, bytes, (size_t)got);
        if (words.length && words.data[0] == '+')
            return 0;
        if (got == 0)
            return words.length ? err_set(err, EIO, "%s", text_get(&words))
                                : err_set(err, EIO, "vmwire's process that keeps the machine was killed");
    }
}

int bhyve_machine_start(struct launch *launch, struct machine_dir *dir, struct err *err)
{
    struct keep keep;
    int pair[2];
    int rc = keep_init(launch, dir, true, &keep, err);
    if (rc == 0 && pipe2(pair, O_CLOEXEC) < 0)
        rc = err_errno(err, errno, "starting bhyve");
    if (rc < 0) {
        launch_undo(launch, dir, err);
        return err_wrap(err, "machine '%s'", launch->machine->name);
    }
    _cleanup_fd_ int listen_fd = pair[0], tell_fd = pair[1];
    pid_t keeper = fork();
    if (keeper == 0)
        keep_daemon(launch, dir, &keep, tell_fd);
    if (keeper < 0) {
        err_errno(err, errno, "starting bhyve");
        launch_undo(launch, dir, err);
        return -EIO;
    }
    fd_close(&tell_fd);
    rc = start_await(launch->arena, listen_fd, err);
    if (rc == -ETIMEDOUT) {
        _cleanup_process_ struct process bhyve = {.fd = -1};
        if (machine_dir_process(dir, &bhyve) == 0)
            process_signal(&bhyve, SIGKILL);
        waitpid(keeper, NULL, 0); /* it cleans up */
        err_wrap(err, "machine '%s'", launch->machine->name);
    }
    nics_close(&launch->nics); /* this process's part of them */
    return rc;
}

/* --- stopping */

int bhyve_machine_stop(struct machine_dir *dir, const struct process *process, int timeout_ms,
                       enum machine_end *end, struct err *err)
{
    /* A guest that reboots now is not started again. */
    _cleanup_fd_ int stop = open(dir->stop, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    *end = MACHINE_POWERED_OFF;
    if (timeout_ms > 0 && process_signal(process, SIGTERM) == 0 && process_wait(process, timeout_ms))
        return 0;
    *end = MACHINE_FORCED;
    control(dir->name, BHYVE_POWER_OFF_NOW);
    if (process_wait(process, QUIT_TIMEOUT_MS))
        return 0;
    *end = MACHINE_KILLED;
    int rc = process_signal(process, SIGKILL);
    if (rc < 0)
        return err_errno(err, rc, "killing bhyve");
    if (!process_wait(process, QUIT_TIMEOUT_MS))
        return err_set(err, EBUSY, "bhyve does not end, not even killed (it waits in the kernel)");
    return 0;
}

void bhyve_machine_clean(struct host *host, struct machine_dir *dir)
{
    _cleanup_arena_ struct arena scratch = {0};
    if (access(bhyve_node(&scratch, dir->name), F_OK) == 0 && machine_dir_lock(dir, NULL) == 0) {
        control(dir->name, BHYVE_DESTROY);
        machine_dir_remove(dir);
    }
    if (host->backend->nics_settle)
        host->backend->nics_settle(host, NULL);
}
