/* ruleset_judge.c: sends a packet of which not every bit is known through the chains: ruleset.h. */
#include <string.h>

#include "base/text.h"
#include "model/ruleset_walk.h"

enum { JUMPS_MAX = 32, STEPS_MAX = 400000 };

/* What may come of a chain, or of a rule. */
enum { GOES_ON = 1 << 0, ENDS = 1 << 1, ACCEPTS = 1 << 2, DROPS = 1 << 3, QUEUES = 1 << 4 };

static unsigned chain_walk(struct walk *walk, const struct rule_chain *chain);

static void suspect(struct walk *walk, const struct rule_chain *chain, const struct rule *rule, bool told)
{
    if (!walk->suspect.base)
        walk->suspect = (struct judgement){
            .base = walk->base, .chain = chain, .rule = rule, .told = told, .why = walk->doubt};
}

static unsigned verdict_follow(struct walk *walk, const struct rule_chain *chain, const struct rule *rule,
                               const struct rule_target *target)
{
    const struct rule_chain *next;
    unsigned what;
    switch (target->verdict) {
    case RULE_ACCEPT:
        return ACCEPTS;
    case RULE_DROP:
    case RULE_REJECT:
        suspect(walk, chain, rule, target->verdict == RULE_REJECT);
        return DROPS;
    case RULE_QUEUE:
        walk->doubt = "it hands the packet to a program";
        suspect(walk, chain, rule, false);
        return QUEUES;
    case RULE_RETURN:
        return ENDS;
    case RULE_JUMP:
    case RULE_GOTO:
        next = ruleset_chain_find(walk->ruleset, chain->legacy, chain->family, chain->table,
                                  target->chain ? target->chain : "");
        if (!next || walk->depth >= JUMPS_MAX)
            return GOES_ON;
        what = chain_walk(walk, next);
        if (target->verdict == RULE_JUMP && (what & ENDS))
            what = (what & ~(unsigned)ENDS) | GOES_ON;
        return what;
    default:
        return GOES_ON;
    }
}

/* What a verdict map gives: each element that may be meant is followed. */
static unsigned map_follow(struct walk *walk, const struct rule_chain *chain, const struct rule *rule,
                           const struct rule_step *step, enum truth before)
{
    const struct rule_set *set = step->set;
    const struct set_element *other = NULL;
    unsigned what = before == YES ? 0 : GOES_ON;
    vec_foreach (&set->elements, element) {
        if (!element->first) {
            other = element;
            continue;
        }
        enum truth has = walk_element_has(walk, set, element, step->from);
        if (has == NO)
            continue;
        if (has == MAYBE)
            walk->doubt = "which of a map's elements is meant";
        what |= verdict_follow(walk, chain, rule, &element->target);
        if (has == YES)
            return what;
    }
    return what | (other ? verdict_follow(walk, chain, rule, &other->target) : GOES_ON);
}

static unsigned rule_walk(struct walk *walk, const struct rule_chain *chain, const struct rule *rule)
{
    enum truth truth = YES;
    vec_foreach (&rule->steps, step) {
        if (++walk->steps > STEPS_MAX) {
            walk->doubt = "there are too many rules";
            return QUEUES;
        }
        if (step->kind == STEP_END)
            return verdict_follow(walk, chain, rule, &step->target) | (truth == YES ? 0 : GOES_ON);
        if (step->kind == STEP_LOOKUP && step->to == REGISTER_VERDICT && step->set && step->set->map)
            return map_follow(walk, chain, rule, step, truth);
        enum truth here = walk_step(walk, step);
        if (here == NO)
            return GOES_ON;
        if (here == MAYBE) {
            truth = MAYBE;
            walk->doubt = step->what ? step->what : "whether the rule matches";
        }
    }
    return GOES_ON;
}

static unsigned chain_walk(struct walk *walk, const struct rule_chain *chain)
{
    unsigned all = 0;
    walk->depth++;
    vec_foreach (&chain->rules, rule) {
        unsigned what = rule_walk(walk, chain, rule);
        all |= what & ~(unsigned)GOES_ON;
        if (!(what & GOES_ON)) {
            walk->depth--;
            return all;
        }
    }
    walk->depth--;
    return all | ENDS;
}

static bool belongs(const struct rule_chain *chain, enum chain_hook hook, const char *const families[],
                    const char *device)
{
    bool family = false;
    for (size_t i = 0; families[i]; i++)
        family |= strcmp(chain->family, families[i]) == 0;
    if (!family || chain->hook != hook || (hook != HOOK_INGRESS && hook != HOOK_EGRESS))
        return family && chain->hook == hook;
    vec_foreach (&chain->interfaces, name) {
        if (device && strcmp(*name, device) == 0)
            return true;
    }
    return false;
}

/* The next chain of the hook behind `last`: by priority, then as they stand. */
static const struct rule_chain *chain_next(const struct walk *walk, enum chain_hook hook,
                                           const char *const families[], const char *device,
                                           const struct rule_chain *last)
{
    const struct rule_chain *best = NULL;
    vec_foreach (&walk->ruleset->chains, chain) {
        if (!belongs(chain, hook, families, device))
            continue;
        if (last &&
            (chain->priority < last->priority || (chain->priority == last->priority && chain <= last)))
            continue;
        if (!best || chain->priority < best->priority)
            best = chain;
    }
    return best;
}

/* One hook.  True when it is certain that the packet goes no further. */
static bool hook_walk(struct walk *walk, enum chain_hook hook, const char *const families[],
                      const char *device, struct judgement *judgement)
{
    for (const struct rule_chain *base = NULL; (base = chain_next(walk, hook, families, device, base));) {
        walk->base = base;
        walk->suspect = (struct judgement){0};
        walk->doubt = NULL;
        memset(&walk->registers, 0, sizeof(walk->registers));
        unsigned what = base->nat && walk->sample->answer ? (unsigned)ACCEPTS : chain_walk(walk, base);
        if (what & ENDS) {
            what = (what & ~(unsigned)ENDS) | (base->policy_drop ? DROPS : ACCEPTS);
            if (base->policy_drop)
                suspect(walk, base, NULL, false);
        }
        if (what & (DROPS | QUEUES) && what != DROPS && judgement->as == JUDGED_PASSED) {
            *judgement = walk->suspect;
            judgement->as = JUDGED_UNKNOWN;
            if (!judgement->why)
                judgement->why = walk->doubt ? walk->doubt : "whether the rule matches";
        }
        if (what == DROPS) {
            *judgement = walk->suspect;
            judgement->as = JUDGED_DROPPED;
            judgement->why = NULL;
            return true;
        }
    }
    return false;
}

static bool ip_hook(struct walk *walk, enum chain_hook hook, bool has_in, bool has_out,
                    struct judgement *judgement)
{
    bool six = sample_ethertype(walk->sample) == 0x86dd;
    walk->in = has_in ? walk->sample->in : "";
    walk->out = has_out ? walk->sample->out : "";
    walk->family = six ? FAMILY_IPV6 : FAMILY_IPV4;
    return hook_walk(walk, hook,
                     six ? (const char *const[]){"inet", "ip6", NULL}
                         : (const char *const[]){"inet", "ip", NULL},
                     NULL, judgement);
}

static bool bridge_hook(struct walk *walk, enum chain_hook hook, bool has_in, bool has_out,
                        struct judgement *judgement)
{
    walk->in = has_in ? walk->sample->in_port : "";
    walk->out = has_out ? walk->sample->out_port : "";
    walk->family = FAMILY_BRIDGE;
    if (has_in && !walk->in && has_out && !walk->out)
        walk->in = NULL;
    return hook_walk(walk, hook, (const char *const[]){"bridge", NULL}, NULL, judgement);
}

static bool device_hook(struct walk *walk, enum chain_hook hook, const char *device,
                        struct judgement *judgement)
{
    if (!device || !*device)
        return false;
    walk->in = walk->out = device;
    walk->family = FAMILY_NETDEV;
    return hook_walk(walk, hook, (const char *const[]){"netdev", "inet", NULL}, device, judgement);
}

static bool bridged(const char *port)
{
    return port && *port;
}

struct judgement ruleset_judge_way(const struct ruleset *ruleset, const struct sample *sample)
{
    struct walk walk = {.ruleset = ruleset, .sample = sample};
    struct judgement judgement = {0};
    walk_headers_make(&walk);
    bool in = *sample->in, out = *sample->out;
    (void)(in &&
           ((bridged(sample->in_port) && (device_hook(&walk, HOOK_INGRESS, sample->in_port, &judgement) ||
                                          bridge_hook(&walk, HOOK_PREROUTING, true, false, &judgement) ||
                                          bridge_hook(&walk, HOOK_INPUT, true, false, &judgement))) ||
            device_hook(&walk, HOOK_INGRESS, sample->in, &judgement) ||
            ip_hook(&walk, HOOK_PREROUTING, true, false, &judgement) ||
            (!out && ip_hook(&walk, HOOK_INPUT, true, false, &judgement)) ||
            (out && ip_hook(&walk, HOOK_FORWARD, true, true, &judgement))));
    if (judgement.as == JUDGED_DROPPED || !out)
        return judgement;
    (void)((!in && ip_hook(&walk, HOOK_OUTPUT, false, true, &judgement)) ||
           ip_hook(&walk, HOOK_POSTROUTING, in, true, &judgement) ||
           device_hook(&walk, HOOK_EGRESS, sample->out, &judgement) ||
           (bridged(sample->out_port) && (bridge_hook(&walk, HOOK_OUTPUT, false, true, &judgement) ||
                                          bridge_hook(&walk, HOOK_POSTROUTING, false, true, &judgement) ||
                                          device_hook(&walk, HOOK_EGRESS, sample->out_port, &judgement))));
    return judgement;
}

struct judgement ruleset_judge_arp(const struct ruleset *ruleset, const struct sample *sample)
{
    struct walk walk = {
        .ruleset = ruleset, .sample = sample, .in = sample->in, .out = sample->out, .family = FAMILY_ARP};
    struct judgement judgement = {0};
    walk_headers_make(&walk);
    bool in = *sample->in;
    (void)((bridged(sample->in_port) && (device_hook(&walk, HOOK_INGRESS, sample->in_port, &judgement) ||
                                         bridge_hook(&walk, HOOK_PREROUTING, true, false, &judgement) ||
                                         bridge_hook(&walk, HOOK_INPUT, true, false, &judgement))) ||
           (in && device_hook(&walk, HOOK_INGRESS, sample->in, &judgement)));
    if (judgement.as == JUDGED_DROPPED)
        return judgement;
    walk.in = sample->in, walk.out = sample->out, walk.family = FAMILY_ARP;
    hook_walk(&walk, in ? HOOK_INPUT : HOOK_OUTPUT, (const char *const[]){"arp", NULL}, NULL, &judgement);
    return judgement;
}

struct judgement ruleset_judge_bridged(const struct ruleset *ruleset, const struct sample *sample)
{
    struct walk walk = {.ruleset = ruleset, .sample = sample};
    struct judgement judgement = {0};
    walk_headers_make(&walk);
    uint16_t ethertype = sample_ethertype(sample);
    bool ip = (ruleset->bridged_ip && ethertype == 0x0800) || (ruleset->bridged_ip6 && ethertype == 0x86dd);
    (void)(device_hook(&walk, HOOK_INGRESS, sample->in_port, &judgement) ||
           bridge_hook(&walk, HOOK_PREROUTING, true, false, &judgement) ||
           (ip && ip_hook(&walk, HOOK_PREROUTING, true, false, &judgement)) ||
           bridge_hook(&walk, HOOK_FORWARD, true, true, &judgement) ||
           (ip && ip_hook(&walk, HOOK_FORWARD, true, true, &judgement)) ||
           bridge_hook(&walk, HOOK_POSTROUTING, false, true, &judgement) ||
           (ip && ip_hook(&walk, HOOK_POSTROUTING, false, true, &judgement)) ||
           device_hook(&walk, HOOK_EGRESS, sample->out_port, &judgement));
    return judgement;
}

const struct rule_chain *ruleset_chain_find(const struct ruleset *ruleset, bool legacy, const char *family,
                                            const char *table, const char *name)
{
    vec_foreach (&ruleset->chains, chain) {
        if (chain->legacy == legacy && strcmp(chain->name, name) == 0 && strcmp(chain->table, table) == 0 &&
            strcmp(chain->family, family) == 0)
            return chain;
    }
    return NULL;
}

static const char *owner_by_name(const char *name)
{
    static const struct {
        const char *word, *owner;
    } known[] = {{"DOCKER", "Docker"},   {"docker", "Docker"},       {"ufw-", "ufw"},
                 {"ufw6-", "ufw"},       {"firewalld", "firewalld"}, {"LIBVIRT", "libvirt"},
                 {"libvirt", "libvirt"}, {"KUBE-", "Kubernetes"},    {"cali-", "Calico"},
                 {"f2b-", "fail2ban"}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strncmp(name, known[i].word, strlen(known[i].word)) == 0)
            return known[i].owner;
    }
    return NULL;
}

const char *judgement_owner(const struct ruleset *ruleset, const struct judgement *judgement)
{
    const struct rule_chain *chain = judgement->chain;
    const char *owner = chain ? owner_by_name(chain->name) : NULL;
    if (!chain || owner || (owner = owner_by_name(chain->table)))
        return owner;
    /* A built-in chain of iptables belongs to nobody, its policy to who has chains beside it. */
    vec_foreach (&ruleset->chains, other) {
        if (!judgement->rule && other->hook == HOOK_NONE && strcmp(other->table, chain->table) == 0 &&
            strcmp(other->family, chain->family) == 0 && (owner = owner_by_name(other->name)))
            return owner;
    }
    return NULL;
}

const char *judgement_text(struct arena *arena, const struct judgement *judgement)
{
    if (judgement->as == JUDGED_PASSED || !judgement->base)
        return "";
    const struct rule_chain *chain = judgement->chain;
    const char *where =
        arena_printf(arena, "%stable '%s %s', chain '%s'", chain->legacy ? "iptables-legacy, " : "",
                     chain->family, chain->table, chain->name);
    if (!judgement->rule)
        return arena_printf(arena, "%s, by its policy", where);
    const char *comment = judgement->rule->comment;
    return arena_printf(arena, "%s, rule %s%llu%s%s%s", where, chain->legacy ? "" : "handle ",
                        (unsigned long long)judgement->rule->handle, *comment ? " (" : "", comment,
                        *comment ? ")" : "");
}
