/* nft.c: writes vmwire's own rules through libnftables: what is applied together is one transaction. */
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
    /* What is deleted, the kernel waits for when this program ends. */
    if (!observed->firewall_none)
        text_add(out, "add table inet vmwire\ndelete table inet vmwire\n");
    text_add(out, "%s", nft_base_text(arena));
    vec_foreach (&observed->firewalls, firewall) {
        if (strcmp(firewall->network, without) != 0)
            text_add(out, "%s", nft_set_text(arena, firewall));
    }
}

static enum nft_extent firewall_set(struct arena *arena, const struct observed *observed,
                                    const struct firewall *firewall, struct text *out)
{
    const struct firewall *old = known_network(observed, firewall->network);
    bool half = any_trace(observed, firewall->network) && !old, whole = observed->firewall_base && !half;
    if (!whole)
        rebuild(arena, observed, firewall->network, out);
    else if (old)
        text_add(out, "%s", nft_remove_text(arena, old));
    text_add(out, "%s", nft_set_text(arena, firewall));
    return whole ? NFT_ELEMENTS : NFT_TABLE;
}

static int firewall_remove(struct arena *arena, const struct observed *observed,
                           const struct firewall *firewall, unsigned flags, struct text *out,
                           enum nft_extent *extent, struct err *err)
{
    const struct firewall *old = known_network(observed, firewall->network);
    bool trace = any_trace(observed, firewall->network), last = true;
    if (!trace && !(flags & HOST_APPLY_TOLERANT))
        return err_set(err, ENOENT, "there are no rules of network '%s'", firewall->network);
    vec_foreach (&observed->firewall_traces, name)
        last &= strcmp(*name, firewall->network) == 0;
    *extent = last ? NFT_NO_TABLE : old && observed->firewall_base ? NFT_ELEMENTS : NFT_TABLE;
    if (last)
        text_add(out, "add table inet vmwire\ndelete table inet vmwire\n");
    else if (*extent == NFT_ELEMENTS)
        text_add(out, "%s", nft_remove_text(arena, old));
    else if (trace)
        rebuild(arena, observed, firewall->network, out);
    else
        *extent = NFT_ELEMENTS;
    return 0;
}

/* Of one operation; noted as if it were done. */
static int change_add(struct linux_host *host, struct arena *arena, const struct observed *observed,
                      const struct op *op, unsigned flags, struct text *out, struct err *err)
{
    enum nft_extent extent = NFT_ELEMENTS;
    int rc = 0;
    if (op->kind == OP_FIREWALL_SET)
        extent = firewall_set(arena, observed, &op->firewall, out);
    else if (op->kind == OP_FIREWALL_REMOVE)
        rc = firewall_remove(arena, observed, &op->firewall, flags, out, &extent, err);
    else
        rc = nft_lock_change(arena, observed, op, flags, out, &extent, err);
    return rc < 0 ? rc : nft_seen_note(host, op, extent, err);
}

int nft_apply(struct linux_host *host, const struct op *const ops[], size_t count, unsigned flags,
              size_t *failed, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    const struct observed *observed;
    struct text out = {.arena = &arena};
    *failed = 0;
    int rc = nft_seen_get(host, &observed, err);
    if (rc < 0)
        return rc;
    bool none = !observed->firewall_traces.count;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = change_add(host, &arena, observed, ops[i], flags, &out, err);
    if (rc == 0 && out.length)
        rc = nft_run(host, text_get(&out), err);
    if (rc == 0)
        return 0;
    nft_seen_forget(host);
    /* None of it is done: which one is it? */
    if (count > 1)
        return host_apply_each(&host->host, ops, count, flags, failed, err);
    /* Where there are no rules at all there are none to take back. */
    if ((rc == -EOPNOTSUPP || (rc == -EPERM && none)) && ops[0]->kind == OP_FIREWALL_REMOVE &&
        (flags & HOST_APPLY_TOLERANT))
        return 0;
    return ops[0]->kind == OP_LOCK_SET || ops[0]->kind == OP_LOCK_REMOVE ? nft_lock_lacking(rc, err) : rc;
}
