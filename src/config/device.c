/* device.c: what a passthrough network passes: INTERFACE | PCI | SELECTOR | {parent, vf, …}. */
#include <stdio.h>
#include <string.h>

#include "config/walk.h"

static void vf_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    struct device_ref *device = target;
    unsigned long number;
    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    if (strcmp(text, "auto") == 0)
        device->vf = FUNCTION_AUTO;
    else if (number_parse(text, 255, &number))
        device->vf = (int)number;
    else
        value_refuse(walk, key, value, NULL);
}

/* The members of struct function; each says in `fields` that it was given. */

static void function_number_take(struct walk *walk, void *target, const struct key *key,
                                 const struct yaml_node *value)
{
    struct device_ref *device = target;
    unsigned number = 0;
    struct key plain = *key;
    plain.offset = 0;
    key_number(walk, &number, &plain, value);
    if (!number)
        return;
    bool vlan = strcmp(key->name, "vlan") == 0;
    *(vlan ? &device->settings.vlan : &device->settings.rate_mbps) = number;
    device->settings.fields |= vlan ? FUNCTION_VLAN : FUNCTION_RATE;
}

static void function_switch_take(struct walk *walk, void *target, const struct key *key,
                                 const struct yaml_node *value)
{
    struct device_ref *device = target;
    bool on;
    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    if (!bool_parse(text, &on)) {
        value_refuse(walk, key, value, NULL);
        return;
    }
    bool trust = strcmp(key->name, "trust") == 0;
    *(trust ? &device->settings.trust : &device->settings.spoof_check) = on;
    device->settings.fields |= trust ? FUNCTION_TRUST : FUNCTION_SPOOF_CHECK;
}

static void function_link_take(struct walk *walk, void *target, const struct key *key,
                               const struct yaml_node *value)
{
    static const struct word words[] = {
        {"auto", FUNCTION_LINK_AUTO}, {"up", FUNCTION_LINK_UP}, {"down", FUNCTION_LINK_DOWN}, {0}};
    struct device_ref *device = target;
    int link = -1;
    key_word(walk, &link, &(struct key){.name = key->name, .takes = key->takes, .words = words}, value);
    if (link < 0)
        return;
    device->settings.link = (uint8_t)link;
    device->settings.fields |= FUNCTION_LINK;
}

const struct section section_function = {
    .what = "an SR-IOV function",
    .keys = (const struct key[]){{.name = "parent",
                                  .take = key_interface,
                                  .takes = "the interface name of the device whose function it is",
                                  .offset = offsetof(struct device_ref, text),
                                  .missing = "write the interface whose function it is"},
                                 {.name = "vf",
                                  .take = vf_take,
                                  .takes = "'auto' or the function's number, 0 to 255",
                                  .missing = "write 'auto' or a number"},
                                 {.name = "functions",
                                  .take = key_number,
                                  .takes = "how many functions the device is to have, 1 to 256",
                                  .offset = offsetof(struct device_ref, functions),
                                  .min = 1,
                                  .max = 256},
                                 {.name = "vlan",
                                  .take = function_number_take,
                                  .takes = "a VLAN id, 1 to 4094",
                                  .min = 1,
                                  .max = VLAN_ID_MAX},
                                 {.name = "spoof_check", .take = function_switch_take, .takes = "on or off"},
                                 {.name = "trust", .take = function_switch_take, .takes = "on or off"},
                                 {.name = "rate",
                                  .take = function_number_take,
                                  .takes = "a rate in Mbit/s, 1 to 1000000",
                                  .min = 1,
                                  .max = 1000000},
                                 {.name = "link", .take = function_link_take, .takes = "auto, up or down"},
                                 {0}}};

/* What a device is when it is not an interface: fills `device` and returns 0, 1 for neither, -1 after a
 * problem. */
static int device_place_take(struct walk *walk, const struct key *key, const struct yaml_node *value,
                             struct device_ref *device)
{
    const char *text = value->text;
    unsigned domain = 0, bus, slot, function;
    int used = 0;
    size_t hex = strspn(text, "0123456789abcdefABCDEF:.");

    if (text[hex] == '\0' && strchr(text, ':')) {
        char exact[32] = "";
        if (sscanf(text, "%4x:%2x:%2x.%1x%n", &domain, &bus, &slot, &function, &used) == 4 && !text[used])
            snprintf(exact, sizeof(exact), "%04x:%02x:%02x.%x", domain, bus, slot, function);
        else if (sscanf(text, "%2x:%2x.%1x%n", &bus, &slot, &function, &used) == 3 && !text[used])
            snprintf(exact, sizeof(exact), "0000:%02x:%02x.%x", bus, slot, function);
        if (exact[0] && strcasecmp(exact, text) != 0) {
            value_refuse(walk, key, value, "did you mean '%s'?", exact);
            return -1;
        }
        if (!exact[0] || slot > 31 || function > 7) {
            value_refuse(walk, key, value,
                         "a PCI address is domain:bus:slot.function, as '0000:03:00.0'; "
                         "slot up to 1f, function up to 7");
            return -1;
        }
        device->kind = DEVICE_PCI;
    } else if (strchr(text, '/')) {
        size_t plain = strspn(text, "0123456789/");
        if (text[plain] || sscanf(text, "%3u/%3u/%3u%n", &bus, &slot, &function, &used) != 3 || text[used] ||
            bus > 255 || slot > 31 || function > 7) {
            value_refuse(walk, key, value,
                         "a selector is bus/slot/function, as '3/0/0'; bus up to 255, slot up to "
                         "31, function up to 7");
            return -1;
        }
        device->kind = DEVICE_SELECTOR;
    } else {
        return 1;
    }
    device->domain = domain;
    device->bus = bus;
    device->slot = slot;
    device->function = function;
    return 0;
}

void device_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    struct network *network = target;
    struct device_ref device = {0};

    if (value->kind == YAML_MAPPING) {
        walk_section(walk, &section_function, "'device'", 0, &device, value);
        device.kind = device.text ? DEVICE_FUNCTION : DEVICE_NONE;
        network->device = device;
        return;
    }
    const char *text = value_text(walk, key, value);
    int kind = text ? device_place_take(walk, key, value, &device) : -1;
    if (kind < 0)
        return;
    if (kind == 1) {
        const char *fault = name_fault(walk->problems->arena, text);
        if (fault) {
            value_refuse(walk, key, value, "it %s", fault);
            return;
        }
        device.kind = DEVICE_INTERFACE;
    }
    device.text = arena_strdup(walk->arena, text);
    network->device = device;
}
