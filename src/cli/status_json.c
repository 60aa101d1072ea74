/* status_json.c: a status as JSON, whose shape is in docs/JSON.md (status.h). */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "cli/status.h"

static const char *utc(struct arena *arena, int64_t seconds)
{
    time_t when = (time_t)seconds;
    struct tm parts;
    char text[32] = "";
    if (seconds && gmtime_r(&when, &parts))
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return *text ? arena_strdup(arena, text) : NULL;
}

void json_lease(struct json *json, const struct lease *lease)
{
    json_object_open(json, NULL);
    json_string(json, "address", IP_TEXT(&lease->ip));
    json_string(json, "mac", mac_is_zero(&lease->mac) ? NULL : MAC_TEXT(&lease->mac));
    json_string(json, "hostname", *lease->hostname ? lease->hostname : NULL);
    json_string(json, "expires", utc(json->out->arena, lease->expires));
    json_object_close(json);
}

static void json_owners(struct json *json, const struct status_network *network)
{
    if (!network->shared) {
        json_null(json, "shared");
        return;
    }
    json_object_open(json, "shared");
    json_string(json, "mac", MAC_TEXT(&network->shared->mac));
    json_array_open(json, "addresses");
    vec_foreach (&network->owners, owner) {
        const struct shared_address *address = owner->address;
        int64_t now = (int64_t)time(NULL);
        json_object_open(json, NULL);
        json_string(json, "address", IP_TEXT(&address->ip));
        json_string(json, "mac", MAC_TEXT(&address->mac));
        json_bool(json, "host", owner->host);
        json_string(json, "machine",
                    *owner->machine && strcmp(owner->machine, "-") != 0 ? owner->machine : NULL);
        json_string(json, "known", address->fixed ? "fixed" : "learned");
        json_string(json, "since", address->fixed ? NULL : utc(json->out->arena, now - address->since_s));
        json_bool(json, "live", address->live);
        json_object_close(json);
    }
    json_array_close(json);
    json_object_close(json);
}

/* {"in": {"bits_s": N, "burst": BYTES}, "out": …}, each null without a limit; null without any. */
static void json_rates(struct json *json, const struct rates *rates)
{
    if (!rates->way[RATE_IN].bits_s && !rates->way[RATE_OUT].bits_s) {
        json_null(json, "rate");
        return;
    }
    json_object_open(json, "rate");
    for (int way = 0; way < RATE_WAYS; way++) {
        const char *name = rate_way_name((enum rate_way)way);
        if (!rates->way[way].bits_s) {
            json_null(json, name);
            continue;
        }
        json_object_open(json, name);
        json_integer(json, "bits_s", (int64_t)rates->way[way].bits_s);
        json_integer(json, "burst", rates->way[way].burst);
        json_object_close(json);
    }
    json_object_close(json);
}

static void json_port(struct json *json, const struct status_network *network, const struct status_port *port)
{
    json_object_open(json, NULL);
    json_string(json, "ifname", port->ifname);
    json_string(json, "kind", port->uplink ? "uplink" : *port->nic.machine ? "nic" : "other");
    json_bool(json, "carrier", port->carrier);
    if (*port->nic.machine) {
        json_string(json, "machine", strcmp(port->nic.machine, "-") == 0 ? NULL : port->nic.machine);
        json_integer(json, "index", port->nic.index);
        json_string(json, "mac", MAC_TEXT(&port->nic.mac));
        json_array_open(json, "addresses");
        vec_foreach (&port->addresses, ip)
            json_string(json, NULL, IP_TEXT(ip));
        json_array_close(json);
        json_rates(json, &port->rates);
        if (port->vlan)
            json_integer(json, "vlan", port->vlan);
        else
            json_null(json, "vlan");
        json_dropped(json, network, port);
    }
    json_object_close(json);
}

static void json_uplink(struct json *json, const struct status_network *network)
{
    if (!network->uplink) {
        json_null(json, "uplink");
        return;
    }
    const struct link *link = network->uplink_link;
    json_object_open(json, "uplink");
    json_string(json, "ifname", network->uplink);
    if (network->vlan)
        json_integer(json, "vlan", network->vlan);
    else
        json_null(json, "vlan");
    json_bool(json, "default_route", network->uplink_default);
    json_bool(json, "exists", link != NULL);
    json_bool(json, "up", link && link->up);
    json_bool(json, "carrier", link && link->carrier);
    json_object_close(json);
}

static void json_forward(struct json *json, const struct status_forward *row)
{
    const struct forward *forward = &row->forward;
    json_object_open(json, NULL);
    json_string(json, "protocol", forward_protocol_name(forward));
    json_string(json, "address", ip_is_set(&forward->listen) ? IP_TEXT(&forward->listen) : NULL);
    json_integer(json, "first", forward->first);
    json_integer(json, "last", forward->last);
    json_string(json, "target", IP_TEXT(&forward->target));
    json_integer(json, "target_first", forward->target_first);
    json_string(json, "machine", *row->machine ? row->machine : NULL);
    json_object_close(json);
}

static void json_network(struct json *json, const struct status_network *network)
{
    json_object_open(json, NULL);
    json_string(json, "name", network->name);
    json_string(json, "mode", network->mode ? network_mode_name(network->mode) : NULL);
    json_string(json, "state", network_state_name(network->state));
    json_string(json, "bridge", network->bridge ? network->bridge->name : NULL);
    json_string(json, "mac", network->bridge ? MAC_TEXT(&network->bridge->mac) : NULL);
    if (network->bridge)
        json_integer(json, "mtu", network->bridge->mtu);
    else
        json_null(json, "mtu");
    json_uplink(json, network);
    json_rates(json, &network->rates);
    json_array_open(json, "addresses");
    vec_foreach (&network->addresses, address)
        json_string(json, NULL, PREFIX_TEXT(&(*address)->prefix));
    json_array_close(json);
    json_served(json, network);
    json_bool(json, "isolate", network->isolate);
    json_array_open(json, "ports");
    vec_foreach (&network->ports, port)
        json_port(json, network, port);
    json_array_close(json);
    json_array_open(json, "devices");
    vec_foreach (&network->devices, device) {
        json_object_open(json, NULL);
        json_string(json, "address", device->address);
        json_bool(json, "exists", !device->missing);
        json_string(json, "ifname", *device->ifname ? device->ifname : NULL);
        json_string(json, "driver", *device->driver ? device->driver : NULL);
        json_string(json, "machine", *device->machine ? device->machine : NULL);
        json_object_close(json);
    }
    json_array_close(json);
    json_array_open(json, "forwards");
    vec_foreach (&network->forwards, forward)
        json_forward(json, forward);
    json_array_close(json);
    json_array_open(json, "leases");
    vec_foreach (&network->leases.list, lease)
        json_lease(json, lease);
    json_array_close(json);
    json_owners(json, network);
    json_lock(json, network);
    json_array_open(json, "drift");
    vec_foreach (&network->drift, text)
        json_string(json, NULL, *text);
    json_array_close(json);
    json_object_close(json);
}

void status_json(struct cli *cli, const struct status *status, const struct findings *findings,
                 const struct machine_rows *machines)
{
    struct text out = {.arena = &cli->arena};
    struct json json = {.out = &out};
    json_object_open(&json, NULL);
    json_array_open(&json, "networks");
    vec_foreach (&status->networks, network)
        json_network(&json, network);
    json_array_close(&json);
    json_array_open(&json, "machines");
    vec_foreach (&machines->list, machine) {
        json_object_open(&json, NULL);
        json_string(&json, "name", machine->name);
        json_bool(&json, "running", machine->state.running);
        if (machine->state.running)
            json_integer(&json, "pid", machine->state.pid);
        else
            json_null(&json, "pid");
        json_object_close(&json);
    }
    json_array_close(&json);
    json_array_open(&json, "drift");
    vec_foreach (&status->host_drift, text)
        json_string(&json, NULL, *text);
    json_array_close(&json);
    if (status->confirm_ms < 0)
        json_null(&json, "confirm_ms");
    else
        json_integer(&json, "confirm_ms", status->confirm_ms);
    findings_json(&json, findings);
    json_object_close(&json);
    fputs(text_get(&out), stdout);
}
