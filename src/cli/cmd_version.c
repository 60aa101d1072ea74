/* cmd_version.c: `vmwire version`. */
#include "cli/cli.h"

int cmd_version(struct cli *cli, int argc, char **argv)
{
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{0}});
    if (status != EXIT_DONE)
        return status;
    if (argc > 1)
        return cli_usage(cli, "'version' takes no arguments");
    printf("%s %s\n", cli->program, VMWIRE_VERSION);
    return EXIT_DONE;
}
