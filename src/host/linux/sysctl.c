/* sysctl.c: the kernel's settings under /proc/sys, and those that IPv4 forwarding touches. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "host/linux/linux.h"

/* sysctl(8)'s rule: dots part the levels, a '/' stands for a dot inside a name. */
static const char *sysctl_path(struct arena *arena, const char *name)
{
    char *path = arena_printf(arena, "/proc/sys/%s", name);
    for (char *c = path + strlen("/proc/sys/"); *c; c++)
        *c = *c == '.' ? '/' : *c == '/' ? '.' : *c;
    return path;
}

static const char *sysctl_read(struct arena *arena, const char *name)
{
    char *text;
    if (file_read(arena, AT_FDCWD, sysctl_path(arena, name), 4096, &text, NULL, NULL) < 0)
        return NULL;
    text[strcspn(text, "\n")] = '\0';
    return text;
}

int sysctl_apply(const struct sysctl *sysctl, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    const char *path = sysctl_path(&arena, sysctl->name);
    if (strstr(path, "/../"))
        return err_set(err, EINVAL, "'%s' is not the name of a sysctl", sysctl->name);
    const char *now = sysctl_read(&arena, sysctl->name);
    if (now && strcmp(now, sysctl->value) == 0)
        return 0;
    _cleanup_fd_ int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    /* The setting of an interface that is gone went with it. */
    if (fd < 0 && errno == ENOENT && (flags & HOST_APPLY_TOLERANT))
        return 0;
    if (fd < 0)
        return err_errno(err, errno, "opening '%s'", path);
    int rc = fd_write_all(fd, sysctl->value, strlen(sysctl->value));
    return rc < 0 ? err_errno(err, rc, "writing '%s'", path) : 0;
}

static void add(struct arena *arena, struct observed *observed, const char *name, const char *now,
                const char *wanted)
{
    struct forwarding_sysctl *sysctl = vec_push(arena, &observed->forwarding);
    *sysctl = (struct forwarding_sysctl){.name = name, .now = now, .wanted = wanted};
}

static const char *interface_setting(struct arena *arena, const char *ifname)
{
    char *name = arena_printf(arena, "net.ipv4.conf.%s.forwarding", ifname);
    char *start = name + strlen("net.ipv4.conf.");
    for (char *c = start; c < start + strlen(ifname); c++)
        *c = *c == '.' ? '/' : *c;
    return name;
}

/* Writing ip_forward rewrites the forwarding of every interface and accept_redirects (inet_forward_change,
 * net/ipv4/devinet.c): to 0 and 1 when it is switched off.  What would come back otherwise than it is now is
 * listed too. */
int forwarding_observe(struct arena *arena, struct observed *observed, struct err *err)
{
    const char *forward = sysctl_read(arena, "net.ipv4.ip_forward");
    if (!forward)
        return err_set(err, ENOENT, "'/proc/sys/net/ipv4/ip_forward' cannot be read (is /proc mounted?)");
    add(arena, observed, "net.ipv4.ip_forward", forward, "1");
    if (strcmp(forward, "0") != 0)
        return 0;
    const char *redirects = sysctl_read(arena, "net.ipv4.conf.all.accept_redirects");
    if (redirects && strcmp(redirects, "1") != 0)
        add(arena, observed, "net.ipv4.conf.all.accept_redirects", redirects, NULL);
    const char *fresh = sysctl_read(arena, "net.ipv4.conf.default.forwarding");
    if (fresh && strcmp(fresh, "0") != 0)
        add(arena, observed, "net.ipv4.conf.default.forwarding", fresh, NULL);
    vec_foreach (&observed->links, link) {
        const char *name = interface_setting(arena, link->name), *now = sysctl_read(arena, name);
        if (now && strcmp(now, "0") != 0)
            add(arena, observed, name, now, NULL);
    }
    return 0;
}
