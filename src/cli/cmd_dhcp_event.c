/* cmd_dhcp_event.c: what udhcpc calls: `vmwire bound`, `renew`, `deconfig` with the lease in the environment
 * (variables interface, ip, mask, router, lease).  Source: busybox networking/udhcp/dhcpc.c,
 * udhcp_run_script. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* One-line words only; `router` may hold several addresses: the first is the nearest (RFC 2132, 3.5). */
static int lease_from_environment(struct prefix *prefix, struct ip *gateway, uint32_t *lifetime_s)
{
    const char *ip = getenv("ip"), *mask = getenv("mask"), *router = getenv("router"),
               *lease = getenv("lease");
    long length = mask ? cli_number(mask, 0, 32) : 24, seconds = lease ? cli_number(lease, 1, 999999999) : -1;
    if (!ip || ip_parse(ip, &prefix->ip) < 0 || length < 0)
        return -1;
    prefix->length = (uint8_t)length;
    /* A lease for ever ends in 68 years: what has an end is told apart from what somebody added by hand. */
    *lifetime_s = seconds > 0 ? (uint32_t)seconds : INT32_MAX;
    if (router) {
        char first[IP_TEXT_SIZE] = "";
        size_t size = strcspn(router, " ");
        if (size < sizeof(first))
            memcpy(first, router, size);
        if (ip_parse(first, gateway) < 0)
            *gateway = (struct ip){0};
    }
    return 0;
}

/* For `probe`, which reads what its client's events print; the output of a client that `up` started goes
 * nowhere. */
static void print_lease(const struct prefix *prefix, const struct ip *gateway)
{
    const char *dns = getenv("dns"), *server = getenv("serverid");
    printf("address %s\n", PREFIX_TEXT(prefix));
    if (ip_is_set(gateway))
        printf("router %s\n", IP_TEXT(gateway));
    if (dns)
        printf("dns %s\n", dns);
    if (server)
        printf("server %s\n", server);
}

int cmd_dhcp_event(struct cli *cli, int argc, char **argv)
{
    (void)argc;
    const char *ifname = getenv("interface"), *event = argv[0];
    if (!ifname || name_fault(&cli->arena, ifname))
        return cli_usage(cli, "'%s' is called by udhcpc, with the variable 'interface'", event);
    struct prefix prefix = {0};
    struct ip gateway = {0};
    uint32_t lifetime_s = 0;
    bool won = strcmp(event, "bound") == 0 || strcmp(event, "renew") == 0;
    if (!won && strcmp(event, "deconfig") != 0)
        return EXIT_DONE;
    if (won && lease_from_environment(&prefix, &gateway, &lifetime_s) < 0)
        return cli_usage(cli, "'%s': the variables 'ip' and 'mask' are not an address", event);
    int status = cli_host(cli);
    if (status != EXIT_DONE)
        return status;
    struct err err = {0};
    int rc = cli->host->backend->lease_apply(cli->host, ifname, &prefix, &gateway, lifetime_s, &err);
    if (rc < 0)
        return cli_fail(cli, &err);
    if (won)
        print_lease(&prefix, &gateway);
    return EXIT_DONE;
}
