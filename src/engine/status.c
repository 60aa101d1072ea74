/* status.c: collects struct status from one observation and one plan: drift is what `up` would do. */
#include "engine/status.h"

#include <string.h>

#include "plan/device.h"

const char *network_state_name(enum network_state state)
{
    static const char *const names[] = {"down", "up", "drifted", "unlisted"};
    return names[state];
}

void engine_leases(struct engine *engine, const char *network, struct leases *leases)
{
    *leases = (struct leases){0};
    const char *path = leases_path(engine->arena, engine->observed.run_dir, network);
    const struct file *file = file_find(&engine->observed, path);
    if (file)
        dnsmasq_leases_parse(engine->arena, file->content, leases);
}

static struct status_network *network_status(struct engine *engine, struct status *status, const char *name)
{
    size_t place = names_add(engine->arena, &status->names, name);
    if (place < status->networks.count)
        return &status->networks.items[place];
    struct status_network *fresh = vec_push(engine->arena, &status->networks);
    fresh->name = name;
    return fresh;
}

static bool has_trace(const struct engine *engine, const struct status_network *network,
                      const struct record *record)
{
    if (record->mode || network->bridge)
        return true;
    vec_foreach (&engine->observed.firewall_traces, trace) {
        if (strcmp(*trace, network->name) == 0)
            return true;
    }
    vec_foreach (&engine->observed.shared_traces, trace) {
        if (strcmp(*trace, network->name) == 0)
            return true;
    }
    return false;
}

/* Ports by their master, in one walk over the links: the cost does not grow with networks times links. */
static void add_ports(struct engine *engine, struct status *status)
{
    struct status_network *network = NULL;
    vec_foreach (&engine->observed.links, link) {
        if (!*link->master)
            continue;
        if (!network || strcmp(network->name, link->master) != 0) {
            size_t place = names_find(&status->names, link->master);
            network = place < status->networks.count ? &status->networks.items[place] : NULL;
        }
        if (!network || !network->bridge)
            continue;
        struct status_port *port = vec_push(engine->arena, &network->ports);
        port->ifname = link->name;
        port->uplink = text_equal(link->name, network->port);
        port->carrier = link->carrier;
        for (int way = 0; way < RATE_WAYS; way++)
            port->rates.way[way] = link->rates[way].rate;
        port->vlan = port_vlan_own(link) == VLAN_UNTAGGED ? 0 : port_vlan_own(link);
        if (!owner_nic(engine->arena, link, &port->nic))
            port->nic = (struct wired_nic){.machine = ""};
        port->isolated = link->port.isolated;
        vec_foreach (&engine->observed.lock_drops, drops) {
            if (*port->nic.machine && strcmp(drops->ifname, port->ifname) == 0)
                port->drops = drops;
        }
    }
}

static const char *machine_at(const struct network *network, const struct ip *ip)
{
    if (!network)
        return "";
    vec_foreach (&network->nics, member) {
        if (ip_equal(&member->nic->address, ip) || ip_equal(&member->nic->address6, ip))
            return member->machine->name;
    }
    return "";
}

/* Whose MAC is it?  Ports are known. */
static const char *machine_of(const struct status_network *network, const struct mac *mac)
{
    vec_foreach (&network->ports, port) {
        if (*port->nic.machine && mac_equal(&port->nic.mac, mac))
            return port->nic.machine;
    }
    return "";
}

static void add_forwards(struct engine *engine, struct status_network *network)
{
    vec_foreach (&engine->observed.firewalls, firewall) {
        if (strcmp(firewall->network, network->name) != 0)
            continue;
        vec_foreach (&firewall->forwards.list, forward)
            *vec_push(engine->arena, &network->forwards) = (struct status_forward){
                .forward = *forward, .machine = machine_at(network->entry, &forward->target)};
    }
}

static void add_rates(struct engine *engine, struct status_network *network)
{
    vec_foreach (&engine->observed.shapers, shaper) {
        if (shaper->whole && strcmp(shaper->network, network->name) == 0)
            network->rates.way[shaper->outward ? RATE_OUT : RATE_IN] = shaper->rate;
    }
}

static void add_owners(struct engine *engine, struct status *status)
{
    vec_foreach (&status->networks, network) {
        vec_foreach (&engine->observed.shareds, shared) {
            if (strcmp(shared->network, network->name) == 0)
                network->shared = shared;
        }
        vec_foreach (&engine->observed.shared_addresses, address) {
            if (!network->shared || strcmp(address->network, network->name) != 0)
                continue;
            *vec_push(engine->arena, &network->owners) =
                (struct status_owner){.address = address,
                                      .host = mac_equal(&address->mac, &network->shared->mac),
                                      .machine = machine_of(network, &address->mac)};
        }
    }
}

static void add_served(struct engine *engine, struct status_network *network)
{
    const struct observed *observed = &engine->observed;
    const struct file *config =
        file_find(observed, dnsmasq_config_path(engine->arena, observed->run_dir, network->name));
    vec_foreach (&observed->services, service) {
        if (config && service->pid && strcmp(service->network, network->name) == 0 &&
            strcmp(service->kind, "dnsmasq") == 0)
            dnsmasq_served(engine->arena, config->content, &network->served);
    }
}

static void address_add(struct engine *engine, struct status_port *port, const struct ip *ip)
{
    bool known = !ip_is_set(ip);
    vec_foreach (&port->addresses, other)
        known |= ip_equal(other, ip);
    if (!known)
        *vec_push(engine->arena, &port->addresses) = *ip;
}

/* What is known of who has them; ports and owners are there. */
static void add_port_addresses(struct engine *engine, struct status_network *network)
{
    vec_foreach (&network->ports, port) {
        if (!*port->nic.machine)
            continue;
        address_add(engine, port, &port->nic.address);
        address_add(engine, port, &port->nic.address6);
        for (size_t i = 0; network->entry && i < network->entry->nics.count; i++) {
            const struct network_nic *member = &network->entry->nics.items[i];
            if (mac_equal(&member->nic->mac, &port->nic.mac)) {
                address_add(engine, port, &member->nic->address);
                address_add(engine, port, &member->nic->address6);
            }
        }
        vec_foreach (&network->leases.list, lease) {
            if (mac_equal(&lease->mac, &port->nic.mac))
                address_add(engine, port, &lease->ip);
        }
        vec_foreach (&network->owners, owner) {
            if (mac_equal(&owner->address->mac, &port->nic.mac))
                address_add(engine, port, &owner->address->ip);
        }
    }
}

/* In force: what the bridge asks of its ports, where the rules say it too and every port is so. */
static void add_isolate(const struct engine *engine, struct status_network *network)
{
    network->isolate = network->bridge && owner_port_rules(network->bridge->alias).isolated;
    vec_foreach (&engine->observed.firewalls, firewall) {
        if (strcmp(firewall->network, network->name) == 0)
            network->isolate &= firewall->isolate;
    }
    vec_foreach (&network->ports, port) {
        if (*port->nic.machine)
            network->isolate &= port->isolated;
    }
}

static int fill_network(struct engine *engine, struct status_network *network, struct err *err)
{
    const struct observed *observed = &engine->observed;
    struct record record;
    int rc = record_read(engine->arena, observed, network->name, &record, err);
    if (rc < 0)
        return rc;
    const struct link *bridge = link_find(observed, network->name);
    const char *owner = bridge ? owner_network(engine->arena, bridge->alias) : NULL;
    if (owner && strcmp(owner, network->name) == 0)
        network->bridge = bridge;
    network->mode = network->entry ? network->entry->mode : record.mode;
    network->uplink = network->entry ? network->entry->uplink : record.uplink;
    network->port = network->entry ? network_port(engine->arena, network->entry) : record.port;
    network->vlan = network->entry ? network->entry->vlan : record.vlan;
    if (!network->uplink && mode_forwards(network->mode)) {
        network->uplink = network->port = plan_default_uplink(observed);
        network->uplink_default = network->uplink != NULL;
    }
    network->uplink_link = network->uplink ? link_find(observed, network->uplink) : NULL;
    vec_foreach (&observed->addresses, address) {
        if (network->bridge && strcmp(address->ifname, network->name) == 0)
            *vec_push(engine->arena, &network->addresses) = address;
    }
    vec_foreach (&observed->services, service)
        network->dhcp |= strcmp(service->network, network->name) == 0;
    add_served(engine, network);
    vec_foreach (&observed->locks, lock) {
        if (strcmp(lock->network, network->name) == 0)
            network->lock = lock;
    }
    add_forwards(engine, network);
    add_rates(engine, network);
    engine_leases(engine, network->name, &network->leases);
    network->state = !network->entry                        ? STATE_UNLISTED
                     : !has_trace(engine, network, &record) ? STATE_DOWN
                                                            : STATE_UP;
    return 0;
}

static struct status_device *add_device(struct engine *engine, struct status_network *network,
                                        const char *address)
{
    const struct device *device = device_find(&engine->observed, address);
    struct status_device *row = vec_push(engine->arena, &network->devices);
    *row = (struct status_device){.address = address,
                                  .ifname = device ? device->ifname : "",
                                  .driver = device ? device->driver : "",
                                  .machine = "",
                                  .missing = !device};
    return row;
}

/* The devices that are away, by their records, and those that wait on the host for their machine. */
static void add_devices(struct engine *engine, struct status *status)
{
    struct device_records records;
    if (device_records_read(engine->arena, &engine->observed, &records, NULL) < 0)
        return;
    vec_foreach (&status->networks, network) {
        vec_foreach (&records.list, record) {
            if (strcmp(record->network, network->name) != 0)
                continue;
            struct status_device *row = add_device(engine, network, record->address);
            row->machine = record->machine;
            network->mode = NETWORK_PASSTHROUGH;
            vec_foreach (&record->former, op) {
                if (op->kind == OP_DEVICE_UNBIND && !*row->ifname)
                    row->ifname = op->device.ifname;
            }
        }
        if (network->mode != NETWORK_PASSTHROUGH || !network->entry)
            continue;
        const struct device *device = device_of_network(&engine->observed, &records, &network->entry->device);
        if (!device || !device_record_find(&records, device->address)) {
            struct status_device *row =
                add_device(engine, network, device ? device->address : network->entry->device.text);
            row->missing = !device;
        }
        /* Without `bind: up` there is nothing that could be up but the card's being fit. */
        bool function = network->entry->device.kind == DEVICE_FUNCTION;
        struct device_asker asker = {.in_use_take = network->entry->in_use_take || function};
        if (network->state == STATE_DOWN && device && !network->entry->bind_up &&
            (device_record_find(&records, device->address) || function ||
             !device_fault(engine->arena, &engine->observed, device, &asker)))
            network->state = STATE_UP;
    }
}

/* What `up` would do, told to the network that it is done for; a network that is simply down has not drifted.
 */
static int add_drift(struct engine *engine, struct model *model, struct problems *problems,
                     struct status *status, struct err *err)
{
    struct plan plan;
    const struct engine_listener *listener = engine->listener;
    engine->listener = NULL; /* nothing is being changed: no notes */
    int rc = engine_plan_up(engine, model, NULL, problems, &plan, err);
    engine->listener = listener;
    if (rc < 0)
        return rc;
    bool any_up = false;
    vec_foreach (&status->networks, network)
        any_up |= network->state != STATE_DOWN;
    vec_foreach (&plan.steps, step) {
        const char *text = op_describe(engine->arena, &step->op);
        if (!*step->op.network) {
            if (any_up)
                *vec_push(engine->arena, &status->host_drift) = text;
            continue;
        }
        struct status_network *network = network_status(engine, status, step->op.network);
        if (network->state == STATE_DOWN)
            continue;
        if (network->state == STATE_UP)
            network->state = STATE_DRIFTED;
        *vec_push(engine->arena, &network->drift) = text;
    }
    return 0;
}

/* Forwarding is wanted only for nat networks that are up: one that is down must not make the host look
 * drifted. */
static void forgive_forwarding(struct status *status)
{
    vec_foreach (&status->networks, network) {
        if (mode_forwards(network->mode) && network->state != STATE_DOWN)
            return;
    }
    status->host_drift.count = 0;
}

int engine_status(struct engine *engine, struct model *model, unsigned more, struct problems *problems,
                  struct status *status, struct err *err)
{
    *status = (struct status){.confirm_ms = engine->confirm_ms};
    int rc = engine_observe(engine, HOST_OBSERVE_ALL | more, err);
    if (rc < 0)
        return rc;
    vec_foreach (&model->networks, entry)
        network_status(engine, status, entry->name)->entry = entry;
    vec_foreach (&engine->observed.links, link) {
        const char *owner = owner_network(engine->arena, link->alias);
        if (owner && strcmp(link->kind, "bridge") == 0)
            network_status(engine, status, owner);
    }
    struct device_records records;
    rc = device_records_read(engine->arena, &engine->observed, &records, err);
    if (rc < 0)
        return rc;
    vec_foreach (&records.list, record)
        network_status(engine, status, record->network);
    const char *folder = arena_printf(engine->arena, "%s/network/", engine->observed.run_dir);
    vec_foreach (&engine->observed.files, file) {
        const char *name = file->path + strlen(folder), *end = NULL;
        if (strncmp(file->path, folder, strlen(folder)) == 0 && (end = strchr(name, '/')))
            network_status(engine, status, arena_strndup(engine->arena, name, (size_t)(end - name)));
    }
    vec_foreach (&status->networks, network) {
        rc = fill_network(engine, network, err);
        if (rc < 0)
            return rc;
    }
    add_ports(engine, status);
    add_owners(engine, status);
    vec_foreach (&status->networks, network) {
        add_port_addresses(engine, network);
        add_isolate(engine, network);
    }
    rc = add_drift(engine, model, problems, status, err);
    add_devices(engine, status);
    forgive_forwarding(status);
    return rc;
}
