/* nft.c: writes the ruleset through libnftables, one transaction an operation. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/text.h"
#include "host/linux/linux.h"

void nft_close(struct linux_host *host)
{
    if (host->nft)
        nft_ctx_free(host->nft);
    host->nft = NULL;
}

static bool starting;

/* libnftables calls exit() where it gets no socket.  Its own message has been said by then; 3 would be drift.
 */
static void ended_by_library(void)
{
    if (starting)
        _exit(1);
}

/* The library's socket is nobody's whom vmwire becomes or starts. */
static void keep_from_programs(int fd)
{
    struct sockaddr_nl address = {0};
    socklen_t length = sizeof(address);
    if (fd >= 0 && getsockname(fd, (struct sockaddr *)&address, &length) == 0 &&
        address.nl_family == AF_NETLINK)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* A kernel without netfilter's sockets is met here.  host_open calls this too, before anything is changed:
 * where the library ends the program, nothing has to be taken back. */
int nft_open(struct linux_host *host, struct err *err)
{
    static bool handled;
    if (host->nft)
        return 0;
    if (netlink_open(&host->netfilter, NETLINK_NETFILTER, err) < 0)
        return err_set(err, EOPNOTSUPP, "this kernel has no nf_tables (CONFIG_NF_TABLES)");
    handled = handled || atexit(ended_by_library) == 0;
    int next = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0); /* the number that its socket will have */
    if (next >= 0)
        close(next);
    starting = true;
    host->nft = nft_ctx_new(NFT_CTX_DEFAULT);
    starting = false;
    if (!host->nft)
        return err_set(err, ENOMEM, "libnftables could not be started");
    keep_from_programs(next);
    nft_ctx_buffer_output(host->nft);
    nft_ctx_buffer_error(host->nft);
    return 0;
}

/* The first "Error: …" line without its prefix: what follows repeats the whole text. */
static int nft_failure(const char *text, struct err *err)
{
    const char *start = strstr(text, "Error: ");
    start = start ? start + strlen("Error: ") : text;
    size_t length = strcspn(start, "\n");
    if (strstr(text, "Operation not permitted"))
        return err_set(err, EPERM,
                       "not permitted: changing firewall rules needs CAP_NET_ADMIN (run as root)");
    if (strstr(text, "Operation not supported") || strstr(text, "Protocol not supported"))
        return err_set(err, EOPNOTSUPP,
                       "this kernel lacks a part of nf_tables (CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, "
                       "CONFIG_NFT_MASQ, CONFIG_NFT_REJECT): %.*s",
                       (int)length, start);
    return err_set(err, EIO, "%.*s", (int)length, start);
}

int nft_run(struct linux_host *host, const char *text, struct err *err)
{
    int rc = nft_open(host, err);
    if (rc < 0)
        return rc;
    rc = nft_run_cmd_from_buffer(host->nft, text);
    const char *words = nft_ctx_get_error_buffer(host->nft);
    nft_ctx_get_output_buffer(host->nft);
    if (rc == 0)
        nft_seen_moved(host);
    return rc ? nft_failure(words ? words : "", err) : 0;
}

static const struct firewall *known_network(const struct observed *observed, const char *network)
{
    vec_foreach (&observed->firewalls, firewall) {
        if (strcmp(firewall->network, network) == 0)
            return firewall;
    }
    return NULL;
}

static bool any_trace(const struct observed *observed, const char *network)
{
    vec_foreach (&observed->firewall_traces, trace) {
        if (strcmp(*trace, network) == 0)
            return true;
    }
    return false;
}

/* The whole table anew, with every network that was whole but `without`. */
static void rebuild(struct arena *arena, const struct observed *observed, const char *without,
                    struct text *out)
{
    text_add(out, "add table inet vmwire\ndelete table inet vmwire\n%s", nft_base_text(arena));
    vec_foreach (&observed->firewalls, firewall) {
        if (strcmp(firewall->network, without) != 0)
            text_add(out, "%s", nft_set_text(arena, firewall));
    }
}

static int firewall_set(struct linux_host *host, struct arena *arena, const struct observed *observed,
                        const struct firewall *firewall, struct err *err)
{
    struct text out = {.arena = arena};
    const struct firewall *old = known_network(observed, firewall->network);
    bool half = any_trace(observed, firewall->network) && !old;
    if (!observed->firewall_base || half)
        rebuild(arena, observed, firewall->network, &out);
    else if (old)
        text_add(&out, "%s", nft_remove_text(arena, old));
    text_add(&out, "%s", nft_set_text(arena, firewall));
    return nft_run(host, text_get(&out), err);
}

static int firewall_remove(struct linux_host *host, struct arena *arena, const struct observed *observed,
                           const struct firewall *firewall, unsigned flags, struct err *err)
{
    struct text out = {.arena = arena};
    const struct firewall *old = known_network(observed, firewall->network);
    if (!any_trace(observed, firewall->network) && !(flags & HOST_APPLY_TOLERANT))
        return err_set(err, ENOENT, "there are no rules of network '%s'", firewall->network);
    bool last = true;
    vec_foreach (&observed->firewall_traces, trace)
        last &= strcmp(*trace, firewall->network) == 0;
    if (last)
        text_add(&out, "add table inet vmwire\ndelete table inet vmwire\n");
    else if (old && observed->firewall_base)
        text_add(&out, "%s", nft_remove_text(arena, old));
    else if (any_trace(observed, firewall->network))
        rebuild(arena, observed, firewall->network, &out);
    int rc = out.length ? nft_run(host, text_get(&out), err) : 0;
    /* Where there are no rules at all there are none to take back. */
    return rc == -EOPNOTSUPP && (flags & HOST_APPLY_TOLERANT) ? 0 : rc;
}

int nft_apply(struct linux_host *host, const struct op *op, unsigned flags, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    const struct observed *observed;
    int rc = nft_seen_get(host, &observed, err);
    if (rc < 0)
        return rc;
    bool set = op->kind == OP_FIREWALL_SET, known = known_network(observed, op->network);
    /* A change of one network's elements, not of the table. */
    bool part = observed->firewall_base && (known || (set && !any_trace(observed, op->network))) &&
                (set || observed->firewalls.count > 1);
    rc = set ? firewall_set(host, &arena, observed, &op->firewall, err)
             : firewall_remove(host, &arena, observed, &op->firewall, flags, err);
    if (rc == 0 && part)
        nft_seen_note(host, op);
    else
        nft_seen_forget(host);
    return rc;
}
