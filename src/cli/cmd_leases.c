/* cmd_leases.c: `vmwire leases`: who has which address of the networks' DHCP servers.  The JSON shape is in
 * docs/JSON.md. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/status.h"

static void leases_json(struct cli *cli, const char *const *names, const struct leases *leases, size_t count)
{
    struct text out = {.arena = &cli->arena};
    struct json json = {.out = &out};
    json_object_open(&json, NULL);
    json_array_open(&json, "networks");
    for (size_t i = 0; i < count; i++) {
        json_object_open(&json, NULL);
        json_string(&json, "name", names[i]);
        json_array_open(&json, "leases");
        vec_foreach (&leases[i].list, lease)
            json_lease(&json, lease);
        json_array_close(&json);
        json_object_close(&json);
    }
    json_array_close(&json);
    json_object_close(&json);
    fputs(text_get(&out), stdout);
}

int cmd_leases(struct cli *cli, int argc, char **argv)
{
    bool as_json = false;
    int exit_status = cli_options(cli, &argc, argv, (struct cli_option[]){{"--json", .flag = &as_json}, {0}});
    if (exit_status == EXIT_DONE && argc > 2)
        return cli_usage(cli, "'leases' takes one network");
    if (exit_status == EXIT_DONE)
        exit_status = cli_config_optional(cli);
    if (exit_status != EXIT_DONE)
        return exit_status;
    if (argc == 2 && cli->model.networks.count && !network_find(&cli->model, argv[1]))
        return cli_usage(cli, "the file has no network '%s'", argv[1]);

    struct err err = {0};
    struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, NULL);
    if (engine_observe(&engine, HOST_OBSERVE_FILES, &err) < 0)
        return cli_fail(cli, &err);
    VEC(const char *) names = {0};
    VEC(struct leases) leases = {0};
    vec_foreach (&cli->model.networks, network) {
        if (!network_has_subnet(network) || (argc == 2 && strcmp(argv[1], network->name) != 0))
            continue;
        *vec_push(&cli->arena, &names) = network->name;
        engine_leases(&engine, network->name, vec_push(&cli->arena, &leases));
    }
    if (as_json) {
        leases_json(cli, names.items, leases.items, names.count);
        return EXIT_DONE;
    }
    struct table table = {.arena = &cli->arena, .columns = 5};
    table_row(&table, "LEASE", "MAC", "NAME", "NETWORK", "ENDS IN");
    for (size_t i = 0; i < names.count; i++) {
        vec_foreach (&leases.items[i].list, lease)
            lease_row(cli, &table, names.items[i], lease);
    }
    table_print(&table, stdout, cli->color);
    return EXIT_DONE;
}
