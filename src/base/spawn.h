/* spawn.h: starting other programs: argv arrays, a clean environment, no shell. */
#ifndef VMWIRE_BASE_SPAWN_H
#define VMWIRE_BASE_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/err.h"

/* What a program gets and gave.  Unset members: no input, output thrown away. */
struct spawn {
    const char *const *argv; /* argv[0] is an absolute path, or a name that program_find found */
    const char *input;       /* its standard input, NUL-terminated; NULL: /dev/null */
    int timeout_ms;          /* killed after this long; 0: no bound */
    struct arena *arena;     /* where `output` and `errors` live; NULL: not kept */
    char *output, *errors;   /* out: stdout and stderr, NUL-terminated, at most 1 MiB each */
    int status;              /* out: exit status, or 128 + signal */
    int result;              /* out, of spawn_check_all: as spawn_check returns, and what its err would say */
    const char *failure;
};

/* Run a program to its end.  The environment is PATH, LC_ALL=C and nothing else; descriptors above 2 are
 * closed, and of privileges it has PRIVILEGE_HELPER at most. Returns 0 when it was started and ended (look at
 * spawn->status), else a negative errno: -ENOENT no such program, -ETIMEDOUT killed for its time. */
int spawn_run(struct spawn *spawn, struct err *err);

/* As spawn_run; a status other than 0 becomes -EIO with what the program printed on stderr (its last lines).
 */
int spawn_check(struct spawn *spawn, struct err *err);

/* Several programs, each as by spawn_check and with an arena, at most SPAWN_AT_ONCE of them at a time, until
 * none runs.  `go_on`: when one has failed, too; else what was not started by then has -ECANCELED. */
enum { SPAWN_AT_ONCE = 8 };
void spawn_check_all(struct spawn spawns[], size_t count, bool go_on);

/* In a child: SIGKILL at the end of `parent`, also when it has ended already.  A program that is still
 * getting ready goes with the one that started it: nobody would know of it.  What it forks itself stays. */
void spawn_die_with(pid_t parent);

/* The absolute path of program `name` in the fixed search path (/usr/local/sbin, /usr/local/bin, /usr/sbin,
 * /usr/bin, /sbin, /bin), or NULL.  A name with a slash is returned when it can be executed. */
const char *program_find(struct arena *arena, const char *name);

/* The environment of every program that vmwire starts: PATH=…, LC_ALL=C, NULL. */
extern char *const spawn_environment[];

#endif
