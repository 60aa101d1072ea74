/* cmd_up.c: `vmwire up` and `vmwire down`. */
#include "cli/change.h"

int cmd_up(struct cli *cli, int argc, char **argv)
{
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{0}});
    if (status == EXIT_DONE)
        status = cli_config(cli);
    const char *const *names;
    if (status == EXIT_DONE)
        status = change_names(cli, argc, argv, true, &names);
    return status == EXIT_DONE ? change_host(cli, names, false) : status;
}

/* `down` does without the file: what is vmwire's is told by owner tags and records. */
int cmd_down(struct cli *cli, int argc, char **argv)
{
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{0}});
    if (status == EXIT_DONE)
        status = cli_host(cli);
    const char *const *names;
    if (status == EXIT_DONE)
        status = change_names(cli, argc, argv, false, &names);
    return status == EXIT_DONE ? change_host(cli, names, true) : status;
}
