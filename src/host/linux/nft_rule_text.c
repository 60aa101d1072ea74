/* nft_rule_text.c: a rule as nft prints it, found by its handle. */
#include <nftables/libnftables.h>
#include <string.h>

#include "base/text.h"
#include "host/linux/linux.h"

enum { RULE_TEXT_MAX = 400 };

/* One line, without the tabs and newlines of a set that was listed over several. */
static const char *squeeze(struct arena *arena, const char *text, size_t length)
{
    struct text out = {.arena = arena};
    bool space = false;
    for (size_t i = 0; i < length && out.length < RULE_TEXT_MAX; i++) {
        bool blank = text[i] == ' ' || text[i] == '\t' || text[i] == '\n';
        if (!blank)
            text_add(&out, "%s%c", space && out.length ? " " : "", text[i]);
        space = blank;
    }
    return text_get(&out);
}

/* The rule stands before "# handle N", behind the rule or the chain's head before it. */
static const char *rule_in(struct arena *arena, const char *listing, uint64_t handle)
{
    const char *mark = arena_printf(arena, " # handle %llu\n", (unsigned long long)handle);
    const char *end = strstr(listing, mark), *start = listing;
    if (!end)
        return "";
    for (const char *line = listing; line && line < end;
         line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        const char *stop = strchr(line, '\n');
        if (!stop || stop > end)
            break;
        const char *hash = memmem(line, (size_t)(stop - line), " # handle ", 10);
        if (hash || memmem(line, (size_t)(stop - line), "; policy ", 9))
            start = stop + 1;
    }
    return squeeze(arena, start, (size_t)(end - start));
}

const char *nft_rule_text(struct nft_ctx *nft, struct arena *arena, const char *family, const char *table,
                          const char *chain, uint64_t handle)
{
    const char *words = arena_printf(arena, "list chain %s %s %s", family, table, chain);
    if (strcmp(family, "?") == 0 || nft_run_cmd_from_buffer(nft, words) != 0) {
        nft_ctx_get_error_buffer(nft);
        return "";
    }
    const char *listing = nft_ctx_get_output_buffer(nft);
    if (handle)
        return rule_in(arena, listing, handle);
    const char *policy = strstr(listing, "; policy ");
    return policy ? arena_strndup(arena, policy + 2, strcspn(policy + 2, ";\n")) : "";
}

const char *rule_text(struct host *base, struct arena *arena, const struct rule_chain *chain,
                      const struct rule *rule)
{
    struct linux_host *host = (struct linux_host *)base;
    /* A name that needs quotes is not worth the trouble. */
    if (chain->legacy || !rule || strpbrk(chain->name, " \"\\\n") || strpbrk(chain->table, " \"\\\n") ||
        nft_open(host, NULL) < 0)
        return "";
    unsigned before = nft_ctx_output_get_flags(host->nft);
    nft_ctx_output_set_flags(host->nft, NFT_CTX_OUTPUT_HANDLE | NFT_CTX_OUTPUT_STATELESS);
    const char *text =
        nft_rule_text(host->nft, arena, chain->family, chain->table, chain->name, rule->handle);
    nft_ctx_output_set_flags(host->nft, before);
    return text;
}
