/* machine.c: starting, looking at and stopping machines (machine.h).  The console is in console.c.
 *
 * Starting, in stages:
 *
 *   1. the lock of the machine's directory is ours; stale files of a dead predecessor are gone.
 *   2. with display.wait: a helper waits for the wait socket.  It has no descriptor of ours.
 *   3. the nics are open: taps on their bridges, close-on-exec like all else.
 *   4. lock and nics are made inheritable, and this process (run) or its child (start) becomes the
 * hypervisor.
 *
 * That is QEMU; bhyve's stage 4 is in machine_bhyve.c.
 *
 * A failure in any stage undoes the ones before: the taps go with their descriptors, the directory while the
 * lock is still ours, and with the directory the helper's reason to wait. */
#include "engine/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/spawn.h"
#include "base/text.h"
#include "engine/device.h"
#include "engine/launch.h"
#include "hyper/qmp.h"

enum {
    START_TIMEOUT_MS = 60000,
    PID_TIMEOUT_MS = 3000, /* a starting hypervisor writes its pid file */
    QMP_TIMEOUT_MS = 3000,
    QUIT_TIMEOUT_MS = 5000,
    RETURN_TIMEOUT_MS = 15000, /* devices go back to their drivers */
    VARS_SIZE_MAX = 16 << 20,
};

bool vhost_available(void)
{
    return access("/dev/vhost-net", R_OK | W_OK) == 0;
}

struct nic_spec nic_spec_make(const struct host *host, const struct nic *nic)
{
    bool virtio = nic->model == NIC_VIRTIO, bhyve = host->backend->bhyve;
    return (struct nic_spec){.network = nic->network,
                             .mac = nic->mac,
                             .address = nic->address_chosen ? (struct ip){0} : nic->address,
                             .address6 = nic->address6_chosen ? (struct ip){0} : nic->address6,
                             .rates = nic->rates,
                             .vlan = nic->vlan,
                             .queues = nic->queues && !bhyve ? nic->queues : 1,
                             .vnet_header = virtio || bhyve ? NIC_DEFAULT : NIC_OFF};
}

static void specs_fill(struct launch *launch)
{
    vec_foreach (&launch->machine->nics, nic) {
        const struct network *network = network_find(launch->model, nic->network);
        if (network && network->mode == NETWORK_PASSTHROUGH)
            continue;
        *vec_push(launch->arena, &launch->nics.specs) = nic_spec_make(launch->host, nic);
    }
}

/* What the networks' bridges have; of one that is not up, or another's, what the file says. */
static int mtus_look(struct launch *launch, struct err *err)
{
    size_t count = launch->machine->nics.count;
    uint32_t *mtus = arena_alloc(launch->arena, (count + 1) * sizeof(*mtus));
    for (size_t i = 0; i < count; i++) {
        const struct network *network = network_find(launch->model, launch->machine->nics.items[i].network);
        struct link bridge;
        if (!network)
            continue;
        int rc = launch->host->backend->bridge_get(launch->host, launch->arena, network->name, &bridge, err);
        if (rc < 0 && rc != -ENODEV && rc != -EEXIST)
            return err_wrap(err, "network '%s'", network->name);
        mtus[i] = rc == 0 ? bridge.mtu : network->mtu;
    }
    launch->options.mtus = mtus;
    return 0;
}

/* What is known beforehand of a launch of which host, arena, model and machine are given. */
static int launch_init(struct launch *launch, struct err *err)
{
    launch->nics.machine = launch->machine->name;
    launch->options.accelerated = launch->host->backend->accelerated(launch->host, launch->arena, NULL);
    launch->options.vhost = vhost_available();
    launch->options.directory = launch->model->directory;
    launch->keeper = devices_wanted(launch->model, launch->machine);
    specs_fill(launch);
    return mtus_look(launch, err);
}

static const char *vars_path(struct arena *arena, const char *name)
{
    return arena_printf(arena, MACHINE_STATE_DIR "/%s/efivars.fd", name);
}

/* The machine's own UEFI variables: a copy of what the firmware comes with, made once and kept. */
static int vars_make(struct launch *launch, struct err *err)
{
    if (launch->machine->firmware != FIRMWARE_UEFI || launch->host->backend->bhyve)
        return 0;
    const char *path = vars_path(launch->arena, launch->machine->name);
    launch->options.vars_path = path;
    if (access(path, F_OK) == 0)
        return 0;
    struct hyper_firmware firmware;
    int rc = qemu_firmware_find(launch->arena, NULL, &firmware, err);
    /* Distributions link it; file_read does not follow links. */
    _cleanup_free_ char *real = rc == 0 ? realpath(firmware.vars, NULL) : NULL;
    if (rc == 0 && !real)
        rc = err_errno(err, errno, "reading '%s'", firmware.vars);
    char *bytes;
    size_t length;
    if (rc == 0)
        rc = file_read(launch->arena, AT_FDCWD, real, VARS_SIZE_MAX, &bytes, &length, err);
    if (rc == 0)
        rc = file_write_atomic(path, bytes, length, 0600, err);
    return rc < 0 ? err_wrap(err, "machine '%s': its UEFI variables", launch->machine->name) : 0;
}

char *const *launch_environment(struct arena *arena)
{
    static const char *const kept[] = {"HOME", "TERM"};
    VEC(char *) environment = {0};
    for (char *const *fixed = spawn_environment; *fixed; fixed++) {
        if (strncmp(*fixed, "PATH=", 5) != 0 || !getenv("PATH"))
            *vec_push(arena, &environment) = *fixed;
        else
            *vec_push(arena, &environment) = arena_printf(arena, "PATH=%s", getenv("PATH"));
    }
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        const char *value = getenv(kept[i]);
        if (value)
            *vec_push(arena, &environment) = arena_printf(arena, "%s=%s", kept[i], value);
    }
    *vec_push(arena, &environment) = NULL;
    return environment.items;
}

/* display.wait: let the guest go once a viewer is there.  QEMU greets on the wait socket as soon as it is up,
 * and closes it when it ends, so the helper never outlives it. */
static _Noreturn void wait_for_viewer(const char *wait_path, const char *lock_path)
{
    enum { TRIES = 600, PAUSE_MS = 50 };
    setsid();
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd);
    closefrom(3);
    struct qmp qmp = {.fd = -1};
    for (int i = 0; i < TRIES && access(lock_path, F_OK) == 0; i++) {
        int rc = qmp_open(&qmp, wait_path, QMP_TIMEOUT_MS, NULL);
        if (rc == 0)
            break;
        if (rc != -ENOENT && rc != -ECONNREFUSED)
            _exit(1);
        poll(NULL, 0, PAUSE_MS);
    }
    if (qmp.fd >= 0 && qmp_wait_event(&qmp, "VNC_INITIALIZED", -1, NULL) == 0)
        qmp_execute(&qmp, "cont", QMP_TIMEOUT_MS, NULL);
    _exit(0);
}

/* Twice forked, so that the hypervisor has no child to wait for. */
static int viewer_helper_start(const struct launch *launch, const struct machine_dir *dir, struct err *err)
{
    if (!launch->machine->display.on || !launch->machine->display.wait || launch->host->backend->bhyve)
        return 0;
    pid_t child = fork();
    if (child < 0)
        return err_errno(err, errno, "starting the helper that waits for a viewer");
    if (child == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0)
            wait_for_viewer(launch->options.wait_path, dir->lock);
        _exit(grandchild < 0);
    }
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return 0;
}

/* Everything that stages 1 to 3 did. */
void launch_undo(struct launch *launch, struct machine_dir *dir, struct err *err)
{
    struct err failure = {0};
    nics_close(&launch->nics);
    if (launch->keeper && devices_return(launch->host, launch->arena, launch->machine->name, &failure) < 0)
        err_append(err, "and giving its devices back did not succeed: %s", failure.text);
    machine_dir_remove(dir);
}

static int launch_argv(struct launch *launch, struct err *err)
{
    return launch->host->backend->bhyve
               ? bhyve_argv(launch->arena, launch->machine, &launch->options, &launch->argv, err)
               : qemu_argv(launch->arena, launch->machine, &launch->options, &launch->argv, err);
}

/* Stages 1 to 3.  On failure the lock is released and the directory gone. */
static int launch_prepare(struct launch *launch, struct machine_dir *dir, bool background, struct err *err)
{
    struct hyper_options *options = &launch->options;
    int rc = launch_init(launch, err);
    if (rc == 0)
        rc = machine_dir_init(dir, launch->arena, launch->host, launch->machine->name, err);
    if (rc == 0)
        rc = vars_make(launch, err);
    if (rc == 0)
        rc = machine_dir_lock(dir, err);
    if (rc < 0)
        return rc;
    options->background = background;
    options->qmp_path = dir->qmp;
    options->agent_path = dir->agent;
    options->pid_path = dir->pid;
    options->serial_path = dir->serial;
    options->wait_path = dir->wait;
    if (launch->host->backend->bhyve)
        rc = bhyve_machine_check(launch, background, err);
    if (rc == 0 && launch->keeper)
        rc =
            devices_take(launch->host, launch->arena, launch->model, launch->machine, &options->devices, err);
    if (rc == 0)
        rc = launch_argv(launch, err);
    if (rc == 0)
        rc = viewer_helper_start(launch, dir, err);
    if (rc == 0)
        rc = nics_open(launch->arena, launch->host, &launch->nics, launch->argv, err);
    if (rc < 0)
        goto fail;
    /* /dev/vhost-net may be a node without a driver behind it. */
    vec_foreach (&launch->nics.open, nic) {
        const struct nic_spec *spec = &launch->nics.specs.items[nic - launch->nics.open.items];
        bool virtio = spec->vnet_header != NIC_OFF;
        options->vhost = options->vhost && (!virtio || nic->vhost_fds[0] >= 0);
    }
    rc = launch_argv(launch, err);
    if (rc < 0)
        goto fail;
    return 0;
fail:
    launch_undo(launch, dir, err);
    return rc;
}

/* Stage 4, in the process that becomes the hypervisor. */
static int launch_exec(struct launch *launch, const struct machine_dir *dir, struct err *err)
{
    int rc = fd_inherit(dir->lock_fd, 1);
    if (rc < 0)
        return err_errno(err, rc, "handing over '%s'", dir->lock);
    return exec_nics(launch->arena, &launch->nics, launch->argv, launch_environment(launch->arena), err);
}

/* --- the keeper: whoever waits for a hypervisor with devices, and gives them back */

static volatile sig_atomic_t kept_pid;

static void pass_on(int signal)
{
    if (kept_pid > 0)
        kill((pid_t)kept_pid, signal);
}

/* The hypervisor is a child; what would end this process ends it instead.  The exit status of sh: 128 and the
 * signal's number for one that was killed. */
static int keep_child(struct launch *launch, struct machine_dir *dir, int *exit_status, struct err *err)
{
    static const int passed[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT};
    struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
    sigset_t held, former;
    int status = 0;
    sigemptyset(&held);
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        sigaddset(&held, passed[i]);
    sigprocmask(SIG_BLOCK, &held, &former);
    pid_t child = fork();
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &former, NULL);
        launch_exec(launch, dir, err);
        fprintf(stderr, "vmwire: machine '%s': %s\n", launch->machine->name, err->text);
        _exit(127);
    }
    int code = errno;
    kept_pid = child;
    for (size_t i = 0; child > 0 && i < sizeof(passed) / sizeof(passed[0]); i++)
        sigaction(passed[i], &action, NULL);
    sigprocmask(SIG_SETMASK, &former, NULL);
    if (child < 0)
        return err_errno(err, code, "starting the hypervisor");
    nics_close(&launch->nics);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    kept_pid = 0;
    /* Whoever is impatient now does not keep the devices from going back. */
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        signal(passed[i], SIG_IGN);
    *exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return 0;
}

static int run_kept(struct launch *launch, struct machine_dir *dir, int *exit_status, struct err *err)
{
    int rc = keep_child(launch, dir, exit_status, err);
    if (rc < 0) {
        launch_undo(launch, dir, err);
        return err_wrap(err, "machine '%s'", launch->machine->name);
    }
    rc = devices_return(launch->host, launch->arena, launch->machine->name, err);
    machine_dir_remove(dir);
    return rc < 0 ? err_wrap(err, "machine '%s' has ended; giving its devices back", launch->machine->name)
                  : 0;
}

/* The same for `start`: a process of its own, which has the machine's lock and nothing else. */
static _Noreturn void keep_daemon(const struct launch *launch, struct machine_dir *dir, int pidfd)
{
    setsid();
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd);
    /* Kept: lock and pidfd, moved down so that everything above can be closed. */
    int lock = fcntl(dir->lock_fd, F_DUPFD_CLOEXEC, 3),
        watched = pidfd >= 0 ? fcntl(pidfd, F_DUPFD_CLOEXEC, 3) : -1;
    dup3(lock, 3, O_CLOEXEC);
    if (watched >= 0)
        dup3(watched, 4, O_CLOEXEC);
    closefrom(watched >= 0 ? 5 : 4);
    dir->lock_fd = 3;
    for (struct pollfd poller = {.fd = 4, .events = POLLIN}; watched >= 0 && poll(&poller, 1, -1) < 0;)
        ;
    struct host *host = NULL;
    if (host_open(&host, NULL) == 0)
        devices_return(host, launch->arena, launch->machine->name, NULL);
    machine_dir_remove(dir);
    _exit(0);
}

static int keep_start(const struct launch *launch, struct machine_dir *dir, struct err *err)
{
    _cleanup_process_ struct process process = {.fd = -1};
    machine_dir_process(dir, &process);
    pid_t child = fork();
    if (child == 0)
        keep_daemon(launch, dir, process.fd);
    return child < 0 ? err_errno(err, errno, "starting the process that gives its devices back") : 0;
}

int machine_run(struct host *host, struct arena *arena, const struct model *model,
                const struct machine *machine, int *exit_status, struct err *err)
{
    struct launch launch = {.host = host, .arena = arena, .model = model, .machine = machine};
    _cleanup_machine_dir_ struct machine_dir dir = {.lock_fd = -1};
    int rc = launch_prepare(&launch, &dir, false, err);
    if (rc < 0)
        return rc;
    if (host->backend->bhyve)
        return bhyve_machine_run(&launch, &dir, exit_status, err);
    if (launch.keeper)
        return run_kept(&launch, &dir, exit_status, err);
    launch_exec(&launch, &dir, err); /* does not return when it succeeds */
    launch_undo(&launch, &dir, err);
    return err_wrap(err, "machine '%s'", machine->name);
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What the child says until it has exited; the daemon that it leaves may keep the pipe. */
static int start_listen(pid_t child, int pipe_fd, struct text *words, int *status)
{
    long long end = now_ms() + START_TIMEOUT_MS;
    bool exited = false, open = true;
    for (;;) {
        exited = exited || waitpid(child, status, WNOHANG) == child;
        struct pollfd poller = {.fd = open ? pipe_fd : -1, .events = POLLIN};
        int ready = poll(&poller, 1, exited ? 0 : 5);
        char buffer[1024];
        ssize_t got = ready > 0 ? read(pipe_fd, buffer, sizeof(buffer)) : -1;
        if (got > 0 && words->length < ERR_TEXT_MAX)
            text_add_bytes(words, buffer, (size_t)got);
        if (ready > 0 && got <= 0)
            open = false;
        if (exited && (ready <= 0 || !open))
            return 0;
        if (!exited && now_ms() > end) {
            kill(child, SIGKILL);
            waitpid(child, status, 0);
            return -ETIMEDOUT;
        }
    }
}

static _Noreturn void start_child(struct launch *launch, const struct machine_dir *dir, int pipe_fd)
{
    struct err err = {0};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0)
        dup2(null, 0);
    dup2(pipe_fd, 1);
    dup2(pipe_fd, 2);
    launch_exec(launch, dir, &err);
    (void)fd_write_all(2, err.text, strlen(err.text));
    _exit(127);
}

static int start_daemon(struct launch *launch, const struct machine_dir *dir, struct err *err)
{
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) < 0)
        return err_errno(err, errno, "starting the hypervisor");
    _cleanup_fd_ int listen_fd = pair[0], speak_fd = pair[1];
    pid_t child = fork();
    if (child < 0)
        return err_errno(err, errno, "starting the hypervisor");
    if (child == 0)
        start_child(launch, dir, speak_fd);
    fd_close(&speak_fd);
    struct text words = {.arena = launch->arena};
    int status = 0;
    if (start_listen(child, listen_fd, &words, &status) < 0) {
        _cleanup_process_ struct process daemon = {.fd = -1};
        if (machine_dir_process(dir, &daemon) == 0)
            process_signal(&daemon, SIGKILL);
        return err_set(err, ETIMEDOUT, "the hypervisor was not ready within %d s and was killed",
                       START_TIMEOUT_MS / 1000);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    char *said = (char *)text_get(&words);
    size_t length = strlen(said);
    while (length && said[length - 1] == '\n')
        said[--length] = '\0';
    if (length)
        return err_set(err, EIO, "%s", said);
    if (WIFSIGNALED(status))
        return err_set(err, EIO, "the hypervisor ended at once, by signal %d", WTERMSIG(status));
    return err_set(err, EIO, "the hypervisor ended at once, with status %d", WEXITSTATUS(status));
}

int machine_start(struct host *host, struct arena *arena, const struct model *model,
                  const struct machine *machine, pid_t *pid, struct err *err)
{
    struct launch launch = {.host = host, .arena = arena, .model = model, .machine = machine};
    _cleanup_machine_dir_ struct machine_dir dir = {.lock_fd = -1};
    int rc = launch_prepare(&launch, &dir, true, err);
    if (rc < 0)
        return rc;
    if (host->backend->bhyve) {
        rc = bhyve_machine_start(&launch, &dir, err);
        if (rc == 0 && pid)
            *pid = machine_dir_pid(&dir);
        return rc;
    }
    rc = start_daemon(&launch, &dir, err);
    if (rc < 0) {
        launch_undo(&launch, &dir, err);
        return err_wrap(err, "machine '%s'", machine->name);
    }
    nics_close(&launch.nics);
    if (launch.keeper && keep_start(&launch, &dir, err) < 0)
        return err_wrap(err, "machine '%s' runs", machine->name);
    if (pid)
        *pid = machine_dir_pid(&dir);
    return 0;
}

int machine_argv(struct host *host, struct arena *arena, const struct model *model,
                 const struct machine *machine, const char *program, const char *const **argv,
                 struct err *err)
{
    struct launch launch = {.host = host, .arena = arena, .model = model, .machine = machine};
    int rc = launch_init(&launch, err);
    if (rc == 0 && launch.keeper)
        rc = devices_look(host, arena, model, machine, &launch.options.devices, err);
    if (rc < 0)
        return rc;
    const char *vars = vars_path(arena, machine->name);
    if (access(vars, F_OK) == 0)
        launch.options.vars_path = vars;
    rc = launch_argv(&launch, err);
    if (rc < 0)
        return rc;
    VEC(const char *) words = {0};
    if (launch.nics.specs.count) {
        *vec_push(arena, &words) = program;
        *vec_push(arena, &words) = "exec";
    }
    vec_foreach (&launch.nics.specs, spec) {
        *vec_push(arena, &words) = "--nic";
        *vec_push(arena, &words) = nic_format(arena, spec);
    }
    if (launch.nics.specs.count)
        *vec_push(arena, &words) = "--";
    for (size_t i = 0; launch.argv[i]; i++)
        *vec_push(arena, &words) = launch.argv[i];
    *vec_push(arena, &words) = NULL;
    *argv = words.items;
    return 0;
}

int machine_state(struct host *host, const char *name, bool clean, struct machine_state *state,
                  struct err *err)
{
    _cleanup_arena_ struct arena scratch = {0};
    _cleanup_machine_dir_ struct machine_dir dir = {.lock_fd = -1};
    *state = (struct machine_state){0};
    if (machine_dir_absent(host, name, clean))
        return 0;
    int rc = machine_dir_init(&dir, &scratch, host, name, err);
    if (rc == 0)
        rc = machine_dir_running(&dir, clean, &state->running, err);
    if (rc == 0 && state->running)
        state->pid = machine_dir_pid(&dir);
    return rc;
}

static int end_process(const struct machine_dir *dir, const struct process *process, int timeout_ms,
                       enum machine_end *end, struct err *err)
{
    _cleanup_qmp_ struct qmp qmp = {.fd = -1};
    bool control = qmp_open(&qmp, dir->qmp, QMP_TIMEOUT_MS, NULL) == 0;
    *end = MACHINE_POWERED_OFF;
    if (control && timeout_ms > 0 && qmp_execute(&qmp, "system_powerdown", QMP_TIMEOUT_MS, NULL) == 0 &&
        process_wait(process, timeout_ms))
        return 0;
    *end = MACHINE_FORCED;
    /* The answer to `quit` may never come: what counts is the process. */
    if (!control || qmp_execute(&qmp, "quit", QMP_TIMEOUT_MS, NULL) == -EIO)
        process_signal(process, SIGTERM);
    if (process_wait(process, QUIT_TIMEOUT_MS))
        return 0;
    *end = MACHINE_KILLED;
    int rc = process_signal(process, SIGKILL);
    if (rc < 0)
        return err_errno(err, rc, "killing the hypervisor");
    if (!process_wait(process, QUIT_TIMEOUT_MS))
        return err_set(err, EBUSY, "the hypervisor does not end, not even killed (it waits in the kernel)");
    return 0;
}

int machine_stop(struct host *host, const char *name, int timeout_ms, enum machine_end *end, struct err *err)
{
    _cleanup_arena_ struct arena scratch = {0};
    _cleanup_machine_dir_ struct machine_dir dir = {.lock_fd = -1};
    _cleanup_process_ struct process process = {.fd = -1};
    bool running = false;
    *end = MACHINE_NOT_RUNNING;
    int rc = machine_dir_init(&dir, &scratch, host, name, err);
    if (rc < 0)
        return rc;
    for (long long until = now_ms() + PID_TIMEOUT_MS;; poll(NULL, 0, 20)) {
        rc = machine_dir_running(&dir, true, &running, err);
        if (rc < 0 || !running)
            return rc;
        if (machine_dir_process(&dir, &process) == 0)
            break;
        if (now_ms() > until)
            return err_set(err, ESRCH,
                           "machine '%s' runs, and '%s' does not name its process: see `fuser %s`", name,
                           dir.pid, dir.lock);
    }
    rc = host->backend->bhyve ? bhyve_machine_stop(&dir, &process, timeout_ms, end, err)
                              : end_process(&dir, &process, timeout_ms, end, err);
    if (rc < 0)
        return err_wrap(err, "machine '%s'", name);
    /* Its keeper holds the lock until the devices are back. */
    for (long long until = now_ms() + RETURN_TIMEOUT_MS;; poll(NULL, 0, 10)) {
        rc = machine_dir_running(&dir, true, &running, err);
        if (rc == 0 && !running && host->backend->bhyve)
            bhyve_machine_clean(host, &dir);
        if (rc < 0 || !running || now_ms() > until)
            return rc;
    }
}
