/* cmd_check.c: `vmwire check`: read the file, report every mistake. */
#include <string.h>

#include "cli/cli.h"

int cmd_check(struct cli *cli, int argc, char **argv)
{
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{0}});
    if (status != EXIT_DONE)
        return status;
    if (argc > 1)
        return cli_usage(cli, "'check' takes no arguments; name a file with -c FILE");
    status = cli_config(cli);
    if (status == EXIT_DONE)
        printf("%s: %zu network%s, %zu machine%s, no mistakes\n", cli->problems.file,
               cli->model.networks.count, cli->model.networks.count == 1 ? "" : "s",
               cli->model.machines.count, cli->model.machines.count == 1 ? "" : "s");
    return status;
}
