/* hotplug.c: nics of a running QEMU: hotplug.h.
 *
 * A nic comes in three steps: the descriptors, each under a name of its own (getfd); the netdev, which takes
 * them; the card, by which the guest knows of it.  Whoever is killed in between leaves descriptors under
 * names, or a netdev without a card: hotplug_clean takes both away. */
#include "hyper/hotplug.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { ANSWER_MS = 3000, ARGUMENTS_MAX = QMP_COMMAND_MAX - 128 };

/* {"KEY": "WORDN"}, for the commands that take no more. */
static int call_named(struct qmp *qmp, const char *command, const char *key, const char *word,
                      unsigned number, int fd, struct err *err)
{
    char arguments[64];
    snprintf(arguments, sizeof(arguments), "{\"%s\": \"%s%u\"}", key, word, number);
    return qmp_call(qmp, command, arguments, fd, ANSWER_MS, err);
}

static int object_has(struct qmp *qmp, const char *word, unsigned index, struct err *err)
{
    char arguments[128];
    struct err failure = {0};
    snprintf(arguments, sizeof(arguments), "{\"path\": \"/machine/peripheral/%s%u\", \"property\": \"type\"}",
             word, index);
    int rc = qmp_call(qmp, "qom-get", arguments, -1, ANSWER_MS, &failure);
    return rc == 0 ? 1 : rc == -ENODEV ? 0 : err_set(err, rc, "%s", failure.text);
}

/* The names of `count` descriptors from `first` on, joined by ':'. */
static void descriptor_names_add(char *text, size_t size, unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        size_t used = strlen(text);
        snprintf(text + used, size - used, "%svmwire-%u", i ? ":" : "", first + i);
    }
}

static int netdev_add(struct qmp *qmp, const struct hotplug_nic *nic, struct err *err)
{
    char fds[NIC_QUEUES_MAX * 12] = "", vhost_fds[sizeof(fds)] = "", arguments[ARGUMENTS_MAX];
    const char *many = nic->queues > 1 ? "s" : "";
    descriptor_names_add(fds, sizeof(fds), 0, nic->queues);
    descriptor_names_add(vhost_fds, sizeof(vhost_fds), nic->queues, nic->queues);
    int used = snprintf(arguments, sizeof(arguments),
                        "{\"type\": \"tap\", \"id\": \"nic%u\", \"fd%s\": \"%s\"", nic->index, many, fds);
    if (nic->vhost_fds)
        used += snprintf(arguments + used, sizeof(arguments) - (size_t)used,
                         ", \"vhost\": true, \"vhostfd%s\": \"%s\"", many, vhost_fds);
    snprintf(arguments + used, sizeof(arguments) - (size_t)used, "}");
    return qmp_call(qmp, "netdev_add", arguments, -1, ANSWER_MS, err);
}

static int device_add(struct qmp *qmp, const struct hotplug_nic *nic, struct err *err)
{
    char multi[64] = "", host_mtu[32] = "", arguments[512];
    if (nic->queues > 1) /* as on the command line */
        snprintf(multi, sizeof(multi), ", \"mq\": true, \"vectors\": %u", 2 * nic->queues + 2);
    if (nic->model == NIC_VIRTIO && nic->mtu && nic->mtu != MTU_DEFAULT)
        snprintf(host_mtu, sizeof(host_mtu), ", \"host_mtu\": %u", nic->mtu);
    snprintf(arguments, sizeof(arguments),
             "{\"driver\": \"%s\", \"id\": \"card%u\", \"bus\": \"port%u\", \"addr\": \"0\", \"netdev\": "
             "\"nic%u\", \"mac\": \"%s\"%s%s}",
             nic->model == NIC_VIRTIO ? "virtio-net-pci" : "e1000", nic->index, nic->index, nic->index,
             MAC_TEXT(&nic->mac), multi, host_mtu);
    return qmp_call(qmp, "device_add", arguments, -1, ANSWER_MS, err);
}

static int descriptors_pass(struct qmp *qmp, const struct hotplug_nic *nic, struct err *err)
{
    unsigned count = nic->vhost_fds ? 2 * nic->queues : nic->queues;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < count; i++)
        rc = call_named(qmp, "getfd", "fdname", "vmwire-", i,
                        i < nic->queues ? nic->fds[i] : nic->vhost_fds[i - nic->queues], err);
    return rc;
}

int hotplug_add(struct qmp *qmp, const struct hotplug_nic *nic, struct err *err)
{
    int rc = object_has(qmp, "card", nic->index, err);
    if (rc > 0)
        return err_set(err, EEXIST, "the guest has a card for nic %u already", nic->index);
    if (rc == 0)
        rc = object_has(qmp, "port", nic->index, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(err, ENOSPC, "the machine has no room for nic %u", nic->index);
    rc = descriptors_pass(qmp, nic, err);
    if (rc == 0)
        rc = netdev_add(qmp, nic, err);
    if (rc == 0)
        rc = device_add(qmp, nic, err);
    if (rc < 0 && rc != -ETIMEDOUT) {
        struct err failure = {0};
        if (hotplug_clean(qmp, nic->index, &failure) < 0 && failure.code != -ECONNRESET)
            err_append(err, "and taking it back did not succeed: %s", failure.text);
    }
    return rc;
}

int hotplug_has(struct qmp *qmp, unsigned index, struct err *err)
{
    return object_has(qmp, "card", index, err);
}

int hotplug_ask(struct qmp *qmp, unsigned index, struct err *err)
{
    struct err failure = {0};
    int rc = call_named(qmp, "device_del", "id", "card", index, -1, &failure);
    /* Asked before, and the guest has not answered yet. */
    if (rc == -EIO && strstr(failure.text, "already in the process of unplug"))
        return 0;
    return rc < 0 ? err_set(err, rc, "%s", failure.text) : 0;
}

int hotplug_cut(struct qmp *qmp, unsigned index, struct err *err)
{
    struct err failure = {0};
    int rc = call_named(qmp, "netdev_del", "id", "nic", index, -1, &failure);
    return rc < 0 && rc != -ENODEV ? err_set(err, rc, "%s", failure.text) : 0;
}

int hotplug_link(struct qmp *qmp, unsigned index, bool up, struct err *err)
{
    char arguments[64];
    snprintf(arguments, sizeof(arguments), "{\"name\": \"nic%u\", \"up\": %s}", index, up ? "true" : "false");
    return qmp_call(qmp, "set_link", arguments, -1, ANSWER_MS, err);
}

int hotplug_clean(struct qmp *qmp, unsigned index, struct err *err)
{
    for (unsigned name = 0; name < 2 * NIC_QUEUES_MAX; name++)
        call_named(qmp, "closefd", "fdname", "vmwire-", name, -1, NULL);
    int rc = hotplug_has(qmp, index, err);
    return rc == 0 ? hotplug_cut(qmp, index, err) : rc < 0 ? rc : 0;
}
