/* status_guests.c: what guests of each network are held to, and served: status.h. */
#include <string.h>

#include "base/text.h"
#include "cli/status.h"

void print_guests(struct cli *cli, const struct status *status)
{
    struct arena *arena = &cli->arena;
    struct table table = {.arena = arena, .columns = 5};
    table_row(&table, "GUESTS OF", "LOCK", "ISOLATE", "SERVED", "DOMAIN");
    vec_foreach (&status->networks, network) {
        const char *served = served_text(arena, &network->served);
        if (network->bridge)
            table_row(&table, network->name,
                      network->lock ? lock_kinds_text(arena, network->lock->kinds) : "-",
                      network->isolate ? "yes" : "no", *served ? served : "-",
                      network->served.domain ? network->served.domain : "-");
    }
    table_print_rows(&table, cli);
}

void json_served(struct json *json, const struct status_network *network)
{
    const struct served *served = &network->served;
    json_array_open(json, "serves");
    if (served->dhcp)
        json_string(json, NULL, "dhcp");
    if (served->dns)
        json_string(json, NULL, "dns");
    if (served->ra)
        json_string(json, NULL, "ra");
    json_array_close(json);
    json_string(json, "domain", served->domain);
}
