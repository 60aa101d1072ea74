/* failure.c: what the failures of FreeBSD's programs mean, and what to do.  The texts are those of the
 * programs (tests/unit/test_freebsd.c has the transcripts). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "host/freebsd/freebsd.h"

/* Everything that a mapping needs. */
struct failure {
    struct arena *arena;
    const struct op *op;
    const struct freebsd_command *command;
    int status;
    const char *output, *errors;
    bool tolerant;
};

static bool said(const struct failure *failure, const char *text)
{
    return strstr(failure->errors, text) || strstr(failure->output, text);
}

/* The last line that is not empty, of stderr or else of stdout. */
static const char *last_words(const struct failure *failure)
{
    const char *text = *failure->errors ? failure->errors : failure->output;
    size_t end = strlen(text);
    while (end && text[end - 1] == '\n')
        end--;
    size_t start = end;
    while (start && text[start - 1] != '\n')
        start--;
    return arena_strndup(failure->arena, text + start, end - start);
}

static int unknown(const struct failure *failure, struct err *err)
{
    const char *words = last_words(failure);
    return err_set(err, EIO, "'%s' ended with status %d%s%s",
                   shell_join(failure->arena, failure->command->argv), failure->status, *words ? ": " : "",
                   words);
}

static int denied(struct err *err)
{
    return err_set(err, EPERM, "not permitted: run as root (in a jail: it must be a vnet jail's root)");
}

const char *freebsd_leftover(struct arena *arena, const char *output)
{
    const char *bridge = freebsd_created(arena, output, "bridge");
    return bridge ? bridge : freebsd_created(arena, output, "vlan");
}

static int link_failure(const struct failure *failure, struct err *err)
{
    const struct link *link = &failure->op->link;
    if (said(failure, "SIOCSIFNAME (set name): File exists"))
        return err_set(err, EEXIST, "this host has an interface '%s' already", link->name);
    if (said(failure, "SIOCSIFNAME (set name): File name too long"))
        return err_set(err, EINVAL, "'%s' is longer than an interface's name may be", link->name);
    if (said(failure, "SIOCIFCREATE2: Invalid argument"))
        return err_set(err, EOPNOTSUPP, "this kernel makes no bridges: load the module (kldload if_bridge)");
    if (said(failure, "does not exist"))
        return failure->tolerant ? 0 : err_set(err, ENODEV, "interface '%s' does not exist", link->name);
    if (said(failure, "SIOCSIFMTU (set mtu): Invalid argument"))
        return err_set(
            err, EINVAL,
            "'%s' cannot have an MTU of %u: its ports have another, and all of a bridge have the same",
            link->name, link->mtu);
    return unknown(failure, err);
}

static int port_failure(const struct failure *failure, struct err *err)
{
    const char *ifname = failure->op->port.ifname, *bridge = failure->op->port.bridge;
    if (failure->op->kind != OP_PORT_ADD) {
        if (said(failure, "No such file or directory") || said(failure, "does not exist"))
            return failure->tolerant ? 0 : err_set(err, ENOENT, "'%s' is not a port of '%s'", ifname, bridge);
        return unknown(failure, err);
    }
    if (said(failure, "File exists"))
        return failure->tolerant ? 0 : err_set(err, EEXIST, "'%s' is a port of '%s' already", ifname, bridge);
    if (said(failure, "Device busy"))
        return err_set(err, EBUSY,
                       "'%s' is a port of another bridge: take it out there first (ifconfig -a shows "
                       "'member: %s', ifconfig BRIDGE deletem %s)",
                       ifname, ifname, ifname);
    if (said(failure, "No such file or directory") || said(failure, "Device not configured"))
        return failure->tolerant ? 0 : err_set(err, ENODEV, "interface '%s' does not exist", ifname);
    if (said(failure, "Invalid argument"))
        return err_set(err, EINVAL,
                       "'%s' cannot be a port of '%s': its MTU is not the bridge's, or it is the loopback, a "
                       "bridge itself, or (FreeBSD 15) has addresses; compare: ifconfig %s; ifconfig %s",
                       ifname, bridge, ifname, bridge);
    return unknown(failure, err);
}

static int address_failure(const struct failure *failure, struct err *err)
{
    const struct address *address = &failure->op->address;
    if (said(failure, "File exists"))
        return failure->tolerant ? 0 : err_set(err, EEXIST, "'%s' has the address already", address->ifname);
    if (said(failure, "Can't assign requested address"))
        return failure->tolerant ? 0 : err_set(err, EADDRNOTAVAIL, "'%s' does not have it", address->ifname);
    if (said(failure, "does not exist"))
        return failure->tolerant ? 0 : err_set(err, ENODEV, "interface '%s' does not exist", address->ifname);
    return unknown(failure, err);
}

static int route_failure(const struct failure *failure, struct err *err)
{
    if (said(failure, "already in table"))
        return failure->tolerant ? 0 : err_set(err, EEXIST, "this host has such a route already");
    if (said(failure, "not in table") || said(failure, "has not been found"))
        return failure->tolerant ? 0 : err_set(err, ESRCH, "this host has no such route");
    if (said(failure, "Network is unreachable"))
        return err_set(err, ENETUNREACH, "no address of this host reaches the gateway %s",
                       IP_TEXT(&failure->op->route.gateway));
    return unknown(failure, err);
}

static int neighbour_failure(const struct failure *failure, struct err *err)
{
    const struct fixed_neighbour *neighbour = &failure->op->neighbour;
    if (failure->op->kind == OP_NEIGHBOUR_REMOVE && said(failure, "cannot locate"))
        return failure->tolerant ? 0
                                 : err_set(err, ENOENT, "%s is not known on '%s'", IP_TEXT(&neighbour->ip),
                                           neighbour->ifname);
    if (said(failure, "cannot intuit interface index"))
        return err_set(err, ENETUNREACH, "no address of '%s' reaches it", neighbour->ifname);
    return unknown(failure, err);
}

/* "stdin:1: syntax error" of a rule that vmwire wrote. */
static int syntax_failure(const struct failure *failure, struct err *err)
{
    const char *at = strstr(failure->errors, "stdin:");
    size_t line = at ? (size_t)strtoul(at + strlen("stdin:"), NULL, 10) : 0;
    const char *rule = failure->command->input ? failure->command->input : "";
    for (size_t i = 1; i < line && *rule; i++) {
        rule += strcspn(rule, "\n");
        rule += *rule == '\n';
    }
    return err_set(err, EINVAL, "pf does not take the rule '%.*s' (%.*s); the rules of before are in force",
                   (int)strcspn(rule, "\n"), rule, (int)strcspn(at ? at : failure->errors, "\n"),
                   at ? at : failure->errors);
}

static int firewall_failure(const struct failure *failure, struct err *err)
{
    bool removing = failure->op->kind == OP_FIREWALL_REMOVE || failure->op->kind == OP_FIREWALL_DISABLE ||
                    failure->op->kind == OP_NIC_REMOVE;
    if (said(failure, "pf already enabled"))
        return 0;
    if (said(failure, "pf not enabled") || (removing && said(failure, "/dev/pf: No such file or directory")))
        return 0; /* off is off */
    if (said(failure, "can't load pf: No such file or directory"))
        return err_set(err, ENOENT,
                       "this kernel has no packet filter: the module pf is missing from /boot/kernel");
    if (said(failure, "/dev/pf: No such file or directory"))
        return err_set(err, ENOENT,
                       "the packet filter is not loaded (kldload pf), or not shown in this jail");
    if (said(failure, "stdin:"))
        return syntax_failure(failure, err);
    return unknown(failure, err);
}

/* A nic goes with its machine, at any moment; its entry in the bridge's table goes with it. */
static int lock_failure(const struct failure *failure, struct err *err)
{
    const struct lock_nic *nic = &failure->op->nic;
    if (!strstr(failure->command->argv[0], "ifconfig"))
        return firewall_failure(failure, err);
    if (said(failure, "No such file or directory") || said(failure, "does not exist"))
        return 0;
    if (said(failure, "No space left on device"))
        return err_set(
            err, ENOSPC,
            "the table of addresses of '%s' is full, and the MAC %s of '%s' is to be in it: ifconfig "
            "%s maxaddr NUMBER",
            nic->network, MAC_TEXT(&nic->mac), nic->ifname, nic->network);
    return unknown(failure, err);
}

static int device_failure(const struct failure *failure, struct err *err)
{
    const struct device_driver *device = &failure->op->device;
    bool bind = failure->op->kind == OP_DEVICE_BIND;
    if (!bind && said(failure, "No such file or directory") && failure->tolerant)
        return 0; /* no driver was set: it has its own */
    if (said(failure, "Device busy") && !bind)
        return err_set(err, EBUSY, "a guest has the device %s: stop its machine first", device->address);
    int rc = said(failure, "can't load vmm")
                 ? err_set(err, ENOENT, "the module vmm, which has the driver ppt, cannot be loaded: %s",
                           last_words(failure))
                 : unknown(failure, err);
    if (!bind)
        err_append(err, "if it was given to ppt at boot: take it from the line pptdevs= of /boot/loader.conf "
                        "and reboot");
    return rc;
}

void freebsd_pptdevs_advise(struct arena *arena, const char *now, const char *address, struct err *err)
{
    if (freebsd_pptdevs_word(arena, address))
        err_append(err, "it can be given to ppt at boot: have the line %s in /boot/loader.conf, and reboot",
                   freebsd_pptdevs_line(arena, now, address));
}

static int service_failure(const struct failure *failure, struct err *err)
{
    const char *at = strstr(failure->errors, "dhclient already running, pid: ");
    if (at) {
        long pid = strtol(at + strlen("dhclient already running, pid: "), NULL, 10);
        return err_set(err, EBUSY,
                       "a dhclient runs for '%s' already (pid %ld), and it is not vmwire's: stop it "
                       "(kill %ld), and see why it starts (rc.conf: ifconfig_%s=\"DHCP\")",
                       failure->op->service.network, pid, pid, failure->op->service.network);
    }
    if (said(failure, ": not found"))
        return err_set(err, ENODEV, "interface '%s' does not exist", failure->op->service.network);
    return unknown(failure, err);
}

int freebsd_failure(struct arena *arena, const struct op *op, const struct freebsd_command *command,
                    int status, const char *output, const char *errors, unsigned flags, struct err *err)
{
    bool nic = op->kind == OP_LINK_SET
                   ? op->link.guest
                   : (op->kind == OP_PORT_ADD || op->kind == OP_PORT_REMOVE || op->kind == OP_PORT_SET) &&
                         op->port.guest;
    const struct failure failure = {.arena = arena,
                                    .op = op,
                                    .command = command,
                                    .status = status,
                                    .output = output,
                                    .errors = errors,
                                    .tolerant = (flags & HOST_APPLY_TOLERANT) || nic};
    int rc;
    if (said(&failure, "Operation not permitted") || said(&failure, "Permission denied"))
        return denied(err);
    switch (op->kind) {
    case OP_LINK_CREATE:
    case OP_LINK_DELETE:
    case OP_LINK_SET:
        return link_failure(&failure, err);
    case OP_PORT_ADD:
    case OP_PORT_REMOVE:
    case OP_PORT_SET:
        return port_failure(&failure, err);
    case OP_ADDRESS_ADD:
    case OP_ADDRESS_REMOVE:
        return address_failure(&failure, err);
    case OP_ROUTE_ADD:
    case OP_ROUTE_REMOVE:
    case OP_ROUTE_REPLACE:
        return route_failure(&failure, err);
    case OP_NEIGHBOUR_ADD:
    case OP_NEIGHBOUR_REMOVE:
        return neighbour_failure(&failure, err);
    case OP_FIREWALL_SET:
    case OP_FIREWALL_REMOVE:
    case OP_FIREWALL_ENABLE:
    case OP_FIREWALL_DISABLE:
        return firewall_failure(&failure, err);
    case OP_NIC_SET:
    case OP_NIC_REMOVE:
        return lock_failure(&failure, err);
    case OP_DEVICE_BIND:
    case OP_DEVICE_UNBIND:
        return device_failure(&failure, err);
    case OP_SHAPER_SET:
    case OP_SHAPER_REMOVE:
    case OP_RATE_SET:
    case OP_SHAPING_ENABLE:
    case OP_SHAPING_DISABLE:
        rc = freebsd_rate_failure(op, command, last_words(&failure), failure.tolerant, err);
        return rc == -EIO ? unknown(&failure, err) : rc;
    case OP_SERVICE_START:
        return service_failure(&failure, err);
    default:
        return unknown(&failure, err);
    }
}
