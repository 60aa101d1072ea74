/* cmd_args.c: `vmwire args`: the hypervisor's command line, as one line that can be run. */
#include "base/text.h"
#include "cli/cli.h"
#include "cli/machine.h"
#include "engine/machine.h"

int cmd_args(struct cli *cli, int argc, char **argv)
{
    const struct machine *machine;
    int status = cli_machine(cli, argc, argv, &machine);
    if (status != EXIT_DONE)
        return status;
    struct err err = {0};
    const char *const *words;
    if (machine_argv(cli->host, &cli->arena, &cli->model, machine, cli->program, &words, &err) < 0)
        return cli_fail(cli, &err);
    puts(shell_join(&cli->arena, words));
    return EXIT_DONE;
}
