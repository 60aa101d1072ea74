/* lab.c: the practice host as a tree of processes and mounts; behind lab.h.
 *
 * Theory of operation.  Three processes:
 *
 *     vmwire, in the caller's namespaces
 *       `- first process: PID 1 of the lab's namespaces (user, when the caller is not root; mount, PID,
 * network)
 *            |- the command
 *            `- dnsmasq, httpd, whatever the command left behind
 *
 *  1. vmwire clones the first process straight into the new namespaces.  From here on nothing that the lab
 * does can reach the caller's mounts, links or processes.
 *  2. The first process asks to be killed when vmwire dies, then waits for one byte: a vmwire that died
 * before the request took effect can no longer send it.
 *  3. It becomes root of the user namespace (identity.c), mounts /proc, /sys, /run and /etc/resolv.conf, and
 * builds the world (topology.c).
 *  4. It starts the command and reaps everything until the command ends.  Its own end is the end of the lab:
 * the kernel kills every process of the PID namespace, and with the last of them go the mounts and the
 * networks.
 *
 * vmwire waits on one pipe: a failure of the stages 2 to 4 arrives there as a struct err, a successful exec
 * as its end.
 *
 * The terminal: all three processes share vmwire's process group, so that ^C and ^Z reach the command as they
 * would without a lab.  vmwire ignores the keys that end a program, as system(3) does; PID 1 is deaf to them
 * anyway.  A shell makes its own groups, and vmwire takes the terminal back after it.
 */
#include "lab/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "lab/identity.h"
#include "lab/topology.h"

enum { COMMAND_NOT_FOUND = 127, COMMAND_NOT_EXECUTABLE = 126 };

/* What travels through the pipe from the first process to vmwire. */
struct report {
    struct err err;
    int status; /* what lab_run's caller gets */
};

/* What the first process needs to know of the outside. */
struct inside {
    const struct lab_options *options;
    uid_t uid;
    gid_t gid;
    bool user_namespace;
    int go, report; /* pipe ends: read, write */
};

/* Where /etc/resolv.conf really lies, and whether that is below /run, which the lab covers.  A dangling link
 * is followed once.  Returns false when the host has no such file at all. */
static bool resolv_conf_find(char path[PATH_MAX], bool *below_run)
{
    char link[PATH_MAX];
    bool found = realpath("/etc/resolv.conf", path);
    if (!found) {
        ssize_t length = readlink("/etc/resolv.conf", link, sizeof(link) - 1);
        if (length < 0)
            return false;
        link[length] = '\0';
        const char *run = strstr(link, "/run/");
        if (!run)
            return false;
        snprintf(path, PATH_MAX, "%s", run);
    }
    *below_run = strncmp(path, "/run/", 5) == 0;
    return found || *below_run;
}

static int resolv_conf_replace(const char *path, bool below_run, struct err *err)
{
    static const char text[] = "nameserver 192.168.87.1\n";
    int rc = file_write_atomic(below_run ? path : LAB_RESOLV_CONF, text, strlen(text), 0644, err);
    if (rc < 0 || below_run)
        return rc;
    if (mount(LAB_RESOLV_CONF, path, NULL, MS_BIND, NULL) < 0)
        return err_errno(err, errno, "covering '%s'", path);
    return 0;
}

/* The new /proc and /sys go on top of the old ones: a user namespace may not unmount what it inherited. */
static int mounts_make(struct err *err)
{
    static const struct {
        const char *type, *target, *options;
        unsigned long flags;
    } mounts[] = {
        {"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV},
    };
    char resolv_conf[PATH_MAX];
    bool below_run = false, has_resolv_conf = resolv_conf_find(resolv_conf, &below_run);

    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_errno(err, errno, "making the lab's mounts private");
    for (size_t i = 0; i < sizeof(mounts) / sizeof(*mounts); i++)
        if (mount(mounts[i].type, mounts[i].target, mounts[i].type, mounts[i].flags, mounts[i].options) < 0)
            return err_errno(err, errno, "mounting %s on '%s'", mounts[i].type, mounts[i].target);
    int rc = directory_make(LAB_DIRECTORY, 0755, err);
    if (rc == 0 && has_resolv_conf)
        rc = resolv_conf_replace(resolv_conf, below_run, err);
    return rc;
}

/* This very program, and the administrator's programs, are found by their names. */
static void path_extend(struct arena *arena)
{
    char program[PATH_MAX];
    const char *old = getenv("PATH");
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (length <= 0)
        return;
    program[length] = '\0';
    *strrchr(program, '/') = '\0';
    setenv("PATH",
           arena_printf(arena, "%s:%s:/usr/local/sbin:/usr/sbin:/sbin", program, old ? old : "/usr/bin:/bin"),
           1);
}

static const char *shell_find(uid_t uid)
{
    const char *shell = getenv("SHELL");
    if (shell && *shell)
        return shell;
    const struct passwd *entry = getpwuid(uid);
    return entry && *entry->pw_shell ? entry->pw_shell : "/bin/sh";
}

static _Noreturn void report_and_exit(const struct inside *inside, const struct err *err, int status)
{
    struct report report = {.err = *err, .status = status};
    fd_write_all(inside->report, &report, sizeof(report));
    _exit(1);
}

static _Noreturn void command_exec(const struct inside *inside)
{
    _cleanup_arena_ struct arena arena = {0};
    struct err err = {0};
    const char *shell[] = {shell_find(inside->uid), NULL};
    const char *const *argv = inside->options->argv;
    if (!argv) {
        argv = shell;
        if (inside->options->welcome && isatty(0))
            fd_write_all(1, inside->options->welcome, strlen(inside->options->welcome));
    }
    path_extend(&arena);
    execvp(argv[0], (char *const *)argv);
    int status = errno == ENOENT ? COMMAND_NOT_FOUND : COMMAND_NOT_EXECUTABLE;
    err_errno(&err, errno, "starting '%s'", argv[0]);
    report_and_exit(inside, &err, status);
}

/* Stage 4: reap until the command ends, and end with its status. */
static _Noreturn void command_run(struct inside *inside)
{
    pid_t command = fork();
    if (command < 0) {
        struct err err = {0};
        err_errno(&err, errno, "starting the command");
        report_and_exit(inside, &err, 0);
    }
    if (command == 0)
        command_exec(inside);
    fd_close(&inside->report);
    int status = 0;
    for (pid_t ended; (ended = waitpid(-1, &status, 0)) != command;)
        if (ended < 0 && errno != EINTR)
            _exit(1);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static _Noreturn void first_process(struct inside *inside)
{
    struct err err = {0};
    char go;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || read(inside->go, &go, 1) != 1)
        _exit(1);
    fd_close(&inside->go);
    int rc = inside->user_namespace ? identity_take(inside->uid, inside->gid, &err) : 0;
    if (rc == 0)
        rc = mounts_make(&err);
    if (rc == 0)
        rc = topology_build(inside->options->single_mac, &err);
    if (rc < 0)
        report_and_exit(inside, &err, 0);
    command_run(inside);
}

static pid_t first_process_clone(bool user_namespace)
{
    unsigned long flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | SIGCHLD;
    if (user_namespace)
        flags |= CLONE_NEWUSER;
    /* As fork(2): no new stack, no shared memory. */
    return (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
}

/* Wait for the first process; returns what it reported, or 0 and the command's status. */
static int first_process_wait(pid_t pid, int report_fd, int *status, struct err *err)
{
    struct report report;
    ssize_t got;
    int ended = 0;
    do
        got = read(report_fd, &report, sizeof(report));
    while (got < 0 && errno == EINTR);
    while (waitpid(pid, &ended, 0) < 0 && errno == EINTR)
        ;
    if (got == (ssize_t)sizeof(report)) {
        *status = report.status;
        return err_set(err, report.err.code, "%s", report.err.text);
    }
    *status = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
    return 0;
}

/* The lab's shell had the terminal; a group in the background may not take it without being stopped for it.
 */
static void terminal_take(int terminal)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    sigaction(SIGTTOU, &ignore, &old);
    tcsetpgrp(terminal, getpgrp());
    sigaction(SIGTTOU, &old, NULL);
}

static int clone_failed(int code, struct err *err)
{
    err_errno(err, code, "making the lab's namespaces");
    if (code == EPERM || code == EACCES || code == ENOSPC)
        err_append(err, "%s",
                   geteuid() == 0
                       ? "root of a container needs the capability CAP_SYS_ADMIN for it"
                       : "this host gives its users no user namespaces (sysctl user.max_user_namespaces, "
                         "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns); "
                         "run the lab as root");
    return err ? err->code : -code;
}

int lab_run(const struct lab_options *options, int *status, struct err *err)
{
    int go[2], report[2];
    *status = 0;
    if (pipe2(go, O_CLOEXEC) < 0)
        return err_errno(err, errno, "starting the lab");
    _cleanup_fd_ int go_read = go[0], go_write = go[1];
    if (pipe2(report, O_CLOEXEC) < 0)
        return err_errno(err, errno, "starting the lab");
    _cleanup_fd_ int report_read = report[0], report_write = report[1];
    struct inside inside = {.options = options,
                            .uid = geteuid(),
                            .gid = getegid(),
                            .user_namespace = geteuid() != 0,
                            .go = go_read,
                            .report = report_write};
    _cleanup_fd_ int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    bool foreground = terminal >= 0 && tcgetpgrp(terminal) == getpgrp();

    fflush(NULL);
    pid_t pid = first_process_clone(inside.user_namespace);
    if (pid < 0)
        return clone_failed(errno, err);
    if (pid == 0) {
        fd_close(&go_write);
        fd_close(&report_read);
        fd_close(&terminal);
        first_process(&inside);
    }
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old_int, old_quit;
    sigaction(SIGINT, &ignore, &old_int);
    sigaction(SIGQUIT, &ignore, &old_quit);
    fd_close(&go_read);
    fd_close(&report_write);
    int rc = fd_write_all(go_write, "", 1);
    fd_close(&go_write);
    int waited = first_process_wait(pid, report_read, status, err);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGQUIT, &old_quit, NULL);
    if (foreground)
        terminal_take(terminal);
    return rc < 0 ? err_errno(err, rc, "starting the lab") : waited;
}

int lab_check(struct err *warning)
{
    _cleanup_fd_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return err_errno(warning, errno, "opening '/dev/net/tun', which every guest's nic needs");
    return 0;
}
