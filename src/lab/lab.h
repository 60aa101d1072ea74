/* lab.h: a private practice host: namespaces with a home router and a little internet, gone when the command
 * ends. */
#ifndef VMWIRE_LAB_LAB_H
#define VMWIRE_LAB_LAB_H

#include <stdbool.h>

#include "base/err.h"

struct lab_options {
    const char *const *argv; /* the command to run inside; NULL: the caller's shell, after a welcome */
    bool single_mac;         /* the router's ports pass only the first MAC that each saw */
    const char *welcome;     /* text for an interactive shell */
};

/* Build the lab, run the command in it as a child, take the lab away.  `status` gets the command's exit
 * status (128 + signal when killed).  Errors name the kernel feature or program that is missing; when it is
 * the command that cannot be started, `status` is 127 (no such program) or 126, as sh has it, else 0 with
 * every error. */
int lab_run(const struct lab_options *options, int *status, struct err *err);

/* What the caller will miss in the lab, to be said before lab_run: guests need /dev/net/tun.  0, or a
 * negative errno with `warning` set; the lab works without it. */
int lab_check(struct err *warning);

#endif
