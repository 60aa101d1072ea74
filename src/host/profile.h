/* profile.h: what is known of each operating system without asking one: names, paths, and how it is before
 * vmwire has done anything.  Pure; a plan for another system is made with it. */
#ifndef VMWIRE_HOST_PROFILE_H
#define VMWIRE_HOST_PROFILE_H

#include "base/arena.h"
#include "host/render.h"
#include "model/model.h"
#include "model/state.h"

struct host_profile {
    const char *name;                         /* its backend's: "linux", "freebsd" */
    const char *system;                       /* as people write it: "Linux" */
    const char *run_dir;                      /* absolute */
    const char *config_path;                  /* of the file when there is none in the working directory */
    const char *program;                      /* where vmwire is installed */
    const char *service_user, *service_group; /* that dnsmasq becomes */
    const char *install;                      /* how a package is installed: "Debian: apt install" */
    const char *loopback;                     /* its interface */
    bool dhclient;                            /* the DHCP client is dhclient(8), not busybox */
    struct host_traits traits;
    host_render render;
    /* What differs from zero on a fresh host: sysctls, the firewall. */
    void (*fresh)(struct arena *arena, struct observed *observed);
};

/* By name, or NULL. */
const struct host_profile *host_profile_find(const char *name);
/* The names, separated by '|', for a usage line. */
#define HOST_PROFILE_NAMES "linux|freebsd"

/* A fresh host of this kind, on which the uplinks that the model names exist, without addresses: the uplinks
 * of bridged networks are not even up. */
void host_profile_fresh(const struct host_profile *profile, struct arena *arena, const struct model *model,
                        struct observed *observed);

#endif
