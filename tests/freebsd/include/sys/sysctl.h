/* sysctl.h: as much of FreeBSD's sysctl(3) as src/host/freebsd/backend.c asks, for the program of the tests
 * that runs that backend on Linux: answers of a 12.1 whose processor has what vmm needs. */
#ifndef VMWIRE_TEST_SYSCTL_H
#define VMWIRE_TEST_SYSCTL_H

#include <errno.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define CTL_KERN 1
#define KERN_PROC 14
#define KERN_PROC_PATHNAME 12

static inline int sysctlbyname(const char *name, void *old, size_t *old_length, const void *set,
                               size_t set_length)
{
    const int one = 1;
    (void)set, (void)set_length;
    if (strcmp(name, "hw.vmm.svm.features") == 0 && old && *old_length >= sizeof(one)) {
        memcpy(old, &one, sizeof(one));
        *old_length = sizeof(one);
        return 0;
    }
    errno = ENOENT;
    return -1;
}

static inline int sysctl(const int *name, unsigned count, void *old, size_t *old_length, const void *set,
                         size_t set_length)
{
    (void)name, (void)count, (void)set, (void)set_length;
    ssize_t length = readlink("/proc/self/exe", old, *old_length);
    if (length < 0)
        return -1;
    *old_length = (size_t)length;
    return 0;
}

#endif
