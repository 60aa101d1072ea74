/* host.c: what every backend shares: ending a host. */
#include "host/host.h"

#include <stddef.h>

void host_close(struct host **host)
{
    if (*host)
        (*host)->backend->close(*host);
    *host = NULL;
}
