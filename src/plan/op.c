/* op.c: operations as text, driven by one table of members a kind: op.h. */
#include "plan/op.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum field_type { F_TEXT, F_BOOL, F_U8, F_U32, F_MAC, F_IP, F_PREFIX, F_RATE, F_ARGV, F_FORWARDS };

struct field {
    const char *name;
    enum field_type type;
    size_t offset;
    unsigned optional; /* written only when this bit of the operation's fields is set; 0: always */
};

#define FIELD(name, type, member)                                                                            \
    {                                                                                                        \
        name, type, offsetof(struct op, member), 0                                                           \
    }
#define OPTIONAL(name, type, member, bit)                                                                    \
    {                                                                                                        \
        name, type, offsetof(struct op, member), bit                                                         \
    }
#define END                                                                                                  \
    {                                                                                                        \
        NULL, F_TEXT, 0, 0                                                                                   \
    }

static const struct field link_fields[] = {
    FIELD("ifname", F_TEXT, link.name),
    FIELD("kind", F_TEXT, link.kind),
    OPTIONAL("mac", F_MAC, link.mac, LINK_MAC),
    OPTIONAL("mtu", F_U32, link.mtu, LINK_MTU),
    OPTIONAL("up", F_BOOL, link.up, LINK_UP),
    OPTIONAL("alias", F_TEXT, link.alias, LINK_ALIAS),
    OPTIONAL("stp", F_BOOL, link.stp, LINK_STP),
    OPTIONAL("forward_delay", F_U32, link.forward_delay, LINK_FORWARD_DELAY),
    OPTIONAL("ipv6", F_BOOL, link.ipv6, LINK_IPV6),
    OPTIONAL("accept_ra", F_U8, link.accept_ra, LINK_ACCEPT_RA),
    FIELD("guest", F_BOOL, link.guest),
    OPTIONAL("filters_vlans", F_BOOL, link.filters_vlans, LINK_FILTERS_VLANS),
    FIELD("lower", F_TEXT, link.lower),
    FIELD("vlan", F_U32, link.vlan),
    END};

static const struct field port_fields[] = {FIELD("ifname", F_TEXT, port.ifname),
                                           FIELD("bridge", F_TEXT, port.bridge),
                                           FIELD("guest", F_BOOL, port.guest), END};

static const struct field port_rule_fields[] = {FIELD("ifname", F_TEXT, port.ifname),
                                                FIELD("bridge", F_TEXT, port.bridge),
                                                FIELD("guest", F_BOOL, port.guest),
                                                FIELD("isolated", F_BOOL, port.rules.isolated),
                                                FIELD("vlan", F_U32, port.vlan),
                                                FIELD("alias", F_TEXT, port.alias),
                                                END};

static const struct field port_vlan_fields[] = {FIELD("ifname", F_TEXT, port.ifname),
                                                FIELD("bridge", F_TEXT, port.bridge),
                                                FIELD("vlan", F_U32, port.vlan), END};

static const struct field address_fields[] = {FIELD("ifname", F_TEXT, address.ifname),
                                              FIELD("address", F_PREFIX, address.prefix),
                                              FIELD("peer", F_IP, address.peer),
                                              FIELD("broadcast", F_IP, address.broadcast),
                                              FIELD("label", F_TEXT, address.label),
                                              FIELD("scope", F_U8, address.scope),
                                              FIELD("flags", F_U32, address.flags),
                                              FIELD("metric", F_U32, address.metric),
                                              FIELD("valid", F_U32, address.valid_s),
                                              FIELD("preferred", F_U32, address.preferred_s),
                                              END};

static const struct field route_fields[] = {FIELD("table", F_U32, route.table),
                                            FIELD("to", F_PREFIX, route.to),
                                            FIELD("tos", F_U8, route.tos),
                                            FIELD("scope", F_U8, route.scope),
                                            FIELD("type", F_U8, route.type),
                                            FIELD("protocol", F_U8, route.protocol),
                                            FIELD("metric", F_U32, route.metric),
                                            FIELD("gateway", F_IP, route.gateway),
                                            FIELD("ifname", F_TEXT, route.ifname),
                                            FIELD("source", F_IP, route.source),
                                            FIELD("onlink", F_BOOL, route.onlink),
                                            FIELD("mtu", F_U32, route.mtu),
                                            FIELD("advmss", F_U32, route.advmss),
                                            FIELD("preference", F_U8, route.preference),
                                            END};

static const struct field neighbour_fields[] = {FIELD("ifname", F_TEXT, neighbour.ifname),
                                                FIELD("address", F_IP, neighbour.ip),
                                                FIELD("mac", F_MAC, neighbour.mac),
                                                FIELD("proxy", F_BOOL, neighbour.proxy),
                                                FIELD("router", F_BOOL, neighbour.router),
                                                FIELD("protocol", F_U8, neighbour.protocol),
                                                END};

static const struct field sysctl_fields[] = {FIELD("name", F_TEXT, sysctl.name),
                                             FIELD("value", F_TEXT, sysctl.value), END};

static const struct field firewall_fields[] = {FIELD("bridge", F_TEXT, firewall.bridge),
                                               FIELD("uplink", F_TEXT, firewall.uplink),
                                               FIELD("way", F_TEXT, firewall.way),
                                               FIELD("isolate", F_BOOL, firewall.isolate),
                                               FIELD("subnet", F_PREFIX, firewall.subnet),
                                               FIELD("subnet6", F_PREFIX, firewall.subnet6),
                                               FIELD("forwards", F_FORWARDS, firewall.forwards),
                                               END};

static const struct field main_fields[] = {FIELD("load", F_BOOL, main.load),
                                           FIELD("enable", F_BOOL, main.enable), END};

static const struct field admission_fields[] = {
    FIELD("family", F_TEXT, admission.family), FIELD("table", F_TEXT, admission.table),
    FIELD("chain", F_TEXT, admission.chain),   FIELD("kind", F_TEXT, admission.kind),
    FIELD("last", F_BOOL, admission.last),     END};

static const struct field zone_fields[] = {FIELD("ifname", F_TEXT, zone.ifname),
                                           FIELD("zone", F_TEXT, zone.zone), END};
static const struct field shared_fields[] = {FIELD("bridge", F_TEXT, shared.bridge),
                                             FIELD("uplink", F_TEXT, shared.uplink),
                                             FIELD("mac", F_MAC, shared.mac), END};

static const struct field shared_address_fields[] = {FIELD("address", F_IP, shared_address.ip),
                                                     FIELD("mac", F_MAC, shared_address.mac), END};

static const struct field unmanaged_fields[] = {FIELD("interfaces", F_TEXT, unmanaged.interfaces), END};

static const struct field service_fields[] = {
    FIELD("kind", F_TEXT, service.kind), FIELD("argv", F_ARGV, service.argv),
    FIELD("pid_path", F_TEXT, service.pid_path), FIELD("timeout_ms", F_U32, service.timeout_ms), END};

static const struct field lock_fields[] = {
    FIELD("mac", F_BOOL, lock.kinds[LOCK_MAC]), FIELD("ip", F_BOOL, lock.kinds[LOCK_IP]),
    FIELD("arp", F_BOOL, lock.kinds[LOCK_ARP]), FIELD("dhcp", F_BOOL, lock.kinds[LOCK_DHCP]),
    FIELD("ra", F_BOOL, lock.kinds[LOCK_RA]),   FIELD("subnet6", F_PREFIX, lock.subnet6),
    FIELD("any6", F_BOOL, lock.any6),           END};

static const struct field nic_fields[] = {FIELD("ifname", F_TEXT, nic.ifname),
                                          FIELD("mac", F_MAC, nic.mac),
                                          FIELD("any", F_BOOL, nic.any),
                                          FIELD("address", F_IP, nic.ip),
                                          FIELD("address6", F_IP, nic.ip6),
                                          FIELD("leased", F_IP, nic.leased),
                                          END};

static const struct field shaper_fields[] = {FIELD("outward", F_BOOL, shaper.outward),
                                             FIELD("nics", F_BOOL, shaper.nics),
                                             FIELD("rate", F_RATE, shaper.rate), END};

static const struct field nic_rate_fields[] = {
    FIELD("ifname", F_TEXT, nic_rates.ifname), FIELD("in_shaped", F_BOOL, nic_rates.in.shaped),
    FIELD("in", F_RATE, nic_rates.in.rate),    FIELD("out_shaped", F_BOOL, nic_rates.out.shaped),
    FIELD("out", F_RATE, nic_rates.out.rate),  END};

static const struct field resolver_fields[] = {FIELD("ifname", F_TEXT, resolver.ifname),
                                               FIELD("server", F_IP, resolver.server),
                                               FIELD("domain", F_TEXT, resolver.domain), END};

static const struct field reload_fields[] = {FIELD("kind", F_TEXT, reload.kind),
                                             FIELD("pid_path", F_TEXT, reload.pid_path),
                                             FIELD("path", F_TEXT, reload.path),
                                             FIELD("content", F_TEXT, reload.content),
                                             FIELD("mode", F_U32, reload.mode),
                                             FIELD("group", F_TEXT, reload.group),
                                             END};

static const struct field device_fields[] = {
    FIELD("address", F_TEXT, device.address), FIELD("driver", F_TEXT, device.driver),
    FIELD("ifname", F_TEXT, device.ifname), FIELD("override", F_TEXT, device.override), END};

static const struct field functions_fields[] = {FIELD("address", F_TEXT, functions.address),
                                                FIELD("count", F_U32, functions.count),
                                                FIELD("probe", F_BOOL, functions.probe), END};

static const struct field function_fields[] = {
    FIELD("ifname", F_TEXT, function.ifname),
    FIELD("index", F_U32, function.index),
    OPTIONAL("mac", F_MAC, function.mac, FUNCTION_MAC),
    OPTIONAL("vlan", F_U32, function.vlan, FUNCTION_VLAN),
    OPTIONAL("spoof_check", F_BOOL, function.spoof_check, FUNCTION_SPOOF_CHECK),
    OPTIONAL("trust", F_BOOL, function.trust, FUNCTION_TRUST),
    OPTIONAL("rate_mbps", F_U32, function.rate_mbps, FUNCTION_RATE),
    OPTIONAL("link", F_U8, function.link, FUNCTION_LINK),
    END};

static const struct field file_fields[] = {
    FIELD("path", F_TEXT, file.path), FIELD("content", F_TEXT, file.content), FIELD("mode", F_U32, file.mode),
    FIELD("group", F_TEXT, file.group), END};

static const struct {
    const char *name;
    const struct field *fields;
} kinds[OP_KIND_COUNT] = {
    [OP_LINK_CREATE] = {"link-create", link_fields},
    [OP_LINK_DELETE] = {"link-delete", link_fields},
    [OP_LINK_SET] = {"link-set", link_fields},
    [OP_PORT_ADD] = {"port-add", port_fields},
    [OP_PORT_REMOVE] = {"port-remove", port_fields},
    [OP_PORT_SET] = {"port-set", port_rule_fields},
    [OP_PORT_VLAN_ADD] = {"port-vlan-add", port_vlan_fields},
    [OP_PORT_VLAN_REMOVE] = {"port-vlan-remove", port_vlan_fields},
    [OP_ADDRESS_ADD] = {"address-add", address_fields},
    [OP_ADDRESS_REMOVE] = {"address-remove", address_fields},
    [OP_ROUTE_ADD] = {"route-add", route_fields},
    [OP_ROUTE_REMOVE] = {"route-remove", route_fields},
    [OP_ROUTE_REPLACE] = {"route-replace", route_fields},
    [OP_NEIGHBOUR_ADD] = {"neighbour-add", neighbour_fields},
    [OP_NEIGHBOUR_REMOVE] = {"neighbour-remove", neighbour_fields},
    [OP_SYSCTL_SET] = {"sysctl-set", sysctl_fields},
    [OP_FIREWALL_SET] = {"firewall-set", firewall_fields},
    [OP_FIREWALL_REMOVE] = {"firewall-remove", firewall_fields},
    [OP_FIREWALL_ENABLE] = {"firewall-enable", main_fields},
    [OP_FIREWALL_DISABLE] = {"firewall-disable", main_fields},
    [OP_ADMISSION_ADD] = {"admission-add", admission_fields},
    [OP_ADMISSION_REMOVE] = {"admission-remove", admission_fields},
    [OP_ZONE_ADD] = {"zone-add", zone_fields},
    [OP_ZONE_REMOVE] = {"zone-remove", zone_fields},
    [OP_SHARED_SET] = {"shared-set", shared_fields},
    [OP_SHARED_REMOVE] = {"shared-remove", shared_fields},
    [OP_SHARED_ADDRESS_ADD] = {"shared-address-add", shared_address_fields},
    [OP_SHARED_ADDRESS_REMOVE] = {"shared-address-remove", shared_address_fields},
    [OP_UNMANAGE] = {"unmanage", unmanaged_fields},
    [OP_MANAGE] = {"manage", unmanaged_fields},
    [OP_SERVICE_START] = {"service-start", service_fields},
    [OP_SERVICE_STOP] = {"service-stop", service_fields},
    [OP_LOCK_SET] = {"lock-set", lock_fields},
    [OP_LOCK_REMOVE] = {"lock-remove", lock_fields},
    [OP_SHAPER_SET] = {"shaper-set", shaper_fields},
    [OP_SHAPER_REMOVE] = {"shaper-remove", shaper_fields},
    [OP_RATE_SET] = {"rate-set", nic_rate_fields},
    [OP_NIC_SET] = {"nic-set", nic_fields},
    [OP_NIC_REMOVE] = {"nic-remove", nic_fields},
    [OP_RESOLVER_SET] = {"resolver-set", resolver_fields},
    [OP_RESOLVER_CLEAR] = {"resolver-clear", resolver_fields},
    [OP_SERVICE_RELOAD] = {"service-reload", reload_fields},
    [OP_DEVICE_BIND] = {"device-bind", device_fields},
    [OP_DEVICE_UNBIND] = {"device-unbind", device_fields},
    [OP_FUNCTIONS_SET] = {"functions-set", functions_fields},
    [OP_FUNCTION_SET] = {"function-set", function_fields},
    [OP_FILE_WRITE] = {"file-write", file_fields},
    [OP_FILE_REMOVE] = {"file-remove", file_fields},
};

const char *op_kind_name(enum op_kind kind)
{
    return kind > OP_NONE && kind < OP_KIND_COUNT ? kinds[kind].name : "none";
}

/* Percent-encoding.  ',' is encoded too, since it separates the words of an argv. */
static void encode(struct text *out, const char *value)
{
    for (const unsigned char *c = (const unsigned char *)value; *c; c++) {
        if (*c <= ' ' || *c == '%' || *c == '=' || *c == ',' || *c == 0x7f)
            text_add(out, "%%%02x", *c);
        else
            text_add_bytes(out, (const char *)c, 1);
    }
}

static int hex(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* The decoded value, or NULL when it is not what encode writes. */
static char *decode(struct arena *arena, const char *value, size_t length)
{
    char *out = arena_alloc(arena, length + 1);
    size_t used = 0;
    for (size_t i = 0; i < length; i++) {
        if (value[i] != '%') {
            out[used++] = value[i];
            continue;
        }
        if (length - i < 3)
            return NULL;
        int high = hex(value[i + 1]), low = hex(value[i + 2]);
        if (high < 0 || low < 0 || (high == 0 && low == 0))
            return NULL;
        out[used++] = (char)(high << 4 | low);
        i += 2;
    }
    return out;
}

static const void *at(const struct op *op, const struct field *field)
{
    return (const char *)op + field->offset;
}

/* The member as text, NULL when it is unset and need not be written. */
static const char *member_text(struct arena *arena, const struct op *op, const struct field *field)
{
    const void *member = at(op, field);
    switch (field->type) {
    case F_TEXT: {
        const char *text = *(const char *const *)member;
        return text && (*text || field->optional) ? text : NULL;
    }
    case F_BOOL:
        return *(const bool *)member ? "1" : field->optional ? "0" : NULL;
    case F_U8:
        return *(const uint8_t *)member || field->optional
                   ? arena_printf(arena, "%u", *(const uint8_t *)member)
                   : NULL;
    case F_U32:
        return *(const uint32_t *)member || field->optional
                   ? arena_printf(arena, "%" PRIu32, *(const uint32_t *)member)
                   : NULL;
    case F_MAC:
        return arena_strdup(arena, MAC_TEXT((const struct mac *)member));
    case F_IP:
        return ip_is_set(member) ? arena_strdup(arena, IP_TEXT((const struct ip *)member)) : NULL;
    case F_PREFIX: {
        const struct prefix *prefix = member;
        return ip_is_set(&prefix->ip) ? arena_strdup(arena, PREFIX_TEXT(prefix)) : NULL;
    }
    case F_RATE: {
        const struct rate *rate = member;
        return rate->bits_s ? arena_printf(arena, "%" PRIu64 "/%" PRIu32, rate->bits_s, rate->burst) : NULL;
    }
    case F_ARGV:
    case F_FORWARDS:
        break;
    }
    return NULL;
}

/* The words of a member that is a list, ending with NULL; NULL when it is none, or empty. */
static const char *const *member_words(struct arena *arena, const struct op *op, const struct field *field)
{
    if (field->type == F_ARGV)
        return *(const char *const *const *)at(op, field);
    const struct forwards *forwards = field->type == F_FORWARDS ? at(op, field) : NULL;
    if (!forwards || !forwards->list.count)
        return NULL;
    VEC(const char *) words = {0};
    vec_foreach (&forwards->list, forward)
        *vec_push(arena, &words) = forward_format(arena, forward);
    *vec_push(arena, &words) = NULL;
    return words.items;
}

static bool is_list(const struct field *field)
{
    return field->type == F_ARGV || field->type == F_FORWARDS;
}

/* Which optional members an operation has: the bits of its `fields`; NULL when none is optional. */
static unsigned *fields_of(struct op *op)
{
    if (op->kind == OP_LINK_CREATE || op->kind == OP_LINK_DELETE || op->kind == OP_LINK_SET)
        return &op->link.fields;
    return op->kind == OP_FUNCTION_SET ? &op->function.fields : NULL;
}

static bool wanted(const struct op *op, const struct field *field)
{
    const unsigned *fields = fields_of((struct op *)op);
    return !field->optional || (fields && (*fields & field->optional));
}

static void words_format(struct text *out, const char *const *words)
{
    for (size_t i = 0; words && words[i]; i++) {
        if (i)
            text_add(out, ",");
        encode(out, words[i]);
    }
}

const char *op_format(struct arena *arena, const struct op *op)
{
    struct text out = {.arena = arena};
    text_add(&out, "%s", op_kind_name(op->kind));
    if (op->network && *op->network) {
        text_add(&out, " network=");
        encode(&out, op->network);
    }
    for (const struct field *field = kinds[op->kind].fields; field && field->name; field++) {
        if (!wanted(op, field))
            continue;
        if (is_list(field)) {
            const char *const *words = member_words(arena, op, field);
            if (words || field->type == F_ARGV) {
                text_add(&out, " %s=", field->name);
                words_format(&out, words);
            }
            continue;
        }
        const char *value = member_text(arena, op, field);
        if (value) {
            text_add(&out, " %s=", field->name);
            encode(&out, value);
        }
    }
    return text_get(&out);
}

static int number_parse(const char *text, unsigned long max, unsigned long *number)
{
    if (!*text || text[strspn(text, "0123456789")] || strlen(text) > 10)
        return -EINVAL;
    *number = strtoul(text, NULL, 10);
    return *number > max ? -EINVAL : 0;
}

static const char *const *words_parse(struct arena *arena, const char *text)
{
    VEC(const char *) words = {0};
    const char *rest = *text ? text : NULL;
    while (rest) { /* behind a comma stands a word, if an empty one */
        size_t length = strcspn(rest, ",");
        const char *word = decode(arena, rest, length);
        if (!word)
            return NULL;
        *vec_push(arena, &words) = word;
        rest = rest[length] == ',' ? rest + length + 1 : NULL;
    }
    *vec_push(arena, &words) = NULL;
    return words.items;
}

static int forwards_parse(struct arena *arena, const char *const *words, struct forwards *forwards)
{
    for (size_t i = 0; words && words[i]; i++) {
        const char *name;
        struct forward *forward = vec_push(arena, &forwards->list);
        if (forward_parse(arena, words[i], forward, &name) || !ip_is_set(&forward->target))
            return -EINVAL;
    }
    return words ? 0 : -EINVAL;
}

/* "BITS/BYTES", whatever limits a file may ask for: what was observed is put back. */
static int numbers_parse(struct arena *arena, const char *text, struct rate *rate)
{
    unsigned long bits, burst;
    const char *slash = strchr(text, '/');
    if (!slash || number_parse(arena_strndup(arena, text, (size_t)(slash - text)), ULONG_MAX, &bits) < 0 ||
        number_parse(slash + 1, UINT32_MAX, &burst) < 0)
        return -EINVAL;
    *rate = (struct rate){.bits_s = bits, .burst = (uint32_t)burst};
    return 0;
}

static int member_parse(struct arena *arena, struct op *op, const struct field *field, const char *raw,
                        size_t length)
{
    void *member = (char *)op + field->offset;
    unsigned long number = 0;
    int rc = 0;
    if (is_list(field)) {
        const char *const *words = words_parse(arena, arena_strndup(arena, raw, length));
        if (!words)
            return -EINVAL;
        if (field->type == F_FORWARDS)
            return forwards_parse(arena, words, member);
        *(const char *const **)member = words;
        return 0;
    }
    const char *text = decode(arena, raw, length);
    if (!text)
        return -EINVAL;
    switch (field->type) {
    case F_TEXT:
        *(const char **)member = text;
        break;
    case F_BOOL:
        rc = number_parse(text, 1, &number);
        *(bool *)member = number != 0;
        break;
    case F_U8:
        rc = number_parse(text, UINT8_MAX, &number);
        *(uint8_t *)member = (uint8_t)number;
        break;
    case F_U32:
        rc = number_parse(text, UINT32_MAX, &number);
        *(uint32_t *)member = (uint32_t)number;
        break;
    case F_MAC:
        rc = mac_parse(text, member);
        break;
    case F_IP:
        rc = ip_parse(text, member);
        break;
    case F_PREFIX:
        rc = prefix_parse(text, member);
        break;
    case F_RATE:
        rc = numbers_parse(arena, text, member);
        break;
    case F_ARGV:
    case F_FORWARDS:
        break;
    }
    if (rc == 0 && field->optional)
        *fields_of(op) |= field->optional;
    return rc;
}

/* Texts that a line left out are "", never NULL. */
static void fill_texts(struct op *op)
{
    for (const struct field *field = kinds[op->kind].fields; field && field->name; field++) {
        if (field->type == F_TEXT) {
            const char **member = (const char **)(void *)((char *)op + field->offset);
            if (!*member)
                *member = "";
        }
    }
    if (op->kind == OP_FIREWALL_SET || op->kind == OP_FIREWALL_REMOVE)
        op->firewall.network = op->network;
    if (op->kind == OP_UNMANAGE || op->kind == OP_MANAGE)
        op->unmanaged.network = op->network;
    if (op->kind == OP_ADMISSION_ADD || op->kind == OP_ADMISSION_REMOVE)
        op->admission.network = op->network;
    if (op->kind == OP_LOCK_SET || op->kind == OP_LOCK_REMOVE)
        op->lock.network = op->network;
    if (op->kind == OP_SHAPER_SET || op->kind == OP_SHAPER_REMOVE)
        op->shaper.network = op->network;
    if (op->kind == OP_NIC_SET || op->kind == OP_NIC_REMOVE)
        op->nic.network = op->network;
    if (op->kind == OP_SHARED_SET || op->kind == OP_SHARED_REMOVE)
        op->shared.network = op->network;
    if (op->kind == OP_SHARED_ADDRESS_ADD || op->kind == OP_SHARED_ADDRESS_REMOVE)
        op->shared_address.network = op->network;
    if (op->kind == OP_SERVICE_START || op->kind == OP_SERVICE_STOP)
        op->service.network = op->network;
}

static int pair_parse(struct arena *arena, struct op *op, const char *pair, size_t length, struct err *err)
{
    const char *equals = memchr(pair, '=', length);
    if (!equals)
        return err_set(err, EINVAL, "'%.*s' is not KEY=VALUE", (int)length, pair);
    size_t name_length = (size_t)(equals - pair), value_length = length - name_length - 1;
    if (name_length == 7 && memcmp(pair, "network", 7) == 0) {
        op->network = decode(arena, equals + 1, value_length);
        return op->network ? 0 : err_set(err, EINVAL, "'%.*s' is not well encoded", (int)length, pair);
    }
    for (const struct field *field = kinds[op->kind].fields; field->name; field++) {
        if (strlen(field->name) != name_length || memcmp(field->name, pair, name_length) != 0)
            continue;
        if (member_parse(arena, op, field, equals + 1, value_length) < 0)
            return err_set(err, EINVAL, "'%.*s' has a bad value", (int)length, pair);
        return 0;
    }
    return err_set(err, EINVAL, "'%.*s' does not belong to %s", (int)length, pair, op_kind_name(op->kind));
}

int op_parse(struct arena *arena, const char *line, struct op *op, struct err *err)
{
    *op = (struct op){.network = ""};
    size_t length = strcspn(line, " ");
    for (int kind = OP_NONE + 1; kind < OP_KIND_COUNT; kind++) {
        if (strlen(kinds[kind].name) == length && memcmp(kinds[kind].name, line, length) == 0)
            op->kind = (enum op_kind)kind;
    }
    if (op->kind == OP_NONE)
        return err_set(err, EINVAL, "'%.*s' is not an operation", (int)length, line);
    for (const char *rest = line + length; *rest;) {
        rest++;
        size_t pair = strcspn(rest, " ");
        int rc = pair_parse(arena, op, rest, pair, err);
        if (rc < 0)
            return rc;
        rest += pair;
    }
    fill_texts(op);
    return 0;
}

void op_json(struct json *json, const struct op *op)
{
    struct arena *arena = json->out->arena;
    json_string(json, "kind", op_kind_name(op->kind));
    json_string(json, "network", op->network && *op->network ? op->network : NULL);
    for (const struct field *field = kinds[op->kind].fields; field && field->name; field++) {
        if (!wanted(op, field))
            continue;
        /* "kind" is the operation's already */
        const char *name = strcmp(field->name, "kind") == 0 ? "type" : field->name;
        if (is_list(field)) {
            json_array_open(json, name);
            const char *const *words = member_words(arena, op, field);
            for (size_t i = 0; words && words[i]; i++)
                json_string(json, NULL, words[i]);
            json_array_close(json);
        } else if (field->type == F_BOOL) {
            json_bool(json, name, *(const bool *)at(op, field));
        } else if (field->type == F_U32) {
            json_integer(json, name, *(const uint32_t *)at(op, field));
        } else if (field->type == F_U8) {
            json_integer(json, name, *(const uint8_t *)at(op, field));
        } else {
            const char *value = member_text(arena, op, field);
            if (value)
                json_string(json, name, value);
        }
    }
}
