/* cmd_exec.c: `vmwire exec --nic NET… -- CMD…`: wire any program, and become it; where taps
 * outlive it, its parent. */
#include <errno.h>
#include <string.h>

#include "cli/change.h"
#include "cli/cli.h"
#include "engine/nic.h"

/* The options end at `--`, or before the first word that is none: the command has options of its own. Returns
 * its index, or -1 with *status set. */
static int specs_read(struct cli *cli, int argc, char **argv, struct nics *nics, int *status)
{
    struct err err = {0};
    for (int i = 1; i < argc; i++) {
        const char *spec = NULL;
        if (strcmp(argv[i], "--") == 0)
            return i + 1;
        if (argv[i][0] != '-')
            return i;
        if (strncmp(argv[i], "--nic=", 6) == 0)
            spec = argv[i] + 6;
        else if (strcmp(argv[i], "--nic") == 0)
            spec = argv[++i];
        else
            *status =
                cli_usage(cli, "unknown option '%s'; the program and its options come behind '--'", argv[i]);
        if (*status != EXIT_DONE)
            return -1;
        if (!spec)
            *status = cli_usage(cli, "option '--nic' needs a value");
        else if (nic_parse(&cli->arena, spec, vec_push(&cli->arena, &nics->specs), &err) < 0)
            *status = cli_usage(cli, "%s", err.text);
        if (*status != EXIT_DONE)
            return -1;
    }
    return argc;
}

/* What a killed vmwire left is rolled back before anything is wired to it. */
static int settle(struct cli *cli, struct err *err)
{
    struct engine_listener listener = change_listener(cli);
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, &listener);
    return engine_settle(&engine, err);
}

int cmd_exec(struct cli *cli, int argc, char **argv)
{
    struct err err = {0};
    _cleanup_nics_ struct nics nics = {.machine = "-"};
    int status = EXIT_DONE;
    int start = specs_read(cli, argc, argv, &nics, &status);
    if (status != EXIT_DONE)
        return status;
    const char *const *command = (const char *const *)argv + start;
    if (start >= argc)
        return cli_usage(cli, "'exec' needs a program behind '--'");
    if (!nics.specs.count)
        return cli_usage(cli, "'exec' needs at least one --nic");
    if (nics.specs.count > NICS_MAX)
        return cli_usage(cli, "%zu nics are more than %d", nics.specs.count, NICS_MAX);
    if (nic_check_argv(command, nics.specs.count, &err) < 0)
        return cli_usage(cli, "%s", err.text);
    status = cli_host(cli);
    if (status != EXIT_DONE)
        return status;
    if (settle(cli, &err) < 0 || nics_open(&cli->arena, cli->host, &nics, command, &err) < 0)
        return cli_fail(cli, &err);
    if (!cli->host->backend->nic_close)
        exec_nics(&cli->arena, &nics, command, NULL, &err);
    else if (nics_run(&cli->arena, &nics, command, &status, &err) == 0)
        return status;
    return cli_fail(cli, &err);
}
