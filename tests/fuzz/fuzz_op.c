/* fuzz_op.c: any bytes as a line of the journal, a record, or dnsmasq's leases: no crash; what parses
 * survives its own text form. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "plan/plan.h"
#include "service/service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena arena = {0};
    const char *text = arena_strndup(&arena, (const char *)data, size);
    struct err err = {0};
    struct op op, again;
    if (op_parse(&arena, text, &op, &err) == 0) {
        const char *line = op_format(&arena, &op);
        if (op_parse(&arena, line, &again, &err) < 0 || strcmp(op_format(&arena, &again), line) != 0)
            abort();
    }
    struct record record;
    record_parse(&arena, text, &record, &err);
    struct leases leases;
    dnsmasq_leases_parse(&arena, text, &leases);
    return 0;
}
