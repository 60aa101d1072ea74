/* finding.c: the table of codes, and building findings: finding.h. */
#include "diag/finding.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

/* In the order of the chain from the guest outwards. */
const struct finding_code finding_codes[] = {
    {"network-down", FINDING_ERROR, "the network is not up"},
    {"uplink-missing", FINDING_ERROR, "the uplink does not exist"},
    {"uplink-no-carrier", FINDING_ERROR, "the uplink has no carrier"},
    {NULL, FINDING_NOTE, NULL},
};

static const struct finding_code *code_find(const char *code)
{
    const struct finding_code *row = finding_codes;
    while (row->code && strcmp(row->code, code) != 0)
        row++;
    assert(row->code);
    return row;
}

struct finding *finding_add(struct findings *findings, const char *code, const char *subject)
{
    const struct finding_code *row = code_find(code);
    struct finding *finding = vec_push(findings->arena, &findings->list);
    *finding = (struct finding){.code = row->code,
                                .severity = row->severity,
                                .subject = arena_strdup(findings->arena, subject),
                                .title = row->title,
                                .evidence = "",
                                .cure = ""};
    return finding;
}

#define PRINT_INTO(member)                                                                                   \
    va_list args;                                                                                            \
    va_start(args, format);                                                                                  \
    finding->member = arena_vprintf(findings->arena, format, args);                                          \
    va_end(args)

void finding_title(struct findings *findings, struct finding *finding, const char *format, ...)
{
    PRINT_INTO(title);
}

void finding_evidence(struct findings *findings, struct finding *finding, const char *format, ...)
{
    PRINT_INTO(evidence);
}

void finding_cure(struct findings *findings, struct finding *finding, const char *format, ...)
{
    PRINT_INTO(cure);
}

const char *finding_severity_name(enum finding_severity severity)
{
    static const char *const names[] = {"note", "warning", "error"};
    return names[severity];
}

void findings_json(struct json *json, const struct findings *findings)
{
    json_array_open(json, "findings");
    vec_foreach (&findings->list, finding) {
        json_object_open(json, NULL);
        json_string(json, "code", finding->code);
        json_string(json, "severity", finding_severity_name(finding->severity));
        json_string(json, "subject", finding->subject);
        json_string(json, "title", finding->title);
        json_string(json, "evidence", finding->evidence);
        json_string(json, "cure", finding->cure);
        json_object_close(json);
    }
    json_array_close(json);
}
