/* device.c: looking at PCI devices: device.h. */
#include "host/linux/device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

enum {
    ATTRIBUTE_MAX = 4096,
    CLASS_NETWORK = 0x02,
    INTERRUPTS_MAX = 16 << 20,
    ID_MOST = 0xffff,
    CLASS_MOST = 0xffffff,
    FUNCTIONS_MOST = 0xffff, /* as wide as the registers of the SR-IOV capability */
    NODE_MOST = 1 << 16,
    GROUP_DIGITS = 9,
};

/* An attribute's text without its newline; NULL when it cannot be read. */
static char *attribute(struct arena *arena, int directory, const char *name)
{
    char *text;
    if (file_read(arena, directory, name, ATTRIBUTE_MAX, &text, NULL, NULL) < 0)
        return NULL;
    text[strcspn(text, "\n")] = '\0';
    return text;
}

/* 0 to `most`; anything else is as good as no answer. */
static uint32_t number(struct arena *arena, int directory, const char *name, uint32_t most,
                       uint32_t otherwise)
{
    const char *text = attribute(arena, directory, name);
    char *end = NULL;
    errno = 0;
    long long value = text && *text ? strtoll(text, &end, 0) : -1;
    return !end || *end || errno || value < 0 || value > most ? otherwise : (uint32_t)value;
}

/* The last part of what a link points to; "" when there is none. */
static const char *link_target(struct arena *arena, int directory, const char *name)
{
    char target[4096];
    ssize_t length = readlinkat(directory, name, target, sizeof(target) - 1);
    if (length <= 0)
        return "";
    target[length] = '\0';
    const char *slash = strrchr(target, '/');
    return arena_strdup(arena, slash ? slash + 1 : target);
}

static int directory_open(int parent, const char *name)
{
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Calls `each` for every entry but "." and "..". */
static void directory_walk(int parent, const char *name, void (*each)(void *data, const char *entry),
                           void *data)
{
    int fd = directory_open(parent, name);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (!directory) {
        fd_close(&fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_name[0] != '.')
            each(data, entry->d_name);
    }
    closedir(directory);
}

struct walk {
    struct arena *arena;
    struct observed *observed;
    struct device *device;
    int root; /* of bus/pci/devices */
};

/* Of several interfaces the first by name is the card's, so that the answer stays the same. */
static void interface_read(void *data, const char *entry)
{
    struct walk *walk = data;
    const char **first = &walk->device->ifname, *name = arena_strdup(walk->arena, entry);
    if (**first && strcmp(name, *first) > 0)
        first = vec_push(walk->arena, &walk->device->other_ifnames);
    else if (**first)
        *(const char **)vec_push(walk->arena, &walk->device->other_ifnames) = *first;
    *first = name;
}

/* Of a virtio card the interface hangs on a child: 0000:00:03.0/virtio0/net/eth0. */
static void virtio_interface(void *data, const char *entry)
{
    struct walk *walk = data;
    if (strncmp(entry, "virtio", 6) == 0)
        directory_walk(walk->root, arena_printf(walk->arena, "%s/%s/net", walk->device->address, entry),
                       interface_read, walk);
}

static void member_read(void *data, const char *entry)
{
    struct walk *walk = data;
    if (strcmp(entry, walk->device->address) == 0)
        return;
    struct group_member *member = vec_push(walk->arena, &walk->device->members);
    *member = (struct group_member){.address = arena_strdup(walk->arena, entry), .driver = ""};
    _cleanup_fd_ int directory = directory_open(walk->root, entry);
    if (directory < 0)
        return;
    member->class = number(walk->arena, directory, "class", CLASS_MOST, 0);
    member->driver = link_target(walk->arena, directory, "driver");
}

static uint32_t function_index(struct walk *walk, const char *parent, const char *address)
{
    _cleanup_fd_ int directory = directory_open(walk->root, parent);
    uint32_t total = directory < 0 ? 0 : number(walk->arena, directory, "sriov_totalvfs", FUNCTIONS_MOST, 0);
    for (uint32_t i = 0; i < total; i++) {
        if (strcmp(link_target(walk->arena, directory, arena_printf(walk->arena, "virtfn%u", i)), address) ==
            0)
            return i;
    }
    return 0;
}

static void network_read(struct walk *walk, int directory)
{
    struct device *device = walk->device;
    struct arena *arena = walk->arena;
    directory_walk(directory, "net", interface_read, walk);
    if (strcmp(device->driver, "virtio-pci") == 0)
        directory_walk(directory, ".", virtio_interface, walk);
    directory_walk(directory, "iommu_group/devices", member_read, walk);
    const char *override = attribute(arena, directory, "driver_override");
    device->override = override && strcmp(override, "(null)") != 0 ? override : "";
    device->numa_node = (int)number(arena, directory, "numa_node", NODE_MOST, (uint32_t)-1);
    device->functions_total = number(arena, directory, "sriov_totalvfs", FUNCTIONS_MOST, 0);
    device->functions_now = number(arena, directory, "sriov_numvfs", FUNCTIONS_MOST, 0);
    device->functions_offset = number(arena, directory, "sriov_offset", FUNCTIONS_MOST, 0);
    device->functions_stride = number(arena, directory, "sriov_stride", FUNCTIONS_MOST, 0);
    device->functions_probe = number(arena, directory, "sriov_drivers_autoprobe", 1, 1);
    device->parent = link_target(arena, directory, "physfn");
    if (*device->parent)
        device->index = function_index(walk, device->parent, device->address);
}

static bool is_address(const char *text)
{
    unsigned domain, bus, slot, function;
    int used = 0;
    return sscanf(text, "%8x:%2x:%2x.%1x%n", &domain, &bus, &slot, &function, &used) == 4 && !text[used];
}

static void device_read(void *data, const char *entry)
{
    struct walk *walk = data;
    struct arena *arena = walk->arena;
    _cleanup_fd_ int directory = is_address(entry) ? directory_open(walk->root, entry) : -1;
    if (directory < 0)
        return;
    struct device *device = walk->device = vec_push(arena, &walk->observed->devices);
    *device = (struct device){.address = arena_strdup(arena, entry),
                              .class = number(arena, directory, "class", CLASS_MOST, 0),
                              .vendor = (uint16_t)number(arena, directory, "vendor", ID_MOST, 0),
                              .product = (uint16_t)number(arena, directory, "device", ID_MOST, 0),
                              .driver = link_target(arena, directory, "driver"),
                              .ifname = "",
                              .numa_node = -1,
                              .group = -1,
                              .parent = ""};
    const char *group = link_target(arena, directory, "iommu_group");
    size_t digits = strspn(group, "0123456789");
    if (digits && digits <= GROUP_DIGITS && !group[digits])
        device->group = (int)strtol(group, NULL, 10);
    walk->observed->iommu |= device->group >= 0;
    device->network = device->class >> 16 == CLASS_NETWORK;
    if (device->network)
        network_read(walk, directory);
}

static int device_compare(const void *left, const void *right)
{
    return strcmp(((const struct device *)left)->address, ((const struct device *)right)->address);
}

int pci_observe(struct arena *arena, const char *sysfs, struct observed *observed, struct err *err)
{
    struct walk walk = {.arena = arena, .observed = observed};
    const char *path = arena_printf(arena, "%s/bus/pci/devices", sysfs);
    _cleanup_fd_ int root = directory_open(AT_FDCWD, path);
    if (root < 0) /* a machine without PCI */
        return errno == ENOENT || errno == ENOTDIR ? 0 : err_errno(err, errno, "opening '%s'", path);
    walk.root = root;
    directory_walk(root, ".", device_read, &walk);
    if (observed->devices.count > 1)
        qsort(observed->devices.items, observed->devices.count, sizeof(*observed->devices.items),
              device_compare);
    return 0;
}

/* On x86 the name of a remapped interrupt's chip starts with "IR-" (arch/x86/kernel/apic, drivers/iommu). */
bool interrupts_remapped(const char *interrupts)
{
    return strstr(interrupts, " IR-") || !(strstr(interrupts, "IO-APIC") || strstr(interrupts, "PCI-MSI"));
}

static bool remaps(struct arena *arena)
{
    char *text;
    const char *unsafe =
        attribute(arena, AT_FDCWD, "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts");
    if (unsafe && *unsafe == 'Y')
        return true;
    return file_read(arena, AT_FDCWD, "/proc/interrupts", INTERRUPTS_MAX, &text, NULL, NULL) < 0 ||
           interrupts_remapped(text);
}

/* --- what parents know of their functions */

struct functions_walk {
    struct arena *arena;
    struct device *device;
};

static void function_read(struct functions_walk *walk, const struct nlattr *info)
{
    const struct nlattr *table[IFLA_VF_MAX + 1];
    netlink_nested(info, table, IFLA_VF_MAX + 1);
    const struct ifla_vf_mac *mac = table[IFLA_VF_MAC] ? mnl_attr_get_payload(table[IFLA_VF_MAC]) : NULL;
    if (!mac || mnl_attr_get_payload_len(table[IFLA_VF_MAC]) < sizeof(*mac))
        return;
    struct function *function = vec_push(walk->arena, &walk->device->functions);
    *function = (struct function){.ifname = walk->device->ifname, .index = mac->vf, .fields = FUNCTION_MAC};
    memcpy(function->mac.bytes, mac->mac, sizeof(function->mac.bytes));
#define SETTING(type, attribute, bit, assignment)                                                            \
    if (table[attribute] && mnl_attr_get_payload_len(table[attribute]) >= sizeof(type)) {                    \
        const type *value = mnl_attr_get_payload(table[attribute]);                                          \
        assignment;                                                                                          \
        function->fields |= bit;                                                                             \
    }
    SETTING(struct ifla_vf_vlan, IFLA_VF_VLAN, FUNCTION_VLAN, function->vlan = value->vlan)
    SETTING(struct ifla_vf_spoofchk, IFLA_VF_SPOOFCHK, FUNCTION_SPOOF_CHECK,
            function->spoof_check = value->setting == 1)
    SETTING(struct ifla_vf_trust, IFLA_VF_TRUST, FUNCTION_TRUST, function->trust = value->setting == 1)
    SETTING(struct ifla_vf_rate, IFLA_VF_RATE, FUNCTION_RATE, function->rate_mbps = value->max_tx_rate)
    SETTING(struct ifla_vf_link_state, IFLA_VF_LINK_STATE, FUNCTION_LINK,
            function->link = (uint8_t)value->link_state)
#undef SETTING
}

static int functions_read(const struct nlmsghdr *header, void *data)
{
    const struct nlattr *table[IFLA_MAX + 1], *info;
    netlink_attributes(header, sizeof(struct ifinfomsg), table, IFLA_MAX + 1);
    if (!table[IFLA_VFINFO_LIST])
        return 0;
    mnl_attr_for_each_nested (info, table[IFLA_VFINFO_LIST])
        function_read(data, info);
    return 0;
}

int functions_observe(struct linux_host *host, struct arena *arena, struct observed *observed,
                      struct err *err)
{
    vec_foreach (&observed->devices, device) {
        if (!device->functions_now || !*device->ifname)
            continue;
        struct functions_walk walk = {arena, device};
        struct netlink_message message;
        netlink_start(&message, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
        netlink_put_string(&message, IFLA_IFNAME, device->ifname);
        netlink_put_u32(&message, IFLA_EXT_MASK, RTEXT_FILTER_VF);
        int rc = netlink_call(&host->route, &message, functions_read, &walk, err);
        if (rc < 0 && rc != -ENODEV)
            return err_wrap(err, "reading the functions of '%s'", device->ifname);
    }
    return 0;
}

int devices_observe(struct linux_host *host, struct arena *arena, struct observed *observed, struct err *err)
{
    observed->devices.count = 0;
    observed->iommu = false;
    int rc = pci_observe(arena, "/sys", observed, err);
    if (rc == 0)
        rc = functions_observe(host, arena, observed, err);
    observed->iommu_remaps = remaps(arena);
    observed->vfio = access("/sys/bus/pci/drivers/vfio-pci", F_OK) == 0 || module_available("vfio-pci");
    return rc;
}
