/* device.c: which PCI device a network means, its record, and whether it may go to a guest: device.h. */
#include "plan/device.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "plan/internal.h"

enum { TABLE_MAIN = 254, CLASS_PCI_BRIDGE = 0x0604, LEVELS = 8 /* of interfaces on interfaces */ };

/* --- records */

const char *device_record_path(struct arena *arena, const char *run_dir, const char *address)
{
    return arena_printf(arena, "%s/device/%s", run_dir, address);
}

const char *device_record_format(struct arena *arena, const struct device_record *record)
{
    struct text out = {.arena = arena};
    text_add(&out, "network %s\n", record->network);
    if (*record->machine)
        text_add(&out, "machine %s\n", record->machine);
    if (record->keep)
        text_add(&out, "keep\n");
    vec_foreach (&record->former, op)
        text_add(&out, "former %s\n", op_format(arena, op));
    return text_get(&out);
}

static int line_parse(struct arena *arena, const char *line, struct device_record *record, struct err *err)
{
    if (strncmp(line, "network ", 8) == 0 && line[8]) {
        record->network = line + 8;
    } else if (strncmp(line, "machine ", 8) == 0 && line[8]) {
        record->machine = line + 8;
    } else if (strcmp(line, "keep") == 0) {
        record->keep = true;
    } else if (strncmp(line, "former ", 7) == 0) {
        return op_parse(arena, line + 7, vec_push(arena, &record->former), err);
    } else {
        return err_set(err, EINVAL, "'%.40s' is neither network, machine, keep nor former", line);
    }
    return 0;
}

int device_record_parse(struct arena *arena, const char *address, const char *text,
                        struct device_record *record, struct err *err)
{
    *record = (struct device_record){.address = address, .network = "", .machine = ""};
    int number = 1;
    for (const char *rest = text; *rest; number++) {
        size_t length = strcspn(rest, "\n");
        int rc = line_parse(arena, arena_strndup(arena, rest, length), record, err);
        if (rc < 0)
            return err_wrap(err, "line %d", number);
        rest += length + (rest[length] == '\n');
    }
    return *record->network ? 0 : err_set(err, EINVAL, "it does not say a network");
}

int device_records_read(struct arena *arena, const struct observed *observed, struct device_records *records,
                        struct err *err)
{
    *records = (struct device_records){0};
    const char *folder = device_record_path(arena, observed->run_dir, "");
    vec_foreach (&observed->files, file) {
        if (strncmp(file->path, folder, strlen(folder)) != 0)
            continue;
        int rc = device_record_parse(arena, file->path + strlen(folder), file->content,
                                     vec_push(arena, &records->list), err);
        if (rc < 0)
            return err_wrap(err, "the record '%s' is damaged", file->path);
    }
    return 0;
}

const struct device_record *device_record_find(const struct device_records *records, const char *address)
{
    vec_foreach (&records->list, record) {
        if (strcmp(record->address, address) == 0)
            return record;
    }
    return NULL;
}

/* --- which device */

/* The card whose interface of this name went away with it. */
static const struct device *device_once_called(const struct observed *observed,
                                               const struct device_records *records, const char *ifname)
{
    vec_foreach (&records->list, record) {
        vec_foreach (&record->former, op) {
            if (op->kind == OP_DEVICE_UNBIND && strcmp(op->device.ifname, ifname) == 0)
                return device_find(observed, record->address);
        }
    }
    return NULL;
}

const struct device *device_of_network(const struct observed *observed, const struct device_records *records,
                                       const struct device_ref *ref)
{
    char address[32];
    const struct device *away;
    switch (ref->kind) {
    case DEVICE_INTERFACE:
    case DEVICE_FUNCTION:
        /* First, since another card may have got the name meanwhile. */
        away = device_once_called(observed, records, ref->text);
        return away ? away : device_of_interface(observed, ref->text);
    case DEVICE_PCI:
    case DEVICE_SELECTOR:
        snprintf(address, sizeof(address), "%04x:%02x:%02x.%x", ref->domain, ref->bus, ref->slot,
                 ref->function);
        return device_find(observed, address);
    case DEVICE_NONE:
        break;
    }
    return NULL;
}

void device_want(struct observed *observed, const struct device_records *records,
                 const struct device_ref *ref)
{
    const struct device *meant = device_of_network(observed, records, ref);
    vec_foreach (&observed->devices, device) {
        if (meant &&
            (ref->kind == DEVICE_FUNCTION ? strcmp(device->parent, meant->address) == 0 : device == meant))
            device->wanted = true;
    }
}

/* --- may it go */

static bool passes_together(const struct device_asker *asker, const char *address)
{
    for (size_t i = 0; asker->together && asker->together[i]; i++) {
        if (strcmp(asker->together[i], address) == 0)
            return true;
    }
    return false;
}

/* The kernel lets a group go to a guest when nobody else drives a device in it: no driver, vfio's or
 * pci-stub's, or a bridge's (driver_managed_dma, drivers/iommu/iommu.c). */
static bool harmless(const struct group_member *member)
{
    return member->class >> 8 == CLASS_PCI_BRIDGE || !*member->driver ||
           strcmp(member->driver, "vfio-pci") == 0 || strcmp(member->driver, "pci-stub") == 0;
}

static const char *group_fault(struct arena *arena, const struct device *device,
                               const struct device_asker *asker)
{
    struct text others = {.arena = arena};
    vec_foreach (&device->members, member) {
        if (!harmless(member) && !passes_together(asker, member->address))
            text_add(&others, "%s%s (%s)", others.length ? ", " : "", member->address, member->driver);
    }
    if (!others.length)
        return NULL;
    return arena_printf(
        arena,
        "IOMMU group %d also holds %s, and a group goes to one guest as a whole: pass that to the "
        "same machine too, take its driver away, or put the card into another slot",
        device->group, text_get(&others));
}

static bool has_default_route(const struct observed *observed, const char *ifname)
{
    vec_foreach (&observed->routes, route) {
        if (route->to.length == 0 && route->table == TABLE_MAIN && text_equal(route->ifname, ifname))
            return true;
    }
    return false;
}

/* VLANs and the like: they go with the interface, and nothing brings them back. */
static bool stands_on(const struct link *link, const char *ifname)
{
    return link->lower && strcmp(link->lower, ifname) == 0 && strcmp(link->kind, "veth") != 0;
}

/* Does the default route lead over it, also through bridges, bonds and VLANs?  `left` ends what goes round.
 */
static bool leads_out(const struct observed *observed, const char *ifname, unsigned left)
{
    if (has_default_route(observed, ifname))
        return true;
    const struct link *own = link_find(observed, ifname);
    if (!left || !own)
        return false;
    if (*own->master && leads_out(observed, own->master, left - 1))
        return true;
    vec_foreach (&observed->links, link) {
        if (stands_on(link, ifname) && leads_out(observed, link->name, left - 1))
            return true;
    }
    return false;
}

static void use_add(struct text *out, const struct observed *observed, const char *what, const char *ifname)
{
    text_add(out, "%s%s '%s'%s", out->length ? ", " : "", what, ifname,
             leads_out(observed, ifname, LEVELS) ? ", over which the default route leads" : "");
}

static const char *interface_use(struct arena *arena, const struct observed *observed, const char *ifname)
{
    struct text out = {.arena = arena};
    if (has_default_route(observed, ifname))
        text_add(&out, "default route");
    vec_foreach (&observed->addresses, address) {
        if (address_moves(address, ifname))
            text_add(&out, "%saddress %s", out.length ? ", " : "", PREFIX_TEXT(&address->prefix));
    }
    const struct link *own = link_find(observed, ifname);
    if (own && *own->master) {
        const struct link *master = link_find(observed, own->master);
        bool bond = master && strcmp(master->kind, "bond") == 0;
        use_add(&out, observed, bond ? "port of bond" : "port of", own->master);
    }
    vec_foreach (&observed->links, link) {
        if (stands_on(link, ifname))
            use_add(&out, observed, "below", link->name);
    }
    return text_get(&out);
}

const char *device_use(struct arena *arena, const struct observed *observed, const struct device *device)
{
    struct text out = {.arena = arena};
    if (*device->ifname)
        text_add(&out, "%s", interface_use(arena, observed, device->ifname));
    vec_foreach (&device->other_ifnames, other) {
        const char *use = interface_use(arena, observed, *other);
        if (*use)
            text_add(&out, "%s'%s' too: %s", out.length ? "; " : "", *other, use);
    }
    return text_get(&out);
}

static bool has_other_port(const struct observed *observed, const char *master, const char *ifname)
{
    vec_foreach (&observed->links, link) {
        if (strcmp(link->master, master) == 0 && strcmp(link->name, ifname) != 0)
            return true;
    }
    return false;
}

/* What would not be so again when it becomes a port of its bridge or bond again. */
static const char *port_fault(struct arena *arena, const struct observed *observed, const char *ifname)
{
    const struct link *link = link_find(observed, ifname);
    const struct link *master = link && *link->master ? link_find(observed, link->master) : NULL;
    if (!master)
        return NULL;
    bool bridge = strcmp(master->kind, "bridge") == 0, bond = strcmp(master->kind, "bond") == 0;
    if (!bridge && !bond)
        return arena_printf(arena,
                            "it could not be made a port of '%s' (%s) again: take it out of that first",
                            master->name, master->kind);
    if (bond && !has_other_port(observed, master->name, ifname))
        return arena_printf(arena,
                            "bond '%s' has no other port, and would lose its MAC: remove the bond first",
                            master->name);
    if (link->port_tuned || master->filters_vlans)
        return arena_printf(arena,
                            "%s is a port of '%s' with settings of its own%s, which could not be put back: "
                            "take it out of that first",
                            ifname, master->name, link->port_tuned ? "" : " (VLANs)");
    return NULL;
}

/* What `in_use: take` could not put back. */
static const char *lost_fault(struct arena *arena, const struct observed *observed, const char *ifname)
{
    vec_foreach (&observed->links, link) {
        if (stands_on(link, ifname))
            return arena_printf(
                arena,
                "'%s' (%s) stands on %s and would be gone for good: remove it first, and make it "
                "again afterwards",
                link->name, link->kind, ifname);
    }
    vec_foreach (&observed->routes, route) {
        if (route->unmovable && route_moves(observed, route, ifname))
            return arena_printf(
                arena,
                "the route %s on %s has attributes that could not be put back (several next hops, or "
                "an encapsulation): replace it by a plain one first",
                route->to.length ? PREFIX_TEXT(&route->to) : "default", ifname);
    }
    return port_fault(arena, observed, ifname);
}

/* Of a card with several interfaces one is put back as it was; so the others must be free. */
static const char *others_fault(struct arena *arena, const struct observed *observed,
                                const struct device *device)
{
    vec_foreach (&device->other_ifnames, other) {
        const struct link *link = link_find(observed, *other);
        const char *use = interface_use(arena, observed, *other);
        if (*use || (link && link->up))
            return arena_printf(arena,
                                "the host uses its other interface '%s' (%s), which goes with it: take that "
                                "away from it and set it down first",
                                *other, *use ? use : "up");
    }
    return NULL;
}

static bool device_leads_out(const struct observed *observed, const struct device *device)
{
    bool leads = leads_out(observed, device->ifname, LEVELS);
    vec_foreach (&device->other_ifnames, other)
        leads |= leads_out(observed, *other, LEVELS);
    return leads;
}

static const char *use_fault(struct arena *arena, const struct observed *observed,
                             const struct device *device, const struct device_asker *asker)
{
    if (!*device->ifname)
        return NULL;
    const char *use = device_use(arena, observed, device);
    /* Taken all the same, under the guard: engine/device.c. */
    if (device_leads_out(observed, device) && !asker->in_use_take)
        return arena_printf(
            arena,
            "this host reaches the world through it (%s: %s): a guest that owns it would cut the host "
            "off; give the host's default route to another interface first",
            device->ifname, use);
    const char *lost = others_fault(arena, observed, device);
    if (!lost)
        lost = lost_fault(arena, observed, device->ifname);
    if (lost || asker->in_use_take || !*use)
        return lost;
    return arena_printf(
        arena,
        "the host uses it (%s: %s): take that away from it first, or write 'in_use: take', and it is "
        "put back when the guest ends",
        device->ifname, use);
}

const char *device_fault(struct arena *arena, const struct observed *observed, const struct device *device,
                         const struct device_asker *asker)
{
    if (!device->network)
        return arena_printf(arena, "it is no network device but %s %s; `vmwire devices` lists those that are",
                            strchr("AEIOU", device_class_name(device->class)[0]) ? "an" : "a",
                            device_class_name(device->class));
    if (!observed->iommu && observed->traits.passthrough_driver)
        return "this host's IOMMU is switched off: take hw.vmm.iommu.enable=0 out of /boot/loader.conf, and "
               "reboot";
    if (!observed->iommu)
        return "this host has no IOMMU in use: switch on VT-d or AMD-Vi in the firmware's setup, and on "
               "Intel boot "
               "with intel_iommu=on";
    if (device->group < 0)
        return "no IOMMU is in front of it (it has no IOMMU group): put the card into another slot";
    if (!observed->iommu_remaps)
        return "the IOMMU does not remap interrupts, so a guest could forge them: switch interrupt remapping "
               "on in "
               "the firmware's setup (and drop intremap=off from the kernel's command line), or accept the "
               "risk with "
               "`modprobe vfio_iommu_type1 allow_unsafe_interrupts=1`";
    if (!observed->vfio)
        return "the kernel has no vfio-pci (CONFIG_VFIO_PCI): install a kernel that has it; Debian's cloud "
               "kernels "
               "lack it, linux-image-amd64 has it";
    if (device->functions_now)
        return arena_printf(
            arena,
            "its %u SR-IOV function%s would go with it: stop the machines that have them and take "
            "them away first (vmwire down, or 0 in its sriov_numvfs)",
            device->functions_now, device->functions_now == 1 ? "" : "s");
    const char *fault = group_fault(arena, device, asker);
    return fault ? fault : use_fault(arena, observed, device, asker);
}
