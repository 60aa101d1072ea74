/* guard.h: a change that never cuts the host off.
 *
 * Theory of operation.  Whether a plan touches the way by which this host is reached is told by
 * plan/access.h.  If so (or if a confirmation is asked for), the change is made by a process of its own, the
 * guard:
 *
 *  1. the caller asks everybody by whom this host is reached (host/reach.h), and remembers who answered;
 *  2. the guard is forked, in a session of its own, with the lock, deaf to the terminal's signals.  It
 * applies the plan, its journal open, and tells the caller of each step through a socket;
 *  3. it asks again those who answered.  All must, within `guard_ms`;
 *  4. it removes the journal: the change stays.  Or it waits for a confirmation (confirm.h) first; then the
 * caller goes, and with it the terminal.
 *
 * Until 4 the change is undone by the journal: by the guard, when a step or a check fails, the confirmation
 * does not come, or the caller is gone before it has heard the end (the socket hangs up: Ctrl-C, a dropped
 * terminal, kill -9); by the caller, when the guard is killed; and by the next vmwire, when both are. */
#ifndef VMWIRE_ENGINE_GUARD_H
#define VMWIRE_ENGINE_GUARD_H

#include "engine/engine.h"

enum { GUARD_BEFORE_MS = 1000, CONFIRM_MAX_S = 86400 };

struct guard_request {
    int guard_ms;   /* how long those who answered before have for answering after; 0: nobody is asked */
    int before_ms;  /* how long they have for answering before it; 0: GUARD_BEFORE_MS */
    int confirm_ms; /* undone after this time when nobody has confirmed it; 0: none is asked for */
};

/* Apply a plan: engine_apply, guarded where that is needed.  The lock must be held.  `pending` (may be NULL)
 * is set when the change is done and waits to be confirmed: the guard has the lock then.  Errors:
 * engine_apply's; -EHOSTUNREACH naming who does not answer any longer. */
int engine_change(struct engine *engine, const struct plan *plan, const struct guard_request *request,
                  bool *pending, struct err *err);

#endif
