/* device_apply.c: giving PCI devices to vfio-pci and back, and SR-IOV functions.  Source:
 * Documentation/ABI/testing/sysfs-bus-pci, Documentation/PCI/pci-iov-howto.rst of the kernel. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "host/linux/linux.h"

#define PCI "/sys/bus/pci"

enum { INTERFACE_WAIT_MS = 5000, INTERFACE_POLL_MS = 2, CARRIER_WAIT_MS = 6000, CARRIER_POLL_MS = 20 };

static int attribute_write(struct arena *arena, const char *path, const char *text, struct err *err)
{
    (void)arena;
    _cleanup_fd_ int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_errno(err, errno, "opening '%s'", path);
    if (write(fd, text, strlen(text)) < 0)
        return err_errno(err, errno, "writing '%s' to '%s'", *text == '\n' ? "" : text, path);
    return 0;
}

static const char *device_path(struct arena *arena, const char *address, const char *attribute)
{
    return arena_printf(arena, PCI "/devices/%s%s%s", address, *attribute ? "/" : "", attribute);
}

/* Its driver now, "" none. */
static const char *driver_now(struct arena *arena, const char *address)
{
    char target[4096];
    ssize_t length = readlink(device_path(arena, address, "driver"), target, sizeof(target) - 1);
    if (length <= 0)
        return "";
    target[length] = '\0';
    const char *slash = strrchr(target, '/');
    return arena_strdup(arena, slash ? slash + 1 : target);
}

static int driver_leave(struct arena *arena, const char *address, struct err *err)
{
    if (!*driver_now(arena, address))
        return 0;
    return attribute_write(arena, device_path(arena, address, "driver/unbind"), address, err);
}

/* Give it to the driver that driver_override names, or, without one, to whichever claims it. */
static int driver_join(struct arena *arena, const char *address, const char *driver, struct err *err)
{
    int rc = attribute_write(arena, PCI "/drivers_probe", address, err);
    const char *now = driver_now(arena, address);
    if (rc == 0 && strcmp(now, driver) != 0 && !*now)
        rc = attribute_write(arena, arena_printf(arena, PCI "/drivers/%s/bind", driver), address, err);
    now = driver_now(arena, address);
    if (rc == 0 && strcmp(now, driver) != 0)
        return err_set(err, EBUSY, "device %s went to driver '%s', not to '%s'", address, *now ? now : "none",
                       driver);
    return rc;
}

static int device_bind(struct arena *arena, const struct device_driver *device, struct err *err)
{
    if (strcmp(driver_now(arena, device->address), device->driver) == 0)
        return 0;
    if (access(PCI "/drivers/vfio-pci", F_OK) < 0 && strcmp(device->driver, "vfio-pci") == 0) {
        int rc = module_load("vfio-pci", err);
        if (rc < 0)
            return rc;
    }
    int rc =
        attribute_write(arena, device_path(arena, device->address, "driver_override"), device->driver, err);
    if (rc == 0)
        rc = driver_leave(arena, device->address, err);
    return rc == 0 ? driver_join(arena, device->address, device->driver, err) : rc;
}

/* The first entry of a folder by name that begins with `start`; "" none. */
static const char *first_entry(struct arena *arena, const char *path, const char *start)
{
    DIR *directory = opendir(path);
    const char *name = "";
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (entry->d_name[0] != '.' && strncmp(entry->d_name, start, strlen(start)) == 0 &&
            (!*name || strcmp(entry->d_name, name) < 0))
            name = arena_strdup(arena, entry->d_name);
    }
    if (directory)
        closedir(directory);
    return name;
}

/* The interface that its driver made; "" none yet.  Of a virtio card it hangs on a child. */
static const char *interface_now(struct arena *arena, const char *address)
{
    const char *own = device_path(arena, address, "net"), *name = first_entry(arena, own, "");
    const char *child = *name ? "" : first_entry(arena, device_path(arena, address, ""), "virtio");
    return *child ? first_entry(arena,
                                arena_printf(arena, "%s/%s/net", device_path(arena, address, ""), child), "")
                  : name;
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int link_rename(struct linux_host *host, const char *from, const char *to, struct err *err)
{
    struct netlink_message message;
    struct ifinfomsg *info = netlink_start(&message, RTM_NEWLINK, NLM_F_ACK, sizeof(*info));
    info->ifi_index = link_index(from, err);
    if (info->ifi_index < 0)
        return info->ifi_index;
    netlink_put_string(&message, IFLA_IFNAME, to);
    return netlink_call(&host->route, &message, NULL, NULL, err);
}

/* The interface under its old name.  udev may be renaming it at the same time, to the same name or another,
 * and may have set it up, which forbids renaming it. */
static int interface_restore(struct linux_host *host, struct arena *arena, const struct device_driver *device,
                             struct err *err)
{
    for (long long end = now_ms() + INTERFACE_WAIT_MS;; poll(NULL, 0, INTERFACE_POLL_MS)) {
        const char *name = interface_now(arena, device->address);
        if (strcmp(name, device->ifname) == 0)
            return 0;
        int rc = *name ? link_rename(host, name, device->ifname, err) : -ENODEV;
        if (rc == -EBUSY) {
            struct op down = {.kind = OP_LINK_SET, .network = ""};
            down.link = (struct link){.name = name, .kind = "", .alias = "", .fields = LINK_UP};
            rtnl_apply(host, &down, HOST_APPLY_TOLERANT, NULL);
            continue;
        }
        if (rc == -EEXIST)
            return err_set(err, rc, "device %s came back as '%s': another interface is called '%s' now",
                           device->address, name, device->ifname);
        if (rc < 0 && now_ms() > end)
            return *name ? err_wrap(err, "giving '%s' its name '%s'", name, device->ifname)
                         : err_set(err, ENODEV,
                                   "device %s has driver '%s' again, and no interface came in %d s",
                                   device->address, device->driver, INTERFACE_WAIT_MS / 1000);
    }
}

static int device_unbind(struct linux_host *host, struct arena *arena, const struct device_driver *device,
                         unsigned flags, struct err *err)
{
    const char *override = device_path(arena, device->address, "driver_override");
    if (access(device_path(arena, device->address, ""), F_OK) < 0)
        return flags & HOST_APPLY_TOLERANT ? 0 : err_set(err, ENODEV, "device %s is gone", device->address);
    /* What was there may name another driver than the one that had it. */
    int rc = attribute_write(arena, override, "\n", err);
    if (rc == 0 && strcmp(driver_now(arena, device->address), device->driver) != 0) {
        rc = driver_leave(arena, device->address, err);
        if (rc == 0 && *device->driver)
            rc = driver_join(arena, device->address, device->driver, err);
    }
    if (rc == 0 && device->override && *device->override)
        rc = attribute_write(arena, override, device->override, err);
    if (rc == 0 && *device->ifname)
        rc = interface_restore(host, arena, device, err);
    return rc;
}

/* --- SR-IOV */

static int functions_set(struct arena *arena, const struct functions *functions, struct err *err)
{
    const char *count = device_path(arena, functions->address, "sriov_numvfs");
    const char *probe = device_path(arena, functions->address, "sriov_drivers_autoprobe");
    const char *wanted = arena_printf(arena, "%u", functions->count);
    char *now;
    int rc = file_read(arena, AT_FDCWD, count, 64, &now, NULL, err);
    if (rc < 0)
        return rc;
    now[strcspn(now, "\n")] = '\0';
    if (strcmp(now, wanted) != 0 && strcmp(now, "0") != 0)
        rc = attribute_write(arena, count, "0", err);
    /* Kernels before 4.12 have no such attribute, and probe always. */
    if (rc == 0 && access(probe, F_OK) == 0)
        rc = attribute_write(arena, probe, functions->probe ? "1" : "0", err);
    if (rc == 0 && strcmp(now, wanted) != 0 && functions->count)
        rc = attribute_write(arena, count, wanted, err);
    return rc;
}

static void put_setting(struct netlink_message *message, uint16_t type, const void *value, size_t size)
{
    struct nlattr *list = netlink_nest_open(message, IFLA_VFINFO_LIST);
    struct nlattr *info = netlink_nest_open(message, IFLA_VF_INFO);
    netlink_put(message, type, value, size);
    netlink_nest_close(message, info);
    netlink_nest_close(message, list);
}

static int setting_send(struct linux_host *host, const struct function *function, uint16_t type,
                        const void *value, size_t size, const char *what, struct err *err)
{
    struct netlink_message message;
    struct ifinfomsg *info = netlink_start(&message, RTM_SETLINK, NLM_F_ACK, sizeof(*info));
    info->ifi_index = link_index(function->ifname, err);
    if (info->ifi_index < 0)
        return info->ifi_index;
    put_setting(&message, type, value, size);
    int rc = netlink_call(&host->route, &message, NULL, NULL, err);
    if (rc == -EOPNOTSUPP)
        return err_set(err, rc, "the driver of '%s' cannot set %s of a function; leave it out of the file",
                       function->ifname, what);
    return rc < 0
               ? err_wrap(err, "setting %s of function %u of '%s'", what, function->index, function->ifname)
               : 0;
}

static bool has_carrier(struct arena *arena, const char *ifname)
{
    char *text;
    return file_read(arena, AT_FDCWD, arena_printf(arena, "/sys/class/net/%s/carrier", ifname), 8, &text,
                     NULL, NULL) == 0 &&
           *text == '1';
}

/* Some cards take a rate only while they have a link, which drops for a second or two when functions are
 * made. */
static int rate_send(struct linux_host *host, struct arena *arena, const struct function *function, bool wait,
                     struct err *err)
{
    struct ifla_vf_rate rate = {.vf = function->index, .max_tx_rate = function->rate_mbps};
    for (long long end = now_ms() + CARRIER_WAIT_MS;; poll(NULL, 0, CARRIER_POLL_MS)) {
        int rc = setting_send(host, function, IFLA_VF_RATE, &rate, sizeof(rate), "the rate", err);
        if (rc != -EINVAL || !wait || has_carrier(arena, function->ifname))
            return rc;
        if (now_ms() > end)
            return err_wrap(err, "'%s' has no carrier, and without a link it takes no rate",
                            function->ifname);
    }
}

/* One message a setting, so that the failing one can be named.  Tolerant: each is tried, none must succeed; a
 * card that does not take a setting back gets the next guest's. */
static int function_set(struct linux_host *host, struct arena *arena, const struct function *function,
                        unsigned flags, struct err *err)
{
    bool tolerant = flags & HOST_APPLY_TOLERANT;
    uint32_t vf = function->index;
    int rc = 0;
#define SEND(bit, attribute, type, what, ...)                                                                \
    if ((rc == 0 || tolerant) && (function->fields & (bit))) {                                               \
        struct type value = {.vf = vf, __VA_ARGS__};                                                         \
        rc = setting_send(host, function, attribute, &value, sizeof(value), what, err);                      \
    }
    if (function->fields & FUNCTION_MAC) {
        struct ifla_vf_mac mac = {.vf = vf};
        memcpy(mac.mac, function->mac.bytes, sizeof(function->mac.bytes));
        rc = setting_send(host, function, IFLA_VF_MAC, &mac, sizeof(mac), "the MAC", err);
    }
    SEND(FUNCTION_VLAN, IFLA_VF_VLAN, ifla_vf_vlan, "the VLAN", .vlan = function->vlan)
    if ((rc == 0 || tolerant) && (function->fields & FUNCTION_RATE))
        rc = rate_send(host, arena, function, !tolerant, err);
    SEND(FUNCTION_SPOOF_CHECK, IFLA_VF_SPOOFCHK, ifla_vf_spoofchk, "spoof checking",
         .setting = function->spoof_check)
    SEND(FUNCTION_TRUST, IFLA_VF_TRUST, ifla_vf_trust, "trust", .setting = function->trust)
    SEND(FUNCTION_LINK, IFLA_VF_LINK_STATE, ifla_vf_link_state, "the link state",
         .link_state = function->link)
#undef SEND
    return tolerant && rc != -EPERM ? 0 : rc;
}

int device_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    switch (op->kind) {
    case OP_DEVICE_BIND:
        return device_bind(&arena, &op->device, err);
    case OP_DEVICE_UNBIND:
        return device_unbind(host, &arena, &op->device, flags, err);
    case OP_FUNCTIONS_SET:
        return functions_set(&arena, &op->functions, err);
    default:
        return function_set(host, &arena, &op->function, flags, err);
    }
}
