/* device_world.h: what the tests of PCI devices share: a host out of recorded sysfs trees
 * (tests/golden/sysfs). */
#ifndef VMWIRE_TEST_DEVICE_WORLD_H
#define VMWIRE_TEST_DEVICE_WORLD_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/spawn.h"
#include "base/text.h"
#include "host/linux/device.h"
#include "plan/device.h"

struct world {
    struct arena arena;
    struct model model;
    struct observed observed;
    struct problems problems;
    char sysfs[32]; /* the tree on disk; "" none */
};

static inline int setup(void **state)
{
    struct world *world = test_calloc(1, sizeof(*world));
    world->problems.arena = &world->arena;
    world->observed.run_dir = "/run/vmwire";
    world->observed.vfio = world->observed.iommu_remaps = true;
    *state = world;
    return 0;
}

static inline int teardown(void **state)
{
    struct world *world = *state;
    if (*world->sysfs) {
        const char *const argv[] = {"/bin/rm", "-rf", world->sysfs, NULL};
        struct spawn spawn = {.arena = &world->arena, .argv = argv, .timeout_ms = 10000};
        spawn_run(&spawn, NULL);
    }
    arena_free(&world->arena);
    test_free(world);
    return 0;
}

/* --- trees */

/* A line of a recording: "d PATH", "f PATH TEXT" or "l PATH TARGET".  A device's own links are one level
 * nearer to the top than in a real sysfs, where its folder is itself reached through a link. */
static inline void tree_line(struct world *world, char *line)
{
    char *path = line + 2, *rest = strchr(path, ' ');
    if (rest)
        *rest++ = '\0';
    char *full = arena_printf(&world->arena, "%s/%s", world->sysfs, path), *slash = strrchr(full, '/');
    *slash = '\0';
    assert_int_equal(directory_make(full, 0700, NULL), 0);
    *slash = '/';
    if (line[0] == 'd') {
        assert_int_equal(directory_make(full, 0700, NULL), 0);
    } else if (line[0] == 'f') {
        FILE *file = fopen(full, "w");
        assert_non_null(file);
        fprintf(file, "%s\n", rest ? rest : "");
        fclose(file);
    } else {
        const char *target = rest ? rest : "", *name = strrchr(target, '/');
        if (strcmp(slash, "/iommu_group") == 0 && name)
            target = arena_printf(&world->arena, "../../../../kernel/iommu_groups/%s", name + 1);
        assert_int_equal(symlink(target, full), 0);
    }
}

static inline void tree_read(struct world *world, const char *name)
{
    strcpy(world->sysfs, "/tmp/vmwire-sysfs-XXXXXX");
    assert_non_null(mkdtemp(world->sysfs));
    const char *path =
        arena_printf(&world->arena, "%s/tests/golden/sysfs/%s.tree", getenv("VMWIRE_SOURCE"), name);
    char *text;
    assert_int_equal(file_read(&world->arena, AT_FDCWD, path, 1 << 20, &text, NULL, NULL), 0);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        tree_line(world, line);
    assert_int_equal(pci_observe(&world->arena, world->sysfs, &world->observed, NULL), 0);
}

static inline const struct device *device(struct world *world, const char *address)
{
    const struct device *found = device_find(&world->observed, address);
    assert_non_null(found);
    return found;
}

static inline struct link *add_link(struct world *world, const char *name)
{
    struct link *link = vec_push(&world->arena, &world->observed.links);
    *link = (struct link){
        .name = name, .kind = "", .alias = "", .master = "", .mtu = 1500, .up = true, .ipv6 = true};
    return link;
}

static inline void add_address(struct world *world, const char *ifname, const char *text)
{
    struct address *address = vec_push(&world->arena, &world->observed.addresses);
    *address = (struct address){.ifname = ifname, .label = ""};
    assert_int_equal(prefix_parse(text, &address->prefix), 0);
}

static inline void add_route(struct world *world, const char *ifname, const char *to, const char *gateway)
{
    struct route *route = vec_push(&world->arena, &world->observed.routes);
    *route = (struct route){.table = 254, .ifname = ifname, .protocol = 3, .type = 1};
    assert_int_equal(prefix_parse(to, &route->to), 0);
    assert_int_equal(ip_parse(gateway, &route->gateway), 0);
}

static inline void assert_says(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' does not say '%s'", text, part);
}

#endif
