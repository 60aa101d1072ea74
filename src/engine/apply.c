/* apply.c: a plan as one transaction: engine.h, apply.h. */
#include "engine/apply.h"

#include <errno.h>

/* "network 'brnat': starting dnsmasq for 'brnat': …" */
static int wrap_failure(struct engine *engine, const struct op *op, struct err *err)
{
    err_wrap(err, "%s", op_describe(engine->arena, op));
    return op->network && *op->network ? err_wrap(err, "network '%s'", op->network) : err->code;
}

int apply_steps(struct engine *engine, const struct plan *plan, struct journal *journal,
                bool (*stopped)(void *context), void *context, struct err *err)
{
    const struct op **ops = arena_alloc(engine->arena, plan->steps.count * sizeof(*ops));
    for (size_t i = 0; i < plan->steps.count; i++)
        ops[i] = &plan->steps.items[i].op;
    for (size_t i = 0, batch; i < plan->steps.count; i += batch) {
        size_t failed = 0;
        batch = host_batch(ops + i, plan->steps.count - i);
        if (stopped && stopped(context))
            return err_set(err, ECANCELED, "the command that made this change has ended");
        int rc = 0;
        for (size_t k = i; k < i + batch && rc == 0; k++) {
            if (engine->listener && engine->listener->step)
                engine->listener->step(engine->listener->context, ops[k], k, plan->steps.count);
            rc = journal_add(journal, engine->arena, &plan->steps.items[k].undo, err);
        }
        if (rc == 0)
            rc = host_apply(engine->host, ops + i, batch, 0, &failed, err);
        if (rc < 0)
            return wrap_failure(engine, ops[i + failed], err);
    }
    return 0;
}

int apply_roll_back(struct engine *engine, struct err *err)
{
    size_t undone = 0;
    struct err failure = {0};
    const char *run_dir = engine->host->backend->run_dir;
    int rc = journal_roll_back(engine->host, engine->arena, run_dir, &undone, &failure);
    if (rc < 0) {
        err_append(err, "and rolling back did not succeed: %s", failure.text);
        err_append(err, "the journal '%s' is kept: the next vmwire command tries again",
                   journal_path(engine->arena, run_dir));
    } else {
        err_append(err, "nothing is changed: what had been done was rolled back");
    }
    return err->code;
}

int engine_apply(struct engine *engine, const struct plan *plan, struct err *err)
{
    if (plan->steps.count == 0)
        return 0;
    struct journal journal = {.fd = -1};
    int rc = journal_open(&journal, engine->arena, engine->host->backend->run_dir, err);
    if (rc < 0)
        return rc;
    rc = apply_steps(engine, plan, &journal, NULL, NULL, err);
    if (rc < 0) {
        journal_close(&journal);
        return apply_roll_back(engine, err);
    }
    rc = journal_commit(&journal, err);
    journal_close(&journal);
    return rc;
}
