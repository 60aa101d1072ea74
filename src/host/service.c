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

enum { STOP_AT_ONCE = 256, DNS_PORT = 53 };

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
    if (pid < 0)
        return pid;
    const char *const *argv;
    int rc = pid ? serving(arena, pid, folder, &argv, err) : 0;
    if (rc < 0)
        return rc;
    /* Killed, it left this: a file like the others in the folder, which goes with them. */
    if (rc == 0)
        return file_observe(arena, observed, path, err);
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

/* "failed to create listening socket for 10.0.0.1: Address already in use". */
static bool told_address(struct arena *arena, const char *text, struct ip *address)
{
    const char *start = strstr(text, "socket for "), *end = start ? strstr(start, ": ") : NULL;
    if (!end)
        return false;
    start += strlen("socket for ");
    return ip_parse(arena_strndup(arena, start, (size_t)(end - start)), address) == 0;
}

static bool has_word(const char *const *argv, const char *part)
{
    for (size_t i = 0; argv && argv[i]; i++) {
        if (strstr(argv[i], part))
            return true;
    }
    return false;
}

/* Who has the port that a DHCP or DNS server could not have?  Its words name no port, ours do. */
static void explain(struct host *host, struct arena *arena, const struct service *service, struct err *err)
{
    const struct {
        int protocol;
        uint16_t port;
        const char *text;
    } ports[] = {{IPPROTO_UDP, 67, "UDP port 67 (DHCP)"},
                 {IPPROTO_UDP, DNS_PORT, "UDP port 53 (DNS)"},
                 {IPPROTO_TCP, DNS_PORT, "TCP port 53 (DNS)"}};
    if (strstr(err->text, "inotify"))
        err_append(err, "each dnsmasq takes one of root's inotify instances: raise the limit with "
                        "'sysctl -w fs.inotify.max_user_instances=1024'");
    if (strcmp(service->kind, "dnsmasq") != 0 || !strstr(err->text, "in use"))
        return;
    struct ip address;
    bool told = told_address(arena, err->text, &address);
    const char *folders = arena_printf(arena, "%s/network/", host->backend->run_dir);
    for (size_t i = 0; i < 3; i++) {
        struct listener listener;
        if ((told && ports[i].port != DNS_PORT) ||
            host->backend->listener_find(host, arena, ports[i].protocol, told ? &address : NULL,
                                         ports[i].port, &listener, NULL) < 0 ||
            has_word(process_argv(arena, listener.pid), folders)) /* another network's: not in the way */
            continue;
        err_append(
            err, "%s is taken by '%s' (pid %d), which listens at %s; stop it, or bind it to its own address",
            ports[i].text, *listener.program ? listener.program : "?", (int)listener.pid,
            IP_TEXT(&listener.address));
    }
}

/* The folder that a pid file is in, with its final '/'. */
static const char *folder_of(struct arena *arena, const char *pid_path)
{
    const char *slash = strrchr(pid_path, '/');
    return arena_strndup(arena, pid_path, slash ? (size_t)(slash + 1 - pid_path) : 0);
}

static bool running(const struct service *service)
{
    _cleanup_arena_ struct arena arena = {0};
    pid_t pid = pid_read(&arena, service->pid_path, NULL);
    return pid > 0 && serves(&arena, process_argv(&arena, pid), folder_of(&arena, service->pid_path));
}

/* Which operation failed first, and what it said. */
struct failure {
    int code; /* 0: none */
    size_t index;
    struct err *err;
};

/* -ECANCELED is another one's failure. */
static void failure_note(struct failure *failure, size_t index, int rc, const char *text)
{
    if (rc >= 0 || rc == -ECANCELED || failure->code)
        return;
    failure->code = err_set(failure->err, rc, "%s", text);
    failure->index = index;
}

static int services_start(struct host *host, const struct op *const ops[], size_t count, unsigned flags,
                          size_t *failed, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    bool tolerant = flags & HOST_APPLY_TOLERANT;
    struct spawn *spawns = arena_alloc(&arena, count * sizeof(*spawns));
    size_t *indexes = arena_alloc(&arena, count * sizeof(*indexes)), left = 0;
    struct failure failure = {.err = err};
    for (size_t i = 0; i < count; i++) {
        const struct service *service = &ops[i]->service;
        if (tolerant && running(service))
            continue;
        indexes[left] = i;
        spawns[left++] =
            (struct spawn){.argv = service->argv, .timeout_ms = service->timeout_ms, .arena = &arena};
    }
    /* Rolling back may come while the one that was told to end still has its ports. */
    for (int waited_ms = 0; left; waited_ms += AGAIN_MS) {
        size_t tried = left;
        if (waited_ms)
            nanosleep(&(struct timespec){.tv_nsec = AGAIN_MS * 1000 * 1000}, NULL);
        spawn_check_all(spawns, tried, tolerant);
        left = 0;
        for (size_t i = 0; i < tried; i++) {
            const struct spawn *spawn = &spawns[i];
            bool again = tolerant && waited_ms <= STOP_TIMEOUT_MS && spawn->result == -EIO &&
                         strstr(spawn->failure, "in use");
            if (!again) {
                failure_note(&failure, indexes[i], spawn->result, spawn->failure);
                continue;
            }
            indexes[left] = indexes[i];
            spawns[left++] = *spawn;
        }
    }
    *failed = failure.index;
    if (failure.code)
        explain(host, &arena, &ops[failure.index]->service, err);
    return failure.code;
}

static bool same_program(const char *const *argv, const struct service *service)
{
    if (!service->argv || !service->argv[0])
        return false;
    const char *slash = strrchr(argv[0], '/'), *wanted = strrchr(service->argv[0], '/');
    return strcmp(slash ? slash + 1 : argv[0], wanted ? wanted + 1 : service->argv[0]) == 0;
}

/* A service that is to end. */
struct stopping {
    const struct service *service;
    const char *folder;
    struct process process;
    pid_t pid; /* 0: none that is known */
    bool ours; /* and runs */
    int result;
};

/* Started by one that was killed before its pid file was written: by its words, in our namespace.  Where
 * there is no /proc, never found. */
static void pids_search(struct arena *arena, struct stopping *all, size_t count)
{
    struct stat own, other;
    DIR *processes = stat("/proc/self/ns/net", &own) == 0 ? opendir("/proc") : NULL;
    for (struct dirent *entry; processes && (entry = readdir(processes));) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        const char *const *argv = pid > 1 ? process_argv(arena, pid) : NULL;
        if (!argv || !argv[0] || stat(arena_printf(arena, "/proc/%d/ns/net", (int)pid), &other) < 0 ||
            own.st_ino != other.st_ino || own.st_dev != other.st_dev)
            continue;
        for (size_t i = 0; i < count; i++) {
            if (!all[i].pid && *all[i].folder && same_program(argv, all[i].service) &&
                serves(arena, argv, all[i].folder))
                all[i].pid = pid;
        }
    }
    if (processes)
        closedir(processes);
}

/* Tell it to end. */
static int stop_begin(struct arena *arena, struct stopping *stopping, unsigned flags, struct err *err)
{
    const char *const *argv;
    /* Looked at after it was opened: from here on the descriptor and the words are of one process. */
    int rc = stopping->pid ? process_open(&stopping->process, stopping->pid) : -ESRCH;
    if (unseen(-rc))
        return err_errno(err, rc, "looking at process %d", (int)stopping->pid);
    rc = rc == 0 && *stopping->folder ? serving(arena, stopping->pid, stopping->folder, &argv, err) : 0;
    if (rc < 0)
        return rc;
    stopping->ours = rc;
    if (!stopping->ours && !(flags & HOST_APPLY_TOLERANT))
        return err_set(err, ESRCH, "it does not run any longer");
    if (stopping->ours)
        process_signal(&stopping->process, SIGTERM);
    return 0;
}

/* Who was waited for in vain has taken the others' time, too. */
static int stop_end(const struct stopping *stopping, int *timeout_ms, struct err *err)
{
    const struct process *process = &stopping->process;
    if (stopping->ours && !process_wait(process, *timeout_ms)) {
        *timeout_ms = 0;
        process_signal(process, SIGKILL);
        if (!process_wait(process, KILL_TIMEOUT_MS))
            return err_set(err, ETIMEDOUT, "process %d does not end", (int)stopping->pid);
    }
    const char *path = stopping->service->pid_path;
    return unlink(path) < 0 && errno != ENOENT ? err_errno(err, errno, "removing '%s'", path) : 0;
}

/* As many as descriptors allow: told to end, then waited for. */
static void services_stop_some(const struct op *const ops[], size_t count, size_t first, unsigned flags,
                               struct failure *failure)
{
    _cleanup_arena_ struct arena arena = {0};
    bool tolerant = flags & HOST_APPLY_TOLERANT, lost = false;
    struct stopping *all = arena_alloc(&arena, count * sizeof(*all));
    for (size_t i = 0; i < count; i++) {
        const struct service *service = &ops[i]->service;
        struct err said = {0};
        all[i] = (struct stopping){.service = service,
                                   .folder = folder_of(&arena, service->pid_path),
                                   .process = {.fd = -1},
                                   .pid = pid_read(&arena, service->pid_path, &said)};
        all[i].result = all[i].pid < 0 ? all[i].pid : 0;
        failure_note(failure, first + i, all[i].result, said.text);
        lost |= !all[i].pid;
    }
    if (lost && tolerant)
        pids_search(&arena, all, count);
    for (size_t i = 0; i < count; i++) {
        struct err said = {0};
        if (all[i].result < 0 || (failure->code && !tolerant))
            continue;
        all[i].result = stop_begin(&arena, &all[i], flags, &said);
        failure_note(failure, first + i, all[i].result, said.text);
    }
    int timeout_ms = STOP_TIMEOUT_MS;
    for (size_t i = 0; i < count; i++) {
        struct err said = {0};
        if (all[i].result == 0 && (all[i].ours || tolerant)) {
            all[i].result = stop_end(&all[i], &timeout_ms, &said);
            failure_note(failure, first + i, all[i].result, said.text);
        }
        process_close(&all[i].process);
    }
}

static int services_stop(const struct op *const ops[], size_t count, unsigned flags, size_t *failed,
                         struct err *err)
{
    struct failure failure = {.err = err};
    for (size_t first = 0; first < count && (!failure.code || (flags & HOST_APPLY_TOLERANT));
         first += STOP_AT_ONCE) {
        size_t left = count - first;
        services_stop_some(ops + first, left < STOP_AT_ONCE ? left : STOP_AT_ONCE, first, flags, &failure);
    }
    *failed = failure.index;
    return failure.code;
}

int services_apply(struct host *host, const struct op *const ops[], size_t count, unsigned flags,
                   size_t *failed, struct err *err)
{
    return ops[0]->kind == OP_SERVICE_STOP ? services_stop(ops, count, flags, failed, err)
                                           : services_start(host, ops, count, flags, failed, err);
}

int service_apply(struct host *host, const struct op *op, unsigned flags, struct err *err)
{
    size_t failed;
    return services_apply(host, &op, 1, flags, &failed, err);
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
