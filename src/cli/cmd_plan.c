/* cmd_plan.c: `vmwire plan`: what a change would do, as the host's own commands. */
#include <string.h>

#include "base/text.h"
#include "cli/change.h"
#include "host/profile.h"

static void print_json(struct cli *cli, const struct plan *plan, const struct host_profile *foreign,
                       const struct engine_refusals *refusals, host_render render)
{
    struct text out = {.arena = &cli->arena};
    struct json json = {.out = &out};
    json_object_open(&json, NULL);
    json_string(&json, "host", foreign ? foreign->name : cli->host->backend->name);
    json_bool(&json, "fresh", foreign != NULL);
    json_array_open(&json, "operations");
    vec_foreach (&plan->steps, step) {
        json_object_open(&json, NULL);
        op_json(&json, &step->op);
        json_string(&json, "command", render(&cli->arena, &step->op));
        json_string(&json, "undo", step->undo.kind ? render(&cli->arena, &step->undo) : NULL);
        json_object_close(&json);
    }
    json_array_close(&json);
    json_array_open(&json, "refusals");
    vec_foreach (&refusals->list, refusal) {
        json_object_open(&json, NULL);
        json_string(&json, "network", refusal->network);
        json_string(&json, "text", refusal->text);
        json_object_close(&json);
    }
    json_array_close(&json);
    json_object_close(&json);
    fputs(text_get(&out), stdout);
}

/* Comments, which whoever wrote the other rules must not be able to end. */
static void print_refusals(const struct engine_refusals *refusals)
{
    vec_foreach (&refusals->list, refusal) {
        printf("%s# network '%s': ", refusal == refusals->list.items ? "\n" : "", refusal->network);
        for (const char *c = refusal->text; *c; c++)
            putchar((unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c);
        putchar('\n');
    }
}

static void print_text(struct cli *cli, const struct plan *plan, const struct engine_refusals *refusals,
                       host_render render)
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
    print_refusals(refusals);
}

static int plan_engine(struct cli *cli, const char *const *names, bool down,
                       const struct host_profile *foreign, struct plan *plan,
                       struct engine_refusals *refusals, struct err *err)
{
    struct engine_listener listener = change_listener(cli);
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, &listener);
    if (foreign)
        return engine_plan_foreign(&engine, foreign, &cli->model, names, &cli->problems, plan, err);
    if (engine_settle(&engine, err) < 0 || engine_observe(&engine, HOST_OBSERVE_ALL, err) < 0)
        return err->code;
    if (down)
        return engine_plan_down(&engine, names, &cli->problems, plan, err);
    int rc = engine_plan_up(&engine, &cli->model, names, &cli->problems, plan, err);
    return rc < 0 ? rc : engine_planned_refusals(&engine, &cli->model, names, plan, refusals, err);
}

/* The profile of `--host`, NULL for this host. */
static int foreign_host(struct cli *cli, const char *name, bool down, const struct host_profile **foreign)
{
    const char *here = cli->host->backend->name;
    *foreign = NULL;
    if (!name || strcmp(name, here) == 0)
        return EXIT_DONE;
    *foreign = host_profile_find(name);
    if (!*foreign)
        return cli_usage(cli, "'%s' is not a host that vmwire knows; --host is one of " HOST_PROFILE_NAMES,
                         name);
    if (down)
        return cli_usage(cli, "--down is planned from what this host has (%s): it does not go with --host %s",
                         here, name);
    return EXIT_DONE;
}

int cmd_plan(struct cli *cli, int argc, char **argv)
{
    bool as_json = false, exit_code = false, down = false;
    const char *host = NULL;
    const struct host_profile *foreign = NULL;
    const struct cli_option options[] = {{"--json", .flag = &as_json},
                                         {"--exit-code", .flag = &exit_code},
                                         {"--down", .flag = &down},
                                         {"--host", .value = &host},
                                         {0}};
    int status = cli_options(cli, &argc, argv, options);
    if (status == EXIT_DONE)
        status = cli_host(cli);
    if (status == EXIT_DONE)
        status = foreign_host(cli, host, down, &foreign);
    cli->foreign = foreign != NULL;
    if (status == EXIT_DONE && !down)
        status = cli_config(cli);
    const char *const *names;
    if (status == EXIT_DONE)
        status = change_names(cli, argc, argv, !down, &names);
    if (status != EXIT_DONE)
        return status;
    struct err err = {0};
    struct plan plan;
    struct engine_refusals refusals = {0};
    if (plan_engine(cli, names, down, foreign, &plan, &refusals, &err) < 0)
        return cli_fail(cli, &err);
    status = cli_problems(cli);
    if (status != EXIT_DONE)
        return status;
    host_render render = foreign ? foreign->render : host_render_find(cli->host->backend->name);
    if (foreign && !as_json)
        printf("# on a fresh %s host, where the uplinks exist and have no addresses\n\n", foreign->system);
    if (as_json)
        print_json(cli, &plan, foreign, &refusals, render);
    else
        print_text(cli, &plan, &refusals, render);
    return exit_code && plan.steps.count ? EXIT_DRIFT : EXIT_DONE;
}
