/* device_steps.c: the operations that give devices to machines and take them back: device.h.
 *
 * Taking: the record first, so that whatever follows can be put back; then everything that hangs on the
 * interface goes by itself, each with its undo, since unbinding would take it along without a trace; then the
 * driver changes.  Giving back is the record's operations in order, and last the record. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "plan/taking.h"

const char *device_label(struct arena *arena, const struct device *device)
{
    return *device->ifname ? arena_printf(arena, "%s (%s)", device->address, device->ifname)
                           : device->address;
}

void device_record_write(struct planner *planner, const struct device_record *record)
{
    const char *path = device_record_path(planner->arena, planner->observed->run_dir, record->address);
    const struct file *old = file_find(planner->observed, path);
    struct op op = {.kind = OP_FILE_WRITE, .network = record->network};
    op.file =
        (struct file){.path = path, .content = device_record_format(planner->arena, record), .mode = 0600};
    struct op undo = op;
    if (old)
        undo.file = *old;
    else
        undo.kind = OP_FILE_REMOVE;
    if (!old || strcmp(old->content, op.file.content) != 0)
        step_add(planner, &op, &undo);
}

static void remove_record(struct planner *planner, const struct device_record *record)
{
    const char *path = device_record_path(planner->arena, planner->observed->run_dir, record->address);
    const struct file *old = file_find(planner->observed, path);
    if (!old)
        return;
    struct op op = {.kind = OP_FILE_REMOVE,
                    .network = record->network,
                    .file = {.path = path, .content = "", .mode = old->mode}};
    struct op undo = {.kind = OP_FILE_WRITE, .network = record->network, .file = *old};
    step_add(planner, &op, &undo);
}

/* --- what a device was, as the operations that make it so again */

void device_former_add(struct planner *planner, struct device_record *record, struct op op)
{
    op.network = record->network;
    *vec_push(planner->arena, &record->former) = op;
}

static void former_interface(struct planner *planner, struct device_record *record,
                             const struct device *device)
{
    const struct observed *observed = planner->observed;
    const struct link *link = *device->ifname ? link_find(observed, device->ifname) : NULL;
    if (!link)
        return;
    vec_foreach (&device->sysctls, sysctl)
        device_former_add(planner, record, (struct op){.kind = OP_SYSCTL_SET, .sysctl = *sysctl});
    struct op set = {.kind = OP_LINK_SET, .link = *link};
    set.link.kind = "";
    /* Whether it makes IPv6 addresses is among the sysctls. */
    set.link.fields =
        (LINK_MAC | LINK_MTU | LINK_UP | (*link->alias ? LINK_ALIAS : 0)) & ~observed->traits.no_link_fields;
    /* A bond takes only a port that is down, sets it up, and gives it a MAC for as long as it is one. */
    const struct link *master = *link->master ? link_find(observed, link->master) : NULL;
    if (master && strcmp(master->kind, "bond") == 0) {
        set.link.fields &= ~(unsigned)LINK_MAC;
        set.link.up = false;
    }
    device_former_add(planner, record, set);
    if (*link->master)
        device_former_add(
            planner, record,
            (struct op){.kind = OP_PORT_ADD, .port = {.ifname = link->name, .bridge = link->master}});
    vec_foreach (&observed->addresses, address) {
        if (address_moves(address, link->name))
            device_former_add(planner, record, (struct op){.kind = OP_ADDRESS_ADD, .address = *address});
    }
    for (int by_gateway = 0; by_gateway < 2; by_gateway++) { /* which is reached by those without one */
        vec_foreach (&observed->routes, route) {
            if (route_moves(observed, route, link->name) && !route->unmovable &&
                ip_is_set(&route->gateway) == by_gateway)
                device_former_add(planner, record, (struct op){.kind = OP_ROUTE_ADD, .route = *route});
        }
    }
    vec_foreach (&observed->neighbours, neighbour) {
        if (strcmp(neighbour->ifname, link->name) == 0)
            device_former_add(planner, record,
                              (struct op){.kind = OP_NEIGHBOUR_ADD, .neighbour = *neighbour});
    }
}

/* What the parent is told of a function now, for the same settings. */
static void settings_now(const struct planner *planner, struct function *function)
{
    const struct device *parent = device_of_interface(planner->observed, function->ifname);
    unsigned fields = function->fields;
    for (size_t i = 0; parent && i < parent->functions.count; i++) {
        if (parent->functions.items[i].index == function->index)
            *function = parent->functions.items[i];
    }
    function->fields = fields;
}

/* What takes back an operation of a record. */
static struct op inverse(const struct planner *planner, const struct op *op)
{
    const struct device *device;
    struct op undo = *op;
    switch (op->kind) {
    case OP_PORT_ADD:
        undo.kind = OP_PORT_REMOVE;
        break;
    case OP_ADDRESS_ADD:
        undo.kind = OP_ADDRESS_REMOVE;
        break;
    case OP_ROUTE_ADD:
        undo.kind = OP_ROUTE_REMOVE;
        break;
    case OP_NEIGHBOUR_ADD:
        undo.kind = OP_NEIGHBOUR_REMOVE;
        break;
    case OP_DEVICE_UNBIND:
        undo.kind = OP_DEVICE_BIND;
        undo.device.driver = passthrough_driver(planner->observed);
        undo.device.override = "";
        break;
    case OP_LINK_SET:
        undo.link.fields = LINK_UP;
        undo.link.up = false;
        break;
    case OP_FUNCTION_SET:
        settings_now(planner, &undo.function);
        break;
    case OP_FUNCTIONS_SET:
        device = device_find(planner->observed, op->functions.address);
        if (device)
            undo.functions =
                (struct functions){op->functions.address, device->functions_now, device->functions_probe};
        break;
    default:
        break;
    }
    return undo;
}

/* Everything that hangs on the interface goes, the last first. */
static void strip_interface(struct planner *planner, const struct device_record *record)
{
    for (size_t i = record->former.count; i-- > 0;) {
        const struct op *former = &record->former.items[i];
        /* A sysctl goes with its interface: its step changes nothing and is there for its undo. */
        if (former->kind != OP_LINK_SET && former->kind != OP_PORT_ADD && former->kind != OP_ADDRESS_ADD &&
            former->kind != OP_ROUTE_ADD && former->kind != OP_NEIGHBOUR_ADD && former->kind != OP_SYSCTL_SET)
            continue;
        struct op op = inverse(planner, former);
        step_add(planner, &op, former);
    }
}

void device_bind_steps(struct taking *taking, const struct device *device, struct device_record *record)
{
    struct planner *planner = taking->planner;
    if (strcmp(device->driver, passthrough_driver(planner->observed)) == 0) {
        device_record_write(planner, record);
        return;
    }
    struct op unbind = {.kind = OP_DEVICE_UNBIND, .network = record->network};
    unbind.device = (struct device_driver){device->address, device->driver, device->ifname, device->override};
    device_former_add(planner, record, unbind);
    former_interface(planner, record, device);
    device_record_write(planner, record);
    strip_interface(planner, record);
    struct op bind = unbind;
    bind.kind = OP_DEVICE_BIND;
    bind.device.override = "";
    bind.device.driver = passthrough_driver(planner->observed);
    step_add(planner, &bind, &unbind);
}

/* The record of a parent, whose functions go to guests. */
static bool is_pool(const struct device_record *record)
{
    return record->former.count && record->former.items[0].kind == OP_FUNCTIONS_SET;
}

/* --- a whole device */

/* It is away already: nothing but the name of who has it changes.  False when somebody else has it. */
static bool take_again(struct taking *taking, const struct network *network,
                       const struct device_record *record)
{
    struct planner *planner = taking->planner;
    if (*record->machine && strcmp(record->machine, taking->machine) != 0 && *taking->machine) {
        problem_add(planner->problems, network->device_pos,
                    "network '%s': machine '%s' has device %s; stop it first (vmwire stop %s)", network->name,
                    record->machine, record->address, record->machine);
        return false;
    }
    if (strcmp(record->network, network->name) != 0) {
        problem_add(
            planner->problems, network->device_pos,
            "network '%s': device %s is taken already, for network '%s'; take that down first (vmwire "
            "down)",
            network->name, record->address, record->network);
        return false;
    }
    struct device_record now = *record;
    if (*taking->machine)
        now.machine = taking->machine;
    now.keep = network->bind_up;
    device_record_write(planner, &now);
    /* Somebody gave it back by hand. */
    const struct device *device = device_find(planner->observed, record->address);
    if (device && strcmp(device->driver, passthrough_driver(planner->observed)) != 0) {
        struct op bind = {.kind = OP_DEVICE_BIND, .network = network->name};
        bind.device = (struct device_driver){device->address, passthrough_driver(planner->observed),
                                             device->ifname, ""};
        struct op undo = bind;
        undo.kind = OP_DEVICE_UNBIND;
        undo.device.driver = device->driver;
        undo.device.override = device->override;
        step_add(planner, &bind, &undo);
    }
    return true;
}

static void no_such_device(struct planner *planner, const struct network *network)
{
    const char *text = network->device.text;
    const struct link *link =
        network->device.kind == DEVICE_INTERFACE || network->device.kind == DEVICE_FUNCTION
            ? link_find(planner->observed, text)
            : NULL;
    if (link)
        problem_add(planner->problems, network->device_pos,
                    "network '%s': interface '%s' is no PCI device%s%s%s; `vmwire devices` lists what is",
                    network->name, text, *link->kind ? " (it is a " : "", link->kind, *link->kind ? ")" : "");
    else
        problem_add(planner->problems, network->device_pos,
                    "network '%s': device '%s' does not exist on this host; `vmwire devices` lists what does",
                    network->name, text);
}

const char *device_group_taken(struct taking *taking, const struct device *device)
{
    vec_foreach (&device->members, member) {
        const struct device_record *record = device_record_find(&taking->records, member->address);
        if (record && *record->machine && strcmp(record->machine, taking->machine) != 0)
            return arena_printf(
                taking->planner->arena,
                "machine '%s' has %s of the same IOMMU group %d, and a group goes to one guest "
                "as a whole; stop it first (vmwire stop %s)",
                record->machine, member->address, device->group, record->machine);
    }
    return NULL;
}

/* The file's use of the same card under another name, which only the host can tell: "is the uplink of network
 * 'brext'"; NULL: none. */
static const char *also_used(struct taking *taking, const struct network *network,
                             const struct device *device)
{
    struct planner *planner = taking->planner;
    bool function = network->device.kind == DEVICE_FUNCTION, earlier = true;
    vec_foreach (&planner->request->model->networks, other) {
        const struct device_ref named = {.kind = DEVICE_INTERFACE, .text = other->uplink};
        const struct device_ref *ref = other->mode == NETWORK_PASSTHROUGH ? &other->device : &named;
        earlier = earlier && other != network;
        if (other == network || !ref->text || (function && ref->kind == DEVICE_FUNCTION) ||
            (function && other->mode != NETWORK_PASSTHROUGH) || /* the parent stays the host's */
            device_of_network(planner->observed, &taking->records, ref) != device)
            continue;
        if (other->mode != NETWORK_PASSTHROUGH)
            return arena_printf(planner->arena, "is the uplink of network '%s'", other->name);
        if (function)
            return arena_printf(planner->arena,
                                "is as a whole the device of network '%s', and its functions go with it",
                                other->name);
        if (ref->kind == DEVICE_FUNCTION)
            return arena_printf(planner->arena, "has the functions of network '%s', which go with it",
                                other->name);
        if (earlier)
            return arena_printf(planner->arena, "is already the device of network '%s'", other->name);
    }
    return NULL;
}

static bool used_once(struct taking *taking, const struct network *network, const struct device *device)
{
    struct planner *planner = taking->planner;
    const char *use = also_used(taking, network, device);
    if (use)
        problem_add(planner->problems, network->device_pos,
                    "network '%s': %s %s; name another card in one of them", network->name,
                    device_label(planner->arena, device), use);
    return !use;
}

static const char *take_device(struct taking *taking, const struct network *network,
                               const struct device *device, const char *const *together)
{
    struct planner *planner = taking->planner;
    const struct device_record *record = device_record_find(&taking->records, device->address);
    *vec_push(planner->arena, &taking->taken) = device->address;
    if (record && !is_pool(record))
        return take_again(taking, network, record) ? device->address : NULL;
    struct device_asker asker = {.together = together, .in_use_take = network->in_use_take};
    const char *fault = device_fault(planner->arena, planner->observed, device, &asker);
    if (!fault)
        fault = device_group_taken(taking, device);
    if (!fault && record) /* somebody took the functions away by hand */
        fault = arena_printf(planner->arena,
                             "network '%s' has functions of it; take that down first (vmwire down)",
                             record->network);
    if (fault) {
        problem_add(planner->problems, network->device_pos,
                    "network '%s': device %s cannot go to a guest: %s", network->name,
                    device_label(planner->arena, device), fault);
        return NULL;
    }
    struct device_record fresh = {.address = device->address,
                                  .network = network->name,
                                  .machine = taking->machine,
                                  .keep = network->bind_up};
    device_bind_steps(taking, device, &fresh);
    return device->address;
}

/* --- machines */

static const char *const *addresses_together(struct taking *taking, const struct model *model,
                                             const struct machine *machine)
{
    struct planner *planner = taking->planner;
    VEC(const char *) list = {0};
    vec_foreach (&machine->nics, nic) {
        const struct network *network = network_find(model, nic->network);
        const struct device *device =
            network && network->mode == NETWORK_PASSTHROUGH && network->device.kind != DEVICE_FUNCTION
                ? device_of_network(planner->observed, &taking->records, &network->device)
                : NULL;
        if (device)
            *vec_push(planner->arena, &list) = device->address;
    }
    *vec_push(planner->arena, &list) = NULL;
    return list.items;
}

int plan_devices_take(struct arena *arena, const struct model *model, const struct machine *machine,
                      const struct observed *observed, struct problems *problems, struct plan *plan,
                      const char *const **addresses, struct err *err)
{
    *plan = (struct plan){.arena = arena};
    struct plan_request request = {.model = model, .observed = observed};
    struct planner planner = {
        .arena = arena, .request = &request, .observed = observed, .problems = problems, .plan = plan};
    struct taking taking = {.planner = &planner, .machine = machine->name};
    int rc = device_records_read(arena, observed, &taking.records, err);
    if (rc < 0)
        return rc;
    const char *const *together = addresses_together(&taking, model, machine);
    const char **list = arena_alloc(arena, (machine->nics.count + 1) * sizeof(*list));
    vec_foreach (&machine->nics, nic) {
        const struct network *network = network_find(model, nic->network);
        if (!network || network->mode != NETWORK_PASSTHROUGH)
            continue;
        const struct device *device = device_of_network(observed, &taking.records, &network->device);
        const char **address = &list[nic - machine->nics.items];
        if (!device)
            no_such_device(&planner, network);
        else if (!used_once(&taking, network, device))
            continue;
        else if (network->device.kind == DEVICE_FUNCTION)
            *address = take_function(&taking, network, device, nic);
        else
            *address = take_device(&taking, network, device, together);
    }
    *addresses = list;
    return 0;
}

static void give_back(struct planner *planner, const struct device_record *record)
{
    vec_foreach (&record->former, op) {
        struct op undo = inverse(planner, op);
        const struct link *link =
            op->kind == OP_LINK_SET ? link_find(planner->observed, op->link.name) : NULL;
        if (link) { /* of a pool's parent, which did not go */
            undo.link.fields = op->link.fields;
            undo.link.up = link->up;
            undo.link.ipv6 = link->ipv6;
        }
        step_add(planner, op, &undo);
    }
    remove_record(planner, record);
}

/* A pool that `down` wanted away while a guest still had one of its functions. */
static bool pool_retired(const struct device_record *record)
{
    return !record->keep && !*record->machine && is_pool(record);
}

/* Who but `machine` has functions of this pool: "0000:02:10.0: machine 'vm1', …"; "" nobody.  All of the
 * functions go when their number changes, so nobody's may be in use then. */
static const char *pool_users(struct planner *planner, const struct device_records *records,
                              const struct device_record *pool, const char *machine)
{
    struct text users = {.arena = planner->arena};
    vec_foreach (&planner->observed->devices, device) {
        const struct device_record *record = device_record_find(records, device->address);
        if (strcmp(device->parent, pool->address) != 0 ||
            (record && *machine && strcmp(record->machine, machine) == 0))
            continue;
        const char *user = device_function_user(planner->arena, planner->observed, records, device->address);
        if (user)
            text_add(&users, "%s%s: %s", users.length ? ", " : "", device->address, user);
    }
    return text_get(&users);
}

int plan_devices_return(struct arena *arena, const char *machine, const struct observed *observed,
                        struct plan *plan, struct err *err)
{
    *plan = (struct plan){.arena = arena};
    struct plan_request request = {.observed = observed};
    struct planner planner = {.arena = arena, .request = &request, .observed = observed, .plan = plan};
    struct device_records records;
    int rc = device_records_read(arena, observed, &records, err);
    if (rc < 0)
        return rc;
    vec_foreach (&records.list, record) {
        if (strcmp(record->machine, machine) != 0)
            continue;
        struct device_record free = *record;
        free.machine = "";
        if (record->keep)
            device_record_write(&planner, &free);
        else
            give_back(&planner, record);
    }
    vec_foreach (&records.list, record) {
        if (pool_retired(record) && !*pool_users(&planner, &records, record, machine))
            give_back(&planner, record);
    }
    return 0;
}

/* --- networks */

/* What goes to the machine that uses this network. */
static const char *const *neighbours(struct taking *taking, const struct network *network)
{
    const struct model *model = taking->planner->request->model;
    vec_foreach (&model->machines, machine) {
        vec_foreach (&machine->nics, nic) {
            if (nic->network && strcmp(nic->network, network->name) == 0)
                return addresses_together(taking, model, machine);
        }
    }
    return NULL;
}

/* The file names another device now. */
static void give_back_others(struct taking *taking, const struct network *network, const char *address)
{
    vec_foreach (&taking->records.list, record) {
        if (strcmp(record->network, network->name) == 0 && strcmp(record->address, address) != 0 &&
            !*record->machine && !is_pool(record))
            give_back(taking->planner, record);
    }
}

void device_network_up(struct planner *planner, const struct passage *passage)
{
    struct taking taking = {.planner = planner, .machine = ""};
    const struct network *network = passage->network;
    struct err err = {0};
    if (device_records_read(planner->arena, planner->observed, &taking.records, &err) < 0) {
        problem_add(planner->problems, network->pos, "network '%s': %s", network->name, err.text);
        return;
    }
    const struct device *device = device_of_network(planner->observed, &taking.records, &network->device);
    if (!device) {
        no_such_device(planner, network);
        return;
    }
    if (!used_once(&taking, network, device))
        return;
    give_back_others(&taking, network, device->address);
    size_t steps = planner->plan->steps.count;
    bool known = device_record_find(&taking.records, device->address) != NULL;
    if (network->device.kind == DEVICE_FUNCTION)
        take_function(&taking, network, device, NULL);
    else
        take_device(&taking, network, device, neighbours(&taking, network));
    if (network->bind_up)
        return;
    /* `run` does it; here it was only tried. */
    planner->plan->steps.count = steps;
    if (!known && !problem_count(planner->problems))
        plan_note(planner, "network '%s': %sdevice %s goes to %s when a machine on it starts", network->name,
                  network->device.kind == DEVICE_FUNCTION ? "a function of " : "",
                  device_label(planner->arena, device), passthrough_driver(planner->observed));
}

/* What still has a device, or functions of a pool, that is to go back: a sentence for people, or NULL. */
static const char *still_used(struct planner *planner, const struct device_records *records,
                              const struct device_record *record)
{
    if (*record->machine)
        return arena_printf(planner->arena, "is in use by machine '%s'; it goes back when the machine ends",
                            record->machine);
    const char *users = is_pool(record) ? pool_users(planner, records, record, "") : "";
    return !*users ? NULL
                   : arena_printf(planner->arena,
                                  "has functions in use (%s); it goes back when the last machine ends, or by "
                                  "`vmwire down` once they are free",
                                  users);
}

void device_network_down(struct planner *planner, const char *name)
{
    if (!planner->devices)
        return;
    struct device_records records;
    struct err err = {0};
    if (device_records_read(planner->arena, planner->observed, &records, &err) < 0) {
        problem_add(planner->problems, (struct pos){0}, "network '%s': %s", name, err.text);
        return;
    }
    for (int pools = 0; pools < 2; pools++) {
        vec_foreach (&records.list, record) {
            if (strcmp(record->network, name) != 0 || is_pool(record) != pools)
                continue;
            const char *used = still_used(planner, &records, record);
            if (!used) {
                give_back(planner, record);
                continue;
            }
            struct device_record later = *record;
            later.keep = false;
            device_record_write(planner, &later);
            plan_note(planner, "network '%s': device %s %s", name, record->address, used);
        }
    }
}
