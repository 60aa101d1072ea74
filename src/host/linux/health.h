/* health.h: what the files that observe a host's health share. */
#ifndef VMWIRE_HOST_LINUX_HEALTH_H
#define VMWIRE_HOST_LINUX_HEALTH_H

#include "host/linux/linux.h"

struct health_reader {
    struct linux_host *host;
    struct arena *arena;
    const struct observed *observed; /* with its links */
    struct health *health;
};

/* health_links.c */
int health_links(struct health_reader *reader, struct err *err);

/* The number in a file of /proc or /sys; -1 when it cannot be read. */
long number_read(struct arena *arena, const char *path);

#endif
