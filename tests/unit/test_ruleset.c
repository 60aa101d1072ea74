/* test_ruleset.c: what becomes of packets of which only a part is known, in chains made by hand. */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include <sys/socket.h>

#include "model/ruleset.h"

struct world {
    struct arena arena;
    struct ruleset ruleset;
    struct rule_chain *chain;
    struct rule *rule;
};

static int setup(void **state)
{
    *state = test_calloc(1, sizeof(struct world));
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    arena_free(&world->arena);
    test_free(world);
    return 0;
}

static struct prefix prefix(const char *text)
{
    struct prefix parsed;
    assert_int_equal(prefix_parse(text, &parsed), 0);
    return parsed;
}

static void chain(struct world *world, const char *name, enum chain_hook hook, int priority, bool drop)
{
    world->chain = vec_push(&world->arena, &world->ruleset.chains);
    *world->chain = (struct rule_chain){.family = "inet",
                                        .table = "t",
                                        .name = name,
                                        .hook = hook,
                                        .priority = priority,
                                        .policy_drop = drop};
}

static void rule(struct world *world)
{
    world->rule = vec_push(&world->arena, &world->chain->rules);
    *world->rule = (struct rule){.handle = world->chain->rules.count, .comment = ""};
}

static struct rule_step *step(struct world *world, enum rule_step_kind kind)
{
    struct rule_step *added = vec_push(&world->arena, &world->rule->steps);
    added->kind = kind;
    return added;
}

static void load(struct world *world, enum rule_source source, uint16_t offset, uint8_t length)
{
    struct rule_step *added = step(world, STEP_LOAD);
    added->source = source, added->offset = offset, added->length = length;
}

static void compare(struct world *world, enum rule_compare how, const void *data, uint8_t length)
{
    struct rule_step *added = step(world, STEP_COMPARE);
    added->compare = how, added->data = data, added->length = length;
}

static void end(struct world *world, enum rule_verdict verdict, const char *to)
{
    step(world, STEP_END)->target = (struct rule_target){verdict, to};
}

/* From a guest of 10.0.0.0/24 to 8.8.8.8, by TCP, port 443. */
static struct sample sample(void)
{
    return (struct sample){.in = "brnat",
                           .out = "re0",
                           .source = prefix("10.0.0.0/24"),
                           .target = prefix("8.8.8.8/32"),
                           .protocol = IPPROTO_TCP,
                           .target_port = 443};
}

static enum judged_as judged(struct world *world)
{
    struct sample packet = sample();
    return ruleset_judge_way(&world->ruleset, &packet).as;
}

static void test_nothing_passes(void **state)
{
    assert_int_equal(judged(*state), JUDGED_PASSED);
}

static void test_policy_drops_and_an_accept_saves(void **state)
{
    struct world *world = *state;
    chain(world, "fw", HOOK_FORWARD, 0, true);
    assert_int_equal(judged(world), JUDGED_DROPPED);
    rule(world);
    load(world, SOURCE_IN_NAME, 0, 16);
    compare(world, COMPARE_EQUAL, "brnat\0\0\0\0\0\0\0\0\0\0", 16);
    end(world, RULE_ACCEPT, NULL);
    assert_int_equal(judged(world), JUDGED_PASSED);
}

/* source address under `mask` is `value`, then drop */
static void source_rule(struct world *world, const char *value, const char *mask)
{
    static const uint8_t zero[4];
    static uint8_t bytes[4][2][4];
    static size_t used;
    uint8_t(*pair)[4] = bytes[used++ % 4];
    memcpy(pair[0], prefix(value).ip.bytes, 4);
    memcpy(pair[1], prefix(mask).ip.bytes, 4);
    rule(world);
    load(world, SOURCE_NETWORK, 12, 4);
    struct rule_step *mask_step = step(world, STEP_MASK);
    mask_step->data = pair[1], mask_step->data2 = zero, mask_step->length = 4;
    compare(world, COMPARE_EQUAL, pair[0], 4);
    end(world, RULE_DROP, NULL);
}

static void test_a_subnet_is_known_to_its_length(void **state)
{
    struct world *world = *state;
    chain(world, "fw", HOOK_FORWARD, 0, false);
    source_rule(world, "10.9.0.0/32", "255.255.0.0/32"); /* another */
    assert_int_equal(judged(world), JUDGED_PASSED);
    source_rule(world, "10.0.0.7/32", "255.255.255.255/32"); /* one guest of many */
    assert_int_equal(judged(world), JUDGED_UNKNOWN);
    source_rule(world, "10.0.0.0/32", "255.0.0.0/32"); /* all of them */
    assert_int_equal(judged(world), JUDGED_DROPPED);
}

static void test_a_port_that_the_sender_chose(void **state)
{
    static const uint8_t low[] = {0, 25}, high[] = {0x80, 0};
    struct world *world = *state;
    chain(world, "fw", HOOK_FORWARD, 0, false);
    rule(world);
    load(world, SOURCE_TRANSPORT, 0, 2);
    compare(world, COMPARE_EQUAL, low, 2);
    end(world, RULE_DROP, NULL);
    assert_int_equal(judged(world), JUDGED_PASSED);
    rule(world);
    load(world, SOURCE_TRANSPORT, 0, 2);
    compare(world, COMPARE_AT_LEAST, high, 2);
    end(world, RULE_DROP, NULL);
    assert_int_equal(judged(world), JUDGED_DROPPED);
}

static void test_what_may_be_is_unknown_until_something_is_certain(void **state)
{
    struct world *world = *state;
    chain(world, "fw", HOOK_FORWARD, 0, false);
    rule(world);
    step(world, STEP_MAYBE)->what = "whether its 'limit' holds";
    end(world, RULE_DROP, NULL);
    struct sample packet = sample();
    struct judgement judgement = ruleset_judge_way(&world->ruleset, &packet);
    assert_int_equal(judgement.as, JUDGED_UNKNOWN);
    assert_string_equal(judgement.why, "whether its 'limit' holds");
    assert_int_equal(judgement.rule->handle, 1);
    chain(world, "later", HOOK_FORWARD, 10, true);
    judgement = ruleset_judge_way(&world->ruleset, &packet);
    assert_int_equal(judgement.as, JUDGED_DROPPED);
    assert_string_equal(judgement.chain->name, "later");
    assert_null(judgement.rule);
}

static void test_jumps_return_and_gotos_do_not(void **state)
{
    struct world *world = *state;
    chain(world, "fw", HOOK_FORWARD, 0, false);
    rule(world);
    end(world, RULE_JUMP, "sub");
    rule(world);
    end(world, RULE_GOTO, "sub");
    rule(world);
    end(world, RULE_DROP, NULL);
    chain(world, "sub", HOOK_NONE, 0, false);
    rule(world);
    end(world, RULE_RETURN, NULL);
    /* jump came back, goto did not: the drop behind it is never reached */
    assert_int_equal(judged(world), JUDGED_PASSED);
    world->ruleset.chains.items[0].rules.items[1].steps.items[0].target.verdict = RULE_JUMP;
    assert_int_equal(judged(world), JUDGED_DROPPED);
}

static void test_chains_that_call_each_other_end(void **state)
{
    struct world *world = *state;
    chain(world, "fw", HOOK_FORWARD, 0, false);
    rule(world);
    end(world, RULE_JUMP, "a");
    for (int i = 0; i < 2; i++) {
        chain(world, i ? "b" : "a", HOOK_NONE, 0, false);
        for (int j = 0; j < 4; j++) {
            rule(world);
            end(world, RULE_JUMP, i ? "a" : "b");
        }
    }
    assert_int_not_equal(judged(world), JUDGED_DROPPED);
}

static struct rule_set *set(struct world *world, size_t length, bool interval)
{
    struct rule_set *made = arena_new(&world->arena, struct rule_set);
    made->length = length, made->interval = interval;
    return made;
}

static void element(struct world *world, struct rule_set *set, const char *first, const char *last,
                    enum rule_verdict verdict)
{
    struct set_element *added = vec_push(&world->arena, &set->elements);
    uint8_t *bytes = arena_alloc(&world->arena, 8);
    memcpy(bytes, prefix(first).ip.bytes, 4);
    memcpy(bytes + 4, prefix(last).ip.bytes, 4);
    *added = (struct set_element){.first = bytes, .last = bytes + 4, .target = {.verdict = verdict}};
}

static void test_sets_have_intervals(void **state)
{
    struct world *world = *state;
    chain(world, "fw", HOOK_FORWARD, 0, false);
    struct rule_set *bad = set(world, 4, true);
    element(world, bad, "8.8.4.0/32", "8.8.4.255/32", RULE_CONTINUE);
    rule(world);
    load(world, SOURCE_NETWORK, 16, 4);
    struct rule_step *lookup = step(world, STEP_LOOKUP);
    lookup->set = bad, lookup->length = 4;
    end(world, RULE_DROP, NULL);
    assert_int_equal(judged(world), JUDGED_PASSED);
    element(world, bad, "8.8.8.0/32", "8.8.8.63/32", RULE_CONTINUE);
    assert_int_equal(judged(world), JUDGED_DROPPED);
    lookup->negate = true;
    assert_int_equal(judged(world), JUDGED_PASSED);
    lookup->negate = false, bad->elements.count = 1, bad->cut = true;
    assert_int_equal(judged(world), JUDGED_UNKNOWN);
}

static void test_a_verdict_map_is_followed(void **state)
{
    struct world *world = *state;
    chain(world, "fw", HOOK_FORWARD, 0, true);
    struct rule_set *map = set(world, 4, true);
    map->map = true;
    element(world, map, "8.8.8.8/32", "8.8.8.8/32", RULE_ACCEPT);
    rule(world);
    load(world, SOURCE_NETWORK, 16, 4);
    struct rule_step *lookup = step(world, STEP_LOOKUP);
    lookup->set = map, lookup->to = REGISTER_VERDICT;
    assert_int_equal(judged(world), JUDGED_PASSED);
    map->elements.items[0].target.verdict = RULE_REJECT;
    struct sample packet = sample();
    struct judgement judgement = ruleset_judge_way(&world->ruleset, &packet);
    assert_int_equal(judgement.as, JUDGED_DROPPED);
    assert_true(judgement.told);
}

static void test_answers_are_established_and_new_ones_are_not(void **state)
{
    static const uint32_t established = 2, zero;
    struct world *world = *state;
    chain(world, "fw", HOOK_FORWARD, 0, true);
    rule(world);
    load(world, SOURCE_CT_STATE, 0, 4);
    struct rule_step *mask = step(world, STEP_MASK);
    mask->data = (const uint8_t *)&established, mask->data2 = (const uint8_t *)&zero, mask->length = 4;
    compare(world, COMPARE_NOT_EQUAL, &zero, 4);
    end(world, RULE_ACCEPT, NULL);
    assert_int_equal(judged(world), JUDGED_DROPPED);
    struct sample answer = sample();
    answer.answer = true;
    assert_int_equal(ruleset_judge_way(&world->ruleset, &answer).as, JUDGED_PASSED);
}

static void test_a_mark_is_known_until_somebody_sets_it(void **state)
{
    static const uint32_t seven = 7;
    struct world *world = *state;
    chain(world, "fw", HOOK_FORWARD, 0, false);
    rule(world);
    load(world, SOURCE_MARK, 0, 4);
    compare(world, COMPARE_EQUAL, &seven, 4);
    end(world, RULE_DROP, NULL);
    assert_int_equal(judged(world), JUDGED_PASSED);
    chain(world, "pre", HOOK_PREROUTING, -150, false);
    rule(world);
    step(world, STEP_MARK);
    assert_int_equal(judged(world), JUDGED_UNKNOWN);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_passes),
        TEST(test_policy_drops_and_an_accept_saves),
        TEST(test_a_subnet_is_known_to_its_length),
        TEST(test_a_port_that_the_sender_chose),
        TEST(test_what_may_be_is_unknown_until_something_is_certain),
        TEST(test_jumps_return_and_gotos_do_not),
        TEST(test_chains_that_call_each_other_end),
        TEST(test_sets_have_intervals),
        TEST(test_a_verdict_map_is_followed),
        TEST(test_answers_are_established_and_new_ones_are_not),
        TEST(test_a_mark_is_known_until_somebody_sets_it),
    };
    return cmocka_run_group_tests_name("ruleset", tests, NULL, NULL);
}
