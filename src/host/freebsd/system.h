/* system.h: what the files of the FreeBSD backend share; these need FreeBSD to compile. */
#ifndef VMWIRE_HOST_FREEBSD_SYSTEM_H
#define VMWIRE_HOST_FREEBSD_SYSTEM_H

#include "host/freebsd/freebsd.h"
#include "host/shared.h"

struct freebsd_host {
    struct host host;
    struct arena arena; /* lives as long as the host */
    struct freebsd_names
        made; /* taps that this process opened: nobody has them open yet, and they are not stale */
};

/* What a program said. */
struct freebsd_answer {
    const char *output, *errors; /* never NULL */
    int status;
};

/* run.c: run one program to its end.  0 when it ended (look at answer->status), else -ENOENT, -ETIMEDOUT, …;
 * what it printed lives in the arena. */
int freebsd_run(struct arena *arena, const struct freebsd_command *command, struct freebsd_answer *answer,
                struct err *err);
/* The same for a program of words, ending in NULL, that has to succeed: -EIO with what it said. */
int freebsd_ask(struct arena *arena, const char *const words[], struct freebsd_answer *answer,
                struct err *err);
#define FREEBSD_ASK(arena, answer, err, ...)                                                                 \
    freebsd_ask((arena), (const char *const[]){__VA_ARGS__, NULL}, (answer), (err))

/* observe.c */
int freebsd_observe(struct host *host, struct arena *arena, unsigned what, struct observed *observed,
                    struct err *err);
/* One interface; -ENODEV when it is not there.  `observed` gets it and its addresses. */
int freebsd_link_get(struct arena *arena, const char *name, struct observed *observed, struct err *err);

/* apply.c */
int freebsd_apply(struct host *host, const struct op *op, unsigned flags, struct err *err);

/* tap.c */
int freebsd_nic_open(struct host *host, const struct nic_request *request, struct nic_open *nic,
                     struct err *err);
int freebsd_nic_close(struct host *host, const char *tap, struct err *err);
int freebsd_nics_settle(struct host *host, struct err *err);

#endif
