/* main.c: the program's entry: global options, then the command of the table. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/privilege.h"
#include "base/text.h"
#include "cli/cli.h"

static const struct command *command_find(const char *name)
{
    for (const struct command *command = commands; command->name; command++) {
        if (strcmp(command->name, name) == 0)
            return command;
    }
    return NULL;
}

static int unknown_command(struct cli *cli, const char *name)
{
    const char *names[64] = {0};
    for (size_t i = 0, n = 0; commands[i].name && n < 63; i++) {
        if (commands[i].summary)
            names[n++] = commands[i].name;
    }
    const char *near = text_nearest(name, names);
    return near ? cli_usage(cli, "unknown command '%s'; did you mean '%s'?", name, near)
                : cli_usage(cli, "unknown command '%s'", name);
}

/* `exec` and `lab` start what the user wants, with what the user has. */
static void limit_privileges(const struct command *command)
{
    if (strcmp(command->name, "probe") == 0)
        privilege_keep(PRIVILEGE_NAMESPACE);
    else if (strcmp(command->name, "exec") != 0 && strcmp(command->name, "lab") != 0)
        privilege_keep(PRIVILEGE_NETWORK);
}

static int dispatch(struct cli *cli, int argc, char **argv)
{
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "-v") == 0)
            cli->verbose = true;
        else if (strcmp(argv[i], "-c") == 0 && i + 1 < argc)
            cli->config_path = argv[++i];
        else if (strcmp(argv[i], "-c") == 0)
            return cli_usage(cli, "option '-c' needs a value");
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return cmd_help(cli, 1, (char *[]){(char *)"help", NULL});
        else if (strcmp(argv[i], "--version") == 0)
            return cmd_version(cli, 1, (char *[]){(char *)"version", NULL});
        else
            return cli_usage(cli, "unknown option '%s'", argv[i]);
    }
    if (i == argc)
        return cli_usage(cli, "no command given");
    const struct command *command = command_find(argv[i]);
    if (!command)
        return unknown_command(cli, argv[i]);
    cli->command = command;
    limit_privileges(command);
    return command->run(cli, argc - i, argv + i);
}

int main(int argc, char **argv)
{
    struct cli cli = {.program = "vmwire",
                      .color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR"),
                      .problems = {.arena = &cli.arena}};
    signal(SIGPIPE, SIG_IGN);
    int status = dispatch(&cli, argc, argv);
    if (status == EXIT_HELPED)
        status = EXIT_DONE;
    host_close(&cli.host);
    arena_free(&cli.arena);
    if (fflush(stdout) != 0 && status == EXIT_DONE)
        status = EXIT_REFUSED;
    return status;
}
