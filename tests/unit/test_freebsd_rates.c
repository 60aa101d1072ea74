/* test_freebsd_rates.c: limits of rates by ipfw and dummynet: what is run, what is read of what they say (as
 * the sources of 12.1 print it), and where others' rules forbid it. */
#include "freebsd_words.h"

static const char sysctls[] = "net.inet.ip.fw.enable: 1\n"
                              "net.inet.ip.fw.one_pass: 0\n"
                              "net.link.ether.ipfw: 1\n"
                              "net.inet.ip.dummynet.pipe_byte_limit: 1048576\n";
static const char rules[] =
    "00001 skipto 50000 ip from any to any layer2 // vmwire\n"
    "00100 allow ip from any to any via lo0\n"
    "50000 pipe 50000 ip from any to any layer2 out xmit brnat // vmwire brnat in 1500000 65536 nics\n"
    "50001 count ip from any to any layer2 in recv brnat // vmwire brnat out 0 0 nics\n"
    "52007 pipe 52007 ip from any to any MAC any 02:00:00:00:00:07 in recv brnat layer2 // vmwire brnat out "
    "10000000 256000 nic tap3\n"
    "59999 allow ip from any to any layer2 // vmwire\n"
    "65535 deny ip from any to any\n";
static const char pipes[] =
    "50000:   1.500 Mbit/s    0 ms burst 65536\n"
    "q181072 64 KB 0 flows (1 buckets) sched 115536 weight 0 lmax 0 pri 0 droptail\n"
    " sched 115536 type FIFO flags 0x0 0 buckets 0 active\n"
    "52007:  10.000 Mbit/s    0 ms burst 256000\n"
    "q183079 64 KB 0 flows (1 buckets) sched 117543 weight 0 lmax 0 pri 0 droptail\n"
    " sched 117543 type FIFO flags 0x0 1 buckets 1 active\n"
    "BKT Prot ___Source IP/port____ ____Dest. IP/port____ Tot_pkt/bytes Pkt/Byte Drp\n"
    "  0 ip           0.0.0.0/0             0.0.0.0/0      483   378358  9 6349   0\n";

struct seen {
    struct arena arena;
    struct observed observed;
};

static void see(struct seen *seen, const char *of_sysctls, const char *of_rules, const char *of_pipes)
{
    *seen = (struct seen){0};
    *vec_push(&seen->arena, &seen->observed.links) = (struct link){
        .name = "tap3", .kind = "tun", .alias = "vmwire:brnat vm0/0 02:00:00:00:00:07", .master = "brnat"};
    struct freebsd_rates said = {.sysctls = of_sysctls, .rules = of_rules, .pipes = of_pipes};
    freebsd_rates_judge(&seen->arena, &said, &seen->observed);
}

/* `rules` with another text in the place of `old`. */
static const char *with(struct arena *arena, const char *text, const char *old, const char *new)
{
    const char *at = strstr(text, old);
    assert_non_null(at);
    return arena_printf(arena, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
}

static void a_shaper_is_a_pipe_and_a_rule_and_an_old_rule_goes_first(void **state)
{
    (void)state;
    expect_render("shaper-set network=brnat number=1 rate=100000000/500000",
                  "ipfw -fq delete 50000\n"
                  "ipfw pipe 50000 config bw 100Mbit/s queue 610KBytes burst 500000\n"
                  "ipfw -q add 50000 set 31 pipe 50000 ip from any to any layer2 out xmit brnat // "
                  "'vmwire brnat in 100000000 500000'\n");
    expect_render("shaper-set network=brnat outward=1 nics=1 number=2",
                  "ipfw -fq delete 50001\nipfw -fq pipe delete 50001\n"
                  "ipfw -q add 50001 set 31 count ip from any to any layer2 in recv brnat // "
                  "'vmwire brnat out 0 0 nics'\n");
    expect_render("shaper-remove network=brnat number=2 rate=64000/0",
                  "ipfw -fq delete 50001\nipfw -fq pipe delete 50001\n");
}

static void a_nic_is_known_by_its_mac_and_numbered_by_its_tap(void **state)
{
    (void)state;
    expect_render(
        "rate-set network=brnat ifname=tap3 mac=02:00:00:00:00:07 in_shaped=1 in=64000/2000",
        "ipfw -fq delete 52006\n"
        "ipfw pipe 52006 config bw 64Kbit/s queue 64KBytes burst 2000\n"
        "ipfw -q add 52006 set 31 pipe 52006 ip from any to any MAC 02:00:00:00:00:07 any layer2 out "
        "xmit brnat // 'vmwire brnat in 64000 2000 nic tap3'\n"
        "ipfw -fq delete 52007\nipfw -fq pipe delete 52007\n");
    assert_int_equal(freebsd_rate_number("tap3", RATE_OUT), 52007);
    assert_int_equal(freebsd_rate_number("tap3998", RATE_OUT), 59997);
    assert_int_equal(freebsd_rate_number("tap3999", RATE_IN), 0);
    assert_int_equal(freebsd_rate_number("epair0a", RATE_IN), 0);
    assert_int_equal(freebsd_rate_number("tap", RATE_IN), 0);
}

static void ipfw_is_told_to_accept_before_it_is_loaded(void **state)
{
    (void)state;
    expect_render("shaping-enable ipfw=1 dummynet=1 accept=1 rules=1 one_pass=1 frames=1",
                  "kenv net.inet.ip.fw.default_to_accept=1\nkldload -n ipfw\nkldload -n dummynet\n"
                  "sysctl net.inet.ip.fw.one_pass=0\n"
                  "ipfw -fq delete 1 59999\n"
                  "ipfw -q add 59999 set 31 allow ip from any to any layer2 // vmwire\n"
                  "ipfw -q add 1 set 31 skipto 50000 ip from any to any layer2 // vmwire\n"
                  "sysctl net.link.ether.ipfw=1\n");
    expect_render("shaping-disable ipfw=1 dummynet=1 accept=1 rules=1 one_pass=1 frames=1",
                  "sysctl net.link.ether.ipfw=0\nipfw -fq delete 1 59999\nsysctl net.inet.ip.fw.one_pass=1\n"
                  "kldunload dummynet\nkldunload ipfw\nkenv -q -u net.inet.ip.fw.default_to_accept\n");
    expect_render("shaping-enable frames=1", "sysctl net.link.ether.ipfw=1\n");
}

static void what_is_there_is_read_back(void **state)
{
    (void)state;
    struct seen seen;
    see(&seen, sysctls, rules, pipes);
    const struct observed *observed = &seen.observed;
    assert_int_equal(observed->shapers.count, 2);
    const struct shaper *in = &observed->shapers.items[0], *out = &observed->shapers.items[1];
    assert_string_equal(in->network, "brnat");
    assert_true(in->whole && !in->outward && in->nics && in->number == 1 && in->rate.bits_s == 1500000);
    assert_true(out->whole && out->outward && out->nics && out->number == 2 && !out->rate.bits_s);
    const struct nic_rate *nic = observed->links.items[0].rates;
    assert_true(nic[RATE_OUT].rate.bits_s == 10000000 && nic[RATE_OUT].rate.burst == 256000);
    assert_true(nic[RATE_IN].shaped && !nic[RATE_IN].rate.bits_s);
    const struct shaping *shaping = &observed->shaping;
    assert_true(!shaping->ipfw && !shaping->dummynet && !shaping->rules && !shaping->one_pass &&
                !shaping->frames);
    assert_string_equal(shaping->others, "00100 allow ip from any to any via lo0");
    assert_null(observed->rate_refusal);
    assert_int_equal(observed->stray_rates.count, 0);
    arena_free(&seen.arena);
}

static void what_is_not_as_it_was_made_is_seen(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct seen seen;
    static const struct {
        const char *old, *new;
        bool of_pipes;
    } harms[] = {{"1.500", "1.600", true},
                 {"burst 65536", "burst 65537", true},
                 {"50000:", "50002:", true},
                 {"out xmit brnat", "out xmit brext", false},
                 {"pipe 50000 ip", "pipe 50002 ip", false},
                 {"layer2 out", "out", false},
                 {"50001 count", "50000 count", false}};
    for (size_t i = 0; i < sizeof(harms) / sizeof(*harms); i++) {
        see(&seen, sysctls, harms[i].of_pipes ? rules : with(&arena, rules, harms[i].old, harms[i].new),
            harms[i].of_pipes ? with(&arena, pipes, harms[i].old, harms[i].new) : pipes);
        assert_false(seen.observed.shapers.items[0].whole);
        arena_free(&seen.arena);
    }
    see(&seen, sysctls, with(&arena, rules, "00:07 in recv", "00:08 in recv"), pipes);
    assert_int_equal(seen.observed.links.items[0].rates[RATE_OUT].rate.bits_s, 0);
    arena_free(&seen.arena);
    see(&seen, sysctls, with(&arena, rules, "nic tap3", "nic tap4"), pipes);
    assert_int_equal(seen.observed.stray_rates.count, 1);
    arena_free(&seen.arena);
    see(&seen, sysctls, with(&arena, rules, "59999 allow", "59998 allow"), pipes);
    assert_true(seen.observed.shaping.rules);
    arena_free(&seen.arena);
}

/* A pipe is printed with three digits behind the point. */
static void a_rate_that_is_printed_rounded_is_the_same(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct seen seen;
    see(&seen, sysctls, with(&arena, rules, "in 1500000", "in 1500300"), pipes);
    assert_true(seen.observed.shapers.items[0].whole);
    arena_free(&seen.arena);
    see(&seen, sysctls, with(&arena, rules, "in 1500000", "in 1501000"), pipes);
    assert_false(seen.observed.shapers.items[0].whole);
    arena_free(&seen.arena);
}

static void expect_refusal(const char *of_sysctls, const char *of_rules, const char *part)
{
    struct seen seen;
    see(&seen, of_sysctls, of_rules, "");
    const char *refusal = seen.observed.rate_refusal;
    if (part ? !refusal || !strstr(refusal, part) : refusal != NULL)
        fail_msg("'%s' is not '%s'", refusal ? refusal : "(none)", part ? part : "(none)");
    arena_free(&seen.arena);
}

static void others_rules_are_never_taken_anything_from(void **state)
{
    (void)state;
    static const char quiet[] =
        "net.inet.ip.fw.enable: 1\nnet.inet.ip.fw.one_pass: 1\nnet.link.ether.ipfw: 0\n";
    static const char frames[] =
        "net.inet.ip.fw.enable: 1\nnet.inet.ip.fw.one_pass: 0\nnet.link.ether.ipfw: 1\n";
    static const char off[] =
        "net.inet.ip.fw.enable: 0\nnet.inet.ip.fw.one_pass: 1\nnet.link.ether.ipfw: 0\n";
    static const char allow[] = "65535 allow ip from any to any\n",
                      deny[] = "65535 deny ip from any to any\n";
    expect_refusal(quiet, allow, NULL);
    expect_refusal(quiet, deny,
                   NULL); /* frames are let pass by a rule of vmwire's, packets meet what they did */
    expect_refusal(quiet, "00100 deny ip from any to any\n65535 deny ip from any to any\n", NULL);
    expect_refusal(off, allow, "switched off");
    expect_refusal(frames, allow, NULL);
    expect_refusal(frames, deny, "decide about frames already");
    expect_refusal(frames, "00100 count ip from any to any\n65535 allow ip from any to any\n",
                   "'00100 count");
    expect_refusal(frames, rules, NULL);
    expect_refusal(quiet, "00200 nat 1 ip from any to any via em0\n65535 allow ip from any to any\n",
                   "may count on 1");
    expect_refusal(quiet, "50000 count ip from any to any // vmwired\n65535 allow ip from any to any\n",
                   "another number");
}

static void failures_say_what_to_do(void **state)
{
    (void)state;
    static const char set[] = "shaper-set network=brnat number=1 rate=100000000/500000";
    expect_failure(set, "", "ipfw: getsockopt(IP_FW_XADD): Protocol not available\n", 0, -ENOPROTOOPT,
                   "vmwire up");
    expect_failure(set, "", "ipfw: getsockopt(IP_FW_XADD): Operation not permitted\n", 0, -EPERM, "as root");
    expect_failure("shaper-remove network=brnat number=1", "",
                   "ipfw: rule 1: setsockopt(IP_DUMMYNET_DEL): Invalid argument\n", 0, 0, NULL);
    expect_failure("shaping-enable dummynet=1", "",
                   "kldload: can't load dummynet: No such file or directory\n", 0, -ENOENT, "/boot/kernel");
    expect_failure("shaping-disable ipfw=1", "", "kldunload: can't unload file: Device busy\n", 0, 0, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shaper_is_a_pipe_and_a_rule_and_an_old_rule_goes_first),
        cmocka_unit_test(a_nic_is_known_by_its_mac_and_numbered_by_its_tap),
        cmocka_unit_test(ipfw_is_told_to_accept_before_it_is_loaded),
        cmocka_unit_test(what_is_there_is_read_back),
        cmocka_unit_test(what_is_not_as_it_was_made_is_seen),
        cmocka_unit_test(a_rate_that_is_printed_rounded_is_the_same),
        cmocka_unit_test(others_rules_are_never_taken_anything_from),
        cmocka_unit_test(failures_say_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
