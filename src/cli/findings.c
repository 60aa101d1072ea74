/* findings.c: how trace, probe and doctor print what they found: findings.h. */
#include "cli/findings.h"

#include "engine/doctor.h"

const char *cli_milliseconds(struct arena *arena, int64_t ns)
{
    return ns < 0 ? "" : arena_printf(arena, "%.3f ms", (double)ns / 1e6);
}

void trace_hops_print(struct cli *cli, const struct trace *trace)
{
    static const char *const marks[] = {"✓", "✗", "·"}, *const colors[] = {"32", "31", "2"};
    struct table table = {.arena = &cli->arena, .columns = 5};
    if (!trace->steps.count)
        return;
    table_row(&table, " ", "", "HOP", "TIME", "");
    vec_foreach (&trace->steps, step) {
        const char *what =
            step->frame ? arena_printf(&cli->arena, "%s: %s", step->what, step->frame) : step->what;
        table_row(&table, marks[step->mark], step->back ? "←" : "→", step->where,
                  cli_milliseconds(&cli->arena, step->after_ns), what);
        table_style(&table, 0, colors[step->mark]);
    }
    table_print(&table, stdout, cli->color);
}

void findings_print(struct cli *cli, const struct findings *findings)
{
    vec_foreach (&findings->list, finding) {
        const char *on = !cli->color ? "" : finding->severity == FINDING_ERROR ? "\033[31m" : "\033[33m";
        printf("\n%s%s: %s: %s%s  [%s]\n", on, finding_severity_name(finding->severity), finding->subject,
               finding->title, *on ? "\033[0m" : "", finding->code);
        if (*finding->evidence)
            printf("  seen: %s\n", finding->evidence);
        printf("  cure: %s\n", finding->cure);
    }
}

int cli_doctor(struct cli *cli, struct engine *engine, const char *network, struct findings *findings)
{
    struct problems problems = {.arena = &cli->arena};
    struct status status;
    int rc = engine_status(engine, &cli->model, DOCTOR_OBSERVES, &problems, &status, NULL);
    return rc < 0 ? rc : engine_doctor(engine, &cli->model, &status, network, findings, NULL);
}

void cli_json_microseconds(struct json *json, const char *key, int64_t ns)
{
    if (ns < 0)
        json_null(json, key);
    else
        json_integer(json, key, ns / 1000);
}

void trace_hops_json(struct json *json, const struct trace *trace)
{
    static const char *const marks[] = {"passed", "lost", "noted"};
    json_array_open(json, "hops");
    vec_foreach (&trace->steps, step) {
        json_object_open(json, NULL);
        json_string(json, "mark", marks[step->mark]);
        json_string(json, "way", step->back ? "back" : "out");
        json_string(json, "where", step->where);
        cli_json_microseconds(json, "after_us", step->after_ns);
        json_string(json, "what", step->what);
        json_string(json, "frame", step->frame);
        json_object_close(json);
    }
    json_array_close(json);
}
