/* manager.c: who else configures interfaces, and telling systemd-networkd to leave some alone: a file of
 * systemd.network(5) below /run, and its Reload.
 *
 * What each manages is read where its own tools read it: /run/systemd/netif/links (sd-network),
 * /run/NetworkManager/devices (NetworkManager's restart), /run/network/ifstate (ifup(8)), pid files.  A
 * program is asked for on the bus only where it has such a folder. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/process.h"
#include "base/text.h"
#include "host/linux/bus.h"
#include "host/linux/linux.h"

#define FOLDER "/run/systemd/network"
#define PREFIX "00-vmwire-"
#define ENDING ".network"

static const char *file_content(struct arena *arena, const char *path)
{
    char *text;
    return file_read(arena, AT_FDCWD, path, 64 * 1024, &text, NULL, NULL) == 0 ? text : "";
}

/* Does it have a line that begins so? */
static bool has_line(const char *text, const char *start)
{
    size_t length = strlen(start);
    for (const char *line = text; *line;) {
        if (strncmp(line, start, length) == 0)
            return true;
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return false;
}

static bool runs(struct bus *bus, const char *name)
{
    _cleanup_arena_ struct arena arena = {0};
    struct bus_call call = {.destination = "org.freedesktop.DBus",
                            .path = "/org/freedesktop/DBus",
                            .interface = "org.freedesktop.DBus",
                            .member = "NameHasOwner",
                            .strings = {name}};
    struct bus_reply reply;
    struct err ignored;
    return bus_open(bus, &ignored) == 0 && bus_call(bus, &arena, &call, &reply, &ignored) == 0 &&
           bus_read_u32(&reply) == 1;
}

static void add(struct arena *arena, struct observed *observed, const char *ifname, const char *name)
{
    *vec_push(arena, &observed->managers) = (struct manager){.ifname = ifname, .name = name};
}

/* A process of that name, by its pid file. */
static bool pid_file_of(struct arena *arena, const char *path, const char *program)
{
    long pid = strtol(file_content(arena, path), NULL, 10);
    const char *const *argv = pid > 1 ? process_argv(arena, (pid_t)pid) : NULL;
    const char *name = argv && argv[0] ? strrchr(argv[0], '/') : NULL;
    name = name ? name + 1 : argv && argv[0] ? argv[0] : "";
    return strncmp(name, program, strlen(program)) == 0;
}

static void clients_observe(struct arena *arena, struct observed *observed, const char *ifname)
{
    const struct {
        const char *format, *program;
    } files[] = {{"/run/dhclient.%s.pid", "dhclient"},
                 {"/run/dhcpcd/%s.pid", "dhcpcd"},
                 {"/run/dhcpcd/%s-4.pid", "dhcpcd"}};
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        size_t before = strcspn(files[i].format, "%");
        const char *path = arena_printf(arena, "%.*s%s%s", (int)before, files[i].format, ifname,
                                        files[i].format + before + 2);
        if (access(path, F_OK) == 0 && pid_file_of(arena, path, files[i].program))
            add(arena, observed, ifname, files[i].program);
    }
}

/* "[Match]\nName=brext re0\n…" */
static int told_observe(struct arena *arena, struct observed *observed, struct err *err)
{
    DIR *folder;
    size_t before = strlen(PREFIX), after = strlen(ENDING);
    int rc = folder_open(FOLDER, &folder, err);
    if (!folder)
        return rc;
    for (struct dirent *entry; (entry = readdir(folder));) {
        size_t length = strlen(entry->d_name);
        if (length <= before + after || strncmp(entry->d_name, PREFIX, before) != 0 ||
            strcmp(entry->d_name + length - after, ENDING) != 0)
            continue;
        const char *text = file_content(arena, arena_printf(arena, FOLDER "/%s", entry->d_name));
        const char *names = strstr(text, "Name=");
        names = names ? names + strlen("Name=") : "";
        *vec_push(arena, &observed->unmanaged) = (struct unmanaged){
            .network = arena_strndup(arena, entry->d_name + before, length - before - after),
            .interfaces = arena_strndup(arena, names, strcspn(names, "\n"))};
    }
    closedir(folder);
    return 0;
}

int managers_observe(struct arena *arena, struct observed *observed, struct err *err)
{
    _cleanup_bus_ struct bus bus = {.fd = -1};
    bool dhcpcd = access("/run/dhcpcd/pid", F_OK) == 0 && pid_file_of(arena, "/run/dhcpcd/pid", "dhcpcd");
    bool manager =
        access("/run/NetworkManager/devices", F_OK) == 0 && runs(&bus, "org.freedesktop.NetworkManager");
    observed->networkd = access("/run/systemd/netif", F_OK) == 0 && runs(&bus, "org.freedesktop.network1");
    const char *ifstate = file_content(arena, "/run/network/ifstate");
    int rc = told_observe(arena, observed, err);
    if (rc < 0)
        return rc;
    vec_foreach (&observed->links, link) {
        if (link->loopback || strcmp(link->kind, "tun") == 0)
            continue;
        const char *device = arena_printf(arena, "/run/NetworkManager/devices/%d", link->index);
        const char *state = arena_printf(arena, "/run/systemd/netif/links/%d", link->index);
        if (manager && has_line(file_content(arena, device), "managed=true"))
            add(arena, observed, link->name, "NetworkManager");
        if (observed->networkd && has_line(file_content(arena, state), "NETWORK_FILE="))
            add(arena, observed, link->name, "systemd-networkd");
        if (dhcpcd)
            add(arena, observed, link->name, "dhcpcd");
        clients_observe(arena, observed, link->name);
        if (has_line(ifstate, arena_printf(arena, "%s=", link->name)))
            add(arena, observed, link->name, "ifupdown");
    }
    return 0;
}

static int reload(struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_bus_ struct bus bus = {.fd = -1};
    struct bus_call call = {.destination = "org.freedesktop.network1",
                            .path = "/org/freedesktop/network1",
                            .interface = "org.freedesktop.network1.Manager",
                            .member = "Reload"};
    struct bus_reply reply;
    int rc = bus_open(&bus, err);
    if (rc == 0)
        rc = bus_call(&bus, &arena, &call, &reply, err);
    /* One that does not run reads the files when it starts. */
    return rc == -ENOENT || rc == -ECONNREFUSED ? 0 : rc;
}

int manager_apply(const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    const char *path = arena_printf(&arena, FOLDER "/" PREFIX "%s" ENDING, op->network);
    int rc = 0;
    if (op->kind == OP_UNMANAGE) {
        const char *text = unmanaged_text(&arena, &op->unmanaged);
        rc = mkdir(FOLDER, 0755) < 0 && errno != EEXIST ? err_errno(err, errno, "making '%s'", FOLDER) : 0;
        if (rc == 0)
            rc = file_write_atomic(path, text, strlen(text), 0644, err);
    } else if (unlink(path) < 0 && !(errno == ENOENT && (flags & HOST_APPLY_TOLERANT))) {
        rc = err_errno(err, errno, "removing '%s'", path);
    }
    return rc < 0 ? rc : reload(err);
}
