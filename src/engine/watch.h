/* watch.h: keeping the host as the file says.
 *
 * Theory of operation.  The watcher waits for the kernel's events, for the end of helper programs, and for
 * changes of the file (host/watch.h, base/process.h); it asks nothing and has no timer while all is well.
 * What happens is given a moment to settle; then a child looks at the whole host and mends it, so that the
 * watcher itself stays small.  Its own changes wake the watcher once more: that look finds nothing to do.
 *
 * Who undoes the same thing again and again is let win more and more often: the watcher says who it is, and
 * looks again after 1 s, 2 s, 4 s, up to a minute; the same after a failure. */
#ifndef VMWIRE_ENGINE_WATCH_H
#define VMWIRE_ENGINE_WATCH_H

#include <signal.h>

#include "engine/engine.h"

/* What the child found. */
struct watch_look {
    size_t changes;  /* operations that mended something */
    bool failed;     /* something could not be mended: worth trying again */
    bool bad_file;   /* the file has mistakes: nothing can be done before it changes */
    uint64_t said;   /* in: a number for what the last look complained of, out: this one; 0: nothing */
    uint64_t what;   /* a number for these changes: the same for the same ones */
    char first[160]; /* the first of them, for people */
};

struct watch_request {
    const char *path;                                     /* the file */
    void (*look)(void *context, struct watch_look *look); /* in the child: look, mend, say */
    void (*say)(void *context, const char *text);
    void *context;
    const volatile sig_atomic_t *stop; /* set by a signal: watching ends once nothing is being changed */
};

/* Watch until `stop`.  SIGCHLD and the signals that set `stop` must be blocked: they are let through while
 * waiting. 0; -ENOTSUP on a host without events; -EBUSY when another one watches. */
int engine_watch(struct host *host, const struct watch_request *request, const sigset_t *while_waiting,
                 struct err *err);

/* Does somebody watch this host? */
bool watch_running(const char *run_dir);

#endif
