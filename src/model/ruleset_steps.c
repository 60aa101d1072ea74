/* ruleset_steps.c: one step of a rule, on registers of which not every bit is known: ruleset.h. */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "model/ruleset_walk.h"

enum { NAME_SIZE = 16 };

static void put(struct bytes *to, size_t at, const void *bytes, size_t length)
{
    memcpy(to->bits + at, bytes, length);
    memset(to->known + at, 0xff, length);
}

static void put_u8(struct bytes *to, size_t at, uint8_t value)
{
    put(to, at, &value, 1);
}

/* Big-endian, as on the wire. */
static void put_u16(struct bytes *to, size_t at, uint16_t value)
{
    put(to, at, (uint8_t[]){(uint8_t)(value >> 8), (uint8_t)value}, 2);
}

static void put_prefix(struct bytes *to, size_t at, const struct prefix *prefix)
{
    for (size_t i = 0; i < ip_size(&prefix->ip); i++) {
        size_t bits = prefix->length > i * 8 ? prefix->length - i * 8 : 0;
        uint8_t mask = bits >= 8 ? 0xff : (uint8_t)(0xff00 >> bits);
        to->known[at + i] = mask;
        to->bits[at + i] = prefix->ip.bytes[i] & mask;
    }
}

static void put_mac(struct bytes *to, size_t at, const struct mac *mac)
{
    if (!mac_is_zero(mac))
        put(to, at, mac->bytes, 6);
}

uint16_t sample_ethertype(const struct sample *sample)
{
    if (sample->ethertype)
        return sample->ethertype;
    return sample->source.ip.family == AF_INET6 || sample->target.ip.family == AF_INET6 ? 0x86dd : 0x0800;
}

/* A port that the sender chose is above 32767 (net.ipv4.ip_local_port_range; RFC 6335, 6). */
static void put_port(struct bytes *to, size_t at, uint16_t port)
{
    if (port)
        put_u16(to, at, port);
    else
        to->bits[at] = to->known[at] = 0x80;
}

/* Of one hop alone, and connection tracking leaves it alone.  RFC 4861. */
static bool is_neighbour_discovery(const struct sample *sample)
{
    enum { ROUTER_SOLICITATION = 133, REDIRECT = 137 };
    return sample->protocol == IPPROTO_ICMPV6 && sample->icmp_type >= ROUTER_SOLICITATION &&
           sample->icmp_type <= REDIRECT;
}

/* The packet's headers, as far as they are known.  RFC 791, 8200, 768, 9293, 792. */
void walk_headers_make(struct walk *walk)
{
    const struct sample *sample = walk->sample;
    uint16_t ethertype = sample_ethertype(sample);
    put_mac(&walk->link, 0, &sample->target_mac);
    put_mac(&walk->link, 6, &sample->source_mac);
    put_u16(&walk->link, 12, ethertype);
    walk->network_size = HEADER_SIZE;
    if (ethertype == 0x0800) {
        put_u8(&walk->network, 0, 0x45);
        walk->network.known[6] = 0x3f, walk->network.known[7] = 0xff; /* no fragment */
        put_prefix(&walk->network, 12, &sample->source);
        put_prefix(&walk->network, 16, &sample->target);
        if (sample->protocol)
            put_u8(&walk->network, 9, sample->protocol);
        walk->network_size = 20;
    } else if (ethertype == 0x0806) { /* RFC 826 */
        const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0, sample->answer ? 2 : 1};
        put(&walk->network, 0, head, sizeof(head));
        put_mac(&walk->network, 8, &sample->source_mac);
        put_prefix(&walk->network, 14, &sample->source);
        put_mac(&walk->network, 18, &sample->target_mac);
        put_prefix(&walk->network, 24, &sample->target);
        walk->network_size = 28;
    } else if (ethertype == 0x86dd) {
        walk->network.bits[0] = 0x60, walk->network.known[0] = 0xf0;
        put_prefix(&walk->network, 8, &sample->source);
        put_prefix(&walk->network, 24, &sample->target);
        if (sample->protocol)
            put_u8(&walk->network, 6, sample->protocol);
        if (is_neighbour_discovery(sample))
            put_u8(&walk->network, 7, 255);
        walk->network_size = 40;
    }
    if (sample->protocol == IPPROTO_TCP || sample->protocol == IPPROTO_UDP) {
        put_port(&walk->transport, 0, sample->source_port);
        put_port(&walk->transport, 2, sample->target_port);
        if (sample->protocol == IPPROTO_TCP && !sample->answer)
            put_u8(&walk->transport, 13, 0x02); /* SYN */
    } else if (sample->protocol == IPPROTO_ICMP || sample->protocol == IPPROTO_ICMPV6) {
        put_u8(&walk->transport, 0, sample->icmp_type);
        put_u8(&walk->transport, 1, 0);
    }
}

static void load_name(struct bytes *to, const char *name)
{
    char text[NAME_SIZE] = {0};
    if (!name)
        return;
    memcpy(text, name, strnlen(name, NAME_SIZE - 1));
    put(to, 0, text, NAME_SIZE);
}

static void load_number(struct bytes *to, uint32_t value, uint8_t length)
{
    uint16_t half = (uint16_t)value;
    if (length == 1)
        put_u8(to, 0, (uint8_t)value);
    else if (length == 2)
        put(to, 0, &half, 2);
    else
        put(to, 0, &value, 4);
}

static uint32_t target_type(const struct sample *sample)
{
    enum { UNICAST = 1, LOCAL, BROADCAST, MULTICAST = 5 };
    if (sample->target_broadcast)
        return BROADCAST;
    if (sample->target_local)
        return LOCAL;
    return sample->target.length && ip_is_multicast(&sample->target.ip) ? MULTICAST : UNICAST;
}

/* Connection tracking's and the routes' answers. */
static void load_state(const struct walk *walk, const struct rule_step *step, struct bytes *to)
{
    enum { ESTABLISHED = 2, NEW = 8, UNTRACKED = 64 };
    const struct sample *sample = walk->sample;
    uint32_t translated = 1 << 5; /* IPS_DST_NAT */
    switch (step->source) {
    case SOURCE_MARK:
        if (!walk->mark_unknown)
            load_number(to, 0, 4);
        break;
    case SOURCE_CT_STATE:
        load_number(to, is_neighbour_discovery(sample) ? UNTRACKED : sample->answer ? ESTABLISHED : NEW, 4);
        break;
    case SOURCE_CT_DIRECTION:
        load_number(to, sample->answer, 1);
        break;
    case SOURCE_CT_STATUS:
        load_number(to, sample->translated ? translated : 0, 4);
        memset(to->known, 0, HEADER_SIZE);
        memcpy(to->known, &translated, 4);
        break;
    case SOURCE_TARGET_TYPE:
        load_number(to, target_type(sample), 4);
        break;
    case SOURCE_SOURCE_TYPE:
        load_number(to, sample->source_local ? 2 : 1, 4);
        break;
    case SOURCE_REVERSE_INDEX:
        if (sample->in_index)
            load_number(to, (uint32_t)sample->in_index, 4);
        break;
    case SOURCE_REVERSE_THERE:
        if (*sample->in)
            load_number(to, 1, 1);
        break;
    default:
        break;
    }
}

static void load_interface(const struct walk *walk, const struct rule_step *step, struct bytes *to)
{
    const struct sample *sample = walk->sample;
    switch (step->source) {
    case SOURCE_IN_NAME:
        load_name(to, walk->in);
        break;
    case SOURCE_OUT_NAME:
        load_name(to, walk->out);
        break;
    case SOURCE_IN_PORT:
        load_name(to, sample->in_port);
        break;
    case SOURCE_OUT_PORT:
        load_name(to, sample->out_port);
        break;
    case SOURCE_IN_BRIDGE:
        load_name(to, sample->in);
        break;
    case SOURCE_OUT_BRIDGE:
        load_name(to, sample->out);
        break;
    case SOURCE_IN_INDEX:
        if (walk->in == sample->in && sample->in_index)
            load_number(to, (uint32_t)sample->in_index, 4);
        break;
    case SOURCE_OUT_INDEX:
        if (walk->out == sample->out && sample->out_index)
            load_number(to, (uint32_t)sample->out_index, 4);
        break;
    default:
        load_state(walk, step, to);
        break;
    }
}

/* What is beyond the header (options, the next one) is not known. */
static void load_header(const struct bytes *header, size_t size, const struct rule_step *step,
                        struct bytes *to)
{
    if ((size_t)step->offset + step->length > size)
        return;
    memcpy(to->bits, header->bits + step->offset, step->length);
    memcpy(to->known, header->known + step->offset, step->length);
}

/* False where the packet has no such thing: the rule does not match. */
static bool load(const struct walk *walk, const struct rule_step *step, struct bytes *to)
{
    switch (step->source) {
    case SOURCE_LINK:
        load_header(&walk->link, 14, step, to);
        return true;
    case SOURCE_NETWORK:
        load_header(&walk->network, walk->network_size, step, to);
        return true;
    case SOURCE_TRANSPORT:
        load_header(&walk->transport, HEADER_SIZE, step, to);
        return true;
    case SOURCE_ETHERTYPE:
        put_u16(to, 0, sample_ethertype(walk->sample));
        return true;
    case SOURCE_FAMILY:
        put_u8(to, 0, walk->family);
        return true;
    case SOURCE_PROTOCOL:
        if (walk->sample->protocol)
            put_u8(to, 0, walk->sample->protocol);
        return true;
    case SOURCE_NOTHING:
        return !*walk->in;
    default:
        load_interface(walk, step, to);
        return true;
    }
}

/* The lowest and the highest that the bytes can be. */
static void extremes(const struct bytes *value, size_t at, size_t length, uint8_t *low, uint8_t *high)
{
    for (size_t i = 0; i < length; i++) {
        low[i] = value->bits[at + i];
        high[i] = value->bits[at + i] | (uint8_t)~value->known[at + i];
    }
}

static enum truth equal(const struct bytes *value, size_t at, const uint8_t *data, size_t length)
{
    enum truth truth = YES;
    for (size_t i = 0; i < length; i++) {
        uint8_t known = value->known[at + i];
        if ((value->bits[at + i] ^ data[i]) & known)
            return NO;
        if (known != 0xff)
            truth = MAYBE;
    }
    return truth;
}

static enum truth within(const struct bytes *value, size_t at, const uint8_t *first, const uint8_t *last,
                         size_t length)
{
    uint8_t low[HEADER_SIZE], high[HEADER_SIZE];
    extremes(value, at, length, low, high);
    if (memcmp(high, first, length) < 0 || memcmp(low, last, length) > 0)
        return NO;
    return memcmp(low, first, length) >= 0 && memcmp(high, last, length) <= 0 ? YES : MAYBE;
}

static enum truth turned(enum truth truth, bool negate)
{
    return negate ? (enum truth)(YES - truth) : truth;
}

static enum truth compare(const struct bytes *value, const struct rule_step *step)
{
    uint8_t low[HEADER_SIZE], high[HEADER_SIZE];
    if (step->compare == COMPARE_EQUAL || step->compare == COMPARE_NOT_EQUAL)
        return turned(equal(value, step->from, step->data, step->length), step->compare == COMPARE_NOT_EQUAL);
    extremes(value, step->from, step->length, low, high);
    int least = memcmp(low, step->data, step->length), most = memcmp(high, step->data, step->length);
    switch (step->compare) {
    case COMPARE_LESS:
        return most < 0 ? YES : least < 0 ? MAYBE : NO;
    case COMPARE_AT_MOST:
        return most <= 0 ? YES : least <= 0 ? MAYBE : NO;
    case COMPARE_MORE:
        return least > 0 ? YES : most > 0 ? MAYBE : NO;
    default:
        return least >= 0 ? YES : most >= 0 ? MAYBE : NO;
    }
}

enum truth walk_element_has(const struct walk *walk, const struct rule_set *set,
                            const struct set_element *element, size_t at)
{
    if (!element->first)
        return MAYBE;
    if (!set->interval)
        return equal(&walk->registers, at, element->first, set->length);
    enum truth truth = YES;
    size_t offset = 0, whole = set->length;
    for (size_t i = 0; i == 0 || i < set->fields.count; i++) {
        size_t length = set->fields.count ? set->fields.items[i] : whole;
        if (offset + length > whole)
            break;
        enum truth field =
            within(&walk->registers, at + offset, element->first + offset, element->last + offset, length);
        truth = field < truth ? field : truth;
        offset += (length + 3) / 4 * 4;
    }
    return truth;
}

static enum truth lookup(struct walk *walk, const struct rule_step *step)
{
    const struct rule_set *set = step->set;
    enum truth found = set && !set->cut ? NO : MAYBE;
    if (!set)
        return MAYBE;
    vec_foreach (&set->elements, element) {
        enum truth has = element->first ? walk_element_has(walk, set, element, step->from) : YES;
        found = has > found ? has : found;
    }
    if (step->to != REGISTER_VERDICT && set->map) {
        memset(walk->registers.known + step->to, 0, step->length);
        memset(walk->registers.bits + step->to, 0, step->length);
    }
    return turned(found, step->negate);
}

static void registers_set(struct walk *walk, const struct rule_step *step, const struct bytes *value)
{
    size_t room = REGISTERS_SIZE - step->to, length = (step->length + 3u) / 4 * 4;
    length = length < room ? length : room;
    memcpy(walk->registers.bits + step->to, value->bits, length);
    memcpy(walk->registers.known + step->to, value->known, length);
    /* The kernel fills the last register up with zeros. */
    for (size_t i = step->length; i < length; i++)
        walk->registers.bits[step->to + i] = 0, walk->registers.known[step->to + i] = 0xff;
}

static void mask(struct walk *walk, const struct rule_step *step)
{
    struct bytes value = {0};
    for (size_t i = 0; i < step->length; i++) {
        uint8_t bits = walk->registers.bits[step->from + i], known = walk->registers.known[step->from + i];
        value.known[i] = known | (uint8_t)~step->data[i];
        value.bits[i] = ((bits & step->data[i]) ^ step->data2[i]) & value.known[i];
    }
    registers_set(walk, step, &value);
}

static void swap(struct walk *walk, const struct rule_step *step)
{
    struct bytes value = {0};
    size_t size = step->size ? step->size : 1;
    for (size_t i = 0; i < step->length; i++) {
        size_t other = i / size * size + (size - 1 - i % size);
        value.bits[i] = walk->registers.bits[step->from + other];
        value.known[i] = walk->registers.known[step->from + other];
    }
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    memcpy(value.bits, walk->registers.bits + step->from, step->length);
    memcpy(value.known, walk->registers.known + step->from, step->length);
#endif
    registers_set(walk, step, &value);
}

enum truth walk_step(struct walk *walk, const struct rule_step *step)
{
    struct bytes value = {0};
    switch (step->kind) {
    case STEP_LOAD:
        if (!load(walk, step, &value))
            return NO;
        registers_set(walk, step, &value);
        return YES;
    case STEP_SET:
        put(&value, 0, step->data, step->length);
        registers_set(walk, step, &value);
        return YES;
    case STEP_FORGET:
        registers_set(walk, step, &value);
        return YES;
    case STEP_MASK:
        mask(walk, step);
        return YES;
    case STEP_SWAP:
        swap(walk, step);
        return YES;
    case STEP_COMPARE:
        return compare(&walk->registers, step);
    case STEP_RANGE:
        return turned(within(&walk->registers, step->from, step->data, step->data2, step->length),
                      step->negate);
    case STEP_LOOKUP:
        return lookup(walk, step);
    case STEP_MAYBE:
        return MAYBE;
    case STEP_MARK:
        walk->mark_unknown = true;
        return YES;
    default:
        return YES;
    }
}
