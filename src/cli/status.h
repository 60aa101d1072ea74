/* status.h: a status as text and as JSON: status_text.c, status_json.c; status_guests.c what guests are
 * held to and served, status_lock.c what locks dropped. */
#ifndef VMWIRE_CLI_STATUS_H
#define VMWIRE_CLI_STATUS_H

#include "cli/cli.h"
#include "diag/finding.h"
#include "engine/machine.h"
#include "engine/status.h"

struct machine_row {
    const char *name;
    struct machine_state state;
};

struct machine_rows {
    VEC(struct machine_row) list;
};

void status_print(struct cli *cli, const struct status *status, const struct findings *findings,
                  const struct machine_rows *machines);
void status_json(struct cli *cli, const struct status *status, const struct findings *findings,
                 const struct machine_rows *machines);

/* For `leases` too: "LEASE", "MAC", "NAME", "NETWORK", "ENDS IN". */
void lease_row(struct cli *cli, struct table *table, const char *network, const struct lease *lease);
void json_lease(struct json *json, const struct lease *lease);

/* Behind an empty line, where there is any row. */
void table_print_rows(struct table *table, const struct cli *cli);
/* A row a nic of which anything was dropped. */
void print_dropped(struct cli *cli, const struct status *status);
/* What guests of each network that is there are held to, and served. */
void print_guests(struct cli *cli, const struct status *status);
/* "serves" and "domain" */
void json_served(struct json *json, const struct status_network *network);
/* "lock" of a network, "dropped" of a nic. */
void json_lock(struct json *json, const struct status_network *network);
void json_dropped(struct json *json, const struct status_network *network, const struct status_port *port);

#endif
