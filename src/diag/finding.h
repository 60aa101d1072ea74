/* finding.h: what is wrong with a network, as data: found by doctor, probe and trace, printed by cli.
 *
 * Every code has a row in the table of finding.c and a paragraph in vmwire-findings(7). */
#ifndef VMWIRE_DIAG_FINDING_H
#define VMWIRE_DIAG_FINDING_H

#include "base/arena.h"
#include "base/json.h"

enum finding_severity {
    FINDING_NOTE,    /* worth knowing; nothing is broken by it */
    FINDING_WARNING, /* something will break, or does for some */
    FINDING_ERROR,   /* packets do not arrive because of it */
};

struct finding {
    const char *code; /* "uplink-no-carrier": letters, digits and '-'; a row of finding.c's table */
    enum finding_severity severity;
    const char *subject; /* "network 'brnat'", "machine 'vm0'", "the host" */
    const char *title;   /* what is wrong, in one sentence without a full stop */
    const char
        *evidence;    /* what was seen that says so; may be several lines; "" when the title says it all */
    const char *cure; /* what to do, as a command where there is one */
};

struct findings {
    struct arena *arena;
    VEC(struct finding) list; /* in the order of the chain from the guest outwards: the first is the cause */
};

/* Append one; the severity is the code's.  Texts are copied into findings->arena. */
struct finding *finding_add(struct findings *findings, const char *code, const char *subject);
/* printf into a finding's members. */
void finding_title(struct findings *findings, struct finding *finding, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void finding_evidence(struct findings *findings, struct finding *finding, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void finding_cure(struct findings *findings, struct finding *finding, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

const char *finding_severity_name(enum finding_severity severity); /* "note", "warning", "error" */

/* The member "findings" of the open JSON object: an array of objects with all members of struct finding. */
void findings_json(struct json *json, const struct findings *findings);

/* The codes that exist, for the documentation's test; ends with a NULL code. */
struct finding_code {
    const char *code;
    enum finding_severity severity;
    const char *title;
};
extern const struct finding_code finding_codes[];

#endif
