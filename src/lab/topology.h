/* topology.h: the practice world's namespaces, links, rules and servers; lab.c is its only caller. */
#ifndef VMWIRE_LAB_TOPOLOGY_H
#define VMWIRE_LAB_TOPOLOGY_H

#include <stdbool.h>

#include "base/err.h"

/* Where the lab keeps its files: on the fresh tmpfs that lab.c mounted on /run. */
#define LAB_DIRECTORY "/run/lab"
#define LAB_RESOLV_CONF LAB_DIRECTORY "/resolv.conf"

/* Build the world around the network namespace that the caller is in, which becomes the practice host's.  The
 * caller owns its mount namespace, and /run is a tmpfs of its own.  On return the servers answer.  Errors:
 * the program that is not installed (-ENOENT), or what `ip`, `nft` or `dnsmasq` said. */
int topology_build(bool single_mac, struct err *err);

#endif
