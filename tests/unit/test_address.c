/* test_address.c: MACs, addresses and prefixes: what parses, what does not, and the arithmetic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "model/address.h"

static struct ip ip_of(const char *text)
{
    struct ip ip;
    assert_int_equal(ip_parse(text, &ip), 0);
    return ip;
}

static struct prefix prefix_of(const char *text)
{
    struct prefix prefix;
    assert_int_equal(prefix_parse(text, &prefix), 0);
    return prefix;
}

static void mac_takes_six_bytes_with_colons_and_nothing_else(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "00:a0:98:1b:c8",
                                      "00:a0:98:1b:c8:07:00",
                                      "00-a0-98-1b-c8-07",
                                      "0:a0:98:1b:c8:07",
                                      "00:a0:98:1b:c8:0g",
                                      "00:a0:98:1b:c8:07 ",
                                      "00:a0:98:1b:c8 07",
                                      "00:a0:98:1b:c8:+7"};
    struct mac mac;
    assert_int_equal(mac_parse("00:a0:98:1B:c8:07", &mac), 0);
    assert_string_equal(MAC_TEXT(&mac), "00:a0:98:1b:c8:07");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(mac_parse(bad[i], &mac), -EINVAL);
    assert_string_equal(MAC_TEXT(&mac), "00:a0:98:1b:c8:07");
}

static void mac_kinds_are_told_apart(void **state)
{
    (void)state;
    assert_true(mac_is_zero(&(struct mac){{0}}));
    assert_false(mac_is_zero(&(struct mac){{0, 0, 0, 0, 0, 1}}));
    assert_true(mac_is_multicast(&(struct mac){{1}}));
    assert_true(mac_is_multicast(&(struct mac){{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}));
    assert_false(mac_is_multicast(&(struct mac){{2}}));
}

static void prefix_takes_address_slash_length_and_nothing_else(void **state)
{
    (void)state;
    static const char *const good[] = {"10.0.0.0/24", "0.0.0.0/0", "10.0.0.1/32",
                                       "fe80::1/64",  "::/0",      "::1/128"};
    static const char *const bad[] = {
        "",           "10.0.0.0",     "10.0.0.0/",    "10.0.0.0/33",  "10.0.0.0/-1",
        "10.0.0/24",  "10.0.0.0/024", "10.0.0.0/+24", "10.0.0.0/24 ", " 10.0.0.0/24",
        "::1/129",    "/24",          "10.0.0.0//24", "10.0.0.0/2 4", "010.0.0.0/24",
        "256.0.0.0/8"};
    struct prefix prefix;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(prefix_parse(good[i], &prefix), 0);
        assert_string_equal(PREFIX_TEXT(&prefix), good[i]);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(prefix_parse(bad[i], &prefix), -EINVAL);
}

static void unset_addresses_are_empty_text(void **state)
{
    (void)state;
    assert_string_equal(IP_TEXT(&(struct ip){0}), "");
    assert_string_equal(PREFIX_TEXT(&(struct prefix){0}), "");
    assert_int_equal(ip_size(&(struct ip){0}), 0);
    assert_true(ip_equal(&(struct ip){0}, &(struct ip){0}));
}

static void network_and_last_address_at_every_length(void **state)
{
    (void)state;
    static const struct {
        const char *prefix, *network, *last, *netmask;
    } cases[] = {
        {"10.0.0.5/24", "10.0.0.0/24", "10.0.0.255", "255.255.255.0"},
        {"10.0.3.5/22", "10.0.0.0/22", "10.0.3.255", "255.255.252.0"},
        {"10.0.0.5/32", "10.0.0.5/32", "10.0.0.5", "255.255.255.255"},
        {"10.0.0.5/31", "10.0.0.4/31", "10.0.0.5", "255.255.255.254"},
        {"10.0.0.5/0", "0.0.0.0/0", "255.255.255.255", "0.0.0.0"},
        {"172.31.255.1/12", "172.16.0.0/12", "172.31.255.255", "255.240.0.0"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct prefix prefix = prefix_of(cases[i].prefix), network = prefix_network(&prefix);
        struct ip last = prefix_last(&prefix), netmask = prefix_netmask(&prefix);
        assert_string_equal(PREFIX_TEXT(&network), cases[i].network);
        assert_string_equal(IP_TEXT(&last), cases[i].last);
        assert_string_equal(IP_TEXT(&netmask), cases[i].netmask);
    }
    struct prefix v6 = prefix_of("2001:db8::ff/60"), network = prefix_network(&v6);
    struct ip last = prefix_last(&v6);
    assert_string_equal(PREFIX_TEXT(&network), "2001:db8::/60");
    assert_string_equal(IP_TEXT(&last), "2001:db8:0:f:ffff:ffff:ffff:ffff");
}

static void overlap_holds_both_ways_and_only_within_a_family(void **state)
{
    (void)state;
    struct prefix wide = prefix_of("10.0.0.0/16"), narrow = prefix_of("10.0.7.0/24"),
                  beside = prefix_of("10.1.0.0/24");
    struct prefix all4 = prefix_of("0.0.0.0/0"), all6 = prefix_of("::/0");
    assert_true(prefix_overlaps(&wide, &narrow));
    assert_true(prefix_overlaps(&narrow, &wide));
    assert_false(prefix_overlaps(&wide, &beside));
    assert_false(prefix_overlaps(&narrow, &beside));
    assert_true(prefix_overlaps(&all4, &beside));
    assert_false(prefix_overlaps(&all4, &all6));
    struct ip inside = ip_of("10.0.255.255"), outside = ip_of("10.1.0.0");
    assert_true(prefix_contains(&wide, &inside));
    assert_false(prefix_contains(&wide, &outside));
}

static void addition_carries_and_wraps(void **state)
{
    (void)state;
    struct ip ip = ip_of("10.0.0.255"), sum = ip_add(&ip, 1);
    assert_string_equal(IP_TEXT(&sum), "10.0.1.0");
    ip = ip_of("255.255.255.255");
    sum = ip_add(&ip, 1);
    assert_string_equal(IP_TEXT(&sum), "0.0.0.0");
    ip = ip_of("fe80::ffff:ffff:ffff:ffff");
    sum = ip_add(&ip, 1);
    assert_string_equal(IP_TEXT(&sum), "fe80:0:0:1::");
    ip = ip_of("10.0.0.0");
    sum = ip_add(&ip, 0x01020304);
    assert_string_equal(IP_TEXT(&sum), "11.2.3.4");
}

static void kinds_of_addresses(void **state)
{
    (void)state;
    struct ip ip = ip_of("169.254.1.1");
    assert_true(ip_is_link_local(&ip));
    ip = ip_of("febf::1");
    assert_true(ip_is_link_local(&ip));
    ip = ip_of("fec0::1");
    assert_false(ip_is_link_local(&ip));
    ip = ip_of("127.9.9.9");
    assert_true(ip_is_loopback(&ip));
    ip = ip_of("::1");
    assert_true(ip_is_loopback(&ip));
    ip = ip_of("239.255.255.255");
    assert_true(ip_is_multicast(&ip));
    ip = ip_of("240.0.0.0");
    assert_false(ip_is_multicast(&ip));
    ip = ip_of("ff02::1");
    assert_true(ip_is_multicast(&ip));
}

static void containing_looks_at_the_bits_of_the_length_and_no_others(void **state)
{
    (void)state;
    struct ip all = ip_of("a5a5:a5a5:a5a5:a5a5:a5a5:a5a5:a5a5:a5a5");
    for (unsigned length = 0; length <= 128; length++) {
        struct prefix prefix = {.ip = all, .length = (uint8_t)length};
        for (unsigned bit = 0; bit < 128; bit++) {
            struct ip other = all;
            other.bytes[bit / 8] ^= (uint8_t)(0x80 >> (bit % 8));
            assert_int_equal(prefix_contains(&prefix, &other), bit >= length);
        }
        assert_true(prefix_contains(&prefix, &all));
    }
}

static void order_is_numeric(void **state)
{
    (void)state;
    struct ip a = ip_of("10.0.0.9"), b = ip_of("10.0.0.10"), c = ip_of("200.0.0.1");
    assert_true(ip_compare(&a, &b) < 0);
    assert_true(ip_compare(&c, &b) > 0);
    assert_int_equal(ip_compare(&b, &b), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mac_takes_six_bytes_with_colons_and_nothing_else),
        cmocka_unit_test(mac_kinds_are_told_apart),
        cmocka_unit_test(prefix_takes_address_slash_length_and_nothing_else),
        cmocka_unit_test(unset_addresses_are_empty_text),
        cmocka_unit_test(network_and_last_address_at_every_length),
        cmocka_unit_test(overlap_holds_both_ways_and_only_within_a_family),
        cmocka_unit_test(addition_carries_and_wraps),
        cmocka_unit_test(kinds_of_addresses),
        cmocka_unit_test(containing_looks_at_the_bits_of_the_length_and_no_others),
        cmocka_unit_test(order_is_numeric),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
