/* doctor.h: what is wrong on this host, without a packet: collects what diag's doctor judges. */
#ifndef VMWIRE_ENGINE_DOCTOR_H
#define VMWIRE_ENGINE_DOCTOR_H

#include "diag/finding.h"
#include "engine/status.h"

/* What engine_doctor wants to have been observed beside HOST_OBSERVE_ALL. */
#define DOCTOR_OBSERVES (HOST_OBSERVE_RULESET | HOST_OBSERVE_HEALTH)

/* Findings about everything, or about one network or machine (`name`).  `status` is engine_status's, made
 * with DOCTOR_OBSERVES.  -ENOENT: nothing has the name. */
int engine_doctor(struct engine *engine, const struct model *model, const struct status *status,
                  const char *name, struct findings *findings, struct err *err);

#endif
