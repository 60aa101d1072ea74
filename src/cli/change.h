/* change.h: what `plan`, `up` and `down` share. */
#ifndef VMWIRE_CLI_CHANGE_H
#define VMWIRE_CLI_CHANGE_H

#include "cli/cli.h"
#include "engine/guard.h"

/* argv[1…] are names of networks: NULL when none is given.  Sets *names; EXIT_DONE or a usage error that
 * names the nearest network of the file. `known_only`: they must be in the file. */
int change_names(struct cli *cli, int argc, char **argv, bool known_only, const char *const **names);

/* A listener that prints: notes always, each operation with -v, a progress line on a terminal. */
struct engine_listener change_listener(struct cli *cli);

/* Lock, observe, plan and apply, guarded.  `down` needs no file, and takes a negative guard->guard_ms for
 * what the file said with which the networks came up; else cli->model has been read. */
int change_host(struct cli *cli, const char *const *names, bool down, const struct guard_request *guard);

#endif
