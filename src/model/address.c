/* address.c: parsing, printing and arithmetic behind address.h. */
#include "model/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int mac_parse(const char *text, struct mac *mac)
{
    if (strlen(text) != MAC_TEXT_SIZE - 1)
        return -EINVAL;
    struct mac parsed;
    for (size_t i = 0; i < 6; i++) {
        int high = hex_digit(text[i * 3]), low = hex_digit(text[i * 3 + 1]);
        if (high < 0 || low < 0 || (i < 5 && text[i * 3 + 2] != ':'))
            return -EINVAL;
        parsed.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *mac = parsed;
    return 0;
}

char *mac_format(const struct mac *mac, char text[MAC_TEXT_SIZE])
{
    const uint8_t *b = mac->bytes;
    snprintf(text, MAC_TEXT_SIZE, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
    return text;
}

int ip_parse(const char *text, struct ip *ip)
{
    struct ip parsed = {.family = strchr(text, ':') ? AF_INET6 : AF_INET};
    if (inet_pton(parsed.family, text, parsed.bytes) != 1)
        return -EINVAL;
    *ip = parsed;
    return 0;
}

char *ip_format(const struct ip *ip, char text[IP_TEXT_SIZE])
{
    text[0] = '\0';
    if (ip_is_set(ip))
        inet_ntop(ip->family, ip->bytes, text, IP_TEXT_SIZE);
    return text;
}

int prefix_parse(const char *text, struct prefix *prefix)
{
    char address[IP_TEXT_SIZE];
    const char *slash = strchr(text, '/');
    if (!slash || (size_t)(slash - text) >= sizeof(address))
        return -EINVAL;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';

    struct prefix parsed;
    if (ip_parse(address, &parsed.ip) < 0)
        return -EINVAL;
    unsigned length = 0;
    const char *digits = slash + 1;
    size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > 3 || digits[count] || (count > 1 && digits[0] == '0'))
        return -EINVAL;
    for (size_t i = 0; i < count; i++)
        length = length * 10 + (unsigned)(digits[i] - '0');
    if (length > ip_size(&parsed.ip) * 8)
        return -EINVAL;
    parsed.length = (uint8_t)length;
    *prefix = parsed;
    return 0;
}

char *prefix_format(const struct prefix *prefix, char text[PREFIX_TEXT_SIZE])
{
    text[0] = '\0';
    if (ip_is_set(&prefix->ip)) {
        ip_format(&prefix->ip, text);
        size_t used = strlen(text);
        snprintf(text + used, PREFIX_TEXT_SIZE - used, "/%u", prefix->length);
    }
    return text;
}

bool mac_is_zero(const struct mac *mac)
{
    return mac_equal(mac, &(struct mac){0});
}

bool mac_is_multicast(const struct mac *mac)
{
    return mac->bytes[0] & 1;
}

bool mac_equal(const struct mac *a, const struct mac *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

size_t ip_size(const struct ip *ip)
{
    return ip->family == AF_INET ? 4 : ip->family == AF_INET6 ? 16 : 0;
}

bool ip_is_set(const struct ip *ip)
{
    return ip->family != 0;
}

bool ip_is_link_local(const struct ip *ip)
{
    if (ip->family == AF_INET6)
        return ip->bytes[0] == 0xfe && (ip->bytes[1] & 0xc0) == 0x80;
    return ip->family == AF_INET && ip->bytes[0] == 169 && ip->bytes[1] == 254;
}

bool ip_is_loopback(const struct ip *ip)
{
    static const uint8_t one[16] = {[15] = 1};
    if (ip->family == AF_INET6)
        return memcmp(ip->bytes, one, 16) == 0;
    return ip->family == AF_INET && ip->bytes[0] == 127;
}

bool ip_is_multicast(const struct ip *ip)
{
    if (ip->family == AF_INET6)
        return ip->bytes[0] == 0xff;
    return ip->family == AF_INET && (ip->bytes[0] & 0xf0) == 0xe0;
}

int ip_compare(const struct ip *a, const struct ip *b)
{
    if (a->family != b->family)
        return a->family < b->family ? -1 : 1;
    return memcmp(a->bytes, b->bytes, ip_size(a));
}

bool ip_equal(const struct ip *a, const struct ip *b)
{
    return ip_compare(a, b) == 0;
}

struct ip ip_add(const struct ip *ip, uint64_t offset)
{
    struct ip sum = *ip;
    uint64_t carry = offset;
    for (size_t i = ip_size(ip); i-- > 0 && carry;) {
        carry += sum.bytes[i];
        sum.bytes[i] = (uint8_t)carry;
        carry >>= 8;
    }
    return sum;
}

/* `prefix` with every host bit set to `bit`. */
static struct ip fill_host_bits(const struct prefix *prefix, bool bit)
{
    struct ip ip = prefix->ip;
    size_t whole = prefix->length / 8, size = ip_size(&ip);
    if (whole >= size)
        return ip;
    uint8_t mask = (uint8_t)(0xff >> (prefix->length % 8));
    ip.bytes[whole] = (uint8_t)(bit ? ip.bytes[whole] | mask : ip.bytes[whole] & ~mask);
    memset(ip.bytes + whole + 1, bit ? 0xff : 0, size - whole - 1);
    return ip;
}

struct prefix prefix_network(const struct prefix *prefix)
{
    return (struct prefix){.ip = fill_host_bits(prefix, false), .length = prefix->length};
}

struct ip prefix_last(const struct prefix *prefix)
{
    return fill_host_bits(prefix, true);
}

struct ip prefix_netmask(const struct prefix *prefix)
{
    struct prefix ones = {.ip = {.family = AF_INET}, .length = prefix->length};
    memset(ones.ip.bytes, 0xff, 4);
    return fill_host_bits(&ones, false);
}

bool prefix_equal(const struct prefix *a, const struct prefix *b)
{
    return a->length == b->length && ip_equal(&a->ip, &b->ip);
}

bool prefix_contains(const struct prefix *prefix, const struct ip *ip)
{
    if (prefix->ip.family != ip->family)
        return false;
    size_t whole = prefix->length / 8;
    if (memcmp(prefix->ip.bytes, ip->bytes, whole) != 0)
        return false;
    uint8_t mask = (uint8_t)(0xff00 >> (prefix->length % 8));
    return !mask || !((prefix->ip.bytes[whole] ^ ip->bytes[whole]) & mask);
}

bool prefix_overlaps(const struct prefix *a, const struct prefix *b)
{
    return a->length <= b->length ? prefix_contains(a, &b->ip) : prefix_contains(b, &a->ip);
}
