/* bhyve_keep.h: bhyve processes of one machine, one after the other: bhyve ends when its guest reboots, and
 * has to be started again. */
#ifndef VMWIRE_ENGINE_BHYVE_KEEP_H
#define VMWIRE_ENGINE_BHYVE_KEEP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "hyper/bhyve.h"

enum { KEEP_WORDS_MAX = 1024 };

struct keep {
    struct arena *arena;
    const char *machine;
    const char *const *argv;    /* bhyve's, nics filled in; argv[0] an absolute path */
    const char *const *destroy; /* what takes the machine out of vmm: bhyve_control */
    const char *node;           /* bhyve_node: there while vmm has the machine */
    char *const *environment;   /* bhyve's */
    const char *pid_path;       /* names the bhyve that runs */
    const char *stop_path;      /* a file that, when it is there, makes a reboot the end */
    bool background;            /* no terminal: standard input is empty, and output is taken like errors */
    /* What else shows that all is opened, where bhyve waits for a viewer before it says so; may be NULL. */
    bool (*waiting)(pid_t pid, void *data);
    void (*started)(void *data); /* called once, when bhyve has opened everything; may be NULL */
    void *data;
    char words[KEEP_WORDS_MAX]; /* out: the last that bhyve said on stderr (in the background: at all) */
    int status;                 /* out: the last bhyve's exit status, or 128 and the signal's number */
};

/* Run the machine until its guest does something else than reboot, and take it out of vmm before each start
 * and after the end.  Descriptors that are inheritable are bhyve's.  SIGTERM, SIGHUP, SIGINT and SIGQUIT are
 * passed on to bhyve, and after one of them a reboot is an end too.  A terminal on standard input is as it
 * was afterwards, also when bhyve was killed.  Errors: fork(2)'s, and -ENOENT when argv[0] is not there. */
int bhyve_keep(struct keep *keep, enum bhyve_end *end, struct err *err);

#endif
