/* guest.c: a guest without a hypervisor: start and end of host/guest.h.
 *
 * Theory of operation.  The process is init of a PID namespace and alone in a network namespace: when it
 * ends, or its parent does (PR_SET_PDEATHSIG), the kernel ends everything in both.  Its interface is a second
 * tap, made inside; one more process carries frames between the two taps, which is what a hypervisor and the
 * guest's driver do.  Source: pid_namespaces(7), the kernel's Documentation/networking/tuntap.rst. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "host/linux/linux.h"

enum { FRAME_MAX = 65536 };

#define GUEST_IFNAME "eth0"

static _Noreturn void carry(int outer, int inner)
{
    static uint8_t frame[FRAME_MAX];
    struct pollfd fds[2] = {{.fd = outer, .events = POLLIN}, {.fd = inner, .events = POLLIN}};
    while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
        for (int i = 0; i < 2; i++) {
            if (!fds[i].revents)
                continue;
            ssize_t got = read(fds[i].fd, frame, sizeof(frame));
            if (got < 0 && errno != EAGAIN && errno != EINTR)
                _exit(1);
            if (got > 0)
                (void)!write(fds[!i].fd, frame, (size_t)got);
        }
    }
    _exit(1);
}

static bool interface_up(int control, const char *name)
{
    struct ifreq ifreq = {0};
    memcpy(ifreq.ifr_name, name, strlen(name));
    ifreq.ifr_flags = IFF_UP;
    return ioctl(control, SIOCSIFFLAGS, &ifreq) == 0;
}

static int inner_open(const struct guest_request *request)
{
    _cleanup_fd_ int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    _cleanup_fd_ int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq ifreq = {.ifr_name = GUEST_IFNAME, .ifr_flags = IFF_TAP | IFF_NO_PI};
    if (fd < 0 || control < 0 || ioctl(fd, TUNSETIFF, &ifreq) < 0)
        return -errno;
    ifreq = (struct ifreq){.ifr_name = GUEST_IFNAME};
    ifreq.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    memcpy(ifreq.ifr_hwaddr.sa_data, request->mac.bytes, sizeof(request->mac.bytes));
    if (ioctl(control, SIOCSIFHWADDR, &ifreq) < 0)
        return -errno;
    ifreq = (struct ifreq){.ifr_name = GUEST_IFNAME};
    ifreq.ifr_mtu = (int)request->mtu;
    if (ioctl(control, SIOCSIFMTU, &ifreq) < 0 || !interface_up(control, "lo") ||
        !interface_up(control, GUEST_IFNAME))
        return -errno;
    return fd_steal(&fd);
}

/* The guest's kernel asks for routers at once, and has its addresses without the second that looking for a
 * duplicate of each takes.  A kernel without IPv6 has none of it. */
static void ipv6_hurry(void)
{
    static const struct {
        const char *path, *value;
    } settings[] = {{"/proc/sys/net/ipv6/conf/default/accept_dad", "0"},
                    {"/proc/sys/net/ipv6/conf/default/router_solicitation_delay", "0"}};
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        _cleanup_fd_ int fd = open(settings[i].path, O_WRONLY | O_CLOEXEC);
        if (fd >= 0)
            (void)!write(fd, settings[i].value, strlen(settings[i].value));
    }
}

/* Init of its namespace: reports how setting up went, then acts. */
static _Noreturn void live(const struct guest_request *request, int fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    ipv6_hurry();
    int inner = inner_open(request), failed = inner < 0 ? inner : 0;
    pid_t carrier = failed ? -1 : fork();
    if (carrier == 0)
        carry(request->nic->fds[0], inner);
    if (!failed && carrier < 0)
        failed = -errno;
    (void)!write(fd, &failed, sizeof(failed));
    if (!failed)
        request->act(fd, GUEST_IFNAME, request->data);
    _exit(failed ? 1 : 0);
}

static void guest_end(struct guest *guest)
{
    if (guest->pid > 0) {
        kill(guest->pid, SIGKILL);
        while (waitpid(guest->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        guest->pid = 0;
    }
    fd_close(&guest->fd);
}

static int guest_start(struct host *host, const struct guest_request *request, struct guest *guest,
                       struct err *err)
{
    (void)host;
    int pair[2], failed = -EPIPE;
    *guest = (struct guest){.fd = -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(err, errno, "starting a guest");
    /* As fork(2), but that the flags have no wrapper. */
    long pid = syscall(SYS_clone, CLONE_NEWNET | CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        close(pair[0]);
        live(request, pair[1]);
    }
    int code = errno;
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return code == EPERM ? err_set(err, code, "making a network namespace is not permitted (run as root)")
                             : err_errno(err, code, "making a network namespace");
    }
    *guest = (struct guest){.pid = (pid_t)pid, .fd = pair[0]};
    if (read(guest->fd, &failed, sizeof(failed)) != (ssize_t)sizeof(failed) || failed < 0) {
        guest_end(guest);
        return err_errno(err, failed, "making a nic in a network namespace");
    }
    return 0;
}

const struct host_guest linux_guest = {
    .start = guest_start,
    .end = guest_end,
    .lease = linux_guest_lease,
    .address_set = linux_guest_address_set,
    .arp_open = linux_guest_arp_open,
    .arp_read = linux_guest_arp_read,
    .never_fragment = linux_guest_never_fragment,
};
