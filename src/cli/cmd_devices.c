/* cmd_devices.c: `vmwire devices`: network cards, and whether a guest can have them.  The JSON shape is
 * documented in docs/JSON.md. */
#include <string.h>

#include "cli/change.h"
#include "cli/cli.h"
#include "engine/engine.h"
#include "host/freebsd/freebsd.h"
#include "plan/device.h"

struct view {
    struct cli *cli;
    const struct observed *observed;
    const struct device_records *records;
};

/* "away": at a guest, or waiting for one; "fit"; "unfit". */
static const char *verdict(const struct view *view, const struct device *device, const char **why)
{
    struct arena *arena = &view->cli->arena;
    const struct device_record *record = device_record_find(view->records, device->address);
    bool pool = record && record->former.count && record->former.items[0].kind == OP_FUNCTIONS_SET;
    *why = NULL;
    if (record && !pool) {
        *why = *record->machine
                   ? arena_printf(arena, "machine '%s' has it, on network '%s'", record->machine,
                                  record->network)
                   : arena_printf(arena, "it waits for a machine, on network '%s'", record->network);
        return "away";
    }
    *why = device_fault(arena, view->observed, device, &(struct device_asker){0});
    return *why ? "unfit" : "fit";
}

static const char *device_name(struct arena *arena, const struct device *device)
{
    if (!device->vendor_name && !device->product_name)
        return arena_printf(arena, "%s [%04x:%04x]", device_class_name(device->class), device->vendor,
                            device->product);
    return arena_printf(
        arena, "%s %s [%04x:%04x]", device->vendor_name ? device->vendor_name : "unknown vendor",
        device->product_name ? device->product_name : "unknown device", device->vendor, device->product);
}

static const char *link_state(const struct link *link)
{
    return !link ? "no interface" : !link->up ? "down" : link->carrier ? "up" : "no carrier";
}

static unsigned functions_used(const struct view *view, const struct device *parent)
{
    unsigned used = 0;
    vec_foreach (&view->observed->devices, device) {
        used +=
            strcmp(device->parent, parent->address) == 0 &&
            device_function_user(&view->cli->arena, view->observed, view->records, device->address) != NULL;
    }
    return used;
}

/* FreeBSD has no groups; what it has is the selector, as the file and /boot/loader.conf have it. */
static void print_selector(struct cli *cli, const struct device *device)
{
    const char *selector = freebsd_pptdevs_word(&cli->arena, device->address);
    if (selector)
        printf("    device: %s\n", selector);
}

static void print_group(const struct device *device)
{
    if (device->group < 0) {
        fputs("    IOMMU group: none", stdout);
    } else {
        printf("    IOMMU group %d: ", device->group);
        if (!device->members.count)
            fputs("alone", stdout);
    }
    vec_foreach (&device->members, member)
        printf("%s%s (%s)", member == device->members.items ? "also " : ", ", member->address,
               *member->driver ? member->driver : device_class_name(member->class));
    if (device->numa_node >= 0)
        printf("; NUMA node %d", device->numa_node);
    putchar('\n');
}

static void print_device(const struct view *view, const struct device *device)
{
    struct cli *cli = view->cli;
    const struct link *link = *device->ifname ? link_find(view->observed, device->ifname) : NULL;
    const char *why, *word = verdict(view, device, &why),
                     *use = device_use(&cli->arena, view->observed, device);
    printf("%s  %s", device->address, *device->ifname ? device->ifname : "-");
    vec_foreach (&device->other_ifnames, other)
        printf(", %s", *other);
    printf("  %s  %s\n", *device->driver ? device->driver : "no driver", link_state(link));
    printf("    %s\n", device_name(&cli->arena, device));
    if (cli->host->backend->bhyve)
        print_selector(cli, device);
    else
        print_group(device);
    if (device->functions_total)
        printf("    SR-IOV: %u of %u functions made, %u in use\n", device->functions_now,
               device->functions_total, functions_used(view, device));
    if (*device->parent)
        printf("    function %u of %s\n", device->index, device->parent);
    if (*use)
        printf("    the host uses it: %s\n", use);
    bool good = strcmp(word, "unfit") != 0;
    printf("    %s%s%s%s%s\n", cli->color ? good ? "\033[32m" : "\033[31m" : "",
           strcmp(word, "fit") == 0    ? "fit for passthrough"
           : strcmp(word, "away") == 0 ? "passed through"
                                       : "not fit",
           why ? ": " : "", why ? why : "", cli->color ? "\033[0m" : "");
}

static void json_device(const struct view *view, struct json *json, const struct device *device)
{
    struct cli *cli = view->cli;
    const struct link *link = *device->ifname ? link_find(view->observed, device->ifname) : NULL;
    const struct device_record *record = device_record_find(view->records, device->address);
    const char *why, *word = verdict(view, device, &why);
    json_object_open(json, NULL);
    json_string(json, "address", device->address);
    json_string(json, "ifname", *device->ifname ? device->ifname : NULL);
    json_array_open(json, "other_ifnames");
    vec_foreach (&device->other_ifnames, other)
        json_string(json, NULL, *other);
    json_array_close(json);
    json_string(json, "driver", *device->driver ? device->driver : NULL);
    json_string(json, "class", device_class_name(device->class));
    json_string(json, "vendor_id", arena_printf(&cli->arena, "%04x", device->vendor));
    json_string(json, "device_id", arena_printf(&cli->arena, "%04x", device->product));
    json_string(json, "vendor", device->vendor_name);
    json_string(json, "device", device->product_name);
    json_bool(json, "up", link && link->up);
    json_bool(json, "carrier", link && link->carrier);
    if (device->numa_node < 0)
        json_null(json, "numa_node");
    else
        json_integer(json, "numa_node", device->numa_node);
    if (device->group < 0)
        json_null(json, "iommu_group");
    else
        json_integer(json, "iommu_group", device->group);
    json_array_open(json, "group_members");
    vec_foreach (&device->members, member) {
        json_object_open(json, NULL);
        json_string(json, "address", member->address);
        json_string(json, "class", device_class_name(member->class));
        json_string(json, "driver", *member->driver ? member->driver : NULL);
        json_object_close(json);
    }
    json_array_close(json);
    json_integer(json, "functions_total", device->functions_total);
    json_integer(json, "functions_now", device->functions_now);
    json_integer(json, "functions_used", functions_used(view, device));
    json_string(json, "parent", *device->parent ? device->parent : NULL);
    if (*device->parent)
        json_integer(json, "function", device->index);
    else
        json_null(json, "function");
    json_string(json, "use", device_use(&cli->arena, view->observed, device));
    json_string(json, "network", record ? record->network : NULL);
    json_string(json, "machine", record && *record->machine ? record->machine : NULL);
    json_string(json, "verdict", word);
    json_string(json, "why", why);
    json_object_close(json);
}

static int collect(struct cli *cli, struct engine *engine, struct device_records *records, struct err *err)
{
    int rc = engine_settle(engine, err);
    if (rc == 0)
        rc = engine_observe(engine,
                            HOST_OBSERVE_LINKS | HOST_OBSERVE_ADDRESSES | HOST_OBSERVE_ROUTES |
                                HOST_OBSERVE_FILES | HOST_OBSERVE_DEVICES | HOST_OBSERVE_DEVICE_NAMES,
                            err);
    return rc == 0 ? device_records_read(&cli->arena, &engine->observed, records, err) : rc;
}

static void print_all(const struct view *view, bool as_json)
{
    struct text out = {.arena = &view->cli->arena};
    struct json json = {.out = &out};
    bool any = false;
    json_object_open(&json, NULL);
    json_bool(&json, "iommu", view->observed->iommu);
    json_bool(&json, "vfio", view->observed->vfio);
    json_array_open(&json, "devices");
    vec_foreach (&view->observed->devices, device) {
        if (!device->network)
            continue;
        if (as_json)
            json_device(view, &json, device);
        else
            print_device(view, device);
        any = true;
    }
    json_array_close(&json);
    json_object_close(&json);
    if (as_json)
        fputs(text_get(&out), stdout);
    else if (!any)
        puts("this host has no network device on PCI");
}

int cmd_devices(struct cli *cli, int argc, char **argv)
{
    bool as_json = false;
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{"--json", .flag = &as_json}, {0}});
    if (status == EXIT_DONE && argc > 1)
        return cli_usage(cli, "'devices' takes no arguments");
    if (status == EXIT_DONE)
        status = cli_host(cli);
    if (status != EXIT_DONE)
        return status;
    struct err err = {0};
    struct device_records records;
    struct engine_listener listener = change_listener(cli);
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, &listener);
    if (collect(cli, &engine, &records, &err) < 0)
        return cli_fail(cli, &err);
    print_all(&(struct view){cli, &engine.observed, &records}, as_json);
    return EXIT_DONE;
}
