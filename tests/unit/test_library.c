/* test_library.c: libraries that are loaded where they are used: base/library.h. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/library.h"

double cos(double x);
double sin(double x);
double tan(double x);
int no_such_function(void);

#define FOUND_FUNCTIONS(DO) DO(cos)
#define NONE_FUNCTIONS(DO) DO(sin)
#define LACKING_FUNCTIONS(DO) DO(tan) DO(no_such_function)

LIBRARY(found, FOUND_FUNCTIONS, "libnone.so.1", "libm.so.6");
LIBRARY(none, NONE_FUNCTIONS, "libnone.so.1", "libnone.so.2");
LIBRARY(lacking, LACKING_FUNCTIONS, "libm.so.6");

static void the_first_soname_that_is_there_is_loaded(void **state)
{
    struct err err = {0};
    (void)state;
    assert_int_equal(library_load(&found, &err), 0);
    assert_int_equal(library_load(&found, &err), 0);
    assert_true(sym_cos(0) == 1);
}

static void one_that_is_not_there_is_named(void **state)
{
    struct err err = {0};
    (void)state;
    assert_int_equal(library_load(&none, &err), -ENOENT);
    assert_non_null(strstr(err.text, "libnone.so.1"));
    assert_null(sym_sin);
}

static void one_that_lacks_a_function_sets_none(void **state)
{
    struct err err = {0};
    (void)state;
    assert_int_equal(library_load(&lacking, &err), -ENOENT);
    assert_non_null(strstr(err.text, "no_such_function"));
    assert_null(sym_tan);
    assert_null(sym_no_such_function);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_soname_that_is_there_is_loaded),
        cmocka_unit_test(one_that_is_not_there_is_named),
        cmocka_unit_test(one_that_lacks_a_function_sets_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
