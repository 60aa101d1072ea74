/* guest_kernel.c: jails, and what a guest asks of FreeBSD's kernel: system.h.  Source: jail(2),
 * bpf(4), ip(4).
 */
#include <errno.h>
#include <fcntl.h>
#include <net/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/param.h>
#include <sys/jail.h>
#include <sys/socket.h>
#include <sys/sysctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "host/freebsd/system.h"

enum { ERROR_SIZE = 128, ARP_BUFFER = 4096, ETHERTYPE_ARP = 0x0806 };

#define TEXT(text) ((struct iovec){.iov_base = (text), .iov_len = strlen(text) + 1})
#define BYTES(object) ((struct iovec){.iov_base = &(object), .iov_len = sizeof(object)})

static bool has_vimage(void)
{
    int value = 0;
    size_t size = sizeof(value);
    return sysctlbyname("kern.features.vimage", &value, &size, NULL, 0) == 0 && value;
}

int freebsd_jail_enter(struct err *err)
{
    char words[ERROR_SIZE] = "";
    int own = JAIL_SYS_NEW;
    struct iovec parameters[] = {
        TEXT("path"), TEXT("/"),      TEXT("vnet"), BYTES(own), TEXT("allow.raw_sockets"),
        {0},          TEXT("errmsg"), BYTES(words)};
    int jail = jail_set(parameters, sizeof(parameters) / sizeof(parameters[0]), JAIL_CREATE | JAIL_ATTACH);
    int code = errno;
    if (jail >= 0)
        return jail;
    if (!has_vimage())
        return err_set(err, ENOSYS,
                       "this kernel gives a jail no network stack of its own: it was built without VIMAGE "
                       "(FreeBSD's own kernels have it since 12.0)");
    if (code == EPERM)
        return err_set(err, code,
                       "making a jail is not permitted: run as root, and not in a jail that may "
                       "have no jails (children.max)");
    return *words ? err_set(err, code, "making a jail: %s", words) : err_errno(err, code, "making a jail");
}

void freebsd_jail_remove(int jail)
{
    if (jail > 0)
        jail_remove(jail);
}

/* Frames of ARP alone, each as soon as it comes, and none of its own. */
int freebsd_guest_arp_open(const char *ifname)
{
    struct bpf_insn is_arp[] = {BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
                                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETHERTYPE_ARP, 0, 1),
                                BPF_STMT(BPF_RET | BPF_K, (u_int)-1), BPF_STMT(BPF_RET | BPF_K, 0)};
    struct bpf_program filter = {.bf_len = sizeof(is_arp) / sizeof(is_arp[0]), .bf_insns = is_arp};
    struct ifreq ifreq = {0};
    u_int size = ARP_BUFFER, on = 1, off = 0;
    _cleanup_fd_ int fd = open("/dev/bpf", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    snprintf(ifreq.ifr_name, sizeof(ifreq.ifr_name), "%s", ifname);
    if (fd < 0 || ioctl(fd, BIOCSBLEN, &size) < 0 || ioctl(fd, BIOCSETIF, &ifreq) < 0 ||
        ioctl(fd, BIOCSETF, &filter) < 0 || ioctl(fd, BIOCIMMEDIATE, &on) < 0 ||
        ioctl(fd, BIOCSHDRCMPLT, &on) < 0 || ioctl(fd, BIOCSSEESENT, &off) < 0)
        return -errno;
    return fd_steal(&fd);
}

/* One read(2), of the buffer's whole size, gives all frames that came; a guest has one such descriptor. */
size_t freebsd_guest_arp_read(int fd, void *frame, size_t size)
{
    static _Alignas(struct bpf_hdr) uint8_t buffer[ARP_BUFFER];
    static size_t at, length;
    struct bpf_hdr header;
    if (at + sizeof(header) > length) {
        ssize_t got = read(fd, buffer, sizeof(buffer));
        length = got < 0 ? 0 : (size_t)got;
        at = 0;
        if (length < sizeof(header))
            return 0;
    }
    memcpy(&header, buffer + at, sizeof(header));
    size_t start = at + header.bh_hdrlen, taken = header.bh_caplen < size ? header.bh_caplen : size;
    if (start + header.bh_caplen > length)
        return length = 0;
    memcpy(frame, buffer + start, taken);
    at += BPF_WORDALIGN(header.bh_hdrlen + header.bh_caplen);
    return taken;
}

void freebsd_guest_never_fragment(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_IP, IP_DONTFRAG, &on, sizeof(on));
}
