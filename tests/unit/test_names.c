/* test_names.c: names in a hash table that grows: base/names.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/names.h"

static void each_name_keeps_its_place_as_the_table_grows(void **state)
{
    (void)state;
    _cleanup_arena_ struct arena arena = {0};
    struct names names = {0};
    assert_int_equal(names_find(&names, "n0"), 0);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(names_add(&arena, &names, arena_printf(&arena, "n%zu", i)), i);
    for (size_t i = 0; i < 5000; i++) {
        const char *again = arena_printf(&arena, "n%zu", i);
        assert_int_equal(names_add(&arena, &names, again), i);
        assert_int_equal(names_find(&names, again), i);
        assert_string_equal(names.list.items[i], again);
    }
    assert_int_equal(names.list.count, 5000);
    assert_int_equal(names_find(&names, "n5000"), 5000);
    assert_int_equal(names_find(&names, ""), 5000);
    assert_int_equal(names_add(&arena, &names, ""), 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_name_keeps_its_place_as_the_table_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
