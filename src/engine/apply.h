/* apply.h: the middle of a transaction, for engine_apply and the guard. */
#ifndef VMWIRE_ENGINE_APPLY_H
#define VMWIRE_ENGINE_APPLY_H

#include "engine/engine.h"
#include "engine/journal.h"

/* Each step's undo into the journal, which is open, then the step; several that go at once (host_batch) after
 * the undos of all of them.  `stopped` (may be NULL) is asked before
 * each: -ECANCELED when it says so.  Errors: the failed step's, named.  Nothing is rolled back. */
int apply_steps(struct engine *engine, const struct plan *plan, struct journal *journal,
                bool (*stopped)(void *context), void *context, struct err *err);

/* Undo by the journal, and put behind what err says how that went.  Returns err->code. */
int apply_roll_back(struct engine *engine, struct err *err);

#endif
