/* identity.c: uid 0 of a user namespace that has no other uid; behind identity.h.
 *
 * An unprivileged caller may map itself alone, and only once setgroups(2) is given up (user_namespaces(7)).
 * So there is nobody that dnsmasq or tcpdump could turn into when they drop root, and they refuse to run.
 * Nothing is gained by dropping it here, it is the caller's own identity under another number; so a seccomp
 * filter answers those system calls with success and does nothing.  The filter is inherited by every process
 * of the lab.
 */
#include "lab/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/fd.h"

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#endif

static int file_put(const char *path, const char *text, struct err *err)
{
    _cleanup_fd_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "opening '%s'", path);
    int rc = fd_write_all(fd, text, strlen(text));
    return rc < 0 ? err_errno(err, rc, "writing '%s' to '%s'", text, path) : 0;
}

static int identity_map(uid_t uid, gid_t gid, struct err *err)
{
    char uid_map[48], gid_map[48];
    snprintf(uid_map, sizeof(uid_map), "0 %u 1", uid);
    snprintf(gid_map, sizeof(gid_map), "0 %u 1", gid);
    int rc = file_put("/proc/self/setgroups", "deny", err);
    if (rc == 0)
        rc = file_put("/proc/self/uid_map", uid_map, err);
    if (rc == 0)
        rc = file_put("/proc/self/gid_map", gid_map, err);
    return rc;
}

#ifdef NATIVE_ARCH
static int identity_pretend(struct err *err)
{
    static const unsigned pretended[] = {
        SYS_setgroups, SYS_setgid,    SYS_setuid, SYS_setregid, SYS_setreuid,
        SYS_setresgid, SYS_setresuid, SYS_fchown, SYS_fchownat,
#ifdef SYS_chown
        SYS_chown,     SYS_lchown,
#endif
    };
    enum { COUNT = sizeof(pretended) / sizeof(*pretended), HEAD = 4 };
    struct sock_filter filter[HEAD + 2 * COUNT + 1] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    struct sock_filter *next = filter + HEAD;
    for (size_t i = 0; i < COUNT; i++) {
        *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, pretended[i], 0, 1);
        *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0);
    }
    *next = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = HEAD + 2 * COUNT + 1, .filter = filter};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        return err_errno(err, errno, "installing a seccomp filter");
    return 0;
}
#else
static int identity_pretend(struct err *err)
{
    (void)err;
    return 0;
}
#endif

int identity_take(uid_t uid, gid_t gid, struct err *err)
{
    int rc = identity_map(uid, gid, err);
    if (rc == 0)
        rc = identity_pretend(err);
    return rc < 0 ? err_wrap(err, "becoming root of the lab") : 0;
}
