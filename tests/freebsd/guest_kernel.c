/* guest_kernel.c: what src/host/freebsd/guest_kernel.c asks of FreeBSD's kernel, asked of Linux's: a jail is
 * a network namespace, whose number is its process's. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "host/freebsd/system.h"
#include "host/linux/linux.h"

int freebsd_jail_enter(struct err *err)
{
    if (getenv("VMWIRE_TEST_NO_VIMAGE"))
        return err_set(err, ENOSYS, "this kernel gives a jail no network stack of its own");
    if (unshare(CLONE_NEWNET) < 0)
        return err_errno(err, errno, "making a jail");
    return getpid();
}

void freebsd_jail_remove(int jail)
{
    (void)jail;
}

int freebsd_guest_arp_open(const char *ifname)
{
    return linux_guest_arp_open(ifname);
}

size_t freebsd_guest_arp_read(int fd, void *frame, size_t size)
{
    return linux_guest_arp_read(fd, frame, size);
}

void freebsd_guest_never_fragment(int fd)
{
    linux_guest_never_fragment(fd);
}
