/* address.h: MAC addresses, IP addresses and prefixes as typed values.  Strings stop here. */
#ifndef VMWIRE_MODEL_ADDRESS_H
#define VMWIRE_MODEL_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mac {
    uint8_t bytes[6];
};

/* An IPv4 or IPv6 address in network byte order.  family: AF_INET, AF_INET6, or 0 while unset. */
struct ip {
    uint8_t family;
    uint8_t bytes[16];
};

/* An address and its prefix length.  Host bits may be set: 10.0.0.1/24 is an interface's address. */
struct prefix {
    struct ip ip;
    uint8_t length;
};

enum { MAC_TEXT_SIZE = 18, IP_TEXT_SIZE = 46, PREFIX_TEXT_SIZE = 50 };

/* Text forms.  Parsers take the whole string or nothing: 0, or -EINVAL.  MAC: six two-digit hexadecimal bytes
 * with colons.  IP: inet_pton(3)'s forms.  Prefix: address, '/', decimal length without sign or leading zero.
 */
int mac_parse(const char *text, struct mac *mac);
int ip_parse(const char *text, struct ip *ip);
int prefix_parse(const char *text, struct prefix *prefix);
/* Write into a buffer of *_TEXT_SIZE bytes and return it.  An unset address is "". */
char *mac_format(const struct mac *mac, char text[MAC_TEXT_SIZE]);
char *ip_format(const struct ip *ip, char text[IP_TEXT_SIZE]);
char *prefix_format(const struct prefix *prefix, char text[PREFIX_TEXT_SIZE]);

#define MAC_TEXT(mac) mac_format((mac), (char[MAC_TEXT_SIZE]){0})
#define IP_TEXT(ip) ip_format((ip), (char[IP_TEXT_SIZE]){0})
#define PREFIX_TEXT(prefix) prefix_format((prefix), (char[PREFIX_TEXT_SIZE]){0})

bool mac_is_zero(const struct mac *mac);
bool mac_is_multicast(const struct mac *mac);
bool mac_equal(const struct mac *a, const struct mac *b);

bool ip_is_set(const struct ip *ip);
bool ip_is_link_local(const struct ip *ip); /* 169.254/16, fe80::/10 */
bool ip_is_loopback(const struct ip *ip);
bool ip_is_multicast(const struct ip *ip);
bool ip_equal(const struct ip *a, const struct ip *b);
/* Order of two addresses of one family: <0, 0, >0. */
int ip_compare(const struct ip *a, const struct ip *b);
/* The address `offset` above `ip`, carried through all bytes (the last address wraps to the first). */
struct ip ip_add(const struct ip *ip, uint64_t offset);
/* The bytes of an address of this family: 4 or 16; 0 when unset. */
size_t ip_size(const struct ip *ip);

/* The prefix with its host bits cleared. */
struct prefix prefix_network(const struct prefix *prefix);
/* The highest address of the prefix (IPv4: the broadcast address). */
struct ip prefix_last(const struct prefix *prefix);
/* The IPv4 netmask, e.g. 255.255.255.0. */
struct ip prefix_netmask(const struct prefix *prefix);
bool prefix_equal(const struct prefix *a, const struct prefix *b); /* address and length */
bool prefix_contains(const struct prefix *prefix, const struct ip *ip);
bool prefix_overlaps(const struct prefix *a, const struct prefix *b);

#endif
