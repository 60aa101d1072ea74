/* fuzz_freebsd.c: any bytes as what FreeBSD's programs print: no crash. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "host/freebsd/freebsd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena arena = {0};
    const char *text = arena_strndup(&arena, (const char *)data, size);
    struct observed observed = {.run_dir = ""};
    struct freebsd_names names = {0};
    struct listeners listeners = {0};
    struct firewall firewall = {0};
    struct firewall_main main;
    freebsd_ifconfig_parse(&arena, text, &observed, &names);
    freebsd_routes_parse(&arena, text, AF_INET, &observed);
    freebsd_routes_parse(&arena, text, AF_INET6, &observed);
    freebsd_arp_parse(&arena, text, &observed);
    freebsd_ndp_parse(&arena, text, &observed);
    freebsd_pciconf_parse(&arena, text, &observed);
    freebsd_anchors_parse(&arena, text, &names);
    freebsd_anchor_parse(&arena, "brnat", text, text, &firewall);
    freebsd_main_judge(&arena, text, text, text, &main);
    struct lock_nic nic;
    struct lock_drops drops;
    freebsd_lock_anchors_parse(&arena, text, &names);
    freebsd_lock_parse(&arena, "tap0", text, &nic);
    freebsd_lock_drops_parse(&arena, "tap0", text, &drops);
    freebsd_lock_static(text, "tap0", &nic.mac);
    freebsd_lock_limit(&arena, text, "tap0");
    struct freebsd_rates rates = {.sysctls = text, .rules = text, .pipes = text};
    freebsd_rates_judge(&arena, &rates, &observed);
    freebsd_sysctl_parse(&arena, text, "net.link.tap.up_on_open");
    freebsd_dhclient_parse(text, "re0");
    freebsd_sockstat_list(&arena, text, &listeners);
    return 0;
}
