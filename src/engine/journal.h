/* journal.h: the record that lets an interrupted change be undone.
 *
 * A file RUN/journal of lines "undo OPERATION" (op.h's text), one written before each operation.  It is there
 * exactly while a change is under way: a change that ends well removes it; one that is killed leaves it, and
 * the next vmwire undoes its lines from the last to the first, each tolerantly, since nobody knows whether
 * the last one was done.  Undoing removes a line's effect only, so undoing again after being killed while
 * undoing is harmless. */
#ifndef VMWIRE_ENGINE_JOURNAL_H
#define VMWIRE_ENGINE_JOURNAL_H

#include "base/arena.h"
#include "base/err.h"
#include "host/host.h"

struct journal {
    int fd; /* -1: closed */
    const char *path;
};

/* RUN/journal */
const char *journal_path(struct arena *arena, const char *run_dir);
/* Open a new one; -EEXIST when one is there. */
int journal_open(struct journal *journal, struct arena *arena, const char *run_dir, struct err *err);
/* Append the undo of an operation that is about to be tried; an operation of kind OP_NONE is passed over. */
int journal_add(struct journal *journal, struct arena *arena, const struct op *undo, struct err *err);
/* The change has ended well: remove the journal. */
int journal_commit(struct journal *journal, struct err *err);
void journal_close(struct journal *journal);

/* Undo what the journal of `run_dir` says, then remove it.  `undone` gets the number of operations (0 when
 * there is no journal).  An undo that fails does not stop the others; the first failure is returned and the
 * journal is kept. */
int journal_roll_back(struct host *host, struct arena *arena, const char *run_dir, size_t *undone,
                      struct err *err);

#endif
