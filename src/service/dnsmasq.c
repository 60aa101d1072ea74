/* dnsmasq.c: DHCP and DNS for one nat network: the configuration that dnsmasq(8) reads, and its lease file.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"
#include "service/service.h"

enum { START_TIMEOUT_MS = 10000 };

static const char *path_of(struct arena *arena, const char *run_dir, const char *network, const char *name)
{
    return arena_printf(arena, "%s/network/%s/%s", run_dir, network, name);
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

/* Addresses that are known without a lease: those of the file. */
static const char *hosts_text(struct arena *arena, const struct network *network)
{
    struct text out = {.arena = arena};
    vec_foreach (&network->nics, member) {
        const struct ip *const both[] = {&member->nic->address, &member->nic->address6};
        for (int i = 0; i < 2; i++) {
            if (member->first && ip_is_set(both[i]))
                text_add(&out, "%s %s\n", IP_TEXT(both[i]), dns_label(arena, member->machine->name));
        }
    }
    vec_foreach (&network->dns_hosts, host)
        text_add(&out, "%s %s\n", IP_TEXT(&host->ip), host->name);
    return text_get(&out);
}

/* What machines are called, and the addresses that they are given. */
static const char *dhcp_hosts_text(struct arena *arena, const struct network *network)
{
    struct text out = {.arena = arena};
    vec_foreach (&network->nics, member) {
        const struct nic *nic = member->nic;
        const char *label = dns_label(arena, member->machine->name);
        bool fixed = ip_is_set(&nic->address), fixed6 = ip_is_set(&nic->address6),
             named = member->first && !is_keyword(label);
        if (!fixed && !fixed6 && !named)
            continue;
        text_add(&out, "%s%s%s", MAC_TEXT(&nic->mac), fixed ? "," : "", IP_TEXT(&nic->address));
        if (fixed6)
            text_add(&out, ",[%s]", IP_TEXT(&nic->address6));
        text_add(&out, "%s%s\n", named ? "," : "", named ? label : "");
    }
    return text_get(&out);
}

/* The file has it under this name or number. */
static bool option_given(const struct network *network, const char *name, const char *number)
{
    vec_foreach (&network->dhcp_options, option) {
        if (strcmp(option->name, name) == 0 || strcmp(option->name, number) == 0)
            return true;
    }
    return false;
}

static void add_option(struct text *out, const struct network *network, const char *name, const char *number,
                       const char *value)
{
    if (!option_given(network, name, number))
        text_add(out, "dhcp-option=option:%s,%s\n", name, value);
}

/* Client architectures of UEFI: IA32, BC, x86-64, ARM64 (RFC 4578; IANA, "Processor Architecture Types"). */
static void add_boot(struct text *out, const struct network *network)
{
    static const int architectures[] = {6, 7, 9, 11};
    const struct boot *boot = &network->boot;
    const char *server = ip_is_set(&boot->server) ? IP_TEXT(&boot->server) : "";
    if (!boot->file)
        return;
    text_add(out, "# Booting from the network\n");
    for (size_t i = 0; boot->uefi && i < sizeof(architectures) / sizeof(*architectures); i++)
        text_add(out, "dhcp-match=set:uefi,option:client-arch,%d\n", architectures[i]);
    if (boot->uefi)
        text_add(out, "dhcp-boot=tag:uefi,%s%s%s\n", boot->uefi, *server ? ",," : "", server);
    text_add(out, "dhcp-boot=%s%s%s%s\n", boot->uefi ? "tag:!uefi," : "", boot->file, *server ? ",," : "",
             server);
    if (boot->root)
        text_add(out, "enable-tftp=%s\ntftp-root=%s\n", network->name, boot->root);
}

static const char *lease_time(struct arena *arena, const struct network *network)
{
    return network->lease_s == UINT32_MAX ? "infinite" : arena_printf(arena, "%u", network->lease_s);
}

static void add_dhcp(struct text *out, const struct network *network, const struct service_options *options,
                     const struct dnsmasq *dnsmasq)
{
    struct prefix host = network_host_address(network), netmask = {.ip = prefix_netmask(&network->subnet)};
    struct arena *arena = out->arena;
    text_add(out, "# DHCP\ndhcp-leasefile=%s\ndhcp-hostsfile=%s\n", dnsmasq->leases.path,
             dnsmasq->dhcp_hosts.path);
    text_add(out, "dhcp-range=%s,%s,%s,%s\n", IP_TEXT(&network->dhcp_first), IP_TEXT(&network->dhcp_last),
             IP_TEXT(&netmask.ip), lease_time(arena, network));
    /* An isolated network leads nowhere: the option without a value keeps dnsmasq from telling a router. */
    bool isolated = network->mode == NETWORK_ISOLATED;
    if (!isolated)
        add_option(out, network, "router", "3", IP_TEXT(&host.ip));
    else if (!option_given(network, "router", "3"))
        text_add(out, "dhcp-option=option:router\n");
    if (network->dns)
        add_option(out, network, "dns-server", "6", IP_TEXT(&host.ip));
    add_option(out, network, "domain-name", "15", network->domain);
    add_option(out, network, "mtu", "26", arena_printf(arena, "%u", options->mtu));
    vec_foreach (&network->dhcp_options, option) {
        bool number = option->name[strspn(option->name, "0123456789")] == '\0';
        text_add(out, "dhcp-option=%s%s,%s\n", number ? "" : "option:", option->name, option->value);
    }
    text_add(
        out,
        "# Nobody else serves this segment; an address is offered at once, without 3 s of pinging it.\n");
    text_add(out, "dhcp-authoritative\nno-ping\n");
    add_boot(out, network);
}

/* Router advertisements, which is where a default route comes from, with or without DHCP.  Guests make
 * themselves addresses; with DHCP they are offered one, too.  The interval is dnsmasq's own. */
static void add_ipv6(struct text *out, const struct network *network, uint32_t mtu)
{
    struct prefix host = network_host_address6(network);
    struct ip first = ip_add(&network->subnet6.ip, 0x1000), last = ip_add(&network->subnet6.ip, 0xffff);
    text_add(out, "# IPv6\nenable-ra\n");
    if (network->dhcp)
        text_add(out, "dhcp-range=%s,%s,slaac,ra-names,%u,%s\n", IP_TEXT(&first), IP_TEXT(&last),
                 network->subnet6.length, lease_time(out->arena, network));
    else
        text_add(out, "dhcp-range=%s,slaac,%u\n", IP_TEXT(&network->subnet6.ip), network->subnet6.length);
    text_add(out, "ra-param=%s,mtu:%u,600%s\n", network->name, mtu,
             network->mode == NETWORK_ISOLATED ? ",0" : ""); /* which is no router */
    if (network->dns)
        text_add(out, "dhcp-option=option6:dns-server,[%s]\n", IP_TEXT(&host.ip));
    text_add(out, "dhcp-option=option6:domain-search,%s\n", network->domain);
}

/* Names of guests that are reached from here are asked of their own network's server. */
static void add_other_networks(struct text *out, const struct network *network, const struct model *model)
{
    for (size_t i = 0; model && i < model->networks.count; i++) {
        const struct network *other = &model->networks.items[i];
        if (!other->dns || !network_reaches(network, other) || strcmp(other->domain, network->domain) == 0)
            continue;
        struct prefix host = network_host_address(other);
        text_add(out, "server=/%s/%s\n", other->domain, IP_TEXT(&host.ip));
    }
}

/* Every name that goes in here was checked when it was read: no newline, no comma, no quote. */
static const char *config_text(struct arena *arena, const struct network *network,
                               const struct service_options *options, const struct dnsmasq *dnsmasq)
{
    const char *name = network->name, *domain = network->domain;
    struct text out = {.arena = arena};
    text_add(&out, "# dnsmasq for network '%s', written by vmwire: changes here are lost.\n", name);
    text_add(&out,
             "# On the bridge alone: other resolvers and DHCP servers of this host keep their ports.\n");
    text_add(&out, "interface=%s\nexcept-interface=%s\nbind-interfaces\n", name,
             options->loopback ? options->loopback : "lo");
    if (options->user)
        text_add(&out, "user=%s\n", options->user);
    if (options->group)
        text_add(&out, "group=%s\n", options->group);
    text_add(&out, "pid-file=%s\n", dnsmasq->service.pid_path);
    if (network->dns) {
        text_add(&out, "# DNS: %s; names of guests end in .%s.\n",
                 network->upstream.count             ? "these answer"
                 : network->mode == NETWORK_ISOLATED ? "nobody outside is asked"
                                                     : "the host's own resolvers answer",
                 domain);
        if (network->upstream.count || network->mode == NETWORK_ISOLATED)
            text_add(&out, "no-resolv\n");
        vec_foreach (&network->upstream, server)
            text_add(&out, "server=%s\n", *server);
        add_other_networks(&out, network, options->model);
        text_add(&out, "no-hosts\naddn-hosts=%s\ndomain-needed\nbogus-priv\nlocal=/%s/\n",
                 dnsmasq->hosts.path, domain);
    } else {
        text_add(&out, "# No DNS\nport=0\n");
    }
    text_add(&out, "domain=%s\nexpand-hosts\n", domain);
    if (network->dhcp)
        add_dhcp(&out, network, options, dnsmasq);
    if (network_has_subnet6(network))
        add_ipv6(&out, network, options->mtu);
    return text_get(&out);
}

const char *dnsmasq_config_path(struct arena *arena, const char *run_dir, const char *network)
{
    return path_of(arena, run_dir, network, "dnsmasq.conf");
}

void dnsmasq_served(struct arena *arena, const char *config, struct served *served)
{
    const char *domain = strstr(config, "\ndomain=");
    *served = (struct served){.dhcp = strstr(config, "\ndhcp-authoritative\n"),
                              .dns = !strstr(config, "\nport=0\n"),
                              .ra = strstr(config, "\nenable-ra\n")};
    if (domain)
        served->domain = arena_strndup(arena, domain + 8, strcspn(domain + 8, "\n"));
}

const char *served_text(struct arena *arena, const struct served *served)
{
    const char *words[3];
    size_t count = 0;
    if (!served->domain)
        return "";
    if (served->dhcp)
        words[count++] = "DHCP";
    if (served->dns)
        words[count++] = "DNS";
    if (served->ra)
        words[count++] = "RA";
    return count == 3   ? arena_printf(arena, "%s, %s and %s", words[0], words[1], words[2])
           : count == 2 ? arena_printf(arena, "%s and %s", words[0], words[1])
           : count      ? words[0]
                        : "";
}

static const char *const *argv_of(struct arena *arena, const char *program, const char *argument)
{
    const char **argv = arena_alloc(arena, 3 * sizeof(*argv));
    argv[0] = program;
    argv[1] = argument;
    return argv;
}

/* Where there is no group to share it with, others may read it. */
static struct file table(struct arena *arena, const struct service_options *options, const char *network,
                         const char *name, const char *content)
{
    return (struct file){.path = table_path(arena, options->run_dir, network, name),
                         .content = content,
                         .mode = options->group ? 0640 : 0644,
                         .group = options->group};
}

bool dnsmasq_service(struct arena *arena, const struct network *network,
                     const struct service_options *options, struct dnsmasq *dnsmasq)
{
    const char *run_dir = options->run_dir, *name = network->name;
    const char *path = dnsmasq_config_path(arena, run_dir, name);
    *dnsmasq = (struct dnsmasq){0};
    if (!network->dhcp && !network->dns && !network_has_subnet6(network))
        return false;
    dnsmasq->service = (struct service){
        .network = name,
        .kind = "dnsmasq",
        .argv = argv_of(arena, "dnsmasq", arena_printf(arena, "--conf-file=%s", path)),
        .pid_path = path_of(arena, run_dir, name, "dnsmasq.pid"),
        .timeout_ms = START_TIMEOUT_MS,
    };
    dnsmasq->hosts = table(arena, options, name, "hosts", hosts_text(arena, network));
    if (network->dhcp) {
        dnsmasq->dhcp_hosts = table(arena, options, name, "dhcp-hosts", dhcp_hosts_text(arena, network));
        dnsmasq->leases =
            (struct file){.path = leases_path(arena, run_dir, name), .content = "", .mode = 0600};
    }
    dnsmasq->config =
        (struct file){.path = path, .content = config_text(arena, network, options, dnsmasq), .mode = 0600};
    return true;
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

static bool has_control(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return true;
    }
    return false;
}

/* "00:01:00:01:TIME:MAC" or "00:03:00:01:MAC". */
static void duid_mac(const char *duid, struct mac *mac)
{
    size_t length = duid ? strlen(duid) : 0;
    bool timed = duid && strncmp(duid, "00:01:00:01:", 12) == 0 && length == 14 * 3 - 1;
    if (timed || (duid && strncmp(duid, "00:03:00:01:", 12) == 0 && length == 10 * 3 - 1))
        mac_parse(duid + length - (MAC_TEXT_SIZE - 1), mac);
}

static void lease_parse(struct arena *arena, char *line, struct leases *leases)
{
    struct lease lease = {0};
    char *expires = next_word(&line), *mac = next_word(&line), *ip = next_word(&line),
         *name = next_word(&line), *end;
    if (!name || ip_parse(ip, &lease.ip) < 0)
        return;
    if (lease.ip.family == AF_INET6)
        duid_mac(next_word(&line), &lease.mac);
    else if (mac_parse(mac, &lease.mac) < 0)
        return;
    lease.expires = strtoll(expires, &end, 10);
    if (*end || lease.expires < 0)
        return;
    /* dnsmasq lets no other names in; a terminal must not be moved by a file. */
    bool named = strcmp(name, "*") != 0 && !has_control(name);
    lease.hostname = named ? arena_strdup(arena, name) : "";
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
