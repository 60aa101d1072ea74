/* cmd_attach.c: `vmwire attach` and `vmwire detach`: nics that come and go while a machine runs. */
#include <string.h>

#include "base/text.h"
#include "cli/change.h"
#include "cli/cli.h"
#include "engine/hotplug.h"

enum { DETACH_TIMEOUT_S = 10, DETACH_TIMEOUT_MAX_S = 3600 };

static int names_check(struct cli *cli, int argc, char **argv, const char *second)
{
    if (argc != 3)
        return cli_usage(cli, "'%s' takes the name of a machine and %s", argv[0], second);
    const char *fault = machine_name_fault(&cli->arena, argv[1]);
    return fault ? cli_usage(cli, "machine name '%s' %s", argv[1], fault) : EXIT_DONE;
}

/* The file says how its nics are; a machine that left it can have another one too. */
static int network_check(struct cli *cli, const char *name)
{
    const char *fault = name_fault(&cli->arena, name);
    if (fault)
        return cli_usage(cli, "network name '%s' %s", name, fault);
    const struct network *network = network_find(&cli->model, name);
    if (network && network->mode == NETWORK_PASSTHROUGH)
        return cli_usage(
            cli,
            "network '%s' passes a device through, which a machine is given when it starts: write it "
            "into the file, and stop and start the machine",
            name);
    if (network || !cli->model.networks.count)
        return EXIT_DONE;
    return change_names(cli, 2, (char *[]){"attach", (char *)name}, true, &(const char *const *){NULL});
}

static int options_read(struct cli *cli, const char *mac, const char *model, struct attach *attach)
{
    if (mac &&
        (mac_parse(mac, &attach->mac) < 0 || mac_is_multicast(&attach->mac) || mac_is_zero(&attach->mac)))
        return cli_usage(cli, "--mac is a MAC that a nic can have (as 02:00:00:00:00:01), not '%s'", mac);
    attach->model_given = model != NULL;
    attach->model = text_equal(model, "e1000") ? NIC_E1000 : NIC_VIRTIO;
    if (model && strcmp(model, "e1000") != 0 && strcmp(model, "virtio") != 0)
        return cli_usage(cli, "--model is 'virtio' or 'e1000', not '%s'", model);
    return EXIT_DONE;
}

int cmd_attach(struct cli *cli, int argc, char **argv)
{
    const char *mac = NULL, *model = NULL;
    struct attach attach = {0};
    long queues = 0;
    const struct cli_option options[] = {
        {"--mac", .value = &mac},
        {"--model", .value = &model},
        {"--queues", .number = &queues, .unit = "queues", .low = 1, .high = NIC_QUEUES_MAX},
        {0}};
    int status = cli_options(cli, &argc, argv, options);
    if (status == EXIT_DONE)
        status = names_check(cli, argc, argv, "of a network");
    if (status == EXIT_DONE)
        status = options_read(cli, mac, model, &attach);
    if (status == EXIT_DONE)
        status = cli_config_optional(cli);
    if (status == EXIT_DONE)
        status = network_check(cli, argv[2]);
    if (status != EXIT_DONE)
        return status;
    attach.queues = (unsigned)queues;
    attach.machine = argv[1];
    attach.network = argv[2];
    attach.mac_seed = cli->host->backend->identity(cli->host, &cli->arena);
    struct err err = {0};
    struct engine_listener listener = change_listener(cli);
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, &listener);
    if (engine_settle(&engine, &err) < 0 || machine_attach(&engine, &cli->model, &attach, &err) < 0)
        return cli_fail(cli, &err);
    printf("machine '%s' has nic %u on '%s' (%s, %s)\n", attach.machine, attach.index, attach.network,
           attach.tap, MAC_TEXT(&attach.mac));
    if (!attach.listed)
        printf("it is not in the file: the machine has it until it ends\n");
    return EXIT_DONE;
}

int cmd_detach(struct cli *cli, int argc, char **argv)
{
    long seconds = DETACH_TIMEOUT_S;
    struct detach detach = {0};
    const struct cli_option options[] = {
        {"--timeout", .number = &seconds, .unit = "seconds", .high = DETACH_TIMEOUT_MAX_S},
        {"--force", .flag = &detach.force},
        {0}};
    int status = cli_options(cli, &argc, argv, options);
    if (status == EXIT_DONE)
        status = names_check(cli, argc, argv, "one of its nics: a network, a MAC or an index");
    if (status == EXIT_DONE)
        status = cli_host(cli);
    if (status != EXIT_DONE)
        return status;
    detach.machine = argv[1];
    detach.which = argv[2];
    detach.timeout_ms = (int)seconds * 1000;
    struct err err = {0};
    struct engine_listener listener = change_listener(cli);
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, &listener);
    if (engine_settle(&engine, &err) < 0 || machine_detach(&engine, &detach, &err) < 0)
        return cli_fail(cli, &err);
    if (detach.cut)
        printf("machine '%s': nic %u has no wire any more; its guest still has the card\n", detach.machine,
               detach.nic.index);
    else
        printf("machine '%s' has nic %u no longer\n", detach.machine, detach.nic.index);
    return EXIT_DONE;
}
