/* render.h: operations as the commands that an administrator would type.  Pure: no host is touched. */
#ifndef VMWIRE_HOST_RENDER_H
#define VMWIRE_HOST_RENDER_H

#include "base/arena.h"
#include "plan/op.h"

/* The operation as one or more lines of POSIX sh, each ending in a newline, in the arena.  Any legal name is
 * safe, also one that is a keyword of ip(8), nft(8) or ifconfig(8).  Source: ip-link(8), ip-address(8),
 * ip-route(8), nft(8). */
const char *linux_render(struct arena *arena, const struct op *op);

/* The same for FreeBSD: ifconfig(8), route(8), pfctl(8), sysctl(8), devctl(8). */
const char *freebsd_render(struct arena *arena, const struct op *op);

typedef const char *(*host_render)(struct arena *arena, const struct op *op);

/* The renderer of a host by its backend's name ("linux"), or NULL. */
host_render host_render_find(const char *host);

#endif
