/* device_functions.c: SR-IOV functions: a pool that is made when the first is needed, and who has which:
 * device.h. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "plan/taking.h"

static bool in_list(const char *const *items, size_t count, const char *word)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(items[i], word) == 0)
            return true;
    }
    return false;
}

/* Source: PCI Express SR-IOV, "First VF Offset" and "VF Stride". */
static const char *function_address(struct arena *arena, const struct device *parent, unsigned index)
{
    unsigned domain = 0, bus = 0, slot = 0, function = 0;
    sscanf(parent->address, "%x:%x:%x.%x", &domain, &bus, &slot, &function);
    unsigned id =
        (bus << 8 | slot << 3 | function) + parent->functions_offset + index * parent->functions_stride;
    return arena_printf(arena, "%04x:%02x:%02x.%x", domain, id >> 8 & 0xff, id >> 3 & 31, id & 7);
}

const char *device_function_user(struct arena *arena, const struct observed *observed,
                                 const struct device_records *records, const char *address)
{
    const struct device_record *record = device_record_find(records, address);
    if (record && *record->machine)
        return arena_printf(arena, "machine '%s'", record->machine);
    if (record)
        return arena_printf(arena, "network '%s' (bind: up)", record->network);
    const struct device *device = device_find(observed, address);
    const struct link *link = device && *device->ifname ? link_find(observed, device->ifname) : NULL;
    if (link && (link->up || *device_use(arena, observed, device)))
        return arena_printf(arena, "the host (%s)", link->name);
    if (device && strcmp(device->driver, PASSTHROUGH_DRIVER) == 0)
        return "another program (it is bound to vfio-pci)";
    return NULL;
}

/* The same, also of this plan. */
static const char *function_taker(struct taking *taking, const char *address)
{
    if (in_list(taking->taken.items, taking->taken.count, address))
        return arena_printf(taking->planner->arena, "machine '%s'", taking->machine);
    return device_function_user(taking->planner->arena, taking->planner->observed, &taking->records, address);
}

/* How many functions the file's nics need of this parent. */
static unsigned functions_needed(const struct model *model, const struct network *network)
{
    unsigned nics = 0, highest = 0, asked = 0;
    const char *parent = network->device.text;
    vec_foreach (&model->networks, other) {
        const struct device_ref *ref = &other->device;
        if (ref->kind != DEVICE_FUNCTION || strcmp(ref->text, parent) != 0)
            continue;
        if (ref->functions > asked)
            asked = ref->functions;
        if (ref->vf != FUNCTION_AUTO && (unsigned)ref->vf + 1 > highest)
            highest = (unsigned)ref->vf + 1;
        vec_foreach (&model->machines, machine) {
            vec_foreach (&machine->nics, nic)
                nics += nic->network && strcmp(nic->network, other->name) == 0;
        }
    }
    unsigned needed = asked ? asked : nics;
    needed = needed > highest ? needed : highest;
    return needed ? needed : 1;
}

/* A parent that is down comes up, since functions do nothing before, and gets no IPv6 address by that. */
static bool parent_wake(const struct planner *planner, const struct network *network,
                        const struct device *parent, struct step *wake)
{
    const struct link *link = link_find(planner->observed, parent->ifname);
    if (!link || link->up)
        return false;
    struct op up = {.kind = OP_LINK_SET, .network = network->name};
    up.link = (struct link){.name = parent->ifname, .kind = "", .alias = "", .up = true};
    up.link.fields = LINK_UP | ((link->ipv6 ? LINK_IPV6 : 0) & ~planner->observed->traits.no_link_fields);
    *wake = (struct step){.op = up, .undo = up};
    wake->undo.link.up = false;
    wake->undo.link.ipv6 = link->ipv6;
    return true;
}

static void create_functions(struct taking *taking, const struct network *network,
                             const struct device *parent, unsigned count)
{
    struct planner *planner = taking->planner;
    const struct device_record *known = device_record_find(&taking->records, parent->address);
    struct device_record record = {
        .address = parent->address, .network = network->name, .machine = "", .keep = true};
    struct op op = {.kind = OP_FUNCTIONS_SET, .network = network->name};
    op.functions = (struct functions){parent->address, count, false};
    struct op undo = op;
    undo.functions = (struct functions){parent->address, parent->functions_now, parent->functions_probe};
    struct step wake;
    bool asleep = parent_wake(planner, network, parent, &wake);
    if (!known) {
        device_former_add(planner, &record, undo);
        if (asleep)
            device_former_add(planner, &record, wake.undo);
        device_record_write(planner, &record);
    }
    if (asleep)
        step_add(planner, &wake.op, &wake.undo);
    step_add(planner, &op, &undo);
    *vec_push(planner->arena, &taking->pools) = parent->address;
}

/* Are the parent's functions there, or will this plan make them?  Counts them. */
static unsigned functions_there(struct taking *taking, const struct network *network,
                                const struct device *parent)
{
    const struct model *model = taking->planner->request->model;
    unsigned needed = functions_needed(model, network);
    needed = needed < parent->functions_total ? needed : parent->functions_total;
    if (in_list(taking->pools.items, taking->pools.count, parent->address))
        return needed;
    if (parent->functions_now >= needed)
        return parent->functions_now;
    /* The number can be changed only by way of none (Documentation/PCI/pci-iov-howto.rst). */
    for (unsigned i = 0; i < parent->functions_now; i++) {
        if (function_taker(taking, function_address(taking->planner->arena, parent, i)))
            return parent->functions_now;
    }
    create_functions(taking, network, parent, needed);
    return needed;
}

/* A number that some network of the file names for itself. */
static bool function_named(const struct model *model, const char *parent, int index)
{
    vec_foreach (&model->networks, network) {
        if (network->device.kind == DEVICE_FUNCTION && network->device.vf == index &&
            strcmp(network->device.text, parent) == 0)
            return true;
    }
    return false;
}

/* The number of a free function, or -1 after a problem. */
static int function_choose(struct taking *taking, const struct network *network, const struct device *parent,
                           unsigned count)
{
    struct planner *planner = taking->planner;
    const struct device_ref *ref = &network->device;
    struct text users = {.arena = planner->arena};
    for (unsigned i = 0; i < count; i++) {
        if (ref->vf != FUNCTION_AUTO && ref->vf != (int)i)
            continue;
        const char *user = function_taker(taking, function_address(planner->arena, parent, i));
        if (!user && ref->vf == FUNCTION_AUTO && function_named(planner->request->model, ref->text, (int)i))
            user = "another network of the file (vf by number)";
        if (!user)
            return (int)i;
        text_add(&users, "%s%u: %s", users.length ? ", " : "", i, user);
    }
    if (ref->vf != FUNCTION_AUTO && ref->vf >= (int)count)
        problem_add(planner->problems, network->device_pos,
                    "network '%s': '%s' has %u function%s, numbered from 0; there is no %d%s", network->name,
                    ref->text, count, count == 1 ? "" : "s", ref->vf,
                    count < parent->functions_total ? " (more can be made only while none is in use)" : "");
    else if (ref->vf != FUNCTION_AUTO)
        problem_add(planner->problems, network->device_pos,
                    "network '%s': function %d of '%s' is taken (%s); free it, or write 'vf: auto'",
                    network->name, ref->vf, ref->text, text_get(&users));
    else
        problem_add(planner->problems, network->device_pos,
                    "network '%s': all %u functions of '%s' are taken (%s)%s", network->name, count,
                    ref->text, text_get(&users),
                    count < parent->functions_total
                        ? "; more can be made only while none is in use: stop these machines, or write "
                          "'functions:' with a larger number first"
                        : "");
    return -1;
}

/* What the parent is told of the function for this nic, and what it was told before. */
static struct step function_settings(const struct network *network, const struct nic *nic,
                                     const struct device *parent, unsigned index)
{
    struct op set = {.kind = OP_FUNCTION_SET, .network = network->name, .function = network->device.settings};
    set.function.ifname = parent->ifname;
    set.function.index = index;
    set.function.mac = nic->mac;
    set.function.fields |= FUNCTION_MAC;
    struct op clear = set;
    clear.function = (struct function){
        .ifname = parent->ifname, .index = index, .fields = set.function.fields, .spoof_check = true};
    vec_foreach (&parent->functions, function) {
        if (function->index == index) {
            clear.function = *function;
            clear.function.ifname = parent->ifname;
            clear.function.fields = set.function.fields;
        }
    }
    return (struct step){.op = set, .undo = clear};
}

static const struct device *function_device(struct taking *taking, const struct device *parent,
                                            const char *address)
{
    const struct device *there = device_find(taking->planner->observed, address);
    bool fresh = in_list(taking->pools.items, taking->pools.count, parent->address);
    if (there && !fresh)
        return there;
    struct device *device = arena_alloc(taking->planner->arena, sizeof(*device));
    *device = (struct device){.address = address,
                              .class = parent->class,
                              .driver = "",
                              .ifname = "",
                              .network = true,
                              .group = parent->group,
                              .parent = parent->address};
    return device;
}

/* The card itself is at a guest, or has no driver that knows functions. */
static const char *parent_away(const struct taking *taking, const struct device *parent)
{
    struct arena *arena = taking->planner->arena;
    const struct device_record *record = device_record_find(&taking->records, parent->address);
    if (*parent->ifname)
        return NULL;
    if (record && *record->machine)
        return arena_printf(arena, "machine '%s' has the whole card; stop it first (vmwire stop %s)",
                            record->machine, record->machine);
    if (record)
        return arena_printf(arena, "network '%s' has the whole card (bind: up); take it down first",
                            record->network);
    return "it has no interface: give it to its driver first";
}

static const char *parent_fault(struct taking *taking, const struct network *network,
                                const struct device *parent)
{
    struct planner *planner = taking->planner;
    if (!parent->functions_total)
        return "it has no SR-IOV functions; name it as a whole device, or use a card that has them";
    if (network->device.functions > parent->functions_total)
        return arena_printf(planner->arena, "it can have %u functions, and 'functions: %u' asks for more",
                            parent->functions_total, network->device.functions);
    const char *away = parent_away(taking, parent);
    if (away)
        return away;
    struct device_asker asker = {.in_use_take = true};
    struct device alone = *parent;
    alone.ifname = ""; /* the host goes on using the parent */
    alone.members.count = alone.functions_now = 0;
    return device_fault(planner->arena, planner->observed, &alone, &asker);
}

/* The group of a function that this plan makes is not known yet. */
static const char *function_fault(struct taking *taking, const struct network *network,
                                  const struct device *device)
{
    struct planner *planner = taking->planner;
    if (!device_find(planner->observed, device->address) ||
        in_list(taking->pools.items, taking->pools.count, device->parent))
        return NULL;
    *vec_push(planner->arena, &taking->taken) = NULL;
    taking->taken.count--;
    struct device_asker asker = {.together = taking->taken.items, .in_use_take = network->in_use_take};
    const char *fault = device_fault(planner->arena, planner->observed, device, &asker);
    return fault ? fault : device_group_taken(taking, device);
}

const char *take_function(struct taking *taking, const struct network *network, const struct device *parent,
                          const struct nic *nic)
{
    struct planner *planner = taking->planner;
    const char *fault = parent_fault(taking, network, parent);
    if (fault) {
        problem_add(planner->problems, network->device_pos,
                    "network '%s': functions of %s cannot go to a guest: %s", network->name,
                    device_label(planner->arena, parent), fault);
        return NULL;
    }
    unsigned count = functions_there(taking, network, parent);
    if (!nic)
        return NULL;
    int index = function_choose(taking, network, parent, count);
    if (index < 0)
        return NULL;
    const char *address = function_address(planner->arena, parent, (unsigned)index);
    const struct device *device = function_device(taking, parent, address);
    fault = function_fault(taking, network, device);
    if (fault) {
        problem_add(planner->problems, network->device_pos,
                    "network '%s': function %s of '%s' cannot go to a guest: %s", network->name,
                    device_label(planner->arena, device), parent->ifname, fault);
        return NULL;
    }
    *vec_push(planner->arena, &taking->taken) = address;
    struct device_record record = {.address = address, .network = network->name, .machine = taking->machine};
    /* Told while no driver but vfio-pci is there, and cleared before another comes: a driver takes the MAC
     * that it finds. */
    struct step settings = function_settings(network, nic, parent, (unsigned)index);
    device_former_add(planner, &record, settings.undo);
    device_bind_steps(taking, device, &record);
    step_add(planner, &settings.op, &settings.undo);
    return address;
}
