/* nft_table_text.c: the lines that write out, or take away, tables of sets and rules (text.h). */
#include <string.h>

#include "base/text.h"
#include "host/linux/text.h"

static const char *kind_of(const struct nft_set *set)
{
    return strstr(set->spec, " : ") ? "map" : "set";
}

void nft_sets_add(struct text *out, const char *table, const struct nft_set sets[], const char *suffix)
{
    for (const struct nft_set *set = sets; set->name; set++)
        text_add(out, "add %s %s %s%s { %s }\n", kind_of(set), table, set->name, suffix, set->spec);
}

void nft_sets_delete(struct text *out, const char *table, const struct nft_set sets[], const char *suffix)
{
    for (const struct nft_set *set = sets; set->name; set++)
        text_add(out, "delete %s %s %s%s\n", kind_of(set), table, set->name, suffix);
}

void nft_rules_add(struct text *out, const char *table, const struct nft_rule rules[])
{
    for (const struct nft_rule *rule = rules; rule->chain; rule++)
        text_add(out, "add rule %s %s %s comment \"%s\"\n", table, rule->chain, rule->text, rule->comment);
}
