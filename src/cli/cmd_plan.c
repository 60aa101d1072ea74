/* cmd_plan.c: `vmwire plan`: what a change would do, as the host's own commands. */
#include <string.h>

#include "base/text.h"
#include "cli/change.h"
#include "host/render.h"

static void print_json(struct cli *cli, const struct plan *plan, host_render render)
{
    struct text out = {.arena = &cli->arena};
    struct json json = {.out = &out};
    json_object_open(&json, NULL);
    json_array_open(&json, "operations");
    vec_foreach (&plan->steps, step) {
        json_object_open(&json, NULL);
        op_json(&json, &step->op);
        json_string(&json, "command", render(&cli->arena, &step->op));
        json_string(&json, "undo", step->undo.kind ? render(&cli->arena, &step->undo) : NULL);
        json_object_close(&json);
    }
    json_array_close(&json);
    json_object_close(&json);
    fputs(text_get(&out), stdout);
}

static void print_text(struct cli *cli, const struct plan *plan, host_render render)
{
    const char *network = NULL;
    vec_foreach (&plan->steps, step) {
        const char *now = step->op.network ? step->op.network : "";
        if (!text_equal(network, now)) {
            const struct network *entry = network_find(&cli->model, now);
            if (entry)
                printf("%s# network '%s' (%s)\n", network ? "\n" : "", now, network_mode_name(entry->mode));
            else
                printf("%s# %s%s%s\n", network ? "\n" : "", *now ? "network '" : "the host", now,
                       *now ? "'" : "");
        }
        network = now;
        fputs(render(&cli->arena, &step->op), stdout);
    }
    if (!plan->steps.count)
        puts("# nothing to do");
}

static int plan_engine(struct cli *cli, const char *const *names, bool down, struct plan *plan,
                       struct err *err)
{
    struct engine_listener listener = change_listener(cli);
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, &listener);
    if (engine_settle(&engine, err) < 0 || engine_observe(&engine, HOST_OBSERVE_ALL, err) < 0)
        return err->code;
    return down ? engine_plan_down(&engine, names, &cli->problems, plan, err)
                : engine_plan_up(&engine, &cli->model, names, &cli->problems, plan, err);
}

int cmd_plan(struct cli *cli, int argc, char **argv)
{
    bool as_json = false, exit_code = false, down = false;
    const struct cli_option options[] = {
        {"--json", &as_json, NULL}, {"--exit-code", &exit_code, NULL}, {"--down", &down, NULL}, {0}};
    int status = cli_options(cli, &argc, argv, options);
    if (status == EXIT_DONE)
        status = down ? cli_host(cli) : cli_config(cli);
    const char *const *names;
    if (status == EXIT_DONE)
        status = change_names(cli, argc, argv, !down, &names);
    if (status != EXIT_DONE)
        return status;
    struct err err = {0};
    struct plan plan;
    if (plan_engine(cli, names, down, &plan, &err) < 0)
        return cli_fail(cli, &err);
    status = cli_problems(cli);
    if (status != EXIT_DONE)
        return status;
    host_render render = host_render_find(cli->host->backend->name);
    if (as_json)
        print_json(cli, &plan, render);
    else
        print_text(cli, &plan, render);
    return exit_code && plan.steps.count ? EXIT_DRIFT : EXIT_DONE;
}
