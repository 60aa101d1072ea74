/* cmd_check.c: `vmwire check`: read the file, report every mistake. */
#include <string.h>

#include "cli/cli.h"

static void print_json(struct cli *cli)
{
    struct text out = {.arena = &cli->arena};
    struct json json = {.out = &out};
    json_object_open(&json, NULL);
    json_string(&json, "file", cli->problems.file);
    json_integer(&json, "networks", (int64_t)cli->model.networks.count);
    json_integer(&json, "machines", (int64_t)cli->model.machines.count);
    json_array_open(&json, "problems");
    vec_foreach (&cli->problems.list, problem) {
        json_object_open(&json, NULL);
        json_string(&json, "severity", problem->warning ? "warning" : "error");
        json_integer(&json, "line", problem->pos.line);
        json_integer(&json, "column", problem->pos.column);
        json_string(&json, "text", problem->text);
        json_object_close(&json);
    }
    json_array_close(&json);
    json_object_close(&json);
    fputs(text_get(&out), stdout);
}

int cmd_check(struct cli *cli, int argc, char **argv)
{
    bool as_json = false;
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{"--json", .flag = &as_json}, {0}});
    if (status != EXIT_DONE)
        return status;
    if (argc > 1)
        return cli_usage(cli, "'check' takes no arguments; name a file with -c FILE");
    if (as_json) {
        status = cli_config_read(cli);
        if (status != EXIT_DONE)
            return status;
        problem_sort(&cli->problems);
        print_json(cli);
        return problem_count(&cli->problems) ? EXIT_USAGE : EXIT_DONE;
    }
    status = cli_config(cli);
    if (status == EXIT_DONE)
        printf("%s: %zu network%s, %zu machine%s, no mistakes\n", cli->problems.file,
               cli->model.networks.count, cli->model.networks.count == 1 ? "" : "s",
               cli->model.machines.count, cli->model.machines.count == 1 ? "" : "s");
    return status;
}
