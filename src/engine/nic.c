/* nic.c: nics for a program (nic.h). */
#include "engine/nic.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/privilege.h"
#include "base/spawn.h"
#include "base/text.h"
#include "engine/engine.h"

static int choice_parse(const char *key, const char *value, enum nic_choice *choice, struct err *err)
{
    if (strcmp(value, "on") == 0)
        *choice = NIC_ON;
    else if (strcmp(value, "off") == 0)
        *choice = NIC_OFF;
    else
        return err_set(err, EINVAL, "%s is 'on' or 'off', not '%s'", key, value);
    return 0;
}

static int number_parse(const char *key, const char *value, unsigned min, unsigned max, unsigned *number,
                        struct err *err)
{
    char *end;
    errno = 0;
    unsigned long parsed = strtoul(value, &end, 10);
    if (!isdigit((unsigned char)value[0]) || *end || errno || parsed < min || parsed > max)
        return err_set(err, EINVAL, "%s is a number from %u to %u, not '%s'", key, min, max, value);
    *number = (unsigned)parsed;
    return 0;
}

static int mac_check(const char *value, struct mac *mac, struct err *err)
{
    if (mac_parse(value, mac) < 0)
        return err_set(err, EINVAL, "'%s' is not a MAC (as 02:00:00:00:00:01)", value);
    if (mac_is_multicast(mac) || mac_is_zero(mac))
        return err_set(err, EINVAL, "MAC '%s' is %s, which no nic can have", value,
                       mac_is_zero(mac) ? "all zero" : "multicast");
    return 0;
}

static int rate_member_parse(const char *key, const char *value, struct rate *rate, struct err *err)
{
    const char *fault = rate_parse(value, &rate->bits_s);
    if (fault)
        return err_set(err, EINVAL, "%s is a rate such as 100Mbit, not '%s'%s%s", key, value,
                       *fault ? "; " : "", fault);
    return 0;
}

static int burst_member_parse(const char *value, struct rates *rates, struct err *err)
{
    uint32_t bytes = 0;
    const char *fault = burst_parse(value, &bytes);
    if (fault)
        return err_set(err, EINVAL, "burst is a size such as 64kB or 1MB, not '%s'%s%s", value,
                       *fault ? "; " : "", fault);
    rates->way[RATE_IN].burst = rates->way[RATE_OUT].burst = bytes;
    return 0;
}

static int address_check(const char *value, struct nic_spec *spec, struct err *err)
{
    struct ip ip;
    if (ip_parse(value, &ip) < 0)
        return err_set(err, EINVAL, "'%s' is not an address (as 10.0.0.9)", value);
    *(ip.family == AF_INET6 ? &spec->address6 : &spec->address) = ip;
    return 0;
}

static int member_parse(char *member, struct nic_spec *spec, struct err *err)
{
    static const char *const keys[] = {"mac",      "address", "vlan",     "queues", "vhost",
                                       "vnet_hdr", "rate_in", "rate_out", "burst",  NULL};
    char *value = strchr(member, '=');
    if (value)
        *value++ = '\0';
    if (value && strcmp(member, "mac") == 0)
        return mac_check(value, &spec->mac, err);
    if (value && strcmp(member, "vlan") == 0)
        return number_parse("vlan", value, VLAN_UNTAGGED + 1, VLAN_ID_MAX, &spec->vlan, err);
    if (value && strcmp(member, "address") == 0)
        return address_check(value, spec, err);
    if (value && strcmp(member, "queues") == 0)
        return number_parse("queues", value, 1, NIC_QUEUES_MAX, &spec->queues, err);
    if (value && strcmp(member, "vhost") == 0)
        return choice_parse("vhost", value, &spec->vhost, err);
    if (value && strcmp(member, "vnet_hdr") == 0)
        return choice_parse("vnet_hdr", value, &spec->vnet_header, err);
    if (value && strcmp(member, "rate_in") == 0)
        return rate_member_parse(member, value, &spec->rates.way[RATE_IN], err);
    if (value && strcmp(member, "rate_out") == 0)
        return rate_member_parse(member, value, &spec->rates.way[RATE_OUT], err);
    if (value && strcmp(member, "burst") == 0)
        return burst_member_parse(value, &spec->rates, err);
    const char *near = text_nearest(member, keys);
    if (near)
        return err_set(err, EINVAL, "'%s' is not one of its options: did you mean '%s='?", member, near);
    return err_set(err, EINVAL,
                   "'%s' is not one of its options (mac=MAC, address=ADDRESS, vlan=N, queues=N, "
                   "vhost=on|off, vnet_hdr=on|off, "
                   "rate_in=RATE, rate_out=RATE, burst=SIZE)",
                   member);
}

int nic_parse(struct arena *arena, const char *text, struct nic_spec *spec, struct err *err)
{
    char *copy = arena_strdup(arena, text), *rest = copy;
    *spec = (struct nic_spec){.network = strsep(&rest, ","), .queues = 1};
    const char *fault = name_fault(arena, spec->network);
    if (fault)
        return err_set(err, EINVAL, "--nic '%s': network name '%s' %s", text, spec->network, fault);
    for (char *member; (member = strsep(&rest, ","));) {
        if (member_parse(member, spec, err) < 0)
            return err_wrap(err, "--nic '%s'", text);
    }
    for (int way = 0; way < RATE_WAYS; way++) {
        struct rate *rate = &spec->rates.way[way];
        if (rate->bits_s && !rate->burst)
            rate->burst = burst_default(rate->bits_s);
    }
    return 0;
}

const char *nic_format(struct arena *arena, const struct nic_spec *spec)
{
    static const char *const words[] = {"", "on", "off"};
    struct text text = {.arena = arena};
    text_add(&text, "%s,mac=%s", spec->network, MAC_TEXT(&spec->mac));
    if (spec->vlan)
        text_add(&text, ",vlan=%u", spec->vlan);
    if (ip_is_set(&spec->address))
        text_add(&text, ",address=%s", IP_TEXT(&spec->address));
    if (ip_is_set(&spec->address6))
        text_add(&text, ",address=%s", IP_TEXT(&spec->address6));
    if (spec->queues > 1)
        text_add(&text, ",queues=%u", spec->queues);
    if (spec->vhost)
        text_add(&text, ",vhost=%s", words[spec->vhost]);
    if (spec->vnet_header)
        text_add(&text, ",vnet_hdr=%s", words[spec->vnet_header]);
    uint32_t burst = 0; /* one given is the same both ways */
    for (int way = 0; way < RATE_WAYS; way++) {
        const struct rate *rate = &spec->rates.way[way];
        if (rate->bits_s)
            text_add(&text, ",rate_%s=%s", rate_way_name((enum rate_way)way),
                     rate_format(arena, rate->bits_s));
        if (rate->bits_s && rate->burst != burst_default(rate->bits_s))
            burst = rate->burst;
    }
    if (burst)
        text_add(&text, ",burst=%s", burst_format(arena, burst));
    return text_get(&text);
}

struct mac nic_mac_random(void)
{
    struct mac mac = {.bytes = {0x02}};
    /* Six bytes never come short, and before the pool is ready getrandom(2) waits. */
    while (getrandom(mac.bytes + 1, 5, 0) < 0 && errno == EINTR)
        ;
    return mac;
}

/* The placeholders. */
enum slot_kind { SLOT_TAP, SLOT_MAC, SLOT_MTU, SLOT_FD, SLOT_FDS, SLOT_VHOST_FDS, SLOT_KIND_COUNT };
static const char *const slot_names[SLOT_KIND_COUNT] = {"tap", "mac", "mtu", "fd", "fds", "vhostfds"};

struct slot {
    enum slot_kind kind;
    unsigned long index;
    size_t length; /* of "{name0}" */
};

/* Does a placeholder begin here?  An index too long for a number is ULONG_MAX, which is beyond any nic. */
static bool slot_read(const char *at, struct slot *slot)
{
    if (*at != '{')
        return false;
    for (int kind = 0; kind < SLOT_KIND_COUNT; kind++) {
        size_t name = strlen(slot_names[kind]);
        const char *digits = at + 1 + name;
        if (strncmp(at + 1, slot_names[kind], name) != 0 || !isdigit((unsigned char)*digits))
            continue;
        char *end;
        unsigned long index = strtoul(digits, &end, 10);
        if (*end != '}')
            continue;
        *slot = (struct slot){.kind = (enum slot_kind)kind, .index = index, .length = (size_t)(end + 1 - at)};
        return true;
    }
    return false;
}

int nic_check_argv(const char *const argv[], size_t count, struct err *err)
{
    struct slot slot;
    for (size_t i = 0; argv[i]; i++) {
        for (const char *at = argv[i]; (at = strchr(at, '{')); at++) {
            if (!slot_read(at, &slot) || slot.index < count)
                continue;
            if (count == 0)
                return err_set(err, EINVAL, "'%.*s' stands for a nic, and there is none", (int)slot.length,
                               at);
            return err_set(err, EINVAL, "'%.*s' stands for nic %lu, and the last one is %zu",
                           (int)slot.length, at, slot.index, count - 1);
        }
    }
    return 0;
}

static bool mentions(const char *const argv[], enum slot_kind kind, size_t index)
{
    struct slot slot;
    for (size_t i = 0; argv && argv[i]; i++) {
        for (const char *at = argv[i]; (at = strchr(at, '{')); at++) {
            if (slot_read(at, &slot) && slot.kind == kind && slot.index == index)
                return true;
        }
    }
    return false;
}

static void nic_close(struct host *host, struct nic_open *nic)
{
    for (unsigned i = 0; i < NIC_QUEUES_MAX; i++) {
        fd_close(&nic->fds[i]);
        fd_close(&nic->vhost_fds[i]);
    }
    fd_close(&nic->lock_fd);
    if (host->backend->nic_close)
        host->backend->nic_close(host, nic->tap, NULL);
}

void nics_close(struct nics *nics)
{
    vec_foreach (&nics->open, nic)
        nic_close(nics->host, nic);
    nics->open.count = 0;
}

/* Another may have taken its place. */
static bool bridge_gone(struct arena *arena, struct host *host, const char *network,
                        const struct link *bridge)
{
    struct link now = {0};
    int rc = host->backend->bridge_get(host, arena, network, &now, NULL);
    return rc == -ENODEV || (rc == 0 && now.index != bridge->index);
}

static int open_one(struct arena *arena, struct host *host, struct nics *nics, size_t index,
                    const char *const argv[], struct err *err)
{
    struct nic_spec *spec = &nics->specs.items[index];
    struct link bridge;
    int rc = host->backend->bridge_get(host, arena, spec->network, &bridge, err);
    if (rc == -ENODEV)
        return err_set(err, ENODEV, "network '%s' is not up: run `vmwire up %s`", spec->network,
                       spec->network);
    if (rc < 0)
        return err_wrap(err, "network '%s'", spec->network);
    if (spec->vlan && !bridge.filters_vlans)
        return err_set(
            err, ENOTSUP,
            "network '%s': its bridge does not tell VLANs apart, and nic %zu is to be in VLAN %u: run "
            "`vmwire up %s` with the nic in the file",
            spec->network, index, spec->vlan, spec->network);
    bool chosen = mac_is_zero(&spec->mac);
    if (chosen)
        spec->mac = nic_mac_random();

    bool vhost =
        spec->vhost == NIC_ON || (spec->vhost == NIC_DEFAULT && mentions(argv, SLOT_VHOST_FDS, index));
    struct nic_request request = {.network = spec->network,
                                  .bridge = bridge.name,
                                  .machine = nics->machine,
                                  .index = nics->first + (unsigned)index,
                                  .mac = spec->mac,
                                  .mac_unknown = chosen && !mentions(argv, SLOT_MAC, index),
                                  .vlan = spec->vlan,
                                  .address = spec->address,
                                  .address6 = spec->address6,
                                  .queues = spec->queues,
                                  .vnet_header = spec->vnet_header != NIC_OFF,
                                  .vhost = vhost,
                                  .rates = spec->rates,
                                  .guest = spec->guest};
    struct nic_open *nic = vec_push(arena, &nics->open);
    memset(nic->fds, -1, sizeof(nic->fds));
    memset(nic->vhost_fds, -1, sizeof(nic->vhost_fds));
    nic->lock_fd = -1;
    rc = host->backend->nic_open(host, &request, nic, err);
    /* The kernel has either for a master that is gone. */
    if ((rc == -ENODEV || rc == -EINVAL) && bridge_gone(arena, host, spec->network, &bridge))
        err_set(err, ENODEV, "it is not up any longer");
    if (rc < 0) {
        nics->open.count--; /* what a failed nic_open left in it is not to be closed */
        return err_wrap(err, "network '%s': nic %zu", spec->network, nics->first + index);
    }
    if (spec->vhost == NIC_ON && nic->vhost_fds[0] < 0)
        return err_set(err, ENODEV,
                       "network '%s': nic %zu: vhost is wanted, and this host has no /dev/vhost-net",
                       spec->network, index);
    return 0;
}

int nics_open(struct arena *arena, struct host *host, struct nics *nics, const char *const argv[],
              struct err *err)
{
    if (nics->specs.count > NICS_MAX)
        return err_set(err, EINVAL, "%zu nics are more than %d", nics->specs.count, NICS_MAX);
    nics->host = host;
    /* Without it, too, each nic is whole or fails: what is seen half made is not opened. */
    _cleanup_fd_ int lock = engine_read_lock(host);
    for (size_t i = 0; i < nics->specs.count; i++) {
        int rc = open_one(arena, host, nics, i, argv, err);
        if (rc < 0) {
            nics_close(nics);
            return rc;
        }
    }
    return 0;
}

static void add_fds(struct text *out, const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        text_add(out, "%s%d", i ? ":" : "", fds[i]);
}

static int slot_fill(struct text *out, const struct nics *nics, const struct slot *slot, struct err *err)
{
    const struct nic_open *nic = &nics->open.items[slot->index];
    switch (slot->kind) {
    case SLOT_TAP:
        text_add(out, "%s", nic->tap);
        return 0;
    case SLOT_MAC:
        text_add(out, "%s", MAC_TEXT(&nics->specs.items[slot->index].mac));
        return 0;
    case SLOT_MTU:
        text_add(out, "%u", nic->mtu);
        return 0;
    case SLOT_FD:
    case SLOT_FDS:
        if (nic->fds[0] < 0)
            return err_set(err, ENOTSUP,
                           "nic %lu has no descriptor on this host: its tap is opened by name ({tap%lu})",
                           slot->index, slot->index);
        add_fds(out, nic->fds, slot->kind == SLOT_FD ? 1 : nic->queues);
        return 0;
    case SLOT_VHOST_FDS:
        if (nic->vhost_fds[0] < 0)
            return err_set(
                err, ENODEV, "'{vhostfds%lu}' stands for vhost descriptors, and nic %lu has none: %s",
                slot->index, slot->index,
                nics->specs.items[slot->index].vhost == NIC_OFF ? "it has vhost=off"
                                                                : "this host has no /dev/vhost-net");
        add_fds(out, nic->vhost_fds, nic->queues);
        return 0;
    case SLOT_KIND_COUNT:
        break;
    }
    return err_set(err, EINVAL, "a placeholder of no kind");
}

static int word_fill(struct arena *arena, const struct nics *nics, const char *word, const char **filled,
                     struct err *err)
{
    struct text out = {.arena = arena};
    struct slot slot;
    for (const char *at = word; *at;) {
        size_t plain = strcspn(at, "{");
        text_add_bytes(&out, at, plain);
        at += plain;
        if (!*at)
            break;
        if (!slot_read(at, &slot)) {
            text_add_bytes(&out, at++, 1);
            continue;
        }
        int rc = slot_fill(&out, nics, &slot, err);
        if (rc < 0)
            return rc;
        at += slot.length;
    }
    *filled = text_get(&out);
    return 0;
}

int nic_substitute(struct arena *arena, const struct nics *nics, const char *const argv[],
                   const char *const **filled, struct err *err)
{
    int rc = nic_check_argv(argv, nics->open.count, err);
    VEC(const char *) words = {0};
    for (size_t i = 0; rc == 0 && argv[i]; i++)
        rc = word_fill(arena, nics, argv[i], vec_push(arena, &words), err);
    if (rc < 0)
        return rc;
    *vec_push(arena, &words) = NULL;
    *filled = words.items;
    return 0;
}

int nics_inherit(const struct nics *nics, struct err *err)
{
    vec_foreach (&nics->open, nic) {
        if (nic->lock_fd >= 0 && fd_inherit(nic->lock_fd, 1) < 0)
            return err_errno(err, errno, "handing over tap '%s'", nic->tap);
        for (unsigned i = 0; i < NIC_QUEUES_MAX; i++) {
            int rc = nic->fds[i] < 0 ? 0 : fd_inherit(nic->fds[i], 1);
            if (rc == 0 && nic->vhost_fds[i] >= 0)
                rc = fd_inherit(nic->vhost_fds[i], 1);
            if (rc < 0)
                return err_errno(err, rc, "handing over tap '%s'", nic->tap);
        }
    }
    return 0;
}

int exec_nics(struct arena *arena, const struct nics *nics, const char *const argv[],
              char *const environment[], struct err *err)
{
    const char *const *filled;
    int rc = nic_substitute(arena, nics, argv, &filled, err);
    if (rc == 0)
        rc = nics_inherit(nics, err);
    if (rc < 0)
        return rc;
    const char *program = environment ? program_find(arena, filled[0]) : filled[0];
    if (!program)
        return err_set(err, ENOENT, "'%s' is not installed", filled[0]);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (environment)
        privilege_keep(PRIVILEGE_HYPERVISOR);
    else
        privilege_inherit_nothing(); /* the user's own program */
    if (environment)
        execve(program, (char *const *)filled, environment);
    else
        execvp(program, (char *const *)filled);
    return err_errno(err, errno, "starting '%s'", filled[0]);
}
