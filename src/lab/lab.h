/* lab.h: a private practice host: namespaces with a home router and a little internet, gone when the command ends. */
#ifndef VMWIRE_LAB_LAB_H
#define VMWIRE_LAB_LAB_H

#include <stdbool.h>

#include "base/err.h"

struct lab_options {
    const char *const *argv; /* the command to run inside; NULL: the caller's shell, after a welcome */
    bool single_mac;         /* the router's ports pass only the first MAC that each saw */
    const char *welcome;     /* text for an interactive shell */
};

/* Build the lab, run the command in it as a child, take the lab away.  `status` gets the command's exit status
 * (128 + signal when killed).  Errors name the kernel feature or program that is missing. */
int lab_run(const struct lab_options *options, int *status, struct err *err);

#endif
