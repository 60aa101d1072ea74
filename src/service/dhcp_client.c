/* dhcp_client.c: the host's own lease on a bridge: busybox's udhcpc, with vmwire as the program that it calls
 * for events. It never touches /etc/resolv.conf.  Source: udhcpc --help, busybox networking/udhcp/dhcpc.c. */
#include "service/service.h"

#include "base/text.h"

enum { LEASE_TIMEOUT_MS = 20000 };

void dhcp_client_service(struct arena *arena, const struct network *network,
                         const struct service_options *options, struct service *service)
{
    const char *pid = arena_printf(arena, "%s/network/%s/dhcp-client.pid", options->run_dir, network->name);
    const char *const words[] = {"busybox", "udhcpc", "-i", network->name,
                                 /* five requests, a second apart, then give up: `up` waits for the lease */
                                 "-t", "5", "-T", "1", "-n",
                                 /* give the lease back at the end */
                                 "-R", "-p", pid, "-s", options->program, NULL};
    const char **argv = arena_alloc(arena, sizeof(words));
    for (size_t i = 0; words[i]; i++)
        argv[i] = words[i];
    *service = (struct service){
        .network = network->name,
        .kind = "dhcp-client",
        .argv = argv,
        .pid_path = pid,
        .timeout_ms = LEASE_TIMEOUT_MS,
    };
}
