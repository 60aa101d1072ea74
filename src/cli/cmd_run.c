/* cmd_run.c: `vmwire run`, `start`, `stop` and `console`: the life of one machine. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/change.h"
#include "cli/machine.h"
#include "engine/device.h"
#include "engine/machine.h"

enum { STOP_TIMEOUT_S = 30, STOP_TIMEOUT_MAX_S = 86400 };

int cli_machine_name(struct cli *cli, int argc, char **argv, const char **name)
{
    if (argc != 2)
        return cli_usage(cli, "'%s' takes the name of one machine", argv[0]);
    const char *fault = machine_name_fault(&cli->arena, argv[1]);
    if (fault)
        return cli_usage(cli, "machine name '%s' %s", argv[1], fault);
    *name = argv[1];
    return EXIT_DONE;
}

int cli_machine(struct cli *cli, int argc, char **argv, const struct machine **machine)
{
    const char *name;
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{0}});
    if (status == EXIT_DONE)
        status = cli_machine_name(cli, argc, argv, &name);
    if (status == EXIT_DONE)
        status = cli_config(cli);
    if (status != EXIT_DONE)
        return status;
    *machine = machine_find(&cli->model, name);
    if (*machine)
        return EXIT_DONE;
    VEC(const char *) names = {0};
    vec_foreach (&cli->model.machines, known)
        *vec_push(&cli->arena, &names) = known->name;
    *vec_push(&cli->arena, &names) = NULL;
    const char *near = text_nearest(name, names.items);
    return near ? cli_usage(cli, "the file has no machine '%s'; did you mean '%s'?", name, near)
                : cli_usage(cli, "the file has no machine '%s'", name);
}

/* Before a machine starts: what a killed vmwire left is rolled back, and slow running is said. */
static int prepare(struct cli *cli, const struct machine *machine, struct err *err)
{
    struct engine_listener listener = change_listener(cli);
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, &listener);
    int rc = engine_settle(&engine, err);
    const char *why = "";
    if (rc == 0 && !cli->host->backend->bhyve &&
        !cli->host->backend->accelerated(cli->host, &cli->arena, &why))
        fprintf(stderr, "%s: machine '%s' is emulated (TCG), which is slow: %s\n", cli->program,
                machine->name, why);
    return rc;
}

int cmd_run(struct cli *cli, int argc, char **argv)
{
    const struct machine *machine;
    int status = cli_machine(cli, argc, argv, &machine);
    if (status != EXIT_DONE)
        return status;
    struct err err = {0};
    int exit_status = EXIT_DONE;
    if (prepare(cli, machine, &err) == 0 &&
        machine_run(cli->host, &cli->arena, &cli->model, machine, &exit_status, &err) == 0)
        return exit_status;
    return cli_fail(cli, &err);
}

int cmd_start(struct cli *cli, int argc, char **argv)
{
    const struct machine *machine;
    int status = cli_machine(cli, argc, argv, &machine);
    if (status != EXIT_DONE)
        return status;
    struct err err = {0};
    pid_t pid = 0;
    if (prepare(cli, machine, &err) < 0 ||
        machine_start(cli->host, &cli->arena, &cli->model, machine, &pid, &err) < 0)
        return cli_fail(cli, &err);
    printf("machine '%s' runs (pid %d)\n", machine->name, (int)pid);
    return EXIT_DONE;
}

/* Its keeper has given its devices back; where it was killed, or could not, that is done or said now. */
static int devices_back(struct cli *cli)
{
    struct err err = {0};
    struct engine_listener listener = change_listener(cli);
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, &listener);
    if (engine_settle(&engine, &err) < 0)
        return cli_fail(cli, &err);
    return devices_stale(&engine) ? EXIT_REFUSED : EXIT_DONE;
}

int cmd_stop(struct cli *cli, int argc, char **argv)
{
    const char *name;
    long seconds = STOP_TIMEOUT_S;
    const struct cli_option options[] = {
        {"--timeout", .number = &seconds, .unit = "seconds", .high = STOP_TIMEOUT_MAX_S}, {0}};
    int status = cli_options(cli, &argc, argv, options);
    if (status == EXIT_DONE)
        status = cli_machine_name(cli, argc, argv, &name);
    if (status == EXIT_DONE)
        status = cli_host(cli);
    if (status != EXIT_DONE)
        return status;
    struct err err = {0};
    enum machine_end end;
    if (machine_stop(cli->host, name, (int)seconds * 1000, &end, &err) < 0)
        return cli_fail(cli, &err);
    switch (end) {
    case MACHINE_NOT_RUNNING:
        printf("machine '%s' was not running\n", name);
        break;
    case MACHINE_POWERED_OFF:
        printf("machine '%s' shut itself down\n", name);
        break;
    case MACHINE_FORCED:
        printf("machine '%s' was switched off", name);
        if (seconds)
            printf(": the guest did not shut down within %ld s", seconds);
        putchar('\n');
        break;
    case MACHINE_KILLED:
        printf("machine '%s' was killed: neither guest nor hypervisor listened\n", name);
        break;
    }
    return devices_back(cli);
}

int cmd_console(struct cli *cli, int argc, char **argv)
{
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{0}});
    const char *name;
    if (status == EXIT_DONE)
        status = cli_machine_name(cli, argc, argv, &name);
    if (status == EXIT_DONE)
        status = cli_host(cli);
    if (status != EXIT_DONE)
        return status;
    if (isatty(STDIN_FILENO))
        fprintf(stderr, "%s: console of machine '%s'; Ctrl-] leaves it\n", cli->program, name);
    struct err err = {0};
    enum machine_console_end end;
    if (machine_console(cli->host, name, STDIN_FILENO, STDOUT_FILENO, &end, &err) < 0)
        return cli_fail(cli, &err);
    if (isatty(STDIN_FILENO))
        fprintf(stderr, "\n%s: %s\n", cli->program,
                end == CONSOLE_CLOSED ? "the machine ended" : "left the console; the machine runs on");
    return EXIT_DONE;
}
