/* test_freebsd_pf.c: pf's rulesets: what is loaded, and what is made of what pfctl says of them. */
#include "freebsd_words.h"

static const char firewall_set[] = "firewall-set network=brnat bridge=brnat uplink=vtnet0 subnet=10.0.0.0/24";
static const char nat_shown[] = "nat on vtnet0 inet from 10.0.0.0/24 to any -> (vtnet0) round-robin\n";

/* As pfctl shows filter rules: what it adds is from the transcripts. */
static const char rules_shown[] =
    "pass in on brnat inet from 10.0.0.0/24 to any flags S/SA keep state tag vmwire\n"
    "pass in on brnat inet proto udp from any port = bootpc to any port = bootps keep state\n"
    "pass out on vtnet0 inet all flags S/SA keep state tagged vmwire\n"
    "pass out quick on brnat inet from 10.0.0.0/24 to 10.0.0.0/24 flags S/SA keep state\n"
    "pass out quick inet from 10.0.0.0/24 to 224.0.0.0/3 flags S/SA keep state\n"
    "block drop out quick on brnat inet from any to 10.0.0.0/24\n"
    "block drop out quick on ! vtnet0 inet from 10.0.0.0/24 to ! 10.0.0.0/24\n";

/* As pfctl would show them, by what it adds to IPv4's. */
static void ipv6_has_rules_of_its_own_and_is_read_back(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    static const char set[] = "firewall-set network=brnat bridge=brnat uplink=vtnet0 subnet=10.0.0.0/24 "
                              "subnet6=fd00::/64 forwards=tcp%20[::]:2222%20->%20[fd00::5]:22";
    static const char nat[] =
        "nat on vtnet0 inet from 10.0.0.0/24 to any -> (vtnet0) round-robin\n"
        "nat on vtnet0 inet6 from fd00::/64 to any -> (vtnet0:0) round-robin\n"
        "nat on brnat inet6 from fd00::/64 to fd00::/64 tagged vmwire_in -> (brnat:0) round-robin\n"
        "rdr inet6 proto tcp from any to (self) port = 2222 tag vmwire_in -> fd00::5 port 22\n";
    static const char rules[] =
        "pass in on brnat inet6 from fd00::/64 to any flags S/SA keep state tag vmwire ! tagged vmwire_in\n"
        "pass in on brnat inet6 from fe80::/10 to any flags S/SA keep state\n"
        "pass in on brnat inet6 from :: to ff02::/16 flags S/SA keep state\n"
        "pass out on vtnet0 inet6 all flags S/SA keep state tagged vmwire\n"
        "pass in inet6 all flags S/SA keep state tagged vmwire_in\n"
        "pass out quick on brnat inet6 all flags S/SA keep state tagged vmwire_in\n"
        "pass out quick on brnat inet6 from fe80::/10 to any flags S/SA keep state\n"
        "pass out quick on brnat inet6 from fd00::/64 to fd00::/64 flags S/SA keep state\n"
        "pass out quick inet6 from fd00::/64 to fe80::/10 flags S/SA keep state\n"
        "pass out quick inet6 from fd00::/64 to ff00::/8 flags S/SA keep state\n"
        "block drop out quick on brnat inet6 from any to fd00::/64\n"
        "block drop out quick on ! vtnet0 inet6 from fd00::/64 to ! fd00::/64\n";
    struct op op;
    struct firewall firewall;
    assert_int_equal(op_parse(&arena, set, &op, NULL), 0);
    assert_string_equal(op_format(&arena, &op), set);
    const char *both = arena_printf(&arena, "%s%s", rules_shown, rules);
    assert_true(freebsd_anchor_parse(&arena, "brnat", nat, both, &firewall));
    assert_true(prefix_equal(&firewall.subnet6, &op.firewall.subnet6));
    assert_true(forwards_equal(&firewall.forwards, &op.firewall.forwards));
    /* Half of it is none. */
    assert_false(freebsd_anchor_parse(&arena, "brnat", nat, rules_shown, &firewall));
}

static void one_anchor_a_network_and_the_module_first(void **state)
{
    (void)state;
    expect_render(firewall_set, "kldload -n pf\n"
                                "pfctl -a vmwire/brnat -f - <<'EOF'\n"
                                "nat on vtnet0 inet from 10.0.0.0/24 to any -> (vtnet0)\n"
                                "pass in on brnat inet from 10.0.0.0/24 to any tag vmwire\n"
                                "pass in on brnat inet proto udp from any port 68 to any port 67\n"
                                "pass out on vtnet0 inet all tagged vmwire\n"
                                "pass out quick on brnat inet from 10.0.0.0/24 to 10.0.0.0/24\n"
                                "pass out quick inet from 10.0.0.0/24 to 224.0.0.0/3\n"
                                "block drop out quick on brnat inet from any to 10.0.0.0/24\n"
                                "block drop out quick on ! vtnet0 inet from 10.0.0.0/24 to ! 10.0.0.0/24\n"
                                "EOF\n");
    expect_render("firewall-remove network=brnat bridge=brnat", "pfctl -a vmwire/brnat -f /dev/null\n");
}

static void an_anchor_is_right_only_with_all_its_rules(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct firewall firewall;
    assert_true(freebsd_anchor_parse(&arena, "brnat", nat_shown, rules_shown, &firewall));
    assert_string_equal(firewall.uplink, "vtnet0");
    assert_string_equal(PREFIX_TEXT(&firewall.subnet), "10.0.0.0/24");
    assert_false(freebsd_anchor_parse(&arena, "brnat", nat_shown, "", &firewall));
    assert_false(freebsd_anchor_parse(&arena, "brnat", "", rules_shown, &firewall));
    assert_false(freebsd_anchor_parse(&arena, "other", nat_shown, rules_shown, &firewall));
    const char *more = arena_printf(&arena, "%spass all flags S/SA keep state\n", rules_shown);
    assert_false(freebsd_anchor_parse(&arena, "brnat", nat_shown, more, &firewall));
    const char *less =
        arena_strndup(&arena, rules_shown, (size_t)(strstr(rules_shown, "block") - rules_shown));
    assert_false(freebsd_anchor_parse(&arena, "brnat", nat_shown, less, &firewall));
}

static void anchors_that_do_not_translate_are_read_back(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    static const char *const ways[][2] = {{"routed", "vtnet0"}, {"isolated", ""}, {"routed", "vtnet0"}};
    for (size_t i = 0; i < 3; i++) {
        struct firewall want = {.network = "net0",
                                .bridge = "net0",
                                .uplink = ways[i][1],
                                .way = ways[i][0],
                                .isolate = i == 1},
                        seen;
        prefix_parse("10.1.0.0/24", &want.subnet);
        if (i == 2)
            prefix_parse("fd00:1::/64", &want.subnet6);
        const char *text = freebsd_anchor_text(&arena, &want);
        assert_true(freebsd_anchor_parse(&arena, "net0", "", text, &seen));
        assert_string_equal(seen.way, want.way);
        assert_string_equal(seen.uplink, want.uplink);
        assert_true(prefix_equal(&seen.subnet, &want.subnet) && prefix_equal(&seen.subnet6, &want.subnet6));
        assert_int_equal(seen.isolate, want.isolate);
        for (const char *rule = text; *rule; rule += strcspn(rule, "\n") + 1) {
            const char *less =
                arena_printf(&arena, "%.*s%s", (int)(rule - text), text, rule + strcspn(rule, "\n") + 1);
            struct firewall other;
            assert_false(freebsd_anchor_parse(&arena, "net0", "", less, &other) &&
                         prefix_equal(&other.subnet6, &want.subnet6));
        }
    }
}

/* How pfctl shows rdr rules is from its source, pfctl_parser.c: print_rule, print_port, print_pool. */
static void forwards_are_rdr_rules_and_are_read_back(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    static const char set[] =
        "firewall-set network=brnat bridge=brnat uplink=vtnet0 subnet=10.0.0.0/24 forwards="
        "tcp%202222%20->%2010.0.0.5:22,tcp%208000-8010%20->%2010.0.0.5:9000-9010,"
        "udp%20192.168.87.9:53%20->%2010.0.0.9:5353";
    expect_render(
        set, "kldload -n pf\n"
             "pfctl -a vmwire/brnat -f - <<'EOF'\n"
             "nat on vtnet0 inet from 10.0.0.0/24 to any -> (vtnet0)\n"
             "nat on brnat inet from 10.0.0.0/24 to 10.0.0.0/24 tagged vmwire_in -> (brnat)\n"
             "rdr inet proto tcp from any to (self) port = 2222 tag vmwire_in -> 10.0.0.5 port 22\n"
             "rdr inet proto tcp from any to (self) port 8000:8010 tag vmwire_in -> 10.0.0.5 port 9000:*\n"
             "rdr inet proto udp from any to 192.168.87.9 port = 53 tag vmwire_in -> 10.0.0.9 port 5353\n"
             "pass in on brnat inet from 10.0.0.0/24 to any ! tagged vmwire_in tag vmwire\n"
             "pass in on brnat inet proto udp from any port 68 to any port 67\n"
             "pass out on vtnet0 inet all tagged vmwire\n"
             "pass in inet all tagged vmwire_in\n"
             "pass out quick on brnat inet all tagged vmwire_in\n"
             "pass out quick on brnat inet from 10.0.0.0/24 to 10.0.0.0/24\n"
             "pass out quick inet from 10.0.0.0/24 to 224.0.0.0/3\n"
             "block drop out quick on brnat inet from any to 10.0.0.0/24\n"
             "block drop out quick on ! vtnet0 inet from 10.0.0.0/24 to ! 10.0.0.0/24\n"
             "EOF\n");
    static const char nat[] =
        "nat on vtnet0 inet from 10.0.0.0/24 to any -> (vtnet0) round-robin\n"
        "nat on brnat inet from 10.0.0.0/24 to 10.0.0.0/24 tagged vmwire_in -> (brnat) round-robin\n"
        "rdr inet proto tcp from any to (self) port = 2222 tag vmwire_in -> 10.0.0.5 port 22\n"
        "rdr inet proto tcp from any to (self) port 8000:8010 tag vmwire_in -> 10.0.0.5 port 9000:9010\n"
        "rdr inet proto udp from any to 192.168.87.9 port = domain tag vmwire_in -> 10.0.0.9 port 5353\n";
    static const char rules[] =
        "pass in on brnat inet from 10.0.0.0/24 to any flags S/SA keep state tag vmwire ! tagged vmwire_in\n"
        "pass in on brnat inet proto udp from any port = bootpc to any port = bootps keep state\n"
        "pass out on vtnet0 inet all flags S/SA keep state tagged vmwire\n"
        "pass in inet all flags S/SA keep state tagged vmwire_in\n"
        "pass out quick on brnat inet all flags S/SA keep state tagged vmwire_in\n"
        "pass out quick on brnat inet from 10.0.0.0/24 to 10.0.0.0/24 flags S/SA keep state\n"
        "pass out quick inet from 10.0.0.0/24 to 224.0.0.0/3 flags S/SA keep state\n"
        "block drop out quick on brnat inet from any to 10.0.0.0/24\n"
        "block drop out quick on ! vtnet0 inet from 10.0.0.0/24 to ! 10.0.0.0/24\n";
    struct op op;
    struct firewall firewall;
    assert_int_equal(op_parse(&arena, set, &op, NULL), 0);
    assert_string_equal(op_format(&arena, &op), set);
    assert_true(freebsd_anchor_parse(&arena, "brnat", nat, rules, &firewall));
    assert_true(forwards_equal(&firewall.forwards, &op.firewall.forwards));
    /* One that went, or leads elsewhere, is seen. */
    char *moved = arena_strdup(&arena, nat);
    *(strstr(moved, "port 5353") - 2) = '8';
    assert_true(freebsd_anchor_parse(&arena, "brnat", moved, rules, &firewall));
    assert_false(forwards_equal(&firewall.forwards, &op.firewall.forwards));
    *strstr(moved, "rdr inet proto udp") = '\0';
    assert_true(freebsd_anchor_parse(&arena, "brnat", moved, rules, &firewall));
    assert_false(forwards_equal(&firewall.forwards, &op.firewall.forwards));
}

static void anchors_are_listed_below_vmwire_alone(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct freebsd_names names = {0};
    freebsd_anchors_parse(&arena, "  vmwire/brnat\n  vmwire/brother\n  other/x\n  vmwire/a b\n", &names);
    assert_int_equal(names.list.count, 2);
    assert_string_equal(names.list.items[1], "brother");
}

/* Of an anchor that is not there pfctl says "DIOCGETRULES: Invalid argument" and ends with 0. */
static void an_absent_anchor_has_no_rules_though_pfctl_ends_with_0(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct firewall firewall;
    assert_false(freebsd_anchor_parse(&arena, "brnat", "", "", &firewall));
}

static void judge(const char *info, const char *nat, const char *rules, struct firewall_main *main)
{
    static struct arena arena;
    freebsd_main_judge(&arena, info, nat, rules, main);
}

static void without_the_module_a_minimal_ruleset_is_loaded_and_pf_switched_on(void **state)
{
    (void)state;
    struct firewall_main main;
    judge(NULL, NULL, NULL, &main);
    assert_true(main.load && main.enable && !main.refusal && !main.ours);
    judge("Status: Disabled for 0 days", "", "", &main);
    assert_true(main.load && main.enable && !main.refusal);
    judge("Status: Enabled for 0 days 00:00:00           Debug: Urgent\n", "", "", &main);
    assert_true(main.load && !main.enable && !main.refusal);
    expect_render("firewall-enable load=1 enable=1", "kldload -n pf\n"
                                                     "pfctl -f - <<'EOF'\n"
                                                     "nat-anchor \"vmwire/*\"\n"
                                                     "rdr-anchor \"vmwire/*\"\n"
                                                     "anchor \"vmwire/*\"\n"
                                                     "EOF\n"
                                                     "pfctl -e\n");
    expect_render("firewall-disable load=1 enable=1", "pfctl -d\npfctl -F nat\npfctl -F rules\n");
    expect_render("firewall-disable load=1", "pfctl -F nat\npfctl -F rules\n");
}

static void the_minimal_ruleset_is_known_again(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct firewall_main main;
    const char *on = transcript(&arena, "pfctl-info");
    const char *nat = "nat-anchor \"vmwire/*\" all\nrdr-anchor \"vmwire/*\" all\n";
    judge(on, nat, "anchor \"vmwire/*\" all\n", &main);
    assert_true(main.ours && !main.load && !main.enable && !main.refusal);
    judge("Status: Disabled", nat, "anchor \"vmwire/*\" all\n", &main);
    assert_true(main.ours && main.enable && !main.refusal);
    judge(on, nat, "anchor \"vmwire/*\" all\npass all flags S/SA keep state\n", &main);
    assert_true(!main.ours && !main.load && !main.enable && !main.refusal);
}

static void loaded_is_not_in_force(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct firewall_main main;
    const char *on = transcript(&arena, "pfctl-info");
    judge(on, nat_shown, "", &main);
    assert_non_null(main.refusal);
    assert_false(main.load || main.enable);
    assert_non_null(strstr(main.refusal, "\n    nat-anchor \"vmwire/*\"\n    rdr-anchor \"vmwire/*\"\n"));
    assert_non_null(strstr(main.refusal, "\n    anchor \"vmwire/*\"\n"));
    assert_non_null(strstr(main.refusal, "pfctl -f /etc/pf.conf"));
    /* the article's transcript of a main ruleset with the first line alone */
    judge(on, "nat-anchor \"vmwire/*\" all\n", "", &main);
    assert_null(strstr(main.refusal, "nat-anchor"));
    assert_non_null(strstr(main.refusal, "\n    rdr-anchor \"vmwire/*\"\n"));
    /* one that is narrowed is not enough */
    judge(on, "nat-anchor \"vmwire/*\" on em0 all\nrdr-anchor \"vmwire/*\" all\n",
          "anchor \"vmwire/*\" all\n", &main);
    assert_non_null(strstr(main.refusal, "\n    nat-anchor \"vmwire/*\"\n"));
    assert_null(strstr(main.refusal, "rdr-anchor"));
}

static void pf_that_is_off_with_a_ruleset_is_the_administrators_to_switch_on(void **state)
{
    (void)state;
    struct firewall_main main;
    judge("Status: Disabled", "nat-anchor \"vmwire/*\" all\nrdr-anchor \"vmwire/*\" all\n",
          "anchor \"vmwire/*\" all\npass all\n", &main);
    assert_false(main.load || main.enable);
    assert_non_null(strstr(main.refusal, "pfctl -e"));
    assert_null(strstr(main.refusal, "/etc/pf.conf"));
}

static void enabling_what_is_enabled_fails_and_is_none(void **state)
{
    (void)state;
    expect_failure("firewall-enable enable=1", "", "pfctl: pf already enabled\n", 0, 0, NULL);
    expect_failure("firewall-disable enable=1", "", "pfctl: pf not enabled\n", 0, 0, NULL);
}

static void pf_module_absent(void **state)
{
    (void)state;
    expect_failure(firewall_set, "", "kldload: can't load pf: No such file or directory\n", 0, -ENOENT,
                   "the module pf is missing");
    expect_failure(firewall_set, "", "pfctl: /dev/pf: No such file or directory\n", 0, -ENOENT, "kldload pf");
    expect_failure("firewall-remove network=brnat bridge=brnat", "",
                   "pfctl: /dev/pf: No such file or directory\n", 0, 0, NULL);
}

static void a_bad_rule_is_shown_with_its_text(void **state)
{
    (void)state;
    expect_failure(
        firewall_set, "", "stdin:1: syntax error\npfctl: Syntax error in config file: pf rules not loaded\n",
        0, -EINVAL, "'nat on vtnet0 inet from 10.0.0.0/24 to any -> (vtnet0)' (stdin:1: syntax error)");
    expect_failure(firewall_set, "",
                   "no IP address found for nosuch0\nstdin:1: could not parse host specification\n"
                   "pfctl: Syntax error in config file: pf rules not loaded\n",
                   0, -EINVAL, "could not parse host specification");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_anchor_a_network_and_the_module_first),
        cmocka_unit_test(ipv6_has_rules_of_its_own_and_is_read_back),
        cmocka_unit_test(an_anchor_is_right_only_with_all_its_rules),
        cmocka_unit_test(anchors_that_do_not_translate_are_read_back),
        cmocka_unit_test(forwards_are_rdr_rules_and_are_read_back),
        cmocka_unit_test(anchors_are_listed_below_vmwire_alone),
        cmocka_unit_test(an_absent_anchor_has_no_rules_though_pfctl_ends_with_0),
        cmocka_unit_test(without_the_module_a_minimal_ruleset_is_loaded_and_pf_switched_on),
        cmocka_unit_test(the_minimal_ruleset_is_known_again),
        cmocka_unit_test(loaded_is_not_in_force),
        cmocka_unit_test(pf_that_is_off_with_a_ruleset_is_the_administrators_to_switch_on),
        cmocka_unit_test(enabling_what_is_enabled_fails_and_is_none),
        cmocka_unit_test(pf_module_absent),
        cmocka_unit_test(a_bad_rule_is_shown_with_its_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
