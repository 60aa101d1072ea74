/* cmd_doctor.c: `vmwire doctor`: what is wrong, without a packet.  The JSON shape is in docs/JSON.md. */
#include "base/text.h"
#include "cli/cli.h"
#include "cli/findings.h"
#include "engine/doctor.h"

static void show_note(void *context, const char *text)
{
    const struct cli *cli = context;
    fprintf(stderr, "%s: %s\n", cli->program, text);
}

static int examine(struct cli *cli, const char *name, struct findings *findings, struct err *err)
{
    struct engine_listener listener = {.context = cli, .note = show_note};
    struct status status;
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, &listener);
    if (engine_settle(&engine, err) < 0)
        return err->code;
    int rc = engine_status(&engine, &cli->model, DOCTOR_OBSERVES, &cli->problems, &status, err);
    return rc < 0 ? rc : engine_doctor(&engine, &cli->model, &status, name, findings, err);
}

static void print_json(struct cli *cli, const char *name, const struct findings *findings)
{
    struct text out = {.arena = &cli->arena};
    struct json json = {.out = &out};
    json_object_open(&json, NULL);
    json_string(&json, "name", name);
    findings_json(&json, findings);
    json_object_close(&json);
    fputs(text_get(&out), stdout);
}

int cmd_doctor(struct cli *cli, int argc, char **argv)
{
    bool as_json = false;
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{"--json", .flag = &as_json}, {0}});
    if (status != EXIT_DONE)
        return status;
    if (argc > 2)
        return cli_usage(cli, "'doctor' takes one network or machine");
    status = cli_config_optional(cli);
    if (status != EXIT_DONE)
        return status;
    struct err err = {0};
    struct findings findings = {.arena = &cli->arena};
    const char *name = argc == 2 ? argv[1] : NULL;
    if (examine(cli, name, &findings, &err) < 0)
        return cli_fail(cli, &err);
    /* What `up` would refuse is mostly a finding as well. */
    if (!findings_any(&findings, FINDING_ERROR))
        cli_problems(cli);
    if (as_json)
        print_json(cli, name, &findings);
    else if (findings.list.count)
        findings_print(cli, &findings);
    else
        printf("nothing is wrong, as far as can be told without a packet\n");
    return findings_any(&findings, FINDING_ERROR) ? EXIT_REFUSED : EXIT_DONE;
}
