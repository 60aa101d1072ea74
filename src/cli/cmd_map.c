/* cmd_map.c: `vmwire map`: the picture of what is wired to what.  The JSON shape is in docs/JSON.md. */
#include "diag/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/spawn.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/map_text.h"
#include "engine/doctor.h"
#include "engine/machine.h"

enum {
    GROUP_ABOVE = 8, /* so many guests of the same networks are drawn one by one */
    DOT_LIMIT_MS = 120000,
    WIDTH_DEFAULT = 100,
};

static void print_json(struct cli *cli, const struct map *map)
{
    static const char *const states[] = {"fine", "warning", "broken"};
    struct text out = {.arena = &cli->arena};
    struct json json = {.out = &out};
    json_object_open(&json, NULL);
    json_array_open(&json, "nodes");
    vec_foreach (&map->nodes, node) {
        json_object_open(&json, NULL);
        json_string(&json, "id", node->id);
        json_string(&json, "kind", map_kind_name(node->kind));
        json_string(&json, "name", node->name);
        json_string(&json, "network", *node->network ? node->network : NULL);
        json_array_open(&json, "lines");
        vec_foreach (&node->lines, line)
            json_string(&json, NULL, *line);
        json_array_close(&json);
        json_string(&json, "state", states[node->state]);
        json_array_open(&json, "reasons");
        vec_foreach (&node->reasons, reason) {
            json_object_open(&json, NULL);
            json_string(&json, "code", reason->code);
            json_string(&json, "text", reason->text);
            json_object_close(&json);
        }
        json_array_close(&json);
        json_object_close(&json);
    }
    json_array_close(&json);
    json_array_open(&json, "edges");
    vec_foreach (&map->edges, edge) {
        json_object_open(&json, NULL);
        json_string(&json, "from", map->nodes.items[edge->from].id);
        json_string(&json, "to", map->nodes.items[edge->to].id);
        json_bool(&json, "broken", edge->broken);
        json_object_close(&json);
    }
    json_array_close(&json);
    json_array_open(&json, "elsewhere");
    vec_foreach (&map->elsewhere, reason)
        json_string(&json, NULL, reason->text);
    json_array_close(&json);
    json_array_open(&json, "networks_down");
    vec_foreach (&map->networks_down, name)
        json_string(&json, NULL, *name);
    json_array_close(&json);
    json_array_open(&json, "machines_stopped");
    vec_foreach (&map->machines_stopped, name)
        json_string(&json, NULL, *name);
    json_array_close(&json);
    json_object_close(&json);
    fputs(text_get(&out), stdout);
}

static size_t terminal_width(void)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col;
    return known ? size.ws_col : WIDTH_DEFAULT;
}

/* ---- --svg ---- */

static int dot_run(struct cli *cli, const char *dot, const char *path, struct err *err)
{
    struct spawn spawn = {.argv = (const char *const[]){"dot", "-Tsvg", "-o", path, NULL},
                          .input = dot,
                          .timeout_ms = DOT_LIMIT_MS,
                          .arena = &cli->arena};
    int rc = spawn_check(&spawn, err);
    if (rc == -ENOENT)
        return err_set(
            err, ENOENT,
            "'dot' is not installed: it is in the package graphviz; or draw elsewhere what `vmwire "
            "map --dot` prints");
    return rc;
}

/* Beside the file, and then in its place: whoever looks at it sees a whole picture or the former one. */
static int svg_write(struct cli *cli, const char *dot, const char *file, struct err *err)
{
    const char *name;
    _cleanup_fd_ int directory = directory_of(file, true, &name, err);
    if (directory < 0)
        return directory;
    char *temporary = arena_printf(&cli->arena, "./%s.XXXXXX", name);
    _cleanup_fd_ int fd = fchdir(directory) < 0 ? -1 : mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "writing '%s'", file);
    mode_t mask = umask(0);
    umask(mask);
    int rc = dot_run(cli, dot, temporary, err);
    if (rc == 0 && (chmod(temporary, 0666 & ~mask) < 0 || rename(temporary, name) < 0))
        rc = err_errno(err, errno, "writing '%s'", file);
    if (rc < 0)
        unlink(temporary);
    return rc;
}

/* ---- collecting ---- */

static bool runs(void *context, const char *machine)
{
    struct cli *cli = context;
    struct machine_state state;
    return machine_state(cli->host, machine, false, &state, NULL) == 0 && state.running;
}

/* Addresses of nics that no server told. */
static void given_add(struct cli *cli, const struct status_network *network, struct map_request *request)
{
    vec_foreach (&network->ports, port) {
        vec_foreach (&port->addresses, ip) {
            bool told = false;
            vec_foreach (&network->leases.list, lease)
                told |= ip_equal(&lease->ip, ip) && mac_equal(&lease->mac, &port->nic.mac);
            vec_foreach (&network->owners, owner)
                told |= ip_equal(&owner->address->ip, ip) && mac_equal(&owner->address->mac, &port->nic.mac);
            if (!told)
                *vec_push(&cli->arena, &request->leases) = (struct map_lease){port->nic.mac, *ip};
        }
    }
}

static int collect(struct cli *cli, struct engine *engine, struct map *map, struct err *err)
{
    struct status status;
    int rc = engine_settle(engine, err);
    if (rc == 0)
        rc = engine_status(engine, &cli->model, DOCTOR_OBSERVES | HOST_OBSERVE_DEVICES, &cli->problems,
                           &status, err);
    struct findings findings = {.arena = &cli->arena};
    if (rc == 0)
        rc = engine_doctor(engine, &cli->model, &status, NULL, &findings, err);
    if (rc < 0)
        return rc;
    struct map_request request = {.model = &cli->model,
                                  .observed = &engine->observed,
                                  .findings = &findings,
                                  .runs = runs,
                                  .context = cli};
    vec_foreach (&status.networks, network) {
        *vec_push(&cli->arena, &request.guests) =
            (struct map_guests){network->name, served_text(&cli->arena, &network->served),
                                network->served.domain, network->isolate};
        vec_foreach (&network->leases.list, lease)
            *vec_push(&cli->arena, &request.leases) = (struct map_lease){lease->mac, lease->ip};
        vec_foreach (&network->owners, owner)
            *vec_push(&cli->arena, &request.leases) =
                (struct map_lease){owner->address->mac, owner->address->ip};
        given_add(cli, network, &request);
        vec_foreach (&network->drift, text)
            *vec_push(&cli->arena, &request.drift) = (struct map_drift){network->name, *text};
    }
    vec_foreach (&status.host_drift, text)
        *vec_push(&cli->arena, &request.drift) = (struct map_drift){"", *text};
    map_build(&cli->arena, &request, map);
    return 0;
}

static void show_note(void *context, const char *text)
{
    const struct cli *cli = context;
    fprintf(stderr, "%s: %s\n", cli->program, text);
}

static int draw(struct cli *cli, const char *svg, bool as_dot, bool as_json, struct err *err)
{
    _cleanup_engine_ struct engine engine;
    struct map map;
    struct engine_listener listener = {.context = cli, .note = show_note};
    engine_init(&engine, &cli->arena, cli->host, &listener);
    int rc = collect(cli, &engine, &map, err);
    if (rc < 0)
        return rc;
    cli_problems(cli);
    if (as_json) {
        print_json(cli, &map);
        return 0;
    }
    map_group(&map, GROUP_ABOVE);
    if (svg)
        return svg_write(cli, map_dot(&map), svg, err);
    if (as_dot)
        fputs(map_dot(&map), stdout);
    else
        map_text_print(cli, &map, terminal_width());
    return 0;
}

int cmd_map(struct cli *cli, int argc, char **argv)
{
    bool as_json = false, as_dot = false;
    const char *svg = NULL;
    int status = cli_options(
        cli, &argc, argv,
        (struct cli_option[]){
            {"--json", .flag = &as_json}, {"--dot", .flag = &as_dot}, {"--svg", .value = &svg}, {0}});
    if (status != EXIT_DONE)
        return status;
    if (argc > 1)
        return cli_usage(cli, "'map' takes no arguments");
    if (as_json + as_dot + (svg != NULL) > 1)
        return cli_usage(cli, "--dot, --svg and --json are one at a time");
    if (svg && (!*svg || strcmp(svg, "-") == 0))
        return cli_usage(cli, "'--svg' needs the name of a file (for a pipe: map --dot | dot -Tsvg)");
    status = cli_config_optional(cli);
    if (status != EXIT_DONE)
        return status;
    struct err err = {0};
    return draw(cli, svg, as_dot, as_json, &err) < 0 ? cli_fail(cli, &err) : EXIT_DONE;
}
