/* pcapng.h: writes pcapng, so that one file holds several hops with their names, and a comment a packet.
 * Source: draft-ietf-opsawg-pcapng: section header, one interface description a hop, enhanced packets. */
#ifndef VMWIRE_DIAG_PCAPNG_H
#define VMWIRE_DIAG_PCAPNG_H

#include <stdio.h>

#include "diag/capture.h"

/* The head of the file: `application` wrote it, and hop i of `hops` is interface i.  Returns 0 or a negative
 * errno (-EPIPE: the reader has gone). */
int pcapng_start(FILE *out, const struct hops *hops, const char *application, struct err *err);

/* One packet, with a comment ("" for none). */
int pcapng_packet(FILE *out, const struct capture_packet *packet, const char *comment, struct err *err);

/* What the interface is, for a reader: "nic 0 of machine vm0 on network brnat". */
const char *hop_describe(struct arena *arena, const struct hop *hop);

/* A hop's short name: "vm0/0" for a machine's nic, else its interface. */
const char *hop_label(struct arena *arena, const struct hop *hop);

#endif
