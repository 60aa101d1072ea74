/* text.h: what rendering Linux's commands needs of the Linux backend; pure, and compiled everywhere. */
#ifndef VMWIRE_HOST_LINUX_TEXT_H
#define VMWIRE_HOST_LINUX_TEXT_H

#include "base/arena.h"
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

/* admission_text.c: one command without a newline. */
const char *admission_add_text(struct arena *arena, const struct admission *admission);
const char *admission_remove_text(struct arena *arena, const struct admission *admission, const char *handle);

#endif
