/* cmd_watch.c: `vmwire watch`: keep the host matching the file, woken by what happens to it. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/change.h"
#include "config/config.h"
#include "engine/watch.h"

enum {
    LOOK_LOCK_WAIT_MS = 30000,
    LOOK_BEFORE_MS = 300, /* what is mended may be what keeps everybody from answering */
};

/* One look, in a child: what it changed, and what it has to complain of. */
struct looking {
    struct cli *cli;
    struct watch_look *look;
    struct text complaints;
};

static uint64_t hash(uint64_t before, const char *text)
{
    uint64_t value = before ? before : UINT64_C(14695981039346656037); /* FNV-1a */
    for (; *text; text++)
        value = (value ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return value;
}

static void mend_step(void *context, const struct op *op, size_t index, size_t count)
{
    const struct looking *looking = context;
    struct cli *cli = looking->cli;
    const char *text = op_describe(&cli->arena, op);
    (void)index, (void)count;
    if (op->network && *op->network)
        text = arena_printf(&cli->arena, "network '%s': %s", op->network, text);
    cli_lines(cli, text);
    if (!looking->look->changes++)
        memcpy(looking->look->first, text,
               strlen(text) < sizeof(looking->look->first) ? strlen(text) : sizeof(looking->look->first) - 1);
    looking->look->what = hash(looking->look->what, text);
}

static void mend_note(void *context, const char *text)
{
    const struct looking *looking = context;
    cli_lines(looking->cli, text);
}

/* False when problems of the host keep these networks (NULL: all) from being planned. */
static bool mend(struct looking *looking, const char *const *names)
{
    struct cli *cli = looking->cli;
    struct engine_listener listener = change_listener(cli);
    struct guard_request guard = {.guard_ms = model_guard_ms(&cli->model), .before_ms = LOOK_BEFORE_MS};
    struct err err = {0};
    struct plan plan;
    _cleanup_engine_ struct engine engine;
    listener.context = looking, listener.step = mend_step, listener.note = mend_note, listener.log = NULL;
    engine_init(&engine, &cli->arena, cli->host, &listener);
    cli->problems.list.count = 0;
    if (engine_lock(&engine, LOOK_LOCK_WAIT_MS, &err) < 0 ||
        engine_observe(&engine, HOST_OBSERVE_ALL, &err) < 0 ||
        engine_plan_up(&engine, &cli->model, names, &cli->problems, &plan, &err) < 0) {
        text_add(&looking->complaints, "%s\n", err.text);
        looking->look->failed = true;
        return true;
    }
    if (problem_count(&cli->problems))
        return false;
    if (engine_check_programs(&engine, &plan, &err) < 0 ||
        engine_change(&engine, &plan, &guard, NULL, &err) < 0) {
        text_add(&looking->complaints, "%s\n", err.text);
        looking->look->failed = true;
    }
    if (plan.steps.count)
        engine_tell_refusals(&engine, &cli->model, names, true, NULL);
    return true;
}

static void complain(struct looking *looking)
{
    struct cli *cli = looking->cli;
    problem_sort(&cli->problems);
    vec_foreach (&cli->problems.list, problem)
        text_add(&looking->complaints, "%s\n", problem_text(&cli->problems, problem));
}

static void mend_all(struct looking *looking)
{
    struct cli *cli = looking->cli;
    struct err err = {0};
    const char *path = cli_config_path(cli);
    cli->problems = (struct problems){.arena = &cli->arena, .file = path};
    int rc = config_load(&cli->arena, path, cli->host->backend->identity(cli->host, &cli->arena), &cli->model,
                         &cli->problems, &err);
    if (rc < 0 || problem_count(&cli->problems)) {
        if (rc < 0)
            text_add(&looking->complaints, "%s\n", err.text);
        complain(looking);
        text_add(&looking->complaints, "what is up stays as it is until the file is right again\n");
        looking->look->bad_file = true;
        return;
    }
    if (mend(looking, NULL))
        return;
    /* One network that cannot be keeps no other from being mended; what it waits for is an event. */
    complain(looking);
    vec_foreach (&cli->model.networks, network)
        mend(looking, (const char *const[]){network->name, NULL});
}

static void look(void *context, struct watch_look *found)
{
    const struct cli *parent = context;
    struct cli cli = {
        .program = parent->program, .config_path = parent->config_path, .command = parent->command};
    struct looking looking = {.cli = &cli, .look = found, .complaints = {.arena = &cli.arena}};
    uint64_t said = found->said;
    if (cli_host(&cli) != EXIT_DONE) {
        found->failed = true;
        return;
    }
    mend_all(&looking);
    const char *complaints = text_get(&looking.complaints);
    found->said = *complaints ? hash(0, complaints) : 0;
    if (found->said && found->said != said)
        cli_lines(&cli, complaints);
    else if (said && !found->said && !found->failed)
        cli_lines(&cli, "what kept the host from matching the file is gone");
    host_close(&cli.host);
    arena_free(&cli.arena);
}

static void say(void *context, const char *text)
{
    const struct cli *cli = context;
    cli_lines(cli, text);
}

static volatile sig_atomic_t stop;

static void stop_now(int number)
{
    (void)number;
    stop = 1;
}

/* They come only while watching waits, so that none is lost. */
static void signals_set(sigset_t *while_waiting)
{
    sigset_t blocked;
    struct sigaction action = {.sa_handler = stop_now};
    const int signals[] = {SIGTERM, SIGINT, SIGHUP};
    sigemptyset(&blocked);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        sigaddset(&blocked, signals[i]);
        sigaction(signals[i], &action, NULL);
    }
    sigprocmask(SIG_BLOCK, &blocked, while_waiting);
}

int cmd_watch(struct cli *cli, int argc, char **argv)
{
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{0}});
    if (status == EXIT_DONE && argc > 1)
        return cli_usage(cli, "'watch' takes no arguments: it keeps the whole file");
    if (status == EXIT_DONE)
        status = cli_host(cli);
    if (status != EXIT_DONE)
        return status;
    struct err err = {0};
    sigset_t while_waiting;
    struct watch_request request = {
        .path = cli_config_path(cli), .look = look, .say = say, .context = cli, .stop = &stop};
    signals_set(&while_waiting);
    return engine_watch(cli->host, &request, &while_waiting, &err) < 0 ? cli_fail(cli, &err) : EXIT_DONE;
}
