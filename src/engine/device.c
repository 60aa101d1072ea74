/* device.c: machines' PCI devices: device.h.
 *
 * Taking is a transaction with a journal like any change.  Giving back needs no journal: the record is one,
 * each of its operations may be done twice, and the record goes last. */
#include "engine/device.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "engine/guard.h"
#include "engine/launch.h"
#include "engine/machine_dir.h"
#include "plan/device.h"

enum {
    DEVICE_LOCK_WAIT_MS = 30000,
    OBSERVE = HOST_OBSERVE_LINKS | HOST_OBSERVE_ADDRESSES | HOST_OBSERVE_ROUTES | HOST_OBSERVE_NEIGHBOURS |
              HOST_OBSERVE_FILES | HOST_OBSERVE_DEVICES,
};

bool devices_wanted(const struct model *model, const struct machine *machine)
{
    vec_foreach (&machine->nics, nic) {
        const struct network *network = network_find(model, nic->network);
        if (network && network->mode == NETWORK_PASSTHROUGH)
            return true;
    }
    return false;
}

/* The host, with what the machine's devices would lose. */
static int observe_taking(struct engine *engine, const struct model *model, const struct machine *machine,
                          struct err *err)
{
    struct device_records records;
    int rc = engine_observe(engine, OBSERVE, err);
    if (rc == 0)
        rc = device_records_read(engine->arena, &engine->observed, &records, err);
    if (rc < 0)
        return rc;
    vec_foreach (&machine->nics, nic) {
        const struct network *network = network_find(model, nic->network);
        if (network && network->mode == NETWORK_PASSTHROUGH)
            device_want(&engine->observed, &records, &network->device);
    }
    return engine->host->backend->observe(engine->host, engine->arena, HOST_OBSERVE_DEVICE_SYSCTLS,
                                          &engine->observed, err);
}

static int take_plan(struct engine *engine, const struct model *model, const struct machine *machine,
                     struct plan *plan, const char *const **addresses, struct err *err)
{
    struct problems problems = {.arena = engine->arena};
    int rc = observe_taking(engine, model, machine, err);
    if (rc == 0)
        rc = plan_devices_take(engine->arena, model, machine, &engine->observed, &problems, plan, addresses,
                               err);
    if (rc < 0 || problem_count(&problems) == 0)
        return rc;
    bool first = true;
    vec_foreach (&problems.list, problem) {
        if (problem->warning)
            continue;
        if (first)
            rc = err_set(err, EINVAL, "machine '%s': %s", machine->name, problem->text);
        else
            err_append(err, "machine '%s': %s", machine->name, problem->text);
        first = false;
    }
    return rc;
}

int devices_look(struct host *host, struct arena *arena, const struct model *model,
                 const struct machine *machine, const char *const **addresses, struct err *err)
{
    struct engine engine;
    struct plan plan;
    engine_init(&engine, arena, host, NULL);
    return take_plan(&engine, model, machine, &plan, addresses, err);
}

/* Each operation once more or for the first time; the record goes only when its device is back. */
static int give_back(struct engine *engine, const char *machine, struct err *err)
{
    struct plan plan;
    int rc = plan_devices_return(engine->arena, machine, &engine->observed, &plan, err), worst = 0;
    if (rc < 0)
        return rc;
    bool lost = false;
    vec_foreach (&plan.steps, step) {
        struct err failure = {0};
        if (step->op.kind == OP_FILE_WRITE || step->op.kind == OP_DEVICE_UNBIND ||
            step->op.kind == OP_FUNCTION_SET || step->op.kind == OP_FUNCTIONS_SET)
            lost = false; /* the next device's operations begin */
        if (lost)
            continue;
        rc = engine->host->backend->apply(engine->host, &step->op, HOST_APPLY_TOLERANT, &failure);
        if (rc == 0)
            continue;
        lost = step->op.kind == OP_DEVICE_UNBIND;
        if (worst == 0)
            err_set(err, rc, "%s: %s", op_describe(engine->arena, &step->op), failure.text);
        else
            err_append(err, "%s: %s", op_describe(engine->arena, &step->op), failure.text);
        worst = rc;
    }
    return worst;
}

static int locked(struct engine *engine, struct err *err)
{
    return engine_lock(engine, DEVICE_LOCK_WAIT_MS, err);
}

int devices_take(struct host *host, struct arena *arena, const struct model *model,
                 const struct machine *machine, const char *const **addresses, struct err *err)
{
    struct plan plan;
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, arena, host, NULL);
    int rc = locked(&engine, err);
    if (rc == 0)
        rc = engine_observe(&engine, OBSERVE, err);
    /* What its last run left: the machine's lock is ours, so settling took it for running. */
    if (rc == 0)
        rc = give_back(&engine, machine->name, err);
    if (rc == 0)
        rc = take_plan(&engine, model, machine, &plan, addresses, err);
    struct guard_request guard = {.guard_ms = model_guard_ms(model)};
    return rc == 0 ? engine_change(&engine, &plan, &guard, NULL, err) : rc;
}

int devices_return(struct host *host, struct arena *arena, const char *machine, struct err *err)
{
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, arena, host, NULL);
    int rc = locked(&engine, err);
    if (rc == 0)
        rc = engine_observe(&engine, OBSERVE, err);
    return rc == 0 ? give_back(&engine, machine, err) : rc;
}

/* Machines that records name and that run no more. */
struct stale {
    VEC(const char *) machines;
};

static void stale_find(struct engine *engine, struct stale *stale)
{
    struct device_records records;
    *stale = (struct stale){0};
    if (access(arena_printf(engine->arena, "%s/device", engine->host->backend->run_dir), F_OK) < 0 ||
        engine_observe(engine, HOST_OBSERVE_FILES, NULL) < 0 ||
        device_records_read(engine->arena, &engine->observed, &records, NULL) < 0)
        return;
    vec_foreach (&records.list, record) {
        _cleanup_machine_dir_ struct machine_dir dir = {.lock_fd = -1};
        bool running = true, known = false;
        vec_foreach (&stale->machines, machine)
            known |= strcmp(*machine, record->machine) == 0;
        if (!*record->machine || known ||
            machine_dir_init(&dir, engine->arena, engine->host, record->machine, NULL) < 0 ||
            machine_dir_running(&dir, false, &running, NULL) < 0 || running)
            continue;
        *vec_push(engine->arena, &stale->machines) = record->machine;
    }
}

bool devices_stale(struct engine *engine)
{
    struct stale stale;
    stale_find(engine, &stale);
    return stale.machines.count > 0;
}

void devices_settle(struct engine *engine)
{
    struct stale stale;
    stale_find(engine, &stale);
    if (!stale.machines.count || engine_observe(engine, OBSERVE, NULL) < 0)
        return;
    vec_foreach (&stale.machines, machine) {
        struct err err = {0};
        _cleanup_machine_dir_ struct machine_dir dir = {.lock_fd = -1};
        /* vmm keeps a device as long as it has the machine. */
        if (engine->host->backend->bhyve &&
            machine_dir_init(&dir, engine->arena, engine->host, *machine, NULL) == 0)
            bhyve_machine_clean(engine->host, &dir);
        if (give_back(engine, *machine, &err) < 0)
            engine_note(engine, "machine '%s' has ended, and its device did not come back: %s", *machine,
                        err.text);
        else
            engine_note(engine, "machine '%s' had ended without giving its device back: it is back now",
                        *machine);
    }
}
