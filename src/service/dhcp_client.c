/* dhcp_client.c: the host's own lease on a bridge.  On Linux busybox's udhcpc, with vmwire as the program
 * that it calls for events: it never touches /etc/resolv.conf.  On FreeBSD dhclient, which is part of the
 * system. Source: udhcpc --help, busybox networking/udhcp/dhcpc.c; dhclient(8). */
#include "service/service.h"

#include "base/text.h"

/* dhclient(8) asks for 60 s (dhclient.conf(5), timeout), then goes on in the background. */
enum { LEASE_TIMEOUT_MS = 20000, DHCLIENT_TIMEOUT_MS = 70000 };

static const char *const *argv_copy(struct arena *arena, const char *const words[])
{
    size_t count = 0;
    while (words[count])
        count++;
    const char **argv = arena_alloc(arena, (count + 1) * sizeof(*argv));
    for (size_t i = 0; i < count; i++)
        argv[i] = words[i];
    return argv;
}

void dhcp_client_service(struct arena *arena, const struct network *network,
                         const struct service_options *options, struct service *service)
{
    const char *folder = arena_printf(arena, "%s/network/%s", options->run_dir, network->name);
    const char *pid = arena_printf(arena, "%s/dhcp-client.pid", folder);
    const char *const words[] = {"busybox", "udhcpc", "-i", network->name,
                                 /* five requests, a second apart, then give up: `up` waits for the lease */
                                 "-t", "5", "-T", "1", "-n",
                                 /* give the lease back at the end */
                                 "-R", "-p", pid, "-s", options->program, NULL};
    const char *const dhclient[] = {
        "dhclient", "-p", pid, "-l", arena_printf(arena, "%s/dhclient.leases", folder), network->name, NULL};
    *service = (struct service){
        .network = network->name,
        .kind = "dhcp-client",
        .argv = options->dhclient ? argv_copy(arena, dhclient) : argv_copy(arena, words),
        .pid_path = pid,
        .timeout_ms = options->dhclient ? DHCLIENT_TIMEOUT_MS : LEASE_TIMEOUT_MS,
    };
}
