/* address.h: addresses that guests have already. */
#ifndef VMWIRE_ENGINE_ADDRESS_H
#define VMWIRE_ENGINE_ADDRESS_H

#include "engine/engine.h"

/* A nic for which model_check chose an address, because a port forward leads to it, keeps the one that it was
 * given before: by an earlier `up`, or else as a lease.  The forwards follow.  Files are observed. */
void addresses_settle(struct engine *engine, struct model *model);

#endif
