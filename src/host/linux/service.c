/* service.c: helper programs: started until they say that they are ready (they daemonize), found by their pid
 * files, and stopped through a pidfd, so that no other process of that number is ever meant. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/spawn.h"
#include "base/text.h"
#include "host/linux/linux.h"

enum { STOP_TIMEOUT_MS = 5000, KILL_TIMEOUT_MS = 2000, CMDLINE_MAX = 65536 };

/* argv of a process, NULL when it is gone. */
static const char *const *cmdline(struct arena *arena, pid_t pid)
{
    char *text;
    size_t length;
    const char *path = arena_printf(arena, "/proc/%d/cmdline", (int)pid);
    if (file_read(arena, AT_FDCWD, path, CMDLINE_MAX, &text, &length, NULL) < 0 || length == 0)
        return NULL;
    VEC(const char *) words = {0};
    for (size_t at = 0; at < length; at += strlen(text + at) + 1)
        *vec_push(arena, &words) = text + at;
    *vec_push(arena, &words) = NULL;
    return words.items;
}

/* A process is the service of a network when one of its words is, or ends in, a path in the network's folder.
 */
static bool serves(const char *const *argv, const char *folder)
{
    for (size_t i = 0; argv && argv[i]; i++) {
        if (strstr(argv[i], folder))
            return true;
    }
    return false;
}

static pid_t pid_read(struct arena *arena, const char *path)
{
    char *text, *end;
    if (file_read(arena, AT_FDCWD, path, 64, &text, NULL, NULL) < 0)
        return 0;
    long pid = strtol(text, &end, 10);
    return end != text && pid > 1 && pid < INT32_MAX ? (pid_t)pid : 0;
}

static void service_observe(struct arena *arena, struct observed *observed, const char *network,
                            const char *name)
{
    const char *folder = arena_printf(arena, LINUX_RUN_DIR "/network/%s/", network);
    const char *path = arena_printf(arena, "%s%s", folder, name);
    pid_t pid = pid_read(arena, path);
    const char *const *argv = pid ? cmdline(arena, pid) : NULL;
    if (!serves(argv, folder))
        return;
    *vec_push(arena, &observed->services) = (struct service){
        .network = network,
        .kind = arena_strndup(arena, name, strlen(name) - strlen(".pid")),
        .argv = argv,
        .pid_path = path,
        .timeout_ms = 20000,
        .pid = pid,
    };
}

int services_observe(struct arena *arena, struct observed *observed, struct err *err)
{
    (void)err;
    DIR *networks = opendir(LINUX_RUN_DIR "/network");
    if (!networks)
        return 0;
    for (struct dirent *network; (network = readdir(networks));) {
        if (network->d_name[0] == '.')
            continue;
        DIR *folder = opendir(arena_printf(arena, LINUX_RUN_DIR "/network/%s", network->d_name));
        for (struct dirent *entry; folder && (entry = readdir(folder));) {
            size_t length = strlen(entry->d_name);
            if (length > 4 && strcmp(entry->d_name + length - 4, ".pid") == 0)
                service_observe(arena, observed, arena_strdup(arena, network->d_name),
                                arena_strdup(arena, entry->d_name));
        }
        if (folder)
            closedir(folder);
    }
    closedir(networks);
    return 0;
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
        if (listener_find(host, arena, ports[i].protocol, NULL, ports[i].port, &listener, NULL) < 0)
            continue;
        err_append(
            err, "%s is taken by '%s' (pid %d), which listens at %s; stop it, or bind it to its own address",
            ports[i].text, *listener.program ? listener.program : "?", (int)listener.pid,
            IP_TEXT(&listener.address));
    }
}

static int service_start(struct host *host, const struct service *service, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct spawn spawn = {.argv = service->argv, .timeout_ms = service->timeout_ms, .arena = &arena};
    int rc = spawn_check(&spawn, err);
    if (rc < 0)
        explain(host, &arena, service, err);
    return rc;
}

static int wait_end(int pidfd, int timeout_ms)
{
    struct pollfd wait = {.fd = pidfd, .events = POLLIN};
    int ready;
    do
        ready = poll(&wait, 1, timeout_ms);
    while (ready < 0 && errno == EINTR);
    return ready > 0 ? 0 : -ETIMEDOUT;
}

static int service_stop(const struct service *service, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    const char *slash = strrchr(service->pid_path, '/');
    const char *folder =
        arena_strndup(&arena, service->pid_path, slash ? (size_t)(slash + 1 - service->pid_path) : 0);
    pid_t pid = pid_read(&arena, service->pid_path);
    _cleanup_fd_ int pidfd = pid ? pidfd_open(pid, 0) : -1;
    /* Looked at after it was opened: from here on the descriptor and the words are of one process. */
    bool ours = pidfd >= 0 && *folder && serves(cmdline(&arena, pid), folder);
    if (!ours && !(flags & HOST_APPLY_TOLERANT))
        return err_set(err, ESRCH, "it does not run any longer");
    if (ours) {
        pidfd_send_signal(pidfd, SIGTERM, NULL, 0);
        if (wait_end(pidfd, STOP_TIMEOUT_MS) < 0) {
            pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
            if (wait_end(pidfd, KILL_TIMEOUT_MS) < 0)
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
    const char *slash = strrchr(service->pid_path, '/');
    const char *folder =
        arena_strndup(&arena, service->pid_path, slash ? (size_t)(slash + 1 - service->pid_path) : 0);
    pid_t pid = pid_read(&arena, service->pid_path);
    return pid && serves(cmdline(&arena, pid), folder);
}

int service_apply(struct host *host, const struct op *op, unsigned flags, struct err *err)
{
    if (op->kind == OP_SERVICE_STOP)
        return service_stop(&op->service, flags, err);
    if ((flags & HOST_APPLY_TOLERANT) && running(&op->service))
        return 0;
    return service_start(host, &op->service, err);
}
