/* forward_check.h: does anything listen where a network's port forwards lead?  The host itself connects. */
#ifndef VMWIRE_DIAG_FORWARD_CHECK_H
#define VMWIRE_DIAG_FORWARD_CHECK_H

#include "diag/finding.h"
#include "model/model.h"
#include "model/state.h"

enum { FORWARDS_CHECKED = 16 };

struct forward_check {
    size_t count;
    const struct forward *forwards[FORWARDS_CHECKED];
    int fds[FORWARDS_CHECKED]; /* -1: could not be begun */
    int64_t started_ms;
};

/* Begin connecting to the first port of each TCP forward, at most FORWARDS_CHECKED of them.  UDP tells
 * nothing. */
void forward_check_start(struct forward_check *check, const struct network *network);
/* Wait a little for those that are not through, and say which are not.  Closes everything. */
void forward_check_end(struct forward_check *check, struct arena *arena, const struct observed *observed,
                       const struct network *network, struct findings *findings);

#endif
