/* tap.c: nics: taps that stay until they are destroyed.
 *
 * Theory of operation.  bhyve opens a tap by its name, so vmwire cannot hand it a descriptor, and a tap
 * outlives whoever had it open.  What a nic lives by is a lock instead:
 *
 *  1. `ifconfig tap create` makes tapN, untagged: nobody takes it for vmwire's.
 *  2. RUN/nic/tapN is made and locked (flock); the descriptor is nic->lock_fd, and the program that gets the
 * nic inherits it.  So it is locked as long as that program, or a vmwire that waits for it, lives.
 *  3. the tap is tagged, set up, and becomes a port.
 *
 * A tap with a nic's tag that no process has open and whose lock nobody holds is stale: the next command that
 * may change the host destroys it.  The lock outlives a reboot of the guest, when bhyve has closed the tap
 * for a moment; `link0` keeps the tap up over it.
 *
 * The nic of a guest without a hypervisor (guest.c) is an epair: epairNa is tagged and becomes a port,
 * epairNb goes to the guest's jail.  It lives by the same lock.  When the jail has ended epairNb comes back,
 * and only then is the pair destroyed: one whose other end is just coming back has made kernels panic
 * (FreeBSD's bug 238870). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "host/freebsd/system.h"

enum { RETURN_LIMIT_MS = 2000, RETURN_LOOK_MS = 20 };

static const char *lock_path(struct arena *arena, const char *tap)
{
    return arena_printf(arena, FREEBSD_RUN_DIR "/nic/%s", tap);
}

/* The locked descriptor, or -EWOULDBLOCK when somebody has it. */
static int lock_open(struct arena *arena, const char *tap, int flags, struct err *err)
{
    const char *path = lock_path(arena, tap);
    int rc = flags & O_CREAT ? directory_make(FREEBSD_RUN_DIR "/nic", 0700, err) : 0;
    if (rc < 0)
        return rc;
    _cleanup_fd_ int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (fd < 0)
        return err_errno(err, errno, "opening '%s'", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return err_errno(err, errno, "locking '%s'", path);
    return fd_steal(&fd);
}

static void lock_remove(struct arena *arena, const char *tap)
{
    struct freebsd_guest_files files;
    unlink(lock_path(arena, tap));
    if (freebsd_guest_files(arena, tap, &files)) {
        unlink(files.config);
        unlink(files.leases);
        unlink(files.pid);
    }
    rmdir(FREEBSD_RUN_DIR "/nic"); /* goes with the last; refused while there are others */
}

static bool in_names(const struct freebsd_names *names, const char *name)
{
    vec_foreach (&names->list, known) {
        if (strcmp(*known, name) == 0)
            return true;
    }
    return false;
}

/* A jail that has ended gives its interface back, but not at once. */
static void other_end_await(struct arena *arena, const char *tap)
{
    const char *other = freebsd_epair_other(arena, tap);
    struct freebsd_answer answer;
    for (int waited_ms = 0; other && waited_ms < RETURN_LIMIT_MS; waited_ms += RETURN_LOOK_MS) {
        struct freebsd_command look = FREEBSD_COMMAND(arena, "ifconfig", other);
        if (freebsd_run(arena, &look, &answer, NULL) < 0 || answer.status == 0)
            return;
        poll(NULL, 0, RETURN_LOOK_MS);
    }
}

static int tap_destroy(const char *tap, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct freebsd_answer answer;
    other_end_await(&arena, tap);
    struct freebsd_command destroy = FREEBSD_COMMAND(&arena, "ifconfig", tap, "destroy");
    int rc = freebsd_run(&arena, &destroy, &answer, err);
    if (rc == 0 && answer.status != 0 && !strstr(answer.errors, "does not exist"))
        rc = err_set(err, EIO, "removing '%s': %.*s", tap, (int)strcspn(answer.errors, "\n"), answer.errors);
    /* Also where it has none, or there is no pf. */
    struct freebsd_command unlock =
        FREEBSD_COMMAND(&arena, "pfctl", "-a", freebsd_lock_anchor(&arena, tap), "-f", "/dev/null");
    if (rc == 0) {
        freebsd_run(&arena, &unlock, &answer, NULL);
        freebsd_rates_close(&arena, tap);
        lock_remove(&arena, tap);
    }
    return rc;
}

int freebsd_nic_close(struct host *host, const char *tap, struct err *err)
{
    (void)host;
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_fd_ int lock = lock_open(&arena, tap, 0, NULL);
    return lock == -EWOULDBLOCK ? 0 : tap_destroy(tap, err);
}

/* Nobody's any longer?  The lock of one that is not stale is left alone. */
static bool stale(struct freebsd_host *host, struct arena *arena, const struct link *link,
                  const struct freebsd_names *openers)
{
    struct wired_nic nic;
    if (!owner_nic(arena, link, &nic) || in_names(openers, link->name) || in_names(&host->made, link->name))
        return false;
    _cleanup_fd_ int lock = lock_open(arena, link->name, 0, NULL);
    return lock >= 0 || lock == -ENOENT;
}

int freebsd_nics_settle(struct host *base, struct err *err)
{
    struct freebsd_host *host = (struct freebsd_host *)base;
    _cleanup_arena_ struct arena arena = {0};
    struct freebsd_answer answer;
    struct freebsd_names openers = {0};
    struct observed seen = {0};
    int rc = FREEBSD_ASK(&arena, &answer, err, "ifconfig", "-a", "-f", "inet:cidr");
    if (rc < 0)
        return rc;
    freebsd_ifconfig_parse(&arena, answer.output, &seen, &openers);
    vec_foreach (&seen.links, link) {
        if (rc == 0 && stale(host, &arena, link, &openers))
            rc = tap_destroy(link->name, err);
    }
    return rc < 0 ? err_wrap(err, "removing the taps of machines that have ended") : 0;
}

/* Has the bridge seen the guest's MAC behind another port? */
static int duplicate_check(struct arena *arena, const struct nic_request *request, struct err *err)
{
    struct freebsd_answer answer;
    if (FREEBSD_ASK(arena, &answer, NULL, "ifconfig", request->bridge, "addr") < 0)
        return 0;
    const char *port = freebsd_port_of_mac(arena, answer.output, &request->mac);
    if (!port)
        return 0;
    return err_set(err, EADDRINUSE, "MAC %s is already in use on '%s', behind port '%s'",
                   MAC_TEXT(&request->mac), request->bridge, port);
}

/* What its network holds it to, behind what makes it a port. */
static int lock_commands(struct arena *arena, const struct nic_request *request, const char *tap,
                         struct freebsd_commands *commands, struct err *err)
{
    struct lock lock;
    struct lock_nic nic = {.ifname = tap,
                           .network = request->network,
                           .mac = request->mac,
                           .any = request->mac_unknown,
                           .ip = request->address,
                           .ip6 = request->address6};
    int rc = freebsd_lock_read(arena, request->network, &lock, err);
    if (rc < 0)
        return rc;
    lock_nic_hold(&nic, &lock);
    if (lock_nic_held(&nic))
        freebsd_lock_commands(arena, &nic, true, true, commands);
    return 0;
}

static int tap_wire(struct arena *arena, const struct nic_request *request, const char *tap,
                    const struct link *bridge, struct err *err)
{
    struct freebsd_commands commands;
    struct op op = {
        .kind = OP_PORT_ADD, .network = request->network, .port = {.ifname = tap, .bridge = request->bridge}};
    const struct op rules = {
        .kind = OP_NIC_SET, .network = request->network, .nic = {.ifname = tap, .network = request->network}};
    struct wired_nic nic = nic_request_wired(request);
    const char *tag = owner_nic_tag(arena, &nic);
    if (request->guest)
        freebsd_epair_commands(arena, tap, bridge, tag, &request->mac, &commands);
    else
        freebsd_nic_commands(arena, tap, bridge, tag, &commands);
    int made = lock_commands(arena, request, tap, &commands, err);
    if (made < 0)
        return made;
    vec_foreach (&commands.list, command) {
        struct freebsd_answer answer;
        int rc = freebsd_run(arena, command, &answer, err);
        if (rc == 0 && answer.status != 0)
            rc = freebsd_failure(arena, strstr(command->argv[0], "ifconfig") ? &op : &rules, command,
                                 answer.status, answer.output, answer.errors, 0, err);
        if (rc < 0)
            return err_wrap(err, "wiring '%s' to '%s'", tap, request->bridge);
    }
    return 0;
}

/* `kind` is "tap" or "epair". */
static int tap_create(struct arena *arena, const char *kind, const char **tap, struct err *err)
{
    struct freebsd_answer answer;
    bool epair = strcmp(kind, "epair") == 0;
    struct freebsd_command create = FREEBSD_COMMAND(arena, "ifconfig", kind, "create");
    int rc = freebsd_run(arena, &create, &answer, err);
    if (rc < 0)
        return rc;
    *tap = answer.status != 0 ? NULL
           : epair            ? freebsd_epair_created(arena, answer.output)
                              : freebsd_created(arena, answer.output, kind);
    if (*tap)
        return 0;
    if (strstr(answer.errors, "Operation not permitted"))
        return err_set(err, EPERM, "making %s %s is not permitted: run as root", epair ? "an" : "a", kind);
    if (strstr(answer.errors, "SIOCIFCREATE2: Invalid argument"))
        return err_set(err, ENODEV, "this kernel makes no %ss: load the module (kldload if_%s%s)", kind, kind,
                       epair ? "" : "; if_tuntap from FreeBSD 13 on");
    return err_set(err, EIO, "making %s %s: %.*s", epair ? "an" : "a", kind,
                   (int)strcspn(answer.errors, "\n"), answer.errors);
}

int freebsd_nic_open(struct host *base, const struct nic_request *request, struct nic_open *nic,
                     struct err *err)
{
    struct freebsd_host *host = (struct freebsd_host *)base;
    _cleanup_arena_ struct arena arena = {0};
    struct link bridge;
    const char *tap = NULL;
    *nic = (struct nic_open){.queues = request->queues, .lock_fd = -1};
    memset(nic->fds, -1, sizeof(nic->fds));
    memset(nic->vhost_fds, -1, sizeof(nic->vhost_fds));
    if (request->queues > 1)
        return err_set(err, ENOTSUP, "%u queues are asked for, and a tap of FreeBSD has one",
                       request->queues);
    int rc = freebsd_nics_settle(base, err);
    if (rc == 0)
        rc = base->backend->bridge_get(base, &arena, request->network, &bridge, err);
    if (rc == 0)
        rc = duplicate_check(&arena, request, err);
    if (rc == 0)
        rc = tap_create(&arena, request->guest ? "epair" : "tap", &tap, err);
    if (rc < 0)
        return rc;
    rc = nic->lock_fd = lock_open(&arena, tap, O_CREAT, err);
    if (rc >= 0)
        rc = tap_wire(&arena, request, tap, &bridge, err);
    if (rc >= 0)
        rc = freebsd_rates_open(&arena, request, tap, err);
    if (rc < 0) {
        fd_close(&nic->lock_fd);
        tap_destroy(tap, NULL);
        return rc;
    }
    *vec_push(&host->arena, &host->made.list) = arena_strdup(&host->arena, tap);
    nic->mtu = bridge.mtu;
    memcpy(nic->tap, tap, strlen(tap) + 1);
    return 0;
}
