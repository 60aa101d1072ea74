/* change.c: the way of every change: lock, observe, plan, apply; and what is printed on it. */
#include "cli/change.h"

#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/text.h"
#include "host/render.h"

enum { LOCK_WAIT_MS = 30000 };

static int unknown_network(struct cli *cli, const char *name)
{
    VEC(const char *) names = {0};
    vec_foreach (&cli->model.networks, network)
        *vec_push(&cli->arena, &names) = network->name;
    *vec_push(&cli->arena, &names) = NULL;
    const char *near = text_nearest(name, names.items);
    return near ? cli_usage(cli, "the file has no network '%s'; did you mean '%s'?", name, near)
                : cli_usage(cli, "the file has no network '%s'", name);
}

int change_names(struct cli *cli, int argc, char **argv, bool known_only, const char *const **names)
{
    *names = NULL;
    if (argc <= 1)
        return EXIT_DONE;
    for (int i = 1; known_only && i < argc; i++) {
        if (!network_find(&cli->model, argv[i]))
            return unknown_network(cli, argv[i]);
    }
    *names = (const char *const *)(argv + 1);
    return EXIT_DONE;
}

static void show_step(void *context, const struct op *op, size_t index, size_t count)
{
    struct cli *cli = context;
    if (cli->verbose) {
        fprintf(stderr, "+ %s", host_render_find(cli->host->backend->name)(&cli->arena, op));
    } else if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r\033[K[%zu/%zu] %s", index + 1, count, op_describe(&cli->arena, op));
        if (index + 1 == count)
            fputs("\r\033[K", stderr);
    }
}

static void show_note(void *context, const char *text)
{
    const struct cli *cli = context;
    cli_lines(cli, text);
}

static void log_note(void *context, const char *text)
{
    const struct cli *cli = context;
    openlog(cli->program, LOG_PID, LOG_DAEMON);
    for (const char *line = text; *line;) {
        int length = (int)strcspn(line, "\n");
        syslog(LOG_WARNING, "%.*s", length, line);
        line += length + (line[length] == '\n');
    }
    closelog();
}

struct engine_listener change_listener(struct cli *cli)
{
    return (struct engine_listener){.context = cli, .step = show_step, .note = show_note, .log = log_note};
}

static int make_plan(struct cli *cli, struct engine *engine, const char *const *names, bool down,
                     struct plan *plan, struct err *err)
{
    int rc = engine_observe(engine, HOST_OBSERVE_ALL, err);
    if (rc < 0)
        return rc;
    return down ? engine_plan_down(engine, names, &cli->problems, plan, err)
                : engine_plan_up(engine, &cli->model, names, &cli->problems, plan, err);
}

int change_host(struct cli *cli, const char *const *names, bool down, const struct guard_request *guard)
{
    struct err err = {0};
    struct engine_listener listener = change_listener(cli);
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, &listener);
    if (engine_lock(&engine, LOCK_WAIT_MS, &err) < 0)
        return cli_fail(cli, &err);
    struct plan plan;
    bool pending = false, done;
    engine.attempts = !down;
    do {
        if (make_plan(cli, &engine, names, down, &plan, &err) < 0)
            return cli_fail(cli, &err);
        int status = cli_problems(cli);
        if (status != EXIT_DONE)
            return status;
        struct guard_request patience = *guard;
        if (patience.guard_ms < 0)
            patience.guard_ms = record_guard_ms(&cli->arena, &engine.observed, names);
        done = engine_check_programs(&engine, &plan, &err) == 0 &&
               engine_change(&engine, &plan, &patience, &pending, &err) == 0;
    } while (!done && engine_lacks(&engine));
    if (!done) {
        if (!cli->verbose && isatty(STDERR_FILENO))
            fputs("\r\033[K", stderr);
        return cli_fail(cli, &err);
    }
    if (pending)
        fprintf(stderr, "%s: undone in %d s unless you confirm it, from here or elsewhere: %s confirm\n",
                cli->program, guard->confirm_ms / 1000, cli->program);
    if (!down && engine_tell_refusals(&engine, &cli->model, names, plan.steps.count, &err) < 0)
        return cli_fail(cli, &err);
    if (plan.steps.count)
        printf("%s: %zu change%s\n", down ? "down" : "up", plan.steps.count,
               plan.steps.count == 1 ? "" : "s");
    else
        printf("%s: nothing to do\n", down ? "down" : "up");
    return EXIT_DONE;
}
