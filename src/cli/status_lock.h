/* status_lock.h: what locks dropped, for status. */
#ifndef VMWIRE_CLI_STATUS_LOCK_H
#define VMWIRE_CLI_STATUS_LOCK_H

#include "cli/cli.h"
#include "engine/status.h"

/* A row a nic of which anything was dropped. */
void print_dropped(struct cli *cli, const struct status *status);
/* "lock" of a network, "dropped" of a nic. */
void json_lock(struct json *json, const struct status_network *network);
void json_dropped(struct json *json, const struct status_network *network, const struct status_port *port);

#endif
