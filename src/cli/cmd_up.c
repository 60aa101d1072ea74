/* cmd_up.c: `vmwire up`, `vmwire down` and `vmwire confirm`. */
#include "cli/change.h"
#include "engine/confirm.h"
#include "engine/watch.h"

/* The values of --guard-ms and --confirm, where they were given. */
static int guard_options(struct cli *cli, const char *guard_text, const char *confirm_text,
                         struct guard_request *guard)
{
    if (guard_text) {
        long number = cli_number(guard_text, 0, GUARD_MAX_MS);
        if (number < 0)
            return cli_usage(cli, "--guard-ms takes milliseconds from 0 to %d, not '%s'", GUARD_MAX_MS,
                             guard_text);
        guard->guard_ms = (int)number;
    }
    if (confirm_text) {
        long number = cli_number(confirm_text, 1, CONFIRM_MAX_S);
        if (number < 0)
            return cli_usage(cli, "--confirm takes seconds from 1 to %d, not '%s'", CONFIRM_MAX_S,
                             confirm_text);
        guard->confirm_ms = (int)number * 1000;
    }
    return EXIT_DONE;
}

static int change(struct cli *cli, int argc, char **argv, bool down)
{
    const char *guard_text = NULL, *confirm_text = NULL;
    const struct cli_option options[] = {
        {"--guard-ms", NULL, &guard_text}, {"--confirm", NULL, &confirm_text}, {0}};
    int status = cli_options(cli, &argc, argv, options);
    if (status == EXIT_DONE)
        status = down ? cli_host(cli) : cli_config(cli);
    const char *const *names;
    if (status == EXIT_DONE)
        status = change_names(cli, argc, argv, !down, &names);
    struct guard_request guard = {.guard_ms = down ? -1 : model_guard_ms(&cli->model)};
    if (status == EXIT_DONE)
        status = guard_options(cli, guard_text, confirm_text, &guard);
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
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{"--undo", &undo, NULL}, {0}});
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
