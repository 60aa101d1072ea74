/* fuzz_address.c: any text as a MAC, an address, a prefix, a PCI device, a name, a port forward, a nic, an
 * owner tag or a rule's tag: no crash; what parses survives its own text form; what passes as a name cannot
 * break out of a command line or another program's configuration. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "engine/nic.h"
#include "model/forward.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void addresses(const char *text)
{
    struct mac mac, mac_again;
    struct ip ip, ip_again;
    struct prefix prefix, prefix_again;
    if (mac_parse(text, &mac) == 0 &&
        (mac_parse(MAC_TEXT(&mac), &mac_again) < 0 || !mac_equal(&mac, &mac_again)))
        abort();
    if (ip_parse(text, &ip) == 0 && (ip_parse(IP_TEXT(&ip), &ip_again) < 0 || !ip_equal(&ip, &ip_again)))
        abort();
    if (prefix_parse(text, &prefix) == 0 &&
        (prefix_parse(PREFIX_TEXT(&prefix), &prefix_again) < 0 || !prefix_equal(&prefix, &prefix_again)))
        abort();
}

/* Names go into argv, nft(8) text, pf.conf(5), dnsmasq's configuration, file names. */
static void names(struct arena *arena, const char *text)
{
    if ((!name_fault(arena, text) || !machine_name_fault(arena, text)) &&
        (!*text || *text == '-' || *text == '.' || strpbrk(text, " \t\n\r\"'`$\\/;&|<>(){}[]*?#=,:")))
        abort();
}

static void forwards_and_nics(struct arena *arena, const char *text)
{
    struct forward forward, again;
    const char *name;
    if (!forward_parse(arena, text, &forward, &name) && ip_is_set(&forward.target) &&
        forward_parse(arena, forward_format(arena, &forward), &again, &name))
        abort();
    struct nic_spec nic, nic_again;
    struct err err = {0};
    if (nic_parse(arena, text, &nic, &err) == 0 && !mac_is_zero(&nic.mac) &&
        nic_parse(arena, nic_format(arena, &nic), &nic_again, &err) < 0)
        abort();
}

static void tags(struct arena *arena, const char *text)
{
    struct link tap = {.name = "tap0", .kind = "tun", .alias = text, .master = ""};
    struct wired_nic nic;
    struct admission admission = {.network = ""};
    owner_network(arena, text);
    owner_nic(arena, &tap, &nic);
    if (admission_of_tag(arena, text, &admission) && strcmp(admission_tag(arena, &admission), text) != 0)
        abort();
}

/* As a device of a passthrough network. */
static void device(struct arena *arena, const char *text)
{
    struct model model = {0};
    struct problems problems = {.arena = arena};
    if (strpbrk(text, "\n\r\"\\"))
        return;
    const char *file =
        arena_printf(arena, "networks:\n  n:\n    mode: passthrough\n    device: \"%s\"\n", text);
    config_parse(arena, file, strlen(file), &model, &problems);
    vec_foreach (&model.networks, network) {
        const struct device_ref *ref = &network->device;
        if (!problem_count(&problems) && ref->kind == DEVICE_PCI && (ref->slot > 31 || ref->function > 7))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena arena = {0};
    const char *text = arena_strndup(&arena, (const char *)data, size);
    addresses(text);
    names(&arena, text);
    forwards_and_nics(&arena, text);
    tags(&arena, text);
    device(&arena, text);
    return 0;
}
