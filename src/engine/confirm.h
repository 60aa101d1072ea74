/* confirm.h: a change that waits to be confirmed.
 *
 * The guard (guard.h) that waits listens on the socket RUN/confirm, keeps the lock and the journal.  Whoever
 * is told "wait" by the lock, and every reader, can ask it how long it still waits.  A socket that nobody
 * listens on is what a killed guard left; rolling back by the journal takes it away. */
#ifndef VMWIRE_ENGINE_CONFIRM_H
#define VMWIRE_ENGINE_CONFIRM_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"

enum confirm_end { CONFIRM_KEEP, CONFIRM_UNDO, CONFIRM_TIMEOUT };

/* RUN/confirm */
const char *confirm_path(struct arena *arena, const char *run_dir);

/* The guard's side.  Listen; a descriptor or a negative errno.  From then on SIGTERM is an end. */
int confirm_open(const char *path, struct err *err);
/* Answer those who ask, until one of them decides, the time is over, or SIGTERM comes (CONFIRM_UNDO: the host
 * may be going down, and waits for nobody).  `answer_fd` gets the connection of the one who decided, to be
 * told the end with confirm_answer; else -1. */
enum confirm_end confirm_wait(int fd, int timeout_ms, int *answer_fd);
/* Tell it, and close: "" for success, else what went wrong. */
void confirm_answer(int *answer_fd, const char *text);

/* The others' side.  Does a change wait?  `left_ms`: how long it still does. */
bool confirm_pending(const char *run_dir, int *left_ms);
/* Keep it, or undo it now.  -ESRCH when none waits; -EIO with what the guard said. */
int confirm_decide(const char *run_dir, bool keep, struct err *err);

#endif
