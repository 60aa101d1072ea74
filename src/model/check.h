/* check.h: what the files behind model_check share. */
#ifndef VMWIRE_MODEL_CHECK_H
#define VMWIRE_MODEL_CHECK_H

#include "model/model.h"

/* One run of model_check.  `networks` are pointers into the model, sorted by name. */
struct check {
    struct model *model;
    struct arena *arena;       /* scratch, ends with the check */
    struct arena *model_arena; /* for what the model keeps */
    struct problems *problems;
    struct network **networks;
    size_t suggestions;
};

/* The order of two places in the file: <0, 0, >0. */
int pos_compare(struct pos a, struct pos b);
/* " (on line 7)", or "" for an entry that no file holds. */
const char *on_line(struct check *check, struct pos pos);
/* The entry by name, or NULL; does not walk over all of them. */
struct network *network_lookup(struct check *check, const char *name);

/* check_nic.c: each network's list of nics; the addresses that nics are given in the file. */
void network_nics_fill(struct check *check);
void nic_addresses_check(struct check *check);
/* check_vlan.c: VLANs of networks and nics. */
void vlans_check(struct check *check);
/* check_forward.c: where port forwards lead, and which want the same port. */
void forwards_check(struct check *check);

#endif
