/* cmd_status.c: `vmwire status`: what is up, and how it differs from the file. */
#include <stdio.h>

#include "cli/status.h"
#include "engine/doctor.h"

static bool drifted(const struct status *status)
{
    vec_foreach (&status->networks, network) {
        if (network->state == STATE_DRIFTED || network->state == STATE_UNLISTED)
            return true;
    }
    return status->host_drift.count > 0;
}

static void show_note(void *context, const char *text)
{
    const struct cli *cli = context;
    fprintf(stderr, "%s: %s\n", cli->program, text);
}

static int collect(struct cli *cli, struct status *status, struct findings *findings, struct err *err)
{
    struct engine_listener listener = {.context = cli, .note = show_note};
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, &listener);
    if (engine_settle(&engine, err) < 0)
        return err->code;
    int rc = engine_status(&engine, &cli->model, DOCTOR_OBSERVES, &cli->problems, status, err);
    return rc < 0 ? rc : engine_doctor(&engine, &cli->model, status, NULL, findings, err);
}

int cmd_status(struct cli *cli, int argc, char **argv)
{
    bool as_json = false;
    int exit_status = cli_options(cli, &argc, argv, (struct cli_option[]){{"--json", .flag = &as_json}, {0}});
    if (exit_status == EXIT_DONE && argc > 1)
        return cli_usage(cli, "'status' takes no arguments");
    if (exit_status == EXIT_DONE)
        exit_status = cli_config_optional(cli);
    if (exit_status != EXIT_DONE)
        return exit_status;
    struct err err = {0};
    struct status status;
    struct findings findings = {.arena = &cli->arena};
    if (collect(cli, &status, &findings, &err) < 0)
        return cli_fail(cli, &err);
    cli_problems(cli);
    struct machine_rows machines = {0};
    vec_foreach (&cli->model.machines, machine) {
        struct machine_row *row = vec_push(&cli->arena, &machines.list);
        row->name = machine->name;
        if (machine_state(cli->host, row->name, true, &row->state, NULL) < 0)
            row->state = (struct machine_state){0};
    }
    (as_json ? status_json : status_print)(cli, &status, &findings, &machines);
    return drifted(&status) ? EXIT_DRIFT : EXIT_DONE;
}
