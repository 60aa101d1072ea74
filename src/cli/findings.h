/* findings.h: how trace, probe and doctor print what they found.  The JSON shapes are in docs/JSON.md. */
#ifndef VMWIRE_CLI_FINDINGS_H
#define VMWIRE_CLI_FINDINGS_H

#include "cli/cli.h"
#include "diag/trace.h"
#include "engine/engine.h"

/* "0.123 ms"; "" for a negative time. */
const char *cli_milliseconds(struct arena *arena, int64_t ns);
/* A member in whole microseconds; null for a negative time. */
void cli_json_microseconds(struct json *json, const char *key, int64_t ns);

/* The table of hops with tick or cross; nothing when there are none.  And the member "hops". */
void trace_hops_print(struct cli *cli, const struct trace *trace);
void trace_hops_json(struct json *json, const struct trace *trace);

/* What doctor finds of a network (NULL: of everything); engine->observed is filled with all that doctor,
 * trace and probe look at.  For commands to which it is of use, and no failure when it fails. */
int cli_doctor(struct cli *cli, struct engine *engine, const char *network, struct findings *findings);

/* Each with severity, subject, title, code, evidence and cure, in their order. */
void findings_print(struct cli *cli, const struct findings *findings);

#endif
