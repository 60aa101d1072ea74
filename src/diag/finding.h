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

/* Who can find it. */
enum finding_finder {
    FIND_DOCTOR = 1 << 0, /* without a packet */
    FIND_PROBE = 1 << 1,  /* with packets of its own */
    FIND_TRACE = 1 << 2,  /* with a guest's packets */
};

struct finding {
    const char *code; /* "uplink-no-carrier": letters, digits and '-'; a row of finding.c's table */
    enum finding_severity severity; /* the code's; a finder may soften it for the case at hand */
    const char *subject;            /* "network 'brnat'", "machine 'vm0'", "the host" */
    const char *title;              /* what is wrong, in one sentence without a full stop */
    const char
        *evidence;    /* what was seen that says so; may be several lines; "" when the title says it all */
    const char *cure; /* what to do, as a command where there is one */
};

struct findings {
    struct arena *arena;
    VEC(struct finding) list; /* findings_sort puts the cause first */
};

/* Append one; severity, title and cure are the code's until they are set.  Texts are copied into
 * findings->arena.  The pointer is good until the next finding_add. */
struct finding *finding_add(struct findings *findings, const char *code, const char *subject);
/* printf into a finding's members. */
void finding_title(struct findings *findings, struct finding *finding, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void finding_evidence(struct findings *findings, struct finding *finding, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void finding_cure(struct findings *findings, struct finding *finding, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The first with this code about this subject (NULL: about any), or NULL: for not saying a thing twice. */
const struct finding *finding_find(const struct findings *findings, const char *code, const char *subject);
/* Errors, then warnings, then notes; among equals in the order of the table, in which a cause stands before
 * what follows from it.  Stable. */
void findings_sort(struct findings *findings);
/* Something of at least this severity is among them. */
bool findings_any(const struct findings *findings, enum finding_severity severity);

const char *finding_severity_name(enum finding_severity severity); /* "note", "warning", "error" */

/* The member "findings" of the open JSON object: an array of objects with all members of struct finding. */
void findings_json(struct json *json, const struct findings *findings);

/* The codes that exist; ends with a NULL code. */
struct finding_code {
    const char *code;
    enum finding_severity severity;
    unsigned finders; /* enum finding_finder bits */
    const char *title, *cure;
};
extern const struct finding_code finding_codes[];

#endif
