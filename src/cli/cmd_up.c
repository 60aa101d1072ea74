/* cmd_up.c: `vmwire up`, `vmwire down` and `vmwire confirm`. */
#include "cli/change.h"
#include "engine/confirm.h"
#include "engine/watch.h"

static int change(struct cli *cli, int argc, char **argv, bool down)
{
    long guard_ms = -1, confirm_s = 0;
    const struct cli_option options[] = {
        {"--guard-ms", .number = &guard_ms, .unit = "milliseconds", .high = GUARD_MAX_MS},
        {"--confirm", .number = &confirm_s, .unit = "seconds", .low = 1, .high = CONFIRM_MAX_S},
        {0}};
    int status = cli_options(cli, &argc, argv, options);
    if (status == EXIT_DONE)
        status = down ? cli_host(cli) : cli_config(cli);
    const char *const *names;
    if (status == EXIT_DONE)
        status = change_names(cli, argc, argv, !down, &names);
    struct guard_request guard = {.guard_ms = down ? -1 : model_guard_ms(&cli->model),
                                  .confirm_ms = (int)confirm_s * 1000};
    if (guard_ms >= 0)
        guard.guard_ms = (int)guard_ms;
    return status == EXIT_DONE ? change_host(cli, names, down, &guard) : status;
}

int cmd_up(struct cli *cli, int argc, char **argv)
{
    return change(cli, argc, argv, false);
}

/* `down` does without the file: what is vmwire's is told by owner tags and records. */
int cmd_down(struct cli *cli, int argc, char **argv)
{
    int status = cli_host(cli);
    if (status == EXIT_DONE && watch_running(cli->host->backend->run_dir)) {
        cli_lines(
            cli,
            "'vmwire watch' runs and would make it again: stop that first (systemctl stop vmwire-watch)");
        return EXIT_REFUSED;
    }
    if (status != EXIT_DONE)
        return status;
    return change(cli, argc, argv, true);
}

int cmd_confirm(struct cli *cli, int argc, char **argv)
{
    bool undo = false;
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{"--undo", .flag = &undo}, {0}});
    if (status == EXIT_DONE && argc > 1)
        return cli_usage(cli, "'confirm' takes no arguments: only one change can wait at a time");
    if (status == EXIT_DONE)
        status = cli_host(cli);
    if (status != EXIT_DONE)
        return status;
    struct err err = {0};
    if (confirm_decide(cli->host->backend->run_dir, !undo, &err) < 0)
        return cli_fail(cli, &err);
    puts(undo ? "confirm: the change is undone" : "confirm: the change stays");
    return EXIT_DONE;
}
