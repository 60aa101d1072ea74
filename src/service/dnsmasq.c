/* dnsmasq.c: DHCP and DNS for one nat network: the configuration that dnsmasq(8) reads, and its lease file.
 */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "service/service.h"

enum { LEASE_TIME_S = 3600, START_TIMEOUT_MS = 10000 };

static const char *path_of(struct arena *arena, const char *run_dir, const char *network, const char *name)
{
    return arena_printf(arena, "%s/network/%s/%s", run_dir, network, name);
}

const char *dnsmasq_lease_path(struct arena *arena, const char *run_dir, const char *network)
{
    return path_of(arena, run_dir, network, "leases");
}

/* A machine's name as a DNS label: '.' and '_' are no letters of one (RFC 1123, 2.1). */
static const char *dns_label(struct arena *arena, const char *name)
{
    char *label = arena_strdup(arena, name);
    for (char *c = label; *c; c++)
        *c = *c == '.' || *c == '_' ? '-' : *c;
    return label;
}

/* Would dhcp-host take the word for something else than a name: a lease time, or one of its own words? */
static bool is_keyword(const char *word)
{
    size_t digits = strspn(word, "0123456789");
    bool time = digits && (!word[digits] || (strchr("smhdwSMHDW", word[digits]) && !word[digits + 1]));
    return time || strcmp(word, "infinite") == 0 || strcmp(word, "ignore") == 0;
}

/* What machines are called, and the addresses that they are given. */
static void add_machines(struct arena *arena, struct text *out, const struct network *network)
{
    vec_foreach (&network->nics, member) {
        const struct nic *nic = member->nic;
        const char *label = dns_label(arena, member->machine->name);
        bool fixed = ip_is_set(&nic->address), named = member->first && !is_keyword(label);
        if (network->dhcp && (fixed || named))
            text_add(out, "dhcp-host=%s%s%s%s%s\n", MAC_TEXT(&nic->mac), fixed ? "," : "",
                     IP_TEXT(&nic->address), named ? "," : "", named ? label : "");
        if (fixed && member->first)
            text_add(out, "host-record=%s,%s.%s,%s\n", label, label, network->name, IP_TEXT(&nic->address));
    }
}

/* Every name that goes in here was checked when it was read (name_fault): no newline, no comma. */
static const char *config_text(struct arena *arena, const struct network *network,
                               const struct service_options *options)
{
    struct prefix host = network_host_address(network), netmask = {.ip = prefix_netmask(&network->subnet)};
    const char *name = network->name;
    struct text out = {.arena = arena};
    text_add(&out, "# dnsmasq for network '%s', written by vmwire: changes here are lost.\n", name);
    text_add(&out,
             "# On the bridge alone: other resolvers and DHCP servers of this host keep their ports.\n");
    text_add(&out, "interface=%s\nexcept-interface=%s\nbind-interfaces\n", name,
             options->loopback ? options->loopback : "lo");
    if (options->user)
        text_add(&out, "user=%s\n", options->user);
    text_add(&out, "pid-file=%s\n", path_of(arena, options->run_dir, name, "dnsmasq.pid"));
    text_add(&out, "# DNS: the host's own resolvers answer; names of guests end in .%s.\n", name);
    text_add(&out, "no-hosts\ndomain-needed\nbogus-priv\nlocal=/%s/\ndomain=%s\nexpand-hosts\n", name, name);
    if (network->nics.count)
        text_add(&out, "# The file's machines\n");
    add_machines(arena, &out, network);
    if (!network->dhcp)
        return text_get(&out);
    text_add(&out, "# DHCP\ndhcp-leasefile=%s\n", dnsmasq_lease_path(arena, options->run_dir, name));
    text_add(&out, "dhcp-range=%s,%s,%s,%d\n", IP_TEXT(&network->dhcp_first), IP_TEXT(&network->dhcp_last),
             IP_TEXT(&netmask.ip), LEASE_TIME_S);
    text_add(&out, "dhcp-option=option:router,%s\n", IP_TEXT(&host.ip));
    text_add(&out, "dhcp-option=option:dns-server,%s\n", IP_TEXT(&host.ip));
    text_add(&out, "dhcp-option=option:domain-name,%s\n", name);
    text_add(&out, "dhcp-option=option:mtu,%u\n", options->mtu);
    text_add(
        &out,
        "# Nobody else serves this segment; an address is offered at once, without 3 s of pinging it.\n");
    text_add(&out, "dhcp-authoritative\nno-ping\n");
    return text_get(&out);
}

static const char *const *argv_of(struct arena *arena, const char *program, const char *argument)
{
    const char **argv = arena_alloc(arena, 3 * sizeof(*argv));
    argv[0] = program;
    argv[1] = argument;
    return argv;
}

void dnsmasq_service(struct arena *arena, const struct network *network,
                     const struct service_options *options, struct service *service, struct file *config,
                     struct file *leases)
{
    const char *path = path_of(arena, options->run_dir, network->name, "dnsmasq.conf");
    *config = (struct file){.path = path, .content = config_text(arena, network, options), .mode = 0600};
    *leases = (struct file){.content = "", .mode = 0600};
    if (network->dhcp)
        leases->path = dnsmasq_lease_path(arena, options->run_dir, network->name);
    *service = (struct service){
        .network = network->name,
        .kind = "dnsmasq",
        .argv = argv_of(arena, "dnsmasq", arena_printf(arena, "--conf-file=%s", path)),
        .pid_path = path_of(arena, options->run_dir, network->name, "dnsmasq.pid"),
        .timeout_ms = START_TIMEOUT_MS,
    };
}

/* The next word of a line, NULL at its end. */
static char *next_word(char **rest)
{
    char *word;
    do
        word = strsep(rest, " ");
    while (word && !*word);
    return word;
}

static void lease_parse(struct arena *arena, char *line, struct leases *leases)
{
    struct lease lease = {0};
    char *expires = next_word(&line), *mac = next_word(&line), *ip = next_word(&line),
         *name = next_word(&line), *end;
    if (!name || mac_parse(mac, &lease.mac) < 0 || ip_parse(ip, &lease.ip) < 0)
        return;
    lease.expires = strtoll(expires, &end, 10);
    if (*end || lease.expires < 0)
        return;
    lease.hostname = strcmp(name, "*") == 0 ? "" : arena_strdup(arena, name);
    *vec_push(arena, &leases->list) = lease;
}

void dnsmasq_leases_parse(struct arena *arena, const char *text, struct leases *leases)
{
    *leases = (struct leases){0};
    char *rest = arena_strdup(arena, text), *line;
    while ((line = strsep(&rest, "\n"))) {
        if (*line)
            lease_parse(arena, line, leases);
    }
}
