/* dhcp_dns.c: what a nat network's guests are served: DHCP, DNS and booting.
 *
 * What ends up in dnsmasq's configuration is held to letters that mean nothing there (plain_word): no
 * newline, no quote, no '#'. */
#include "config/walk.h"

#include <string.h>
#include <sys/socket.h>

#include "base/text.h"

enum { LEASE_MIN_S = 120, LEASE_MAX_S = 365 * 24 * 3600, OPTION_MAX = 254, LABEL_MAX = 63, DOMAIN_MAX = 200 };

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/* The value's text when it is made of letters, digits and `more`, else NULL after a problem. */
static const char *plain_word(struct walk *walk, const struct key *key, const struct yaml_node *value,
                              const char *more)
{
    const char *text = value_text(walk, key, value);
    if (!text)
        return NULL;
    const char *bad = text;
    while (*bad && (strchr(letters, *bad) || strchr(more, *bad)))
        bad++;
    if (*bad || *text == '-') {
        value_refuse(walk, key, value, "it may have letters, digits and '%s', and begin with no '-'", more);
        return NULL;
    }
    return arena_strdup(walk->arena, text);
}

/* ---- dhcp: FIRST-LAST | off | {range, lease, options} ---- */

static void range_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    struct network *network = target;
    struct ip first, last;
    char begin[IP_TEXT_SIZE];

    const char *text = value_text(walk, key, value);
    if (!text || bool_parse(text, &network->dhcp))
        return;
    const char *dash = strchr(text, '-');
    if (dash && (size_t)(dash - text) < sizeof(begin)) {
        /* Blanks around the dash are harmless. */
        size_t length = (size_t)(dash - text);
        while (length && text[length - 1] == ' ')
            length--;
        memcpy(begin, text, length);
        begin[length] = '\0';
        if (ip_parse(begin, &first) == 0 && ip_parse(dash + 1 + strspn(dash + 1, " "), &last) == 0 &&
            first.family == AF_INET && last.family == AF_INET) {
            network->dhcp_first = first;
            network->dhcp_last = last;
            return;
        }
    } else if (ip_parse(text, &first) == 0 && first.family == AF_INET) {
        value_refuse(walk, key, value, "for this one address write '%s-%s'", text, text);
        return;
    }
    value_refuse(walk, key, value, NULL);
}

/* "90s", "30m", "12h", "7d", "infinite". */
static void lease_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    static const struct {
        char letter;
        unsigned seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    struct network *network = target;
    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    if (strcmp(text, "infinite") == 0) {
        network->lease_s = UINT32_MAX;
        return;
    }
    size_t digits = strspn(text, "0123456789");
    unsigned long number;
    for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
        if (text[digits] != units[i].letter || text[digits + 1] ||
            !number_parse(arena_strndup(walk->problems->arena, text, digits), LEASE_MAX_S, &number))
            continue;
        uint64_t seconds = (uint64_t)number * units[i].seconds;
        if (seconds < LEASE_MIN_S || seconds > LEASE_MAX_S)
            value_refuse(walk, key, value, "the shortest is 2m, the longest 365d, or infinite");
        else
            network->lease_s = (uint32_t)seconds;
        return;
    }
    value_refuse(walk, key, value, NULL);
}

/* dnsmasq's names, less those that vmwire sets itself (`dnsmasq --help dhcp`). */
static const char *const option_names[] = {"time-offset",
                                           "log-server",
                                           "lpr-server",
                                           "boot-file-size",
                                           "swap-server",
                                           "root-path",
                                           "extension-path",
                                           "ip-forward-enable",
                                           "non-local-source-routing",
                                           "policy-filter",
                                           "max-datagram-reassembly",
                                           "default-ttl",
                                           "all-subnets-local",
                                           "router-discovery",
                                           "router-solicitation",
                                           "static-route",
                                           "trailer-encapsulation",
                                           "arp-timeout",
                                           "ethernet-encap",
                                           "tcp-ttl",
                                           "tcp-keepalive",
                                           "nis-domain",
                                           "nis-server",
                                           "ntp-server",
                                           "netbios-ns",
                                           "netbios-dd",
                                           "netbios-nodetype",
                                           "netbios-scope",
                                           "x-windows-fs",
                                           "x-windows-dm",
                                           "T1",
                                           "T2",
                                           "vendor-class",
                                           "nis+-domain",
                                           "nis+-server",
                                           "tftp-server",
                                           "bootfile-name",
                                           "mobile-ip-home",
                                           "smtp-server",
                                           "pop3-server",
                                           "nntp-server",
                                           "irc-server",
                                           "user-class",
                                           "posix-timezone",
                                           "tzdb-timezone",
                                           "ipv6-only",
                                           "domain-search",
                                           "sip-server",
                                           "classless-static-route",
                                           "vendor-id-encap",
                                           "tftp-server-address",
                                           "router",
                                           "dns-server",
                                           "domain-name",
                                           "mtu",
                                           NULL};

static bool option_known(const char *name)
{
    unsigned long number;
    if (number_parse(name, OPTION_MAX, &number))
        return number > 0;
    for (size_t i = 0; option_names[i]; i++) {
        if (strcmp(option_names[i], name) == 0)
            return true;
    }
    return false;
}

static void options_take(struct walk *walk, void *target, const struct key *key,
                         const struct yaml_node *value)
{
    struct network *network = target;
    if (value->kind != YAML_MAPPING) {
        value_refuse(walk, key, value, NULL);
        return;
    }
    yaml_foreach(value, child)
    {
        const char *name = child->key->kind == YAML_SCALAR ? child->key->text : "";
        struct key option = {.name = name, .takes = "the option's value, such as 10.0.0.1"};
        if (!option_known(name)) {
            const char *near = text_nearest(name, option_names);
            problem_add(walk->problems, child->key->pos,
                        "'%s' is no DHCP option that dnsmasq has a name for (dnsmasq --help dhcp), nor a "
                        "number from 1 to "
                        "%d%s%s%s",
                        name, OPTION_MAX, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
            continue;
        }
        const char *text = plain_word(walk, &option, child, " .,:/_-+@%=");
        if (text)
            *vec_push(walk->arena, &network->dhcp_options) =
                (struct dhcp_option){.name = arena_strdup(walk->arena, name), .value = text};
    }
}

const struct section section_dhcp = {
    .what = "dhcp",
    .keys = (const struct key[]){
        {.name = "range",
         .take = range_take,
         .takes = "a range such as 10.0.0.10-10.0.0.250",
         .pos_offset = offsetof(struct network, dhcp_pos)},
        {.name = "lease", .take = lease_take, .takes = "a time such as 90s, 30m, 12h, 7d or infinite"},
        {.name = "options",
         .take = options_take,
         .takes = "DHCP options by name or number, such as {ntp-server: 10.0.0.1}"},
        {0}}};

void dhcp_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    if (value->kind == YAML_MAPPING)
        walk_section(walk, &section_dhcp, "'dhcp'", 0, target, value);
    else
        range_take(walk, target, key, value);
}

/* ---- domain ---- */

/* What is wrong with a name in the DNS (RFC 1123, 2.1), or NULL. */
static const char *dns_name_fault(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > DOMAIN_MAX)
        return "it is too long, or empty";
    for (const char *label = name; label;) {
        size_t size = strcspn(label, ".");
        if (size == 0)
            return "a part of it between dots is empty";
        if (size > LABEL_MAX)
            return "a part of it between dots has more than 63 letters";
        if (label[0] == '-' || label[size - 1] == '-')
            return "a part of it begins or ends with '-'";
        for (size_t i = 0; i < size; i++) {
            if (!strchr(letters, label[i]) && label[i] != '-')
                return "it may have letters, digits, '-' and '.'";
        }
        label = label[size] ? label + size + 1 : NULL;
    }
    return NULL;
}

void domain_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    const char *text = value_text(walk, key, value);
    const char *fault = text ? dns_name_fault(text) : NULL;
    if (!text)
        return;
    if (fault) {
        value_refuse(walk, key, value, "%s", fault);
        return;
    }
    size_t length = strlen(text);
    if (length >= 5 && strcmp(text + length - 5, "local") == 0 && (length == 5 || text[length - 6] == '.'))
        problem_warn(
            walk->problems, value->pos,
            "names in '%s' are asked by multicast (RFC 6762), and guests with mDNS will not ask the DNS "
            "server for them; 'internal' is free",
            text);
    *KEY_MEMBER(const char *, target, key) = arena_strdup(walk->arena, text);
}

/* ---- dns: off | {upstream, hosts} ---- */

static void server_take(struct walk *walk, struct network *network, const struct key *key,
                        const struct yaml_node *value)
{
    struct ip ip;
    unsigned long port = 0;
    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    /* ADDRESS, or IPV4:PORT */
    const char *colon = strchr(text, ':') == strrchr(text, ':') ? strchr(text, ':') : NULL;
    const char *address = colon ? arena_strndup(walk->problems->arena, text, (size_t)(colon - text)) : text;
    if (ip_parse(address, &ip) < 0 || (colon && (!number_parse(colon + 1, 65535, &port) || port == 0)))
        value_refuse(walk, key, value, NULL);
    else
        *vec_push(walk->arena, &network->upstream) =
            port ? arena_printf(walk->arena, "%s#%lu", IP_TEXT(&ip), port)
                 : arena_strdup(walk->arena, IP_TEXT(&ip));
}

static void upstream_take(struct walk *walk, void *target, const struct key *key,
                          const struct yaml_node *value)
{
    if (value->kind != YAML_SEQUENCE) {
        server_take(walk, target, key, value);
        return;
    }
    yaml_foreach(value, item) server_take(walk, target, key, item);
}

static void host_take(struct walk *walk, struct network *network, const struct key *key,
                      const struct yaml_node *value)
{
    struct dns_host host = {.name = value->key->kind == YAML_SCALAR ? value->key->text : ""};
    const char *fault = dns_name_fault(host.name);
    if (fault) {
        problem_add(walk->problems, value->key->pos, "'%s' is no host's name: %s", host.name, fault);
        return;
    }
    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    if (ip_parse(text, &host.ip) < 0) {
        value_refuse(walk, key, value, NULL);
        return;
    }
    host.name = arena_strdup(walk->arena, host.name);
    *vec_push(walk->arena, &network->dns_hosts) = host;
}

static void hosts_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    if (value->kind != YAML_MAPPING) {
        value_refuse(walk, key, value, NULL);
        return;
    }
    yaml_foreach(value, child) host_take(walk, target, key, child);
}

const struct section section_dns = {
    .what = "dns",
    .keys = (const struct key[]){
        {.name = "upstream",
         .take = upstream_take,
         .takes = "DNS servers such as [9.9.9.9, \"10.1.0.1:5353\"]"},
        {.name = "hosts", .take = hosts_take, .takes = "addresses by name, such as {printer: 192.168.87.20}"},
        {0}}};

void dns_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    struct network *network = target;
    if (value->kind == YAML_MAPPING) {
        walk_section(walk, &section_dns, "'dns'", 0, target, value);
        return;
    }
    const char *text = value_text(walk, key, value);
    if (text && !bool_parse(text, &network->dns))
        value_refuse(walk, key, value, NULL);
}

/* ---- boot: {file, uefi, root, server} ---- */

static void boot_word_take(struct walk *walk, void *target, const struct key *key,
                           const struct yaml_node *value)
{
    const char *text = plain_word(walk, key, value, "./_-+:");
    if (text)
        *KEY_MEMBER(const char *, target, key) = text;
}

static void boot_root_take(struct walk *walk, void *target, const struct key *key,
                           const struct yaml_node *value)
{
    const char *text = plain_word(walk, key, value, "./_-+");
    if (text && *text != '/')
        value_refuse(walk, key, value, "it begins with no '/'");
    else if (text)
        *KEY_MEMBER(const char *, target, key) = text;
}

static void boot_server_take(struct walk *walk, void *target, const struct key *key,
                             const struct yaml_node *value)
{
    struct boot *boot = target;
    const char *text = value_text(walk, key, value);
    if (text && (ip_parse(text, &boot->server) < 0 || boot->server.family != AF_INET))
        value_refuse(walk, key, value, NULL);
}

const struct section section_boot = {
    .what = "boot",
    .keys = (const struct key[]){
        {.name = "file",
         .take = boot_word_take,
         .takes = "a file or URL such as pxelinux.0",
         .offset = offsetof(struct boot, file),
         .missing = "write the file that guests begin with"},
        {.name = "uefi",
         .take = boot_word_take,
         .takes = "a file or URL such as ipxe.efi",
         .offset = offsetof(struct boot, uefi)},
        {.name = "root",
         .take = boot_root_take,
         .takes = "the absolute path of a folder such as /srv/tftp",
         .offset = offsetof(struct boot, root)},
        {.name = "server", .take = boot_server_take, .takes = "an IPv4 address such as 192.168.87.5"},
        {0}}};

void boot_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    struct boot *boot = KEY_MEMBER(struct boot, target, key);
    boot->pos = value->pos;
    walk_section(walk, &section_boot, "'boot'", 0, boot, value);
    if (boot->root && ip_is_set(&boot->server))
        problem_add(walk->problems, walk_child(value, "server")->pos,
                    "'server' is another machine's TFTP server, 'root' the network's own; write one of them");
}
