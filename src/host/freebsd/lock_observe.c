/* lock_observe.c: locks as they are: networks' by their files, nics' by pf's rules and the bridges. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/text.h"
#include "host/freebsd/system.h"

enum { LOCK_SIZE_MAX = 4096 };

int freebsd_lock_read(struct arena *arena, const char *network, struct lock *lock, struct err *err)
{
    char *text;
    struct op op;
    const char *path = arena_printf(arena, FREEBSD_RUN_DIR "/network/%s/lock", network);
    *lock = (struct lock){0};
    int rc = file_read(arena, AT_FDCWD, path, LOCK_SIZE_MAX, &text, NULL, err);
    if (rc == -ENOENT)
        return 0;
    if (rc == 0)
        rc = op_parse(arena, arena_strndup(arena, text, strcspn(text, "\n")), &op, err);
    if (rc == 0 && op.kind != OP_LOCK_SET)
        rc = err_set(err, EINVAL, "it is no lock");
    if (rc < 0)
        return err_wrap(err, "reading '%s'", path);
    *lock = op.lock;
    return 0;
}

void freebsd_lock_files(struct arena *arena, struct observed *observed)
{
    const char *folder = arena_printf(arena, "%s/network/", observed->run_dir);
    observed->locks.count = 0;
    vec_foreach (&observed->files, file) {
        struct op op;
        const char *name = file->path + strlen(folder), *end;
        if (strncmp(file->path, folder, strlen(folder)) != 0 || !(end = strchr(name, '/')) ||
            strcmp(end, "/lock") != 0 ||
            op_parse(arena, arena_strndup(arena, file->content, strcspn(file->content, "\n")), &op, NULL) <
                0 ||
            op.kind != OP_LOCK_SET)
            continue;
        op.lock.network = arena_strndup(arena, name, (size_t)(end - name));
        *vec_push(arena, &observed->locks) = op.lock;
    }
}

void freebsd_lock_sysctls_observe(struct arena *arena, struct observed *observed)
{
    freebsd_lock_sysctls(arena, observed);
    vec_foreach (&observed->lock_sysctls, sysctl) {
        struct freebsd_answer answer;
        const char *now = FREEBSD_ASK(arena, &answer, NULL, "sysctl", sysctl->name) == 0
                              ? freebsd_sysctl_parse(arena, answer.output, sysctl->name)
                              : NULL;
        sysctl->now = now ? now : sysctl->now;
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct lock_nic *)a)->ifname, ((const struct lock_nic *)b)->ifname);
}

static struct lock_nic *nic_of(struct arena *arena, struct observed *observed, const char *tap)
{
    vec_foreach (&observed->lock_nics, nic) {
        if (strcmp(nic->ifname, tap) == 0)
            return nic;
    }
    struct lock_nic *nic = vec_push(arena, &observed->lock_nics);
    *nic = (struct lock_nic){.ifname = tap, .network = ""};
    return nic;
}

/* Rules that are not whole are remembered as a nic that is held to nothing: they are written anew, or go. */
static int anchors_observe(struct arena *arena, bool counts, struct observed *observed, struct err *err)
{
    struct freebsd_answer answer;
    struct freebsd_names taps = {0};
    struct freebsd_command list = FREEBSD_COMMAND(arena, "pfctl", "-a", "vmwire", "-s", "Anchors");
    int rc = freebsd_run(arena, &list, &answer, err);
    if (rc == 0 && answer.status == 0)
        freebsd_lock_anchors_parse(arena, answer.output, &taps);
    for (size_t i = 0; rc == 0 && i < taps.list.count; i++) {
        const char *tap = taps.list.items[i], *anchor = freebsd_lock_anchor(arena, tap);
        struct lock_nic nic;
        struct lock_drops drops;
        rc = FREEBSD_ASK(arena, &answer, err, "pfctl", "-a", anchor, "-s", "rules");
        if (rc == 0 && !freebsd_lock_parse(arena, tap, answer.output, &nic))
            nic = (struct lock_nic){.ifname = tap, .network = nic.network};
        if (rc == 0)
            *vec_push(arena, &observed->lock_nics) = nic;
        if (rc == 0 && counts)
            rc = FREEBSD_ASK(arena, &answer, err, "pfctl", "-a", anchor, "-vsr");
        if (rc == 0 && counts && freebsd_lock_drops_parse(arena, tap, answer.output, &drops))
            *vec_push(arena, &observed->lock_drops) = drops;
    }
    return rc;
}

static bool has_nics(struct arena *arena, const struct observed *observed, const char *bridge)
{
    struct wired_nic wired;
    vec_foreach (&observed->links, link) {
        if (strcmp(link->master, bridge) == 0 && owner_nic(arena, link, &wired))
            return true;
    }
    return false;
}

/* The static entry, the limit, or both: half of it is a lock that is not as it should be. */
static int bridge_observe(struct arena *arena, const char *bridge, struct observed *observed, struct err *err)
{
    struct freebsd_answer table, members;
    int rc = FREEBSD_ASK(arena, &members, err, "ifconfig", bridge);
    if (rc == 0)
        rc = FREEBSD_ASK(arena, &table, err, "ifconfig", bridge, "addr");
    for (size_t i = 0; rc == 0 && i < observed->links.count; i++) {
        const struct link *link = &observed->links.items[i];
        struct wired_nic wired;
        if (strcmp(link->master, bridge) != 0 || !owner_nic(arena, link, &wired))
            continue;
        unsigned limit = freebsd_lock_limit(arena, members.output, link->name);
        bool fixed = freebsd_lock_static(table.output, link->name, &wired.mac);
        if (!limit && !fixed)
            continue;
        struct lock_nic *nic = nic_of(arena, observed, link->name);
        nic->held.kinds[LOCK_MAC] = true;
        nic->mac = fixed && limit == 1 ? wired.mac : (struct mac){{0}};
        nic->network = *nic->network ? nic->network : arena_strdup(arena, bridge);
    }
    return rc;
}

int freebsd_locks_observe(struct arena *arena, bool counts, struct observed *observed, struct err *err)
{
    observed->lock_base = true; /* each nic's rules are whole by themselves */
    observed->lock_nics.count = observed->lock_drops.count = 0;
    int rc = anchors_observe(arena, counts, observed, err);
    for (size_t i = 0; rc == 0 && i < observed->links.count; i++) {
        const struct link *link = &observed->links.items[i];
        if (strcmp(link->kind, "bridge") == 0 && owner_network(arena, link->alias) &&
            has_nics(arena, observed, link->name))
            rc = bridge_observe(arena, link->name, observed, err);
    }
    if (rc == 0 && observed->lock_nics.count)
        qsort(observed->lock_nics.items, observed->lock_nics.count, sizeof(struct lock_nic), by_name);
    return rc < 0 ? err_wrap(err, "reading what guests are held to") : 0;
}
