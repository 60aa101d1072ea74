/* fuzz_config.c: any bytes as a file: no crash, no leak, and every problem has a text of one line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7.12 loses its chunk table after a single-quoted scalar with many doubled quotes. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml.so\n";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena arena = {0};
    struct model model = {0};
    struct problems problems = {.arena = &arena};

    config_parse(&arena, (const char *)data, size, &model, &problems);
    model_check(&model, &arena, "", &problems);
    problem_sort(&problems);
    vec_foreach (&problems.list, problem) {
        if (strpbrk(problem_text(&problems, problem), "\n\r\x1b"))
            abort();
    }
    return 0;
}
