/* engine.c: locking, observing, planning and applying: engine.h. */
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/spawn.h"
#include "engine/confirm.h"
#include "engine/address.h"
#include "engine/device.h"
#include "engine/forward.h"
#include "engine/hotplug.h"
#include "engine/journal.h"
#include "engine/machine_dir.h"
#include "host/profile.h"
#include "plan/device.h"
#include "service/service.h"

void engine_init(struct engine *engine, struct arena *arena, struct host *host,
                 const struct engine_listener *listener)
{
    *engine =
        (struct engine){.arena = arena, .host = host, .listener = listener, .lock_fd = -1, .confirm_ms = -1};
}

void engine_note(struct engine *engine, const char *format, ...)
{
    if (!engine->listener || !engine->listener->note)
        return;
    va_list args;
    va_start(args, format);
    engine->listener->note(engine->listener->context, arena_vprintf(engine->arena, format, args));
    va_end(args);
}

/* --- the lock
 * ------------------------------------------------------------------------------------------------------- */

/* Directories that are empty go, so that a host with nothing up has no trace of vmwire.  rmdir(2) refuses the
 * others.  The lock is on the directory itself; whoever waits for it sees below that it was removed, and
 * makes a new one. */
static void remove_empty(const char *run_dir)
{
    _cleanup_arena_ struct arena scratch = {0};
    rmdir(arena_printf(&scratch, "%s/network", run_dir));
    rmdir(arena_printf(&scratch, "%s/machine", run_dir));
    rmdir(arena_printf(&scratch, "%s/device", run_dir));
    rmdir(arena_printf(&scratch, "%s/leases", run_dir));
    rmdir(run_dir);
}

void engine_close(struct engine *engine)
{
    if (engine->lock_fd < 0)
        return;
    machine_dirs_clean(engine->host);
    remove_empty(engine->host->backend->run_dir);
    fd_close(&engine->lock_fd);
}

/* Is the directory that we hold still the one at its path? */
static bool still_there(int fd, const char *path)
{
    struct stat held, named;
    return fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_dev == named.st_dev &&
           held.st_ino == named.st_ino;
}

static int run_dir_open(const char *path, struct err *err)
{
    int rc = directory_make(path, 0700, err);
    if (rc == -EACCES || rc == -EPERM || rc == -EROFS)
        return err_set(err, -EPERM, "changing this host's network needs root (making '%s': %s)", path,
                       strerror(-rc));
    if (rc < 0)
        return rc;
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) < 0) {
        int code = errno;
        if (code == EACCES || code == EPERM)
            return err_set(err, EPERM, "changing this host's network needs root (opening '%s': %s)", path,
                           strerror(code));
        return err_errno(err, code, "opening '%s'", path);
    }
    if (info.st_uid != geteuid() || (info.st_mode & 022))
        return err_set(err, EPERM,
                       "'%s' belongs to somebody else or can be written to by others; remove it first", path);
    if ((info.st_mode & 07777) != 0700 && fchmod(fd, 0700) < 0)
        return err_errno(err, errno, "keeping others out of '%s'", path);
    return fd_steal(&fd);
}

/* One try: the locked descriptor, -EWOULDBLOCK when somebody has it, -ESTALE when the directory went
 * meanwhile. */
static int lock_try(const char *path, struct err *err)
{
    int rc = run_dir_open(path, err);
    if (rc < 0)
        return rc;
    _cleanup_fd_ int fd = rc;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EWOULDBLOCK : err_errno(err, errno, "locking '%s'", path);
    if (!still_there(fd, path))
        return -ESTALE;
    return fd_steal(&fd);
}

enum { ASK_EVERY_MS = 100, READER_WAIT_MS = 900 };

static int lock_wait(const char *path, int wait_ms, struct err *err)
{
    for (int waited_ms = 0;;) {
        int rc = lock_try(path, err);
        if (rc >= 0)
            return rc;
        if (rc == -ESTALE || (rc == -ENOENT && waited_ms < wait_ms))
            continue;
        if (rc != -EWOULDBLOCK)
            return rc;
        int left_ms;
        if (waited_ms % ASK_EVERY_MS == 0 && confirm_pending(path, &left_ms))
            return err_set(
                err, EBUSY,
                "an earlier change waits to be confirmed, and is undone in %d s: 'vmwire confirm' keeps "
                "it, 'vmwire confirm --undo' undoes it now",
                left_ms / 1000);
        if (waited_ms >= wait_ms)
            return err_set(err, EBUSY,
                           "another vmwire is changing this host's network (it holds the lock on '%s')",
                           path);
        nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
        waited_ms += 5;
    }
}

/* Best effort: nothing was ever made where the directory is not, and whoever may not lock it reads all the
 * same. */
int engine_read_lock(struct host *host)
{
    const char *path = host->backend->run_dir;
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    for (int waited_ms = 0; fd >= 0 && waited_ms < READER_WAIT_MS; waited_ms += 5) {
        int left_ms;
        if (flock(fd, LOCK_SH | LOCK_NB) == 0)
            return fd_steal(&fd);
        if (waited_ms == 0 && confirm_pending(path, &left_ms))
            return -1; /* what waits to be confirmed is whole */
        nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
    }
    return -1;
}

static int roll_back(struct engine *engine, struct err *err)
{
    size_t undone = 0;
    const char *run_dir = engine->host->backend->run_dir;
    int rc = journal_roll_back(engine->host, engine->arena, run_dir, &undone, err);
    if (rc < 0)
        return err_wrap(err, "rolling back an interrupted change");
    unlink(confirm_path(engine->arena, run_dir));
    if (undone)
        engine_note(engine, "an earlier vmwire was interrupted: its %zu operation%s %s been undone", undone,
                    undone == 1 ? "" : "s", undone == 1 ? "has" : "have");
    return 0;
}

int engine_lock(struct engine *engine, int wait_ms, struct err *err)
{
    int rc = lock_wait(engine->host->backend->run_dir, wait_ms, err);
    if (rc < 0)
        return rc;
    engine->lock_fd = rc;
    rc = roll_back(engine, err);
    if (rc == 0) {
        devices_settle(engine);
        hotplug_settle(engine);
    }
    if (rc == 0 && engine->host->backend->nics_settle)
        rc = engine->host->backend->nics_settle(engine->host, err);
    return rc;
}

int engine_settle(struct engine *engine, struct err *err)
{
    const char *run_dir = engine->host->backend->run_dir;
    if (access(arena_printf(engine->arena, "%s/journal", run_dir), F_OK) < 0 && !devices_stale(engine) &&
        !hotplug_stale(engine))
        return 0;
    if (confirm_pending(run_dir, &engine->confirm_ms)) {
        engine_note(engine,
                    "a change waits to be confirmed, and is undone in %d s: 'vmwire confirm' keeps it",
                    engine->confirm_ms / 1000);
        engine->busy = true;
        return 0;
    }
    engine->confirm_ms = -1;
    int rc = lock_wait(run_dir, READER_WAIT_MS, err);
    if (rc == -EBUSY)
        engine_note(engine, "another vmwire is changing this host's network at this moment");
    engine->busy = rc == -EBUSY;
    if (rc == -EBUSY || rc == -EPERM)
        return 0; /* or the caller may not make a change: what is read is what is */
    if (rc < 0)
        return rc;
    engine->lock_fd = rc;
    rc = roll_back(engine, err);
    if (rc == 0) {
        devices_settle(engine);
        hotplug_settle(engine);
    }
    engine_close(engine);
    return rc;
}

/* --- observing and planning
 * ----------------------------------------------------------------------------------------- */

/* A bridge, or a VLAN, that another vmwire has made and is about to tag: nobody else leaves one so. */
static void hide_half_made(struct observed *observed)
{
    size_t kept = 0;
    vec_foreach (&observed->links, link) {
        bool ours = strcmp(link->kind, "bridge") == 0 || strcmp(link->kind, "vlan") == 0;
        if (!ours || *link->alias || link->up)
            observed->links.items[kept++] = *link;
    }
    observed->links.count = kept;
}

int engine_observe(struct engine *engine, unsigned what, struct err *err)
{
    /* Who does not change anything itself sees no half of a change. */
    bool reader = engine->lock_fd < 0 && !engine->busy;
    _cleanup_fd_ int lock = reader ? engine_read_lock(engine->host) : -1;
    engine->observed = (struct observed){.run_dir = engine->host->backend->run_dir};
    int rc = engine->host->backend->observe(engine->host, engine->arena, what, &engine->observed, err);
    if (engine->lock_fd < 0 && lock < 0 &&
        access(journal_path(engine->arena, engine->host->backend->run_dir), F_OK) == 0)
        hide_half_made(&engine->observed);
    if (rc == 0)
        observed_index(engine->arena, &engine->observed);
    return rc;
}

static void add_services(struct engine *engine, const struct network *network,
                         const struct service_options *common, struct plan_request *request)
{
    struct service_options options = *common;
    options.mtu = plan_network_mtu(common->model, network, &engine->observed);
    struct network_services *services = vec_push(engine->arena, &request->services);
    services->network = network->name;
    if (network_has_subnet(network)) {
        struct dnsmasq dnsmasq;
        if (!dnsmasq_service(engine->arena, network, &options, &dnsmasq))
            return;
        *vec_push(engine->arena, &services->services) = dnsmasq.service;
        *vec_push(engine->arena, &services->files) = dnsmasq.config;
        *vec_push(engine->arena, &services->tables) = dnsmasq.hosts;
        if (dnsmasq.dhcp_hosts.path)
            *vec_push(engine->arena, &services->tables) = dnsmasq.dhcp_hosts;
        if (dnsmasq.leases.path)
            *vec_push(engine->arena, &services->state) = dnsmasq.leases;
    } else if (network->mode == NETWORK_BRIDGED && network->address == ADDRESS_DHCP) {
        dhcp_client_service(engine->arena, network, &options, vec_push(engine->arena, &services->services));
    }
}

/* Devices are looked at only where something is, or should be, passed through. */
static int observe_devices(struct engine *engine, const struct model *model, struct err *err)
{
    const struct host_backend *backend = engine->host->backend;
    struct device_records records;
    int rc = device_records_read(engine->arena, &engine->observed, &records, err);
    bool needed = rc == 0 && records.list.count, taken = false;
    for (size_t i = 0; model && i < model->networks.count; i++)
        needed |= model->networks.items[i].mode == NETWORK_PASSTHROUGH;
    if (rc == 0 && needed)
        rc = backend->observe(engine->host, engine->arena, HOST_OBSERVE_DEVICES, &engine->observed, err);
    for (size_t i = 0; rc == 0 && model && i < model->networks.count; i++) {
        const struct network *network = &model->networks.items[i];
        if (network->mode == NETWORK_PASSTHROUGH && network->bind_up) {
            device_want(&engine->observed, &records, &network->device);
            taken = true;
        }
    }
    return taken && rc == 0 ? backend->observe(engine->host, engine->arena, HOST_OBSERVE_DEVICE_SYSCTLS,
                                               &engine->observed, err)
                            : rc;
}

/* Can this kernel share a MAC?  Asked only where a network is to do it and none does. */
static int observe_sharing(struct engine *engine, const struct model *model, struct err *err)
{
    bool needed = false;
    vec_foreach (&model->networks, network)
        needed |= network->mac_shared && !engine->observed.shared_base;
    return needed ? engine->host->backend->observe(engine->host, engine->arena, HOST_OBSERVE_SHARING,
                                                   &engine->observed, err)
                  : 0;
}

/* Likewise limit rates, where some network is to be shaped that is not. */
static int observe_rating(struct engine *engine, const struct model *model, struct err *err)
{
    bool needed = false;
    vec_foreach (&model->networks, network) {
        size_t wanted = plan_shapers_wanted(network), there = 0;
        vec_foreach (&engine->observed.shapers, shaper)
            there += shaper->whole && strcmp(shaper->network, network->name) == 0;
        needed |= there < wanted;
    }
    return needed ? engine->host->backend->observe(engine->host, engine->arena, HOST_OBSERVE_RATING,
                                                   &engine->observed, err)
                  : 0;
}

/* The same of VLANs. */
static int observe_tagging(struct engine *engine, const struct model *model, struct err *err)
{
    bool needed = false;
    vec_foreach (&model->networks, network) {
        needed |= network->vlan;
        vec_foreach (&network->nics, member)
            needed |= member->nic->vlan;
    }
    return needed ? engine->host->backend->observe(engine->host, engine->arena, HOST_OBSERVE_TAGGING,
                                                   &engine->observed, err)
                  : 0;
}

static bool any_bridge(struct engine *engine)
{
    vec_foreach (&engine->observed.links, link) {
        if (strcmp(link->kind, "bridge") == 0 && owner_network(engine->arena, link->alias))
            return true;
    }
    return false;
}

/* Likewise of locks. */
static int observe_locking(struct engine *engine, const struct model *model, struct err *err)
{
    bool needed = false;
    vec_foreach (&model->networks, network) {
        for (int kind = 0; kind < LOCK_KIND_COUNT; kind++)
            needed |= network->lock[kind] && !engine->observed.locks.count;
    }
    /* The kernel takes 10 ms to try and forget.  Where nothing is up, locks come before anything else
     * (rules_stage): that they cannot be had is then learned while nothing is changed. */
    engine->unasked = needed && engine->attempts && !any_bridge(engine);
    return needed && !engine->unasked
               ? engine->host->backend->observe(engine->host, engine->arena, HOST_OBSERVE_LOCKING,
                                                &engine->observed, err)
               : 0;
}

bool engine_lacks(struct engine *engine)
{
    struct err ignored;
    if (!engine->unasked)
        return false;
    engine->attempts = engine->unasked = false;
    return engine->host->backend->observe(engine->host, engine->arena, HOST_OBSERVE_LOCKING,
                                          &engine->observed, &ignored) == 0 &&
           engine->observed.lock_refusal;
}

/* What guests lease now, for rules that have to be made anew. */
static void add_leases(struct engine *engine, struct plan_request *request)
{
    int64_t now = (int64_t)time(NULL);
    vec_foreach (&request->model->networks, network) {
        struct leases leases = {0};
        const struct file *file =
            file_find(&engine->observed, leases_path(engine->arena, engine->observed.run_dir, network->name));
        if (file)
            dnsmasq_leases_parse(engine->arena, file->content, &leases);
        vec_foreach (&leases.list, lease) {
            if (!lease->expires || lease->expires > now)
                *vec_push(engine->arena, &request->leases) =
                    (struct lock_lease){.mac = lease->mac, .ip = lease->ip};
        }
    }
}

static int make_plan(struct engine *engine, struct plan_request *request, struct problems *problems,
                     struct plan *plan, struct err *err)
{
    request->observed = &engine->observed;
    int rc = observe_devices(engine, request->model, err);
    if (rc == 0 && request->model)
        rc = observe_sharing(engine, request->model, err);
    if (rc == 0 && request->model)
        rc = observe_rating(engine, request->model, err);
    if (rc == 0 && request->model)
        rc = observe_tagging(engine, request->model, err);
    if (rc == 0 && request->model)
        rc = observe_locking(engine, request->model, err);
    if (rc == 0 && request->model)
        add_leases(engine, request);
    if (rc == 0)
        rc = plan_make(engine->arena, request, problems, plan, err);
    if (rc < 0)
        return rc;
    vec_foreach (&plan->notes, text)
        engine_note(engine, "%s", *text);
    return 0;
}

int engine_plan_foreign(struct engine *engine, const struct host_profile *profile, const struct model *model,
                        const char *const *names, struct problems *problems, struct plan *plan,
                        struct err *err)
{
    struct plan_request request = {.model = model, .names = names, .observed = &engine->observed};
    struct service_options options = {.model = model,
                                      .run_dir = profile->run_dir,
                                      .user = profile->service_user,
                                      .group = profile->service_group,
                                      .program = profile->program,
                                      .loopback = profile->loopback,
                                      .dhclient = profile->dhclient};
    host_profile_fresh(profile, engine->arena, model, &engine->observed);
    vec_foreach (&model->networks, network)
        add_services(engine, network, &options, &request);
    int rc = plan_make(engine->arena, &request, problems, plan, err);
    for (size_t i = 0; rc == 0 && i < plan->notes.count; i++)
        engine_note(engine, "%s", plan->notes.items[i]);
    return rc;
}

int engine_plan_up(struct engine *engine, struct model *model, const char *const *names,
                   struct problems *problems, struct plan *plan, struct err *err)
{
    const struct host_profile *profile = host_profile_find(engine->host->backend->name);
    struct plan_request request = {.model = model, .names = names};
    struct service_options options = {.model = model,
                                      .run_dir = engine->host->backend->run_dir,
                                      .user = engine->host->backend->service_user(engine->host),
                                      .group =
                                          engine->host->backend->service_group(engine->host, engine->arena),
                                      .program = engine->host->backend->program(engine->host, engine->arena),
                                      .loopback = profile ? profile->loopback : NULL,
                                      .dhclient = profile && profile->dhclient};
    addresses_settle(engine, model);
    vec_foreach (&model->networks, network)
        add_services(engine, network, &options, &request);
    int rc = forwards_check_listeners(engine, model, names, problems, err);
    return rc < 0 ? rc : make_plan(engine, &request, problems, plan, err);
}

int engine_plan_down(struct engine *engine, const char *const *names, struct problems *problems,
                     struct plan *plan, struct err *err)
{
    struct plan_request request = {.names = names};
    return make_plan(engine, &request, problems, plan, err);
}

/* --- applying
 * ------------------------------------------------------------------------------------------------------- */

/* Debian's dnsmasq package would start one for the whole host. */
static const char *package_of(const struct host_profile *profile, const char *program)
{
    bool debian = profile && strcmp(profile->name, "linux") == 0;
    return debian && strcmp(program, "dnsmasq") == 0 ? "dnsmasq-base" : program;
}

int engine_check_programs(struct engine *engine, const struct plan *plan, struct err *err)
{
    vec_foreach (&plan->steps, step) {
        if (step->op.kind != OP_SERVICE_START || program_find(engine->arena, step->op.service.argv[0]))
            continue;
        const struct host_profile *profile = host_profile_find(engine->host->backend->name);
        const char *program = step->op.service.argv[0];
        return err_set(err, ENOENT, "network '%s' needs the program '%s', which is not installed (%s %s)",
                       step->op.network, program, profile ? profile->install : "package",
                       package_of(profile, program));
    }
    return 0;
}
