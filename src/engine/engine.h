/* engine.h: sequences: load, observe, plan, apply, journal, roll back.  Never prints: what happens is told to
 * a listener. */
#ifndef VMWIRE_ENGINE_ENGINE_H
#define VMWIRE_ENGINE_ENGINE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "host/host.h"
#include "host/profile.h"
#include "model/model.h"
#include "plan/plan.h"

/* Told what a change is doing.  Members may be NULL. */
struct engine_listener {
    void *context;
    /* Before operation `index` (from 0) of `count` is applied. */
    void (*step)(void *context, const struct op *op, size_t index, size_t count);
    /* Something worth saying: a rolled-back earlier change, an address kept. */
    void (*note)(void *context, const char *text);
    /* The same, where perhaps nobody is there any more to be told: for the system's log. */
    void (*log)(void *context, const char *text);
};

struct engine {
    struct arena *arena;
    struct host *host;
    const struct engine_listener *listener; /* may be NULL */
    struct observed observed;               /* filled by engine_observe */
    int lock_fd;                            /* -1 while not locked */
    bool busy; /* a change is under way and takes its time: what is seen may be half of it (engine_settle) */
    bool attempts;  /* the plan is applied at once: what the kernel lacks may show in that (engine_lacks) */
    bool unasked;   /* it was left to that */
    int confirm_ms; /* a change waits to be confirmed, for so long yet (engine_settle); -1: none */
};

/* Start with this, so that engine_close can be a cleanup. */
void engine_init(struct engine *engine, struct arena *arena, struct host *host,
                 const struct engine_listener *listener);
void engine_close(struct engine *engine);
#define _cleanup_engine_ __attribute__((cleanup(engine_close)))

/* Take the exclusive lock that every change is made under: flock(2) on the run directory, which is made
 * (0700) when it is not there.  Waits at most `wait_ms` for another vmwire.  Then rolls back what a killed
 * vmwire left in the journal, and says so through the listener.  Errors: -EBUSY, at once when the other waits
 * to be confirmed; -EPERM, what the roll-back met. */
int engine_lock(struct engine *engine, int wait_ms, struct err *err);

/* For commands that only read: roll back what a killed vmwire left, when there is something and nobody holds
 * the lock.  A change that is under way is waited for, at most a second; one that waits to be confirmed is
 * not. Either is said through the listener. */
int engine_settle(struct engine *engine, struct err *err);

/* Nothing is changed while the descriptor that this returns is open.  Waits for a change at most a second; -1
 * when that was not enough, and where the caller may not lock or nothing is up. */
int engine_read_lock(struct host *host);

/* Say something through the listener; printf. */
void engine_note(struct engine *engine, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Observe `what` (enum host_observe_flags) into engine->observed. */
int engine_observe(struct engine *engine, unsigned what, struct err *err);

/* After a change with `attempts` failed: was it for what this kernel lacks?  Then it is to be planned anew,
 * which says so, or does without. */
bool engine_lacks(struct engine *engine);

/* What `up` would do for `names` (NULL: all of the model's, and away with those that left it). engine_observe
 * has been called with HOST_OBSERVE_ALL. */
int engine_plan_up(struct engine *engine, struct model *model, const char *const *names,
                   struct problems *problems, struct plan *plan, struct err *err);
/* What `up` would do on a fresh host of another operating system (host_profile_fresh), which becomes
 * engine->observed.  This host is not asked. */
int engine_plan_foreign(struct engine *engine, const struct host_profile *profile, const struct model *model,
                        const char *const *names, struct problems *problems, struct plan *plan,
                        struct err *err);
/* What `down` would do; no file is needed. */
int engine_plan_down(struct engine *engine, const char *const *names, struct problems *problems,
                     struct plan *plan, struct err *err);

/* Apply a plan as one transaction: each operation's undo is in the journal before it is tried; a failed
 * operation rolls the ones before it back.  The lock must be held.  Errors: the failed operation's, named;
 * -EIO with what is left when rolling back failed too. */
int engine_apply(struct engine *engine, const struct plan *plan, struct err *err);

/* Programs that the plan starts and this host does not have: -ENOENT naming program, network and package. */
int engine_check_programs(struct engine *engine, const struct plan *plan, struct err *err);

/* Tell the listener what everybody else's firewall chains would certainly drop of these networks' usual
 * traffic (`names` as in plan_request), each with the rule and a cure.  Where something was `changed` since
 * the last look, engine->observed is replaced by a new one; else rules are added to it. */
int engine_tell_refusals(struct engine *engine, const struct model *model, const char *const *names,
                         bool changed, struct err *err);

/* The same of a plan that is not done: what it lets through in others' chains itself is no refusal.  Rules
 * are added to engine->observed. */
struct engine_refusal {
    const char *network;
    const char *text; /* a line, as others may have written parts of it */
};
struct engine_refusals {
    VEC(struct engine_refusal) list;
};
int engine_planned_refusals(struct engine *engine, const struct model *model, const char *const *names,
                            const struct plan *plan, struct engine_refusals *found, struct err *err);

#endif
