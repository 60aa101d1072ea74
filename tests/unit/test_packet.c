/* test_packet.c: frames to fields and to lines of text; frames that are cut short or lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <string.h>

#include "diag/packet.h"

/* A frame as hexadecimal text; spaces are for the eye. */
struct frame {
    uint8_t bytes[512];
    size_t length;
};

static struct frame hex(const char *text)
{
    struct frame frame = {0};
    for (; *text; text++) {
        if (*text == ' ')
            continue;
        assert_true(frame.length < sizeof(frame.bytes) && text[1]);
        frame.bytes[frame.length++] = (uint8_t)strtoul((char[]){text[0], text[1], '\0'}, NULL, 16);
        text++;
    }
    return frame;
}

static struct packet decode(const struct frame *frame)
{
    struct packet packet;
    packet_decode(frame->bytes, frame->length, frame->length, &packet);
    return packet;
}

/* clang-format off */
#define ETHER "404a0376de1d 00a0981bc807 "
#define IP4(protocol, length) "4500" length "1234 4000 40" protocol "0000 c0a8572f 08080808 "
#define ECHO "08000000 6403 0004 00000000"
#define TAGGED ETHER "8100 0064 0800" IP4("01", "0020") ECHO
#define ARP_REQUEST "ffffffffffff 00a0981bc807 0806 0001 0800 06 04 0001 " \
                    "00a0981bc807 0a000002 000000000000 0a000001"
#define SYN ETHER "0800" IP4("06", "0028") "c82c 0050 0000002a 00000000 50 02 ffff 0000 0000"
#define DNS_QUERY ETHER "0800" IP4("11", "0039") "d431 0035 0025 0000 " \
                  "beef 0100 0001 0000 0000 0000 07 6578616d706c65 03 636f6d 00 001c 0001"
#define TOO_BIG ETHER "0800" IP4("01", "0038") "0304 0000 0000 0578 " \
                "4500 05dc 0001 4000 3f 06 0000 0a000002 08080808 c82c 01bb 00000001"
#define SOLICIT "3333ff000001 00a0981bc807 86dd 60000000 0018 3a ff fe800000000000000000000000000001 " \
                "ff0200000000000000000001ff000001 87000000 00000000 fd000000000000000000000000000001"
#define FRAGMENT6 ETHER "86dd 60000000 0010 2c 40 fd000000000000000000000000000001 " \
                  "fd000000000000000000000000000002 11 00 0008 00000001 c82c 0035 0008 0000"
/* clang-format on */

static const char *const samples[] = {
    ETHER "0800" IP4("01", "0020") ECHO, TAGGED, ARP_REQUEST, SYN, DNS_QUERY, TOO_BIG, SOLICIT, FRAGMENT6};

static void the_articles_line(void **state)
{
    (void)state;
    struct frame frame = hex(ETHER "0800" IP4("01", "0020") ECHO);
    struct packet packet = decode(&frame);
    assert_string_equal(PACKET_TEXT(&packet),
                        "00:a0:98:1b:c8:07 > 40:4a:03:76:de:1d, IPv4, length 46: 192.168.87.47 > 8.8.8.8: "
                        "ICMP echo request, id 25603, seq 4, length 12");
    assert_true(packet_is_echo_request(&packet) && !packet_is_echo_reply(&packet) && !packet.cut);
    assert_int_equal(packet.ttl, 64);
    assert_true(packet.dont_fragment && !packet.fragment);
}

static void a_tag_is_looked_through(void **state)
{
    (void)state;
    struct frame frame = hex(TAGGED);
    struct packet packet = decode(&frame);
    assert_int_equal(packet.vlan, 100);
    assert_non_null(strstr(PACKET_TEXT(&packet), ", vlan 100, IPv4, length 50: 192.168.87.47 > 8.8.8.8"));
}

static void arp(void **state)
{
    (void)state;
    struct frame frame = hex(ARP_REQUEST);
    struct packet packet = decode(&frame);
    assert_string_equal(PACKET_SUMMARY(&packet), "ARP, Request who-has 10.0.0.1 tell 10.0.0.2");
    assert_true(mac_equal(&packet.arp_source_mac, &packet.source_mac));
    frame.bytes[21] = 2;
    packet = decode(&frame);
    assert_string_equal(PACKET_SUMMARY(&packet), "ARP, Reply 10.0.0.2 is-at 00:a0:98:1b:c8:07");
}

static void tcp(void **state)
{
    (void)state;
    struct frame frame = hex(SYN);
    struct packet packet = decode(&frame);
    assert_string_equal(PACKET_SUMMARY(&packet),
                        "192.168.87.47.51244 > 8.8.8.8.80: TCP, flags [S], seq 42, length 0");
    assert_int_equal(packet.tcp_flags, TCP_SYN);
}

static void dns(void **state)
{
    (void)state;
    struct frame frame = hex(DNS_QUERY);
    struct packet packet = decode(&frame);
    assert_string_equal(PACKET_SUMMARY(&packet),
                        "192.168.87.47.54321 > 8.8.8.8.53: DNS query, id 48879, AAAA example.com");
    /* Bytes that a terminal would obey do not get into the line. */
    for (size_t i = 0; i + 6 < frame.length; i++) {
        if (memcmp(frame.bytes + i, "example", 7) == 0)
            memcpy(frame.bytes + i, "\033[31m\nx", 7);
    }
    packet = decode(&frame);
    assert_non_null(strstr(PACKET_SUMMARY(&packet), "AAAA ?[31m?x.com"));
}

static struct frame dhcp_frame(void)
{
    struct frame frame = hex(
        "00a0981bc807 02aabbccddee 0800 45000148 0000 0000 40 11 0000 0a000001 0a00000a "
        "0043 0044 0134 0000 02010600 cafebabe 0000 0000 00000000 0a00000a 00000000 00000000 00a0981bc807");
    frame.length += 10 + 64 + 128;
    struct frame options = hex("63825363 350105 36040a000001 03040a000001 ff");
    memcpy(frame.bytes + frame.length, options.bytes, options.length);
    frame.length = 14 + 0x148;
    return frame;
}

static void dhcp(void **state)
{
    (void)state;
    struct frame frame = dhcp_frame();
    struct packet packet = decode(&frame);
    assert_string_equal(PACKET_SUMMARY(&packet), "10.0.0.1.67 > 10.0.0.10.68: DHCP ack, client "
                                                 "00:a0:98:1b:c8:07, address 10.0.0.10, server 10.0.0.1");
    assert_true(packet.dhcp_reply && packet.dhcp_type == DHCP_ACK && packet.dhcp_transaction == 0xcafebabe);
    assert_string_equal(IP_TEXT(&packet.dhcp_router), "10.0.0.1");
}

static void an_icmp_error_names_the_packet_that_it_is_about(void **state)
{
    (void)state;
    struct frame frame = hex(TOO_BIG);
    struct packet packet = decode(&frame);
    assert_true(packet_is_too_big(&packet) && packet.icmp_mtu == 1400);
    assert_true(packet.layers & PACKET_INNER);
    assert_int_equal(packet.inner.source_port, 51244);
    assert_int_equal(packet.inner.protocol, IPPROTO_TCP);
    assert_non_null(strstr(PACKET_SUMMARY(&packet),
                           "ICMP fragmentation needed, mtu 1400, for 10.0.0.2 > 8.8.8.8 TCP port 443"));
}

static void ipv6(void **state)
{
    (void)state;
    struct frame frame = hex(SOLICIT);
    struct packet packet = decode(&frame);
    assert_string_equal(PACKET_SUMMARY(&packet),
                        "fe80::1 > ff02::1:ff00:1: ICMP6, neighbor solicitation, who has fd00::1, length 24");
    frame = hex(FRAGMENT6);
    packet = decode(&frame);
    assert_true(packet.later_fragment && packet.flow.protocol == IPPROTO_UDP);
    assert_false(packet.layers & PACKET_UDP); /* only the first piece has ports */
}

static void a_reply_is_known_by_its_flow(void **state)
{
    (void)state;
    struct frame request = hex(ETHER "0800" IP4("01", "0020") ECHO);
    struct frame reply =
        hex("00a0981bc807 404a0376de1d 0800 45000020 0001 0000 37 01 0000 08080808 c0a8572f 00000000 6403 "
            "0004 00000000");
    struct packet one = decode(&request), two = decode(&reply);
    assert_true(packet_is_echo_reply(&two));
    assert_true(packet_flow_reverse(&one.flow, &two.flow));
    assert_false(packet_flow_equal(&one.flow, &two.flow));
    reply.bytes[14 + 20 + 5]++; /* another ping's */
    two = decode(&reply);
    assert_false(packet_flow_reverse(&one.flow, &two.flow));
}

static bool printable(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || (unsigned char)*text >= 0x7f)
            return false;
    }
    return true;
}

/* Cut at every length and with every byte changed: decoded as far as it goes, and said to be cut. */
static void cut_and_lying_frames(void **state)
{
    (void)state;
    struct frame lease = dhcp_frame();
    for (size_t i = 0; i <= sizeof(samples) / sizeof(samples[0]); i++) {
        struct frame whole = i < sizeof(samples) / sizeof(samples[0]) ? hex(samples[i]) : lease;
        struct packet packet;
        for (size_t length = 0; length <= whole.length; length++) {
            /* In memory of its own, so that a read behind the end is seen (valgrind, sanitizers). */
            uint8_t *exact = malloc(length + !length);
            memcpy(exact, whole.bytes, length);
            packet_decode(exact, length, whole.length, &packet);
            if (packet.cut != (length < whole.length))
                fail_msg("sample %zu at %zu of %zu: cut %d", i, length, whole.length, packet.cut);
            assert_true(printable(PACKET_TEXT(&packet)));
            free(exact);
        }
        for (size_t at = 0; at < whole.length; at++) {
            for (int change = 1; change < 256; change += 6) {
                struct frame lying = whole;
                lying.bytes[at] ^= (uint8_t)change;
                packet = decode(&lying);
                assert_true(printable(PACKET_TEXT(&packet)));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_articles_line),
        cmocka_unit_test(a_tag_is_looked_through),
        cmocka_unit_test(arp),
        cmocka_unit_test(tcp),
        cmocka_unit_test(dns),
        cmocka_unit_test(dhcp),
        cmocka_unit_test(an_icmp_error_names_the_packet_that_it_is_about),
        cmocka_unit_test(ipv6),
        cmocka_unit_test(a_reply_is_known_by_its_flow),
        cmocka_unit_test(cut_and_lying_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
