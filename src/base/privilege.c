/* privilege.c: capability sets behind privilege.h.
 *
 * A program that root starts gets everything that the bounding set still has, whatever was given up before:
 * so that set is made smaller first, and the process's own after it. */
#include "base/privilege.h"

#ifdef __linux__
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(capability) ((uint64_t)1 << (capability))

static const uint64_t files =
    BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_FOWNER);
static const uint64_t users = BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_SETPCAP) | BIT(CAP_KILL);
static const uint64_t network =
    BIT(CAP_NET_ADMIN) | BIT(CAP_NET_RAW) | BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_NET_BROADCAST);
static const uint64_t machine = BIT(CAP_IPC_LOCK) | BIT(CAP_SYS_NICE) | BIT(CAP_SYS_RESOURCE);

static uint64_t kept(enum privilege privilege)
{
    /* Who listens on a port, and who has a device, is read from other users' processes (ptrace(2), "access
     * mode checking").  A program for the kernel stands in for a classifier that it lacks
     * (host/linux/rate.h).
     */
    uint64_t own =
        files | users | network | machine | BIT(CAP_SYS_PTRACE) | BIT(CAP_SYS_MODULE) | BIT(CAP_BPF);
    switch (privilege) {
    case PRIVILEGE_NETWORK:
        return own;
    case PRIVILEGE_NAMESPACE:
        return own | BIT(CAP_SYS_ADMIN);
    case PRIVILEGE_HELPER:
        return files | users | network;
    case PRIVILEGE_HYPERVISOR:
        return files | BIT(CAP_SETUID) | BIT(CAP_SETGID) | BIT(CAP_KILL) | BIT(CAP_NET_BIND_SERVICE) |
               machine;
    }
    return own;
}

/* Narrow the sets; `inheritable` becomes empty either way. */
static void sets_narrow(uint64_t keep)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capget, &header, data) < 0)
        return;
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        uint32_t part = (uint32_t)(keep >> (32 * i));
        data[i].effective &= part;
        data[i].permitted &= part;
        data[i].inheritable = 0;
    }
    syscall(SYS_capset, &header, data);
}

void privilege_keep(enum privilege privilege)
{
    uint64_t keep = kept(privilege);
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++) {
        if (!(keep & BIT(capability)))
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    sets_narrow(keep);
}

void privilege_inherit_nothing(void)
{
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    sets_narrow(UINT64_MAX);
}

#else

void privilege_keep(enum privilege privilege)
{
    (void)privilege;
}

void privilege_inherit_nothing(void)
{
}

#endif
