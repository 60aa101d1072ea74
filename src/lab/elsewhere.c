/* elsewhere.c: lab.h on systems without namespaces: it says so. */
#include "lab/lab.h"

#include <errno.h>

int lab_run(const struct lab_options *options, int *status, struct err *err)
{
    (void)options;
    *status = 0;
    return err_set(err, ENOTSUP, "the lab needs Linux: this system has no network namespaces");
}

int lab_check(struct err *warning)
{
    (void)warning;
    return 0;
}
