/* nic.h: nics for a program: what `--nic` says, opening them through the host, filling in the placeholders of
 * a command line, and becoming that program.  `exec`, `run` and `start` are this one mechanism.
 *
 * A tap is not persistent: it lives as long as a process has its descriptor.  So every tap that was asked for
 * is inherited by the program, whether or not its command line mentions the descriptor; a vhost descriptor is
 * opened and inherited only when it is mentioned, or asked for.  Everything else stays close-on-exec. */
#ifndef VMWIRE_ENGINE_NIC_H
#define VMWIRE_ENGINE_NIC_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "host/host.h"

enum { NICS_MAX = 64 };

enum nic_choice { NIC_DEFAULT = 0, NIC_ON, NIC_OFF };

/* One nic that is wanted. */
struct nic_spec {
    const char *network;
    struct mac mac;              /* all zero: a random, locally administered one is made when it is opened */
    unsigned vlan;               /* that its port is in alone; 0: that of untagged frames */
    unsigned queues;             /* 1 to NIC_QUEUES_MAX */
    enum nic_choice vhost;       /* default: when the command line has {vhostfdsN} */
    enum nic_choice vnet_header; /* IFF_VNET_HDR; default: on */
    struct rates rates;          /* its own */
    struct ip address, address6; /* that the guest has without a lease; unset: none */
    bool guest;                  /* for a guest without a hypervisor (host/guest.h) */
};

/* The wanted nics of one program, and after nics_open the open ones, index by index. */
struct nics {
    struct host *host;   /* that opened them; set by nics_open */
    const char *machine; /* for the owner tag; "-" for `exec` */
    unsigned first;      /* the index of the first, for the owner tag */
    VEC(struct nic_spec) specs;
    VEC(struct nic_open) open;
};

/* Read
 * "NET[,mac=MAC][,address=ADDRESS][,queues=N][,vhost=on|off][,vnet_hdr=on|off][,rate_in=RATE][,rate_out=RATE]
 * [,burst=SIZE]".  -EINVAL names the part and what would be
 * right. */
int nic_parse(struct arena *arena, const char *text, struct nic_spec *spec, struct err *err);

/* The reverse of nic_parse, for `args`; the MAC is always written. */
const char *nic_format(struct arena *arena, const struct nic_spec *spec);

/* A random unicast, locally administered MAC (IEEE 802-2014, 8.4): 02 and 40 random bits. */
struct mac nic_mac_random(void);

/* Open all of nics->specs.  `argv` (may be NULL) says which vhost descriptors are needed.  Sets the MACs that
 * were not given.  Errors: -ENODEV, naming `vmwire up NET`, when a network is not up; -ENODEV when vhost is
 * wanted and the host has none; the host's.  On failure none stays open. */
int nics_open(struct arena *arena, struct host *host, struct nics *nics, const char *const argv[],
              struct err *err);
/* Close all; may be called twice. */
void nics_close(struct nics *nics);
#define _cleanup_nics_ __attribute__((cleanup(nics_close)))

/* Do all placeholders of argv mean one of `count` nics?  For telling before anything is opened.  -EINVAL,
 * naming the word, when one does not. */
int nic_check_argv(const char *const argv[], size_t count, struct err *err);

/* argv with {tapN} {macN} {mtuN} {fdN} {fdsN} {vhostfdsN} filled in, in the arena; any other brace is left
 * alone. -EINVAL when N is beyond the nics; -ENODEV for {vhostfdsN} of a nic without vhost. */
int nic_substitute(struct arena *arena, const struct nics *nics, const char *const argv[],
                   const char *const **filled, struct err *err);

/* Let the program have the descriptors of the open nics (see the head of this file). */
int nics_inherit(const struct nics *nics, struct err *err);

/* Become the program `argv` (with placeholders) with these open nics.  `environment` NULL: the caller's
 * environment, and argv[0] is looked up in its PATH; else that environment, and argv[0] is looked up by
 * program_find.  Returns only on failure, when the nics are still open. */
int exec_nics(struct arena *arena, const struct nics *nics, const char *const argv[],
              char *const environment[], struct err *err);

/* The same where a tap does not go with its descriptors (host->backend->nic_close): the program is a child,
 * with the caller's environment, and signals that would end the caller are passed on to it; when it has ended
 * the nics are closed, and 0 is returned with its `exit_status`, 128 and the number for a signal.  Errors:
 * exec_nics's. */
int nics_run(struct arena *arena, struct nics *nics, const char *const argv[], int *exit_status,
             struct err *err);

#endif
