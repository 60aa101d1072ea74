/* text.h: what rendering Linux's commands needs of the Linux backend; pure, and compiled everywhere. */
#ifndef VMWIRE_HOST_LINUX_TEXT_H
#define VMWIRE_HOST_LINUX_TEXT_H

#include "base/text.h"
#include "model/admission.h"
#include "model/state.h"

#define LINUX_RUN_DIR "/run/vmwire"

/* nft_text.c: the ruleset as text, for libnftables and for render alike.  `base`: the table, its maps and
 * chains, safe to add again when it is there. */
const char *nft_base_text(struct arena *arena);
const char *nft_set_text(struct arena *arena, const struct firewall *firewall);
const char *nft_remove_text(struct arena *arena, const struct firewall *firewall);
/* Every rule that the base has: chain and comment, ending with a NULL chain. */
struct nft_rule {
    const char *chain, *comment, *text;
};
extern const struct nft_rule nft_rules[];

/* nft_table_text.c: the lines of tables: of sets, and maps, which have " : " in their `spec`, ending with a
 * NULL name, after which comes `suffix`; and of rules. */
struct nft_set {
    const char *name, *spec;
};
void nft_sets_add(struct text *out, const char *table, const struct nft_set sets[], const char *suffix);
void nft_sets_delete(struct text *out, const char *table, const struct nft_set sets[], const char *suffix);
void nft_rules_add(struct text *out, const char *table, const struct nft_rule rules[]);

/* nft_lock_text.c: the table of locks.  `base`: table, sets and rules, also where some of it is there, whose
 * elements stay; a network's elements; a nic's. */
extern const struct nft_rule nft_lock_rules[]; /* ending with a NULL chain */
const char *nft_lock_base_text(struct arena *arena);
const char *nft_lock_elements(struct arena *arena, const struct lock *lock, bool add);
const char *nft_lock_nic_text(struct arena *arena, const struct lock_nic *nic, bool add);
/* What was counted of a tap of that name. */
const char *nft_lock_forget_text(struct arena *arena, const char *ifname);
/* "NET MAC any|- IP|- IP|-": how the element of `nics` tells what else there is. */
const char *nft_lock_nic_comment(struct arena *arena, const struct lock_nic *nic);
/* One network's, as commands of sh that leave the others' alone. */
const char *nft_lock_commands(struct arena *arena, const struct lock *lock, bool add);

/* nft_shared_text.c: the table of the networks that share a MAC, in the same way.  Chains and sets of a
 * network are named NAME_NETWORK; its rules' chains are written without the network. */
extern const struct nft_rule nft_shared_base_rules[], nft_shared_rules[];
extern const char *const nft_shared_base_chains[], *const nft_shared_chains[]; /* NULL-terminated */
extern const struct nft_set nft_shared_maps[], nft_shared_sets[];
/* How long an owner can be known: its element's timeout, from which its age is told. */
#define SHARED_AGE_TEXT "365d"

const char *nft_shared_base_text(struct arena *arena);
const char *nft_shared_base_remove_text(struct arena *arena);
const char *nft_shared_set_text(struct arena *arena, const struct shared *shared);
/* `uplink_index`: the interface's index that the elements have, for an uplink that is gone; 0: by its name.
 */
const char *nft_shared_remove_text(struct arena *arena, const struct shared *shared, int uplink_index);
/* Fix an address, or let it go: its elements without a timeout. */
const char *nft_shared_address_text(struct arena *arena, const struct shared_address *address, bool add);

/* admission_text.c: one command without a newline. */
const char *admission_add_text(struct arena *arena, const struct admission *admission);
const char *admission_remove_text(struct arena *arena, const struct admission *admission, const char *handle);

/* The file of systemd.network(5) by which systemd-networkd leaves interfaces alone. */
const char *unmanaged_text(struct arena *arena, const struct unmanaged *unmanaged);

#endif
