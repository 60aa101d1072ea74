/* cmd_help.c: `vmwire help`: usage, from the table of commands. */
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"

static void print_all(struct cli *cli)
{
    printf(
        "usage: %s [-c FILE] [-v] COMMAND …\n\n"
        "vmwire wires virtual machines to the network.  `up` makes this host match vmwire.yaml, `down` puts\n"
        "it back.\n\n",
        cli->program);
    struct table table = {.arena = &cli->arena, .columns = 2};
    for (const struct command *command = commands; command->name; command++) {
        if (command->summary)
            table_row(&table, arena_printf(&cli->arena, "  %s", command->name), command->summary);
    }
    table_print(&table, stdout, cli->color);
    printf("\n"
           "  -c FILE  the file; else ./vmwire.yaml, else " VMWIRE_FILE "\n"
           "  -v       show each operation as it runs, as the host's own command\n\n"
           "%s help COMMAND shows a command's arguments.  Manual: vmwire(8), vmwire.yaml(5).\n",
           cli->program);
}

static int unknown_command(struct cli *cli, const char *name)
{
    VEC(const char *) names = {0};
    for (const struct command *command = commands; command->name; command++) {
        if (command->summary)
            *vec_push(&cli->arena, &names) = command->name;
    }
    *vec_push(&cli->arena, &names) = NULL;
    const char *near = text_nearest(name, names.items);
    return near ? cli_usage(cli, "no command '%s'; did you mean '%s'?", name, near)
                : cli_usage(cli, "no command '%s'; %s help lists them", name, cli->program);
}

int cmd_help(struct cli *cli, int argc, char **argv)
{
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{0}});
    if (status != EXIT_DONE)
        return status;
    if (argc > 2)
        return cli_usage(cli, "'help' takes one command");
    if (argc < 2) {
        print_all(cli);
        return EXIT_DONE;
    }
    for (const struct command *command = commands; command->name; command++) {
        if (!command->summary || strcmp(command->name, argv[1]) != 0)
            continue;
        printf("usage: %s %s%s%s\n\n%s\n", cli->program, command->name, *command->arguments ? " " : "",
               command->arguments, command->summary);
        return EXIT_DONE;
    }
    return unknown_command(cli, argv[1]);
}
