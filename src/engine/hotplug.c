/* hotplug.c: nics that come and go while a machine runs: hotplug.h. */
#include "engine/hotplug.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "engine/launch.h"
#include "hyper/hotplug.h"

enum {
    LOCK_MS = 15000,
    OPEN_MS = 3000,
    SETTLE_MS = 1000, /* where the hypervisor does not answer, others do not wait for it long */
    LOOK_EVERY_MS = 50,
};

/* --- what is pending */

enum pending_kind { PENDING_ATTACH, PENDING_DETACH, PENDING_REPLUG, PENDING_KIND_COUNT };
static const char *const pending_names[PENDING_KIND_COUNT] = {"attach", "detach", "replug"};

struct pending {
    enum pending_kind kind;
    unsigned index;
};

struct pendings {
    VEC(struct pending) list;
};

static void pending_read(struct arena *arena, const struct machine_dir *dir, struct pendings *pendings)
{
    DIR *files = opendir(dir->path);
    *pendings = (struct pendings){0};
    for (struct dirent *entry; files && (entry = readdir(files));) {
        for (int kind = 0; kind < PENDING_KIND_COUNT; kind++) {
            size_t length = strlen(pending_names[kind]);
            unsigned index;
            if (strncmp(entry->d_name, pending_names[kind], length) == 0 &&
                sscanf(entry->d_name + length, "-%3u", &index) == 1)
                *vec_push(arena, &pendings->list) =
                    (struct pending){.kind = (enum pending_kind)kind, .index = index};
        }
    }
    if (files)
        closedir(files);
}

static const char *pending_path(struct arena *arena, const struct machine_dir *dir,
                                const struct pending *pending)
{
    return arena_printf(arena, "%s/%s-%u", dir->path, pending_names[pending->kind], pending->index);
}

static int pending_add(struct arena *arena, const struct machine_dir *dir, const struct pending *pending,
                       struct err *err)
{
    const char *path = pending_path(arena, dir, pending);
    _cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? err_errno(err, errno, "making '%s'", path) : 0;
}

static void pending_remove(struct arena *arena, const struct machine_dir *dir, const struct pending *pending)
{
    unlink(pending_path(arena, dir, pending));
}

/* One that was broken off.  True when it is over. */
static bool pending_end(struct engine *engine, const struct machine_dir *dir, struct qmp *qmp,
                        const struct pending *pending)
{
    unsigned index = pending->index;
    if (pending->kind == PENDING_REPLUG) {
        int rc = hotplug_link(qmp, index, true, NULL);
        return rc == 0 || rc == -ENODEV;
    }
    if (pending->kind == PENDING_ATTACH && hotplug_clean(qmp, index, NULL) < 0)
        return false;
    int has = hotplug_has(qmp, index, NULL);
    if (has < 0 || (pending->kind == PENDING_DETACH && (has || hotplug_cut(qmp, index, NULL) < 0)))
        return false;
    if (pending->kind == PENDING_DETACH)
        engine_note(engine, "machine '%s': its guest has let go of nic %u, which is gone now", dir->name,
                    index);
    else
        engine_note(engine, "machine '%s': an interrupted attach of nic %u %s", dir->name, index,
                    has ? "was complete" : "has been undone");
    return true;
}

/* The lock is held. */
static void pending_settle(struct engine *engine, const struct machine_dir *dir)
{
    struct pendings pendings;
    _cleanup_qmp_ struct qmp qmp = {.fd = -1};
    pending_read(engine->arena, dir, &pendings);
    if (!pendings.list.count || qmp_open(&qmp, dir->qmp, SETTLE_MS, NULL) < 0)
        return;
    vec_foreach (&pendings.list, pending) {
        if (pending_end(engine, dir, &qmp, pending))
            pending_remove(engine->arena, dir, pending);
    }
}

/* --- the lock */

/* The locked descriptor; -EWOULDBLOCK when somebody has it. */
static int lock_try(const struct machine_dir *dir)
{
    _cleanup_fd_ int fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
        return -errno;
    return fd_steal(&fd);
}

static int lock_wait(const struct machine_dir *dir, struct err *err)
{
    for (int waited_ms = 0;; waited_ms += LOOK_EVERY_MS) {
        int rc = lock_try(dir);
        if (rc == -EWOULDBLOCK && waited_ms >= LOCK_MS)
            return err_set(err, EBUSY, "another attach or detach is under way");
        if (rc >= 0 || rc != -EWOULDBLOCK)
            return rc >= 0 ? rc : err_errno(err, rc, "locking '%s'", dir->path);
        poll(NULL, 0, LOOK_EVERY_MS);
    }
}

/* As far as it can: what is not seen now is by the next command, and nothing else depends on it. */
static void settle_each(struct engine *engine, bool look_only, bool *stale)
{
    DIR *machines = opendir(arena_printf(engine->arena, "%s/machine", engine->host->backend->run_dir));
    for (struct dirent *entry; machines && (entry = readdir(machines));) {
        _cleanup_machine_dir_ struct machine_dir dir = {.lock_fd = -1};
        struct pendings pendings;
        bool running = false;
        if (machine_dir_init(&dir, engine->arena, engine->host, entry->d_name, NULL) < 0)
            continue;
        pending_read(engine->arena, &dir, &pendings);
        if (!pendings.list.count || machine_dir_running(&dir, false, &running, NULL) < 0 || !running)
            continue;
        _cleanup_fd_ int lock = lock_try(&dir);
        *stale |= lock >= 0;
        if (lock >= 0 && !look_only)
            pending_settle(engine, &dir);
    }
    if (machines)
        closedir(machines);
}

bool hotplug_stale(struct engine *engine)
{
    bool stale = false;
    settle_each(engine, true, &stale);
    return stale;
}

void hotplug_settle(struct engine *engine)
{
    bool stale = false;
    settle_each(engine, false, &stale);
}

/* --- one change */

struct change {
    struct engine *engine;
    struct machine_dir dir;
    int lock;
    VEC(struct wired_nic) nics; /* that the machine has */
};

static void change_close(struct change *change)
{
    fd_close(&change->lock);
    machine_dir_close(&change->dir);
}
#define _cleanup_change_ __attribute__((cleanup(change_close)))

static int nics_find(struct change *change, struct err *err)
{
    struct engine *engine = change->engine;
    int rc = engine_observe(engine, HOST_OBSERVE_LINKS, err);
    if (rc < 0)
        return rc;
    vec_foreach (&engine->observed.links, link) {
        struct wired_nic nic;
        if (owner_nic(engine->arena, link, &nic) && strcmp(nic.machine, change->dir.name) == 0)
            *vec_push(engine->arena, &change->nics) = nic;
    }
    return 0;
}

/* The machine runs, the lock is held, what was pending has ended as far as it can. */
static int change_open(struct change *change, const char *machine, const char *instead, struct err *err)
{
    struct engine *engine = change->engine;
    bool running = false;
    if (engine->host->backend->bhyve)
        return err_set(err, ENOTSUP, "bhyve cannot change the nics of a running machine: %s", instead);
    int rc = machine_dir_init(&change->dir, engine->arena, engine->host, machine, err);
    if (rc == 0)
        rc = machine_dir_running(&change->dir, false, &running, err);
    if (rc == 0 && !running)
        rc = err_set(err, ESRCH, "it does not run; what the file says is so when it starts");
    if (rc == 0)
        rc = change->lock = lock_wait(&change->dir, err);
    if (rc < 0)
        return rc;
    pending_settle(engine, &change->dir);
    return nics_find(change, err);
}

/* `run` may just be becoming the hypervisor. */
static int control_open(const struct machine_dir *dir, struct qmp *qmp, struct err *err)
{
    for (int waited_ms = 0;; waited_ms += LOOK_EVERY_MS) {
        int rc = qmp_open(qmp, dir->qmp, OPEN_MS, err);
        if ((rc != -ENOENT && rc != -ECONNREFUSED) || waited_ms >= OPEN_MS)
            return rc;
        poll(NULL, 0, LOOK_EVERY_MS);
    }
}

static bool index_taken(const struct change *change, unsigned index)
{
    vec_foreach (&change->nics, nic) {
        if (nic->index == index)
            return true;
    }
    return false;
}

/* Which nic it becomes, and how it is: the file's, or one more. */
static struct nic nic_choose(const struct change *change, const struct model *model, struct attach *attach)
{
    const struct machine *entry = machine_find(model, attach->machine);
    unsigned index = 0, devices = 0;
    for (size_t i = 0; entry && i < entry->nics.count; i++) {
        const struct nic *nic = &entry->nics.items[i];
        const struct network *network = network_find(model, nic->network);
        if (network && network->mode == NETWORK_PASSTHROUGH) {
            devices++;
            continue;
        }
        attach->index = index++;
        attach->listed = strcmp(nic->network, attach->network) == 0 && !index_taken(change, attach->index);
        if (attach->listed)
            return *nic;
    }
    while (index_taken(change, index))
        index++;
    attach->index = index;
    return (struct nic){.network = attach->network,
                        .mac = nic_mac_derive(attach->mac_seed, attach->machine, index + devices)};
}

/* Frames tell nic_open of a MAC that is in use; a nic that has not sent any yet has its tag. */
static int mac_check(const struct change *change, const struct nic *nic, struct err *err)
{
    struct engine *engine = change->engine;
    vec_foreach (&engine->observed.links, link) {
        struct wired_nic other;
        if (owner_nic(engine->arena, link, &other) && strcmp(other.network, nic->network) == 0 &&
            mac_equal(&other.mac, &nic->mac))
            return err_set(err, EADDRINUSE, "MAC %s is already in use on '%s': '%s' of machine '%s' has it",
                           MAC_TEXT(&nic->mac), nic->network, link->name, other.machine);
    }
    return 0;
}

static int attach_open(struct engine *engine, const struct nic *nic, struct attach *attach, struct nics *nics,
                       struct err *err)
{
    /* vhost where a machine that starts would have it (nics_open). */
    static const char *const vhost[] = {"{vhostfds0}", NULL};
    bool virtio = nic->model == NIC_VIRTIO;
    *vec_push(engine->arena, &nics->specs) = nic_spec_make(engine->host, nic);
    nics->first = attach->index;
    int rc = nics_open(engine->arena, engine->host, nics, virtio && vhost_available() ? vhost : NULL, err);
    if (rc == 0)
        attach->tap = arena_strdup(engine->arena, nics->open.items[0].tap);
    return rc;
}

/* Descriptors to the hypervisor; what is interrupted here is pending. */
static int attach_pass(struct change *change, const struct nic *nic, const struct attach *attach,
                       const struct nic_open *open, struct err *err)
{
    struct arena *arena = change->engine->arena;
    const struct pending pending = {.kind = PENDING_ATTACH, .index = attach->index};
    struct hotplug_nic card = {.index = attach->index,
                               .model = nic->model,
                               .mac = nic->mac,
                               .queues = open->queues,
                               .mtu = open->mtu,
                               .fds = open->fds,
                               .vhost_fds = open->vhost_fds[0] >= 0 ? open->vhost_fds : NULL};
    _cleanup_qmp_ struct qmp qmp = {.fd = -1};
    int rc = control_open(&change->dir, &qmp, err);
    if (rc == 0)
        rc = pending_add(arena, &change->dir, &pending, err);
    if (rc < 0)
        return rc;
    rc = hotplug_add(&qmp, &card, err);
    if (rc != -ETIMEDOUT)
        pending_remove(arena, &change->dir, &pending);
    return rc;
}

int machine_attach(struct engine *engine, const struct model *model, struct attach *attach, struct err *err)
{
    _cleanup_change_ struct change change = {.engine = engine, .dir.lock_fd = -1, .lock = -1};
    _cleanup_nics_ struct nics nics = {.machine = attach->machine};
    int rc =
        change_open(&change, attach->machine, "write it into the file, and stop and start the machine", err);
    if (rc < 0)
        return err_wrap(err, "machine '%s'", attach->machine);
    struct nic nic = nic_choose(&change, model, attach);
    if (attach->model_given)
        nic.model = attach->model;
    if (attach->queues)
        nic.queues = attach->queues;
    if (mac_is_zero(&attach->mac))
        attach->mac = nic.mac;
    nic.mac = attach->mac;
    if (nic.model != NIC_VIRTIO && nic.queues > 1)
        rc = err_set(err, EINVAL, "an e1000 has one queue, not %u", nic.queues);
    if (rc == 0)
        rc = mac_check(&change, &nic, err);
    if (rc == 0)
        rc = attach_open(engine, &nic, attach, &nics, err);
    if (rc == 0)
        rc = attach_pass(&change, &nic, attach, &nics.open.items[0], err);
    if (rc == -EEXIST)
        err_append(err, "let go of that first: vmwire detach %s %u", attach->machine, attach->index);
    if (rc == -ENOSPC)
        err_append(err, "it was started with room for %d more than the file had then: stop it and start it",
                   HYPER_SPARE_NICS);
    return rc < 0 ? err_wrap(err, "machine '%s'", attach->machine) : 0;
}

static const char *nics_text(struct arena *arena, const struct change *change, const char *network)
{
    struct text text = {.arena = arena};
    vec_foreach (&change->nics, nic) {
        if (!network || strcmp(nic->network, network) == 0)
            text_add(&text, "%s%u (%s%s%s)", text.length ? ", " : "", nic->index, network ? "" : nic->network,
                     network ? "" : ", ", MAC_TEXT(&nic->mac));
    }
    return text.length ? text_get(&text) : "none";
}

/* A name of a network may look like a number: it goes first. */
static int detach_choose(struct change *change, struct detach *detach, struct err *err)
{
    struct arena *arena = change->engine->arena;
    const struct wired_nic *found = NULL;
    struct mac mac;
    size_t count = 0, digits = strspn(detach->which, "0123456789");
    bool is_mac = mac_parse(detach->which, &mac) == 0;
    vec_foreach (&change->nics, nic) {
        if (is_mac ? !mac_equal(&nic->mac, &mac) : strcmp(nic->network, detach->which) != 0)
            continue;
        found = nic;
        count++;
    }
    if (count > 1)
        return err_set(err, EINVAL, "it has %zu nics on '%s': %s; say which, by its index or its MAC", count,
                       detach->which, nics_text(arena, change, detach->which));
    if (count == 1) {
        detach->nic = *found;
        return 0;
    }
    if (!digits || digits > 3 || detach->which[digits])
        return err_set(err, ENOENT, "it has no nic '%s'; it has %s", detach->which,
                       nics_text(arena, change, NULL));
    /* Also one whose tap is gone, and which the hypervisor still has. */
    detach->nic = (struct wired_nic){.machine = detach->machine};
    for (const char *digit = detach->which; *digit; digit++)
        detach->nic.index = detach->nic.index * 10 + (unsigned)(*digit - '0');
    vec_foreach (&change->nics, nic) {
        if (nic->index == detach->nic.index)
            detach->nic = *nic;
    }
    return 0;
}

/* Has the guest still the card, after this time?  The control socket has one client at a time: it is not held
 * while this waits for the guest. */
static int card_await(const struct machine_dir *dir, unsigned index, int timeout_ms, struct err *err)
{
    for (int waited_ms = 0;; waited_ms += LOOK_EVERY_MS) {
        _cleanup_qmp_ struct qmp qmp = {.fd = -1};
        int rc = control_open(dir, &qmp, err);
        if (rc == 0)
            rc = hotplug_has(&qmp, index, err);
        if (rc <= 0 || waited_ms >= timeout_ms)
            return rc;
        qmp_close(&qmp);
        poll(NULL, 0, LOOK_EVERY_MS);
    }
}

static int card_ask(const struct machine_dir *dir, unsigned index, struct err *err)
{
    _cleanup_qmp_ struct qmp qmp = {.fd = -1};
    int rc = control_open(dir, &qmp, err);
    return rc < 0 ? rc : hotplug_ask(&qmp, index, err);
}

static int card_cut(const struct machine_dir *dir, unsigned index, struct err *err)
{
    _cleanup_qmp_ struct qmp qmp = {.fd = -1};
    int rc = control_open(dir, &qmp, err);
    return rc < 0 ? rc : hotplug_cut(&qmp, index, err);
}

static int detach_do(struct change *change, struct detach *detach, struct err *err)
{
    struct arena *arena = change->engine->arena;
    unsigned index = detach->nic.index;
    const struct pending pending = {.kind = PENDING_DETACH, .index = index};
    int rc = pending_add(arena, &change->dir, &pending, err);
    if (rc == 0)
        rc = card_ask(&change->dir, index, err);
    if (rc == -ENODEV && !detach->nic.tap)
        rc = err_set(err, ENOENT, "it has no nic %u; it has %s", index, nics_text(arena, change, NULL));
    else if (rc == -ENODEV)
        rc = 0; /* a netdev without a card: the guest let go of it before */
    else if (rc == 0)
        rc = card_await(&change->dir, index, detach->timeout_ms, err);
    if (rc > 0 && !detach->force)
        return err_set(
            err, ETIMEDOUT,
            "its guest has not let go of nic %u within %d s: it may be booting, or cannot do that; when it "
            "lets go later, the nic goes then\n"
            "vmwire detach --force cuts its wire all the same",
            index, detach->timeout_ms / 1000);
    detach->cut = rc > 0;
    if (rc >= 0)
        rc = card_cut(&change->dir, index, err);
    if (rc != -ETIMEDOUT)
        pending_remove(arena, &change->dir, &pending);
    return rc;
}

int machine_detach(struct engine *engine, struct detach *detach, struct err *err)
{
    _cleanup_change_ struct change change = {.engine = engine, .dir.lock_fd = -1, .lock = -1};
    int rc =
        change_open(&change, detach->machine, "take it out of the file, and stop and start the machine", err);
    if (rc == 0)
        rc = detach_choose(&change, detach, err);
    if (rc == 0)
        rc = detach_do(&change, detach, err);
    return rc < 0 ? err_wrap(err, "machine '%s'", detach->machine) : 0;
}

/* --- nics that moved to another network */

/* Out or in; the first is on record until the second is done. */
static void replug(struct engine *engine, const struct wired_nic *nic, bool up)
{
    _cleanup_machine_dir_ struct machine_dir dir = {.lock_fd = -1};
    _cleanup_qmp_ struct qmp qmp = {.fd = -1};
    const struct pending pending = {.kind = PENDING_REPLUG, .index = nic->index};
    bool running = false;
    if (machine_dir_init(&dir, engine->arena, engine->host, nic->machine, NULL) < 0 ||
        machine_dir_running(&dir, false, &running, NULL) < 0 || !running)
        return;
    _cleanup_fd_ int lock = lock_try(&dir);
    if (lock < 0 || qmp_open(&qmp, dir.qmp, SETTLE_MS, NULL) < 0)
        return;
    if (!up && pending_add(engine->arena, &dir, &pending, NULL) < 0)
        return;
    if (hotplug_link(&qmp, nic->index, up, NULL) != -ETIMEDOUT && up)
        pending_remove(engine->arena, &dir, &pending);
}

void hotplug_replug(struct engine *engine, const struct plan *plan)
{
    enum { UNPLUGGED_MS = 1000 }; /* a guest that is slow sees it too */
    VEC(struct wired_nic) nics = {0};
    if (engine->host->backend->bhyve)
        return;
    vec_foreach (&plan->steps, step) {
        const struct link *link = &step->op.link;
        struct wired_nic nic;
        if (step->op.kind == OP_LINK_SET && link->guest && (link->fields & LINK_ALIAS) &&
            owner_nic(engine->arena, link, &nic) && strcmp(nic.machine, "-") != 0)
            *vec_push(engine->arena, &nics) = nic;
    }
    vec_foreach (&nics, nic)
        replug(engine, nic, false);
    if (nics.count)
        poll(NULL, 0, UNPLUGGED_MS);
    vec_foreach (&nics, nic)
        replug(engine, nic, true);
}
