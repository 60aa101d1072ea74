/* apply.c: one operation: the commands that render prints, one after the other, and what their failures mean.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "host/freebsd/system.h"

static int command_apply(struct arena *arena, const struct op *op, const struct freebsd_command *command,
                         unsigned flags, struct err *err)
{
    struct freebsd_answer answer;
    int rc = freebsd_run(arena, command, &answer, err);
    if (rc < 0 || answer.status == 0)
        return rc;
    rc = freebsd_failure(arena, op, command, answer.status, answer.output, answer.errors, flags, err);
    /* A bridge that could not have its name is there under another one. */
    const char *leftover = op->kind == OP_LINK_CREATE ? freebsd_leftover(arena, answer.output) : NULL;
    if (leftover && FREEBSD_ASK(arena, &answer, NULL, "ifconfig", leftover, "destroy") < 0)
        err_append(err, "and '%s', which was made for it, could not be removed: ifconfig %s destroy",
                   leftover, leftover);
    return rc;
}

static int commands_apply(struct arena *arena, const struct op *op, unsigned flags, struct err *err)
{
    struct freebsd_commands commands;
    int rc = 0;
    freebsd_commands(arena, op, &commands);
    for (size_t i = 0; rc == 0 && i < commands.list.count; i++)
        rc = command_apply(arena, op, &commands.list.items[i], flags, err);
    return rc;
}

/* --- bridges and VLANs */

/* 0: vmwire's bridge, or VLAN, of this network; -EPERM: somebody's; `half_made`: made, but killed before it
 * was tagged: as nobody else leaves one of that name. */
static int owner_check(struct arena *arena, const struct op *op, bool *half_made, struct err *err)
{
    struct observed seen = {0};
    *half_made = false;
    int rc = freebsd_link_get(arena, op->link.name, &seen, err);
    if (rc < 0)
        return rc;
    const struct link *link = link_find(&seen, op->link.name);
    const char *owner = owner_network(arena, link->alias);
    const char *kind = op->link.vlan ? "vlan" : "bridge";
    if (strcmp(link->kind, kind) == 0 && link->vlan == op->link.vlan && owner &&
        strcmp(owner, op->network) == 0)
        return 0;
    struct freebsd_answer answer;
    bool ports =
        FREEBSD_ASK(arena, &answer, NULL, "ifconfig", link->name) < 0 || strstr(answer.output, "\tmember: ");
    *half_made = strcmp(link->kind, kind) == 0 && link->vlan == op->link.vlan && !*link->alias && !link->up &&
                 !ports && seen.addresses.count == 0;
    return err_set(err, EPERM, "interface '%s' is not vmwire's %s of network '%s'", link->name,
                   op->link.vlan ? "VLAN" : "bridge", op->network);
}

static int link_delete(struct arena *arena, const struct op *op, unsigned flags, struct err *err)
{
    bool half_made, tolerant = flags & HOST_APPLY_TOLERANT;
    int rc = owner_check(arena, op, &half_made, err);
    if (rc == -ENODEV && tolerant)
        return 0;
    if (rc == -EPERM && tolerant && half_made)
        rc = 0;
    return rc < 0 ? rc : commands_apply(arena, op, flags, err);
}

/* Rolling back may find it made already: then it is set. */
static int link_create(struct arena *arena, const struct op *op, unsigned flags, struct err *err)
{
    bool half_made;
    struct op set = *op;
    if ((flags & HOST_APPLY_TOLERANT) && owner_check(arena, op, &half_made, NULL) == 0)
        set.kind = OP_LINK_SET;
    return commands_apply(arena, &set, flags, err);
}

/* --- the DHCP client */

static int dhclient_check(struct arena *arena, const struct service *service, struct err *err)
{
    struct freebsd_answer answer;
    struct freebsd_command list = FREEBSD_COMMAND(arena, "pgrep", "-lf", "dhclient");
    int rc = freebsd_run(arena, &list, &answer, err);
    pid_t pid = rc == 0 ? freebsd_dhclient_parse(answer.output, service->network) : 0;
    if (!pid)
        return rc;
    const char *said = arena_printf(arena, "dhclient already running, pid: %d.\n", (int)pid);
    struct op op = {.kind = OP_SERVICE_START, .network = service->network, .service = *service};
    return freebsd_failure(arena, &op, &list, 1, "", said, 0, err);
}

static bool has_ipv4(struct arena *arena, const char *ifname)
{
    struct observed seen = {0};
    if (freebsd_link_get(arena, ifname, &seen, NULL) < 0)
        return false;
    vec_foreach (&seen.addresses, address) {
        if (address->prefix.ip.family == AF_INET)
            return true;
    }
    return false;
}

/* What was won may be gone from resolvconf already, or there is no resolvconf: the client is what counts. */
static int service_end(struct host *host, struct arena *arena, const struct op *op, unsigned flags,
                       struct err *err)
{
    struct freebsd_commands commands;
    int rc = service_apply(host, op, flags, err);
    freebsd_commands(arena, op, &commands);
    for (size_t i = 0; rc == 0 && i < commands.list.count; i++) {
        struct freebsd_answer answer;
        freebsd_run(arena, &commands.list.items[i], &answer, NULL);
    }
    return rc;
}

/* dhclient goes on in the background, and ends with 0, also when nobody answered for a minute. */
static int dhclient_start(struct host *host, struct arena *arena, const struct op *op, unsigned flags,
                          struct err *err)
{
    const char *name = op->service.network;
    struct op stop = *op;
    stop.kind = OP_SERVICE_STOP;
    int rc = dhclient_check(arena, &op->service, err);
    if (rc == 0)
        rc = service_apply(host, op, flags, err);
    if (rc == -EIO) {
        struct freebsd_command command = {.argv = op->service.argv};
        return freebsd_failure(arena, op, &command, 1, "", arena_strdup(arena, err->text), flags, err);
    }
    if (rc == -ETIMEDOUT)
        service_end(host, arena, &stop, HOST_APPLY_TOLERANT, NULL);
    if (rc < 0 || has_ipv4(arena, name))
        return rc;
    service_end(host, arena, &stop, HOST_APPLY_TOLERANT, NULL);
    return err_set(
        err, ETIMEDOUT,
        "no DHCP server answered on '%s' within a minute: is the cable in, and is there a server on "
        "that segment? (tcpdump -ni %s port 67)",
        name, name);
}

static int service_dispatch(struct host *host, struct arena *arena, const struct op *op, unsigned flags,
                            struct err *err)
{
    bool dhclient = op->service.argv && op->service.argv[0] && strcmp(op->service.argv[0], "dhclient") == 0;
    if (op->kind == OP_SERVICE_START && dhclient && !(flags & HOST_APPLY_TOLERANT))
        return dhclient_start(host, arena, op, flags, err);
    if (op->kind == OP_SERVICE_STOP)
        return service_end(host, arena, op, flags, err);
    return service_apply(host, op, flags, err);
}

/* --- devices */

static bool on_ppt(struct arena *arena, const char *address)
{
    struct freebsd_answer answer;
    struct observed seen = {0};
    if (FREEBSD_ASK(arena, &answer, NULL, "pciconf", "-l") < 0)
        return false;
    freebsd_pciconf_parse(arena, answer.output, &seen);
    const struct device *device = device_find(&seen, address);
    return device && strcmp(device->driver, "ppt") == 0;
}

static int device_apply(struct arena *arena, const struct op *op, unsigned flags, struct err *err)
{
    if (!freebsd_selector(arena, op->device.address))
        return err_set(err, EINVAL, "'%s' is not a PCI address", op->device.address);
    bool bound = on_ppt(arena, op->device.address);
    if ((flags & HOST_APPLY_TOLERANT) && bound == (op->kind == OP_DEVICE_BIND))
        return 0;
    int rc = commands_apply(arena, op, flags, err);
    if (rc < 0 && rc != -EPERM && op->kind == OP_DEVICE_BIND) {
        struct freebsd_answer now;
        struct freebsd_command get = FREEBSD_COMMAND(arena, "kenv", "-q", "pptdevs");
        bool known = freebsd_run(arena, &get, &now, NULL) == 0 && now.status == 0;
        freebsd_pptdevs_advise(arena, known ? now.output : "", op->device.address, err);
    }
    return rc;
}

static int sysctl_apply(struct arena *arena, const struct op *op, unsigned flags, struct err *err)
{
    if (strncmp(op->sysctl.name, "net.", 4) != 0)
        return err_set(err, EINVAL, "'%s' is not the name of a sysctl of the network", op->sysctl.name);
    return commands_apply(arena, op, flags, err);
}

int freebsd_apply(struct host *host, const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    switch (op->kind) {
    case OP_LINK_CREATE:
        return link_create(&arena, op, flags, err);
    case OP_LINK_DELETE:
        return link_delete(&arena, op, flags, err);
    case OP_SYSCTL_SET:
        return sysctl_apply(&arena, op, flags, err);
    case OP_SERVICE_START:
    case OP_SERVICE_STOP:
        return service_dispatch(host, &arena, op, flags, err);
    case OP_SERVICE_RELOAD:
        return service_reload(FREEBSD_RUN_DIR, op, flags, err);
    case OP_FILE_WRITE:
    case OP_FILE_REMOVE:
        return file_apply(FREEBSD_RUN_DIR, op, flags, err);
    case OP_DEVICE_BIND:
    case OP_DEVICE_UNBIND:
        return device_apply(&arena, op, flags, err);
    case OP_FUNCTIONS_SET:
    case OP_FUNCTION_SET:
        return err_set(err, ENOTSUP,
                       "SR-IOV functions are made by iovctl(8) on FreeBSD (iovctl.conf(5)); name one "
                       "by its PCI address");
    default:
        return commands_apply(&arena, op, flags, err);
    }
}
