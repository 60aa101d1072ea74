/* forward.h: ports that programs of this host have already. */
#ifndef VMWIRE_ENGINE_FORWARD_H
#define VMWIRE_ENGINE_FORWARD_H

#include "engine/engine.h"

/* A problem for each port forward of the networks that are to be brought up (names NULL: all) which is not
 * in force yet, and whose port somebody listens on: the guest would get what is meant for that program. */
int forwards_check_listeners(struct engine *engine, const struct model *model, const char *const *names,
                             struct problems *problems, struct err *err);

#endif
