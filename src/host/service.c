/* service.c: helper programs: started until they say that they are ready (they daemonize), found by their pid
 * files, and stopped through base/process.h, so that no other process of that number is ever meant. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/process.h"
#include "base/spawn.h"
#include "base/text.h"
#include "host/shared.h"

enum { AGAIN_MS = 50, STOP_TIMEOUT_MS = 5000, KILL_TIMEOUT_MS = 2000, RESTART_TIMEOUT_MS = 20000 };

/* A process is the service of a network when one of its words has a path in the network's folder, or when it
 * is FreeBSD's dhclient, which puts its interface in the place of its words. */
static bool serves(struct arena *arena, const char *const *argv, const char *folder)
{
    size_t length = strlen(folder) - 1;
    const char *name = folder;
    for (size_t at = 0; at < length; at++)
        name = folder[at] == '/' ? folder + at + 1 : name;
    const char *title = arena_printf(arena, "dhclient: %.*s", (int)(folder + length - name), name);
    for (size_t i = 0; argv && argv[i]; i++) {
        if (strstr(argv[i], folder) || strcmp(argv[i], title) == 0)
            return true;
    }
    return false;
}

/* The host lacks the means to look: what is there and was not seen would be left running. */
static bool unseen(int code)
{
    return code == EMFILE || code == ENFILE || code == ENOMEM || code == EIO || code == ENOSYS ||
           code == EPERM;
}

/* 0: there is none. */
static pid_t pid_read(struct arena *arena, const char *path, struct err *err)
{
    char *text, *end;
    int rc = file_read(arena, AT_FDCWD, path, 64, &text, NULL, err);
    if (rc < 0)
        return unseen(-rc) ? rc : 0;
    long pid = strtol(text, &end, 10);
    return end != text && pid > 1 && pid < INT32_MAX ? (pid_t)pid : 0;
}

/* Its words, and whether it is the service of the folder: 1 or 0, else a negative errno. */
static int serving(struct arena *arena, pid_t pid, const char *folder, const char *const **argv,
                   struct err *err)
{
    *argv = process_argv(arena, pid);
    if (!*argv && unseen(errno))
        return err_errno(err, errno, "looking at process %d", (int)pid);
    return serves(arena, *argv, folder);
}

/* How it was started: FreeBSD's dhclient does not show it any longer. */
static const char *const *argv_of(struct arena *arena, const char *const *argv, const char *network,
                                  const char *folder)
{
    if (!argv[0] || strncmp(argv[0], "dhclient: ", 10) != 0)
        return argv;
    const char *const words[] = {"dhclient",
                                 "-p",
                                 arena_printf(arena, "%sdhcp-client.pid", folder),
                                 "-l",
                                 arena_printf(arena, "%sdhclient.leases", folder),
                                 network,
                                 NULL};
    const char **copy = arena_alloc(arena, sizeof(words));
    memcpy(copy, words, sizeof(words));
    return copy;
}

static int service_observe(struct arena *arena, struct observed *observed, const char *network,
                           const char *name, struct err *err)
{
    const char *folder = arena_printf(arena, "%s/network/%s/", observed->run_dir, network);
    const char *path = arena_printf(arena, "%s%s", folder, name);
    pid_t pid = pid_read(arena, path, err);
    if (pid <= 0)
        return pid;
    const char *const *argv;
    int rc = serving(arena, pid, folder, &argv, err);
    if (rc <= 0)
        return rc;
    *vec_push(arena, &observed->services) = (struct service){
        .network = network,
        .kind = arena_strndup(arena, name, strlen(name) - strlen(".pid")),
        .argv = argv_of(arena, argv, network, folder),
        .pid_path = path,
        .timeout_ms = RESTART_TIMEOUT_MS,
        .pid = pid,
    };
    return 0;
}

int services_observe(struct arena *arena, struct observed *observed, struct err *err)
{
    const char *path = arena_printf(arena, "%s/network", observed->run_dir);
    DIR *networks;
    int rc = folder_open(path, &networks, err);
    for (struct dirent *network; rc == 0 && networks && (network = readdir(networks));) {
        DIR *folder = NULL;
        if (network->d_name[0] != '.')
            rc = folder_open(arena_printf(arena, "%s/%s", path, network->d_name), &folder, err);
        for (struct dirent *entry; rc == 0 && folder && (entry = readdir(folder));) {
            size_t length = strlen(entry->d_name);
            if (length > 4 && strcmp(entry->d_name + length - 4, ".pid") == 0)
                rc = service_observe(arena, observed, arena_strdup(arena, network->d_name),
                                     arena_strdup(arena, entry->d_name), err);
        }
        if (folder)
            closedir(folder);
    }
    if (networks)
        closedir(networks);
    return rc;
}

/* Who has the port that a DHCP or DNS server could not have?  Its words name no port, ours do. */
static void explain(struct host *host, struct arena *arena, const struct service *service, struct err *err)
{
    const struct {
        int protocol;
        uint16_t port;
        const char *text;
    } ports[] = {{IPPROTO_UDP, 67, "UDP port 67 (DHCP)"},
                 {IPPROTO_UDP, 53, "UDP port 53 (DNS)"},
                 {IPPROTO_TCP, 53, "TCP port 53 (DNS)"}};
    if (strstr(err->text, "inotify"))
        err_append(err, "each dnsmasq takes one of root's inotify instances: raise the limit with "
                        "'sysctl -w fs.inotify.max_user_instances=1024'");
    if (strcmp(service->kind, "dnsmasq") != 0 || !strstr(err->text, "in use"))
        return;
    for (size_t i = 0; i < 3; i++) {
        struct listener listener;
        if (host->backend->listener_find(host, arena, ports[i].protocol, NULL, ports[i].port, &listener,
                                         NULL) < 0)
            continue;
        err_append(
            err, "%s is taken by '%s' (pid %d), which listens at %s; stop it, or bind it to its own address",
            ports[i].text, *listener.program ? listener.program : "?", (int)listener.pid,
            IP_TEXT(&listener.address));
    }
}

static int service_start(struct host *host, const struct service *service, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    int rc = -EIO;
    /* Rolling back may come while the one that was told to end still has its ports. */
    for (int waited_ms = 0; waited_ms <= STOP_TIMEOUT_MS; waited_ms += AGAIN_MS) {
        struct spawn spawn = {.argv = service->argv, .timeout_ms = service->timeout_ms, .arena = &arena};
        rc = spawn_check(&spawn, err);
        if (rc != -EIO || !(flags & HOST_APPLY_TOLERANT) || !err || !strstr(err->text, "in use"))
            break;
        nanosleep(&(struct timespec){.tv_nsec = AGAIN_MS * 1000 * 1000}, NULL);
    }
    if (rc < 0)
        explain(host, &arena, service, err);
    return rc;
}

/* The folder that a pid file is in, with its final '/'. */
static const char *folder_of(struct arena *arena, const char *pid_path)
{
    const char *slash = strrchr(pid_path, '/');
    return arena_strndup(arena, pid_path, slash ? (size_t)(slash + 1 - pid_path) : 0);
}

static bool same_program(struct arena *arena, pid_t pid, const struct service *service)
{
    const char *const *argv = process_argv(arena, pid);
    if (!argv || !argv[0] || !service->argv || !service->argv[0])
        return false;
    const char *slash = strrchr(argv[0], '/'), *wanted = strrchr(service->argv[0], '/');
    return strcmp(slash ? slash + 1 : argv[0], wanted ? wanted + 1 : service->argv[0]) == 0;
}

/* Started by one that was killed before its pid file was written: by its words, in our namespace.  0: none;
 * where there is no /proc, never found. */
static pid_t pid_search(struct arena *arena, const struct service *service, const char *folder)
{
    struct stat own, other;
    pid_t found = 0;
    DIR *processes = stat("/proc/self/ns/net", &own) == 0 ? opendir("/proc") : NULL;
    for (struct dirent *entry; processes && !found && (entry = readdir(processes));) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 1 && same_program(arena, pid, service) && serves(arena, process_argv(arena, pid), folder) &&
            stat(arena_printf(arena, "/proc/%d/ns/net", (int)pid), &other) == 0 &&
            own.st_ino == other.st_ino && own.st_dev == other.st_dev)
            found = pid;
    }
    if (processes)
        closedir(processes);
    return found;
}

static int service_stop(const struct service *service, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_process_ struct process process = {.fd = -1};
    const char *folder = folder_of(&arena, service->pid_path);
    const char *const *argv;
    pid_t pid = pid_read(&arena, service->pid_path, err);
    if (pid < 0)
        return pid;
    if (!pid && *folder && (flags & HOST_APPLY_TOLERANT))
        pid = pid_search(&arena, service, folder);
    /* Looked at after it was opened: from here on the descriptor and the words are of one process. */
    int rc = pid ? process_open(&process, pid) : -ESRCH;
    if (unseen(-rc))
        return err_errno(err, rc, "looking at process %d", (int)pid);
    rc = rc == 0 && *folder ? serving(&arena, pid, folder, &argv, err) : 0;
    if (rc < 0)
        return rc;
    bool ours = rc;
    if (!ours && !(flags & HOST_APPLY_TOLERANT))
        return err_set(err, ESRCH, "it does not run any longer");
    if (ours) {
        process_signal(&process, SIGTERM);
        if (!process_wait(&process, STOP_TIMEOUT_MS)) {
            process_signal(&process, SIGKILL);
            if (!process_wait(&process, KILL_TIMEOUT_MS))
                return err_set(err, ETIMEDOUT, "process %d does not end", (int)pid);
        }
    }
    if (unlink(service->pid_path) < 0 && errno != ENOENT)
        return err_errno(err, errno, "removing '%s'", service->pid_path);
    return 0;
}

static bool running(const struct service *service)
{
    _cleanup_arena_ struct arena arena = {0};
    pid_t pid = pid_read(&arena, service->pid_path, NULL);
    return pid > 0 && serves(&arena, process_argv(&arena, pid), folder_of(&arena, service->pid_path));
}

int service_apply(struct host *host, const struct op *op, unsigned flags, struct err *err)
{
    if (op->kind == OP_SERVICE_STOP)
        return service_stop(&op->service, flags, err);
    if ((flags & HOST_APPLY_TOLERANT) && running(&op->service))
        return 0;
    return service_start(host, &op->service, flags, err);
}

int service_reload(const char *run_dir, const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_process_ struct process process = {.fd = -1};
    const struct reload *reload = &op->reload;
    struct op write = {.kind = OP_FILE_WRITE, .network = op->network};
    write.file = (struct file){
        .path = reload->path, .content = reload->content, .mode = reload->mode, .group = reload->group};
    int rc = file_apply(run_dir, &write, flags, err);
    if (rc < 0)
        return rc;
    const char *folder = folder_of(&arena, reload->pid_path);
    pid_t pid = pid_read(&arena, reload->pid_path, err);
    if (pid < 0 && !(flags & HOST_APPLY_TOLERANT))
        return pid;
    if (pid > 0 && process_open(&process, pid) == 0 && *folder &&
        serves(&arena, process_argv(&arena, pid), folder)) {
        process_signal(&process, SIGHUP);
        return 0;
    }
    return flags & HOST_APPLY_TOLERANT ? 0 : err_set(err, ESRCH, "it does not run any longer");
}
