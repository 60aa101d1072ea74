/* rates.c: limits of rates: ipfw's rules that lead frames through dummynet's pipes.  Pure.
 *
 * Theory of operation.  What a guest of a nat or routed network sends to the world, or gets from there,
 * passes the bridge as an interface of the host's, and ipfw looks at its frames there
 * (net.link.ether.ipfw=1): behind pf's rules on the way out and before them on the way in, so that pf sees
 * each packet once.  A pipe at the IP layer would give it back to pf, which would translate it twice.  A nic
 * is known by its MAC.  Frames between ports of the bridge are not routed, and pass no rule.
 *
 *      1  skipto 50000 layer2             whose frame it may be: others' rules see none, as before
 *  50000  pipe 50000 layer2 out xmit NET  networks, one rule and one pipe a way, by numbers that the plan
 * gives 52000  pipe 52000 layer2 MAC …         nics, by their tap's number 59999  allow layer2
 *
 * So no rule of others', nor a last one that denies, decides about another packet than before; where they
 * have the frames themselves (net.link.ether.ipfw=1 is theirs) it is refused.  one_pass is 0, so that a frame
 * passes its nic's pipe and its network's: refused where a rule of others' counts on it.  All is in set 31,
 * which `ipfw flush` (service ipfw restart) leaves alone.
 *
 * Each rule has a comment, "vmwire", "vmwire NET in|out BITS BURST", then "nics" where nics of it have rates
 * too (it is a `count` when the network has none), or "nic TAP": that is how they are known.  A rule comes
 * after its pipe and goes before it; an interface must not go while a pipe holds packets for it (FreeBSD's
 * D33064), so shapers go before their bridge. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "host/freebsd/freebsd.h"

enum {
    RULE_FIRST = 1,
    RULE_NETWORKS = 50000,
    RULE_NICS = RULE_NETWORKS + FREEBSD_SHAPERS_MAX,
    RULE_LAST = 59999,
    RULE_DEFAULT = 65535,
    QUEUE_MIN_KIB = 64,
    QUEUE_MAX_KIB = 1000, /* net.inet.ip.dummynet.pipe_byte_limit, and a bit less */
};

static void add(struct arena *arena, struct freebsd_commands *commands, const char *const words[])
{
    *vec_push(arena, &commands->list) = freebsd_command(arena, words);
}
#define ADD(...) add(arena, commands, (const char *const[]){__VA_ARGS__, NULL})
#define NUMBER(number) arena_printf(arena, "%u", (number))

unsigned freebsd_rate_number(const char *tap, enum rate_way way)
{
    char *end;
    if (strncmp(tap, "tap", 3) != 0 || tap[3] < '0' || tap[3] > '9')
        return 0;
    unsigned long unit = strtoul(tap + 3, &end, 10);
    return *end || unit >= (RULE_LAST - RULE_NICS) / 2 ? 0 : RULE_NICS + 2 * (unsigned)unit + way;
}

/* --- commands */

static uint32_t burst_of(const struct rate *rate)
{
    return rate->burst ? rate->burst : burst_default(rate->bits_s);
}

/* What may wait: 50 ms. */
static void pipe_config(struct arena *arena, struct freebsd_commands *commands, const char *number,
                        const struct rate *rate)
{
    uint64_t kib = rate->bits_s / 8 / 20 / 1024;
    kib = kib < QUEUE_MIN_KIB ? QUEUE_MIN_KIB : kib > QUEUE_MAX_KIB ? QUEUE_MAX_KIB : kib;
    bool mega = rate->bits_s % 1000000 == 0, kilo = rate->bits_s % 1000 == 0;
    ADD("ipfw", "pipe", number, "config", "bw",
        arena_printf(arena, "%" PRIu64 "%sbit/s",
                     rate->bits_s / (mega   ? 1000000
                                     : kilo ? 1000
                                            : 1),
                     mega   ? "M"
                     : kilo ? "K"
                            : ""),
        "queue", arena_printf(arena, "%" PRIu64 "KBytes", kib), "burst", NUMBER(burst_of(rate)));
}

static void rule_delete(struct arena *arena, struct freebsd_commands *commands, const char *number, bool pipe)
{
    ADD("ipfw", "-fq", "delete", number);
    if (pipe)
        ADD("ipfw", "-fq", "pipe", "delete", number);
}

/* "vmwire brnat out 40000000 100000 " and what else is said. */
static const char *comment(struct arena *arena, const char *network, enum rate_way way,
                           const struct rate *rate, const char *rest)
{
    return arena_printf(arena, "vmwire %s %s %" PRIu64 " %" PRIu32 "%s%s", network, rate_way_name(way),
                        rate->bits_s, rate->bits_s ? burst_of(rate) : 0, *rest ? " " : "", rest);
}

/* An old rule of that number goes first: two would limit twice.  The pipe is the same one, and what waits in
 * it stays. */
static void shaper_set(struct arena *arena, struct freebsd_commands *commands, const struct shaper *shaper)
{
    enum rate_way way = shaper->outward ? RATE_OUT : RATE_IN;
    const char *number = NUMBER(RULE_NETWORKS + shaper->number - 1);
    const char *told = comment(arena, shaper->network, way, &shaper->rate, shaper->nics ? "nics" : "");
    const char *direction = shaper->outward ? "in" : "out", *by = shaper->outward ? "recv" : "xmit";
    rule_delete(arena, commands, number, !shaper->rate.bits_s);
    if (shaper->rate.bits_s) {
        pipe_config(arena, commands, number, &shaper->rate);
        ADD("ipfw", "-q", "add", number, "set", "31", "pipe", number, "ip", "from", "any", "to", "any",
            "layer2", direction, by, shaper->network, "//", told);
    } else {
        ADD("ipfw", "-q", "add", number, "set", "31", "count", "ip", "from", "any", "to", "any", "layer2",
            direction, by, shaper->network, "//", told);
    }
}

static void nic_set(struct arena *arena, struct freebsd_commands *commands, const struct op *op,
                    enum rate_way way)
{
    const struct nic_rates *nic = &op->nic_rates;
    const struct rate *rate = way == RATE_OUT ? &nic->out.rate : &nic->in.rate;
    const char *mac = arena_strdup(arena, MAC_TEXT(&nic->mac));
    unsigned of_tap = freebsd_rate_number(nic->ifname, way);
    const char *number = NUMBER(of_tap);
    if (!of_tap)
        return;
    rule_delete(arena, commands, number, !rate->bits_s);
    if (!rate->bits_s)
        return;
    pipe_config(arena, commands, number, rate);
    ADD("ipfw", "-q", "add", number, "set", "31", "pipe", number, "ip", "from", "any", "to", "any", "MAC",
        way == RATE_OUT ? "any" : mac, way == RATE_OUT ? mac : "any", "layer2",
        way == RATE_OUT ? "in" : "out", way == RATE_OUT ? "recv" : "xmit", op->network, "//",
        comment(arena, op->network, way, rate, arena_printf(arena, "nic %s", nic->ifname)));
}

/* Told to accept before it is there: ipfw's own last rule denies, and would cut the host off. */
static void shaping_enable(struct arena *arena, struct freebsd_commands *commands,
                           const struct shaping *shaping)
{
    if (shaping->ipfw && shaping->accept)
        ADD("kenv", "net.inet.ip.fw.default_to_accept=1");
    if (shaping->ipfw)
        ADD("kldload", "-n", "ipfw");
    if (shaping->dummynet)
        ADD("kldload", "-n", "dummynet");
    if (shaping->one_pass)
        ADD("sysctl", "net.inet.ip.fw.one_pass=0");
    if (shaping->rules) {
        ADD("ipfw", "-fq", "delete", NUMBER(RULE_FIRST), NUMBER(RULE_LAST));
        ADD("ipfw", "-q", "add", NUMBER(RULE_LAST), "set", "31", "allow", "ip", "from", "any", "to", "any",
            "layer2", "//", "vmwire");
        ADD("ipfw", "-q", "add", NUMBER(RULE_FIRST), "set", "31", "skipto", NUMBER(RULE_NETWORKS), "ip",
            "from", "any", "to", "any", "layer2", "//", "vmwire");
    }
    if (shaping->frames)
        ADD("sysctl", "net.link.ether.ipfw=1");
}

static void shaping_disable(struct arena *arena, struct freebsd_commands *commands,
                            const struct shaping *shaping)
{
    if (shaping->frames)
        ADD("sysctl", "net.link.ether.ipfw=0");
    if (shaping->rules)
        ADD("ipfw", "-fq", "delete", NUMBER(RULE_FIRST), NUMBER(RULE_LAST));
    if (shaping->one_pass)
        ADD("sysctl", "net.inet.ip.fw.one_pass=1");
    if (shaping->dummynet)
        ADD("kldunload", "dummynet");
    if (shaping->ipfw)
        ADD("kldunload", "ipfw");
    if (shaping->ipfw && shaping->accept)
        ADD("kenv", "-q", "-u", "net.inet.ip.fw.default_to_accept");
}

void freebsd_rate_commands(struct arena *arena, const struct op *op, struct freebsd_commands *commands)
{
    switch (op->kind) {
    case OP_SHAPER_SET:
        shaper_set(arena, commands, &op->shaper);
        break;
    case OP_SHAPER_REMOVE:
        rule_delete(arena, commands, NUMBER(RULE_NETWORKS + op->shaper.number - 1), true);
        break;
    case OP_RATE_SET:
        nic_set(arena, commands, op, RATE_IN);
        nic_set(arena, commands, op, RATE_OUT);
        break;
    case OP_SHAPING_ENABLE:
        shaping_enable(arena, commands, &op->shaping);
        break;
    default:
        shaping_disable(arena, commands, &op->shaping);
        break;
    }
}

/* --- failures */

/* What is to be taken away may be gone, with the module it was in; a module that others need stays. */
int freebsd_rate_failure(const struct op *op, const struct freebsd_command *command, const char *words,
                         bool tolerant, struct err *err)
{
    const char *const *argv = command->argv;
    bool ipfw = strcmp(argv[0], "/sbin/ipfw") == 0;
    if (ipfw && argv[1] && strcmp(argv[1], "-fq") == 0)
        return 0;
    if (op->kind == OP_SHAPING_DISABLE)
        return 0;
    if (ipfw && strstr(words, "Protocol not available"))
        return tolerant
                   ? 0
                   : err_set(err, ENOPROTOOPT,
                             "ipfw or dummynet is not loaded, without which there are no rates: vmwire up");
    if (strcmp(argv[0], "/sbin/kldload") == 0)
        return err_set(err, ENOENT,
                       "the module %s, which rates need, cannot be loaded (is it in /boot/kernel?): %s",
                       argv[2], words);
    return -EIO;
}

/* --- what is there */

struct ipfw_rule {
    const char *text; /* the whole line */
    unsigned number;
    const char *body;
    bool ours;
    char network[NAME_MAX_LENGTH + 1], way[4], kind[8], tap[NAME_MAX_LENGTH + 1];
    uint64_t bits_s;
    uint32_t burst;
    int words; /* of the comment, behind "vmwire" */
};

static bool rule_parse(struct arena *arena, const char *line, size_t length, struct ipfw_rule *rule)
{
    char *end;
    *rule = (struct ipfw_rule){.text = arena_strndup(arena, line, length)};
    rule->number = (unsigned)strtoul(rule->text, &end, 10);
    rule->body = end + strspn(end, " ");
    const char *note = strstr(rule->body, " // vmwire");
    const char *after = note ? note + strlen(" // vmwire") : NULL;
    if (end == rule->text)
        return false;
    rule->ours = note && (!*after || *after == ' ');
    if (rule->ours && *after)
        rule->words = sscanf(after, " %15s %3s %" SCNu64 " %" SCNu32 " %7s %15s", rule->network, rule->way,
                             &rule->bits_s, &rule->burst, rule->kind, rule->tap);
    return true;
}

/* Has the rule's body these words, in whatever place?  ipfw prints options in an order of its own. */
static bool has_words(const struct ipfw_rule *rule, const char *words)
{
    const char *found = rule->body;
    size_t length = strlen(words);
    while ((found = strstr(found, words))) {
        bool begins = found == rule->body || found[-1] == ' ';
        if (begins && (!found[length] || found[length] == ' '))
            return true;
        found++;
    }
    return false;
}

/* "50000:  40.000 Mbit/s    0 ms burst 100000": as much as is printed of it. */
static bool pipe_is(const char *pipes, unsigned number, uint64_t bits_s, uint32_t burst)
{
    for (const char *line = pipes; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        unsigned seen;
        double value;
        char unit[8];
        uint64_t bytes;
        if (sscanf(line, "%u: %lf %7s %*d ms burst %" SCNu64, &seen, &value, unit, &bytes) != 4 ||
            seen != number)
            continue;
        double scale = *unit == 'G' ? 1e9 : *unit == 'M' ? 1e6 : *unit == 'K' ? 1e3 : 1;
        double away = value * scale - (double)bits_s;
        return away <= scale * 0.00051 && away >= -scale * 0.00051 && bytes == burst;
    }
    return false;
}

static enum rate_way way_of(const struct ipfw_rule *rule)
{
    return strcmp(rule->way, "out") == 0 ? RATE_OUT : RATE_IN;
}

/* Does it do what its comment says? */
static bool rule_holds(struct arena *arena, const struct ipfw_rule *rule, const char *pipes)
{
    bool out = way_of(rule) == RATE_OUT;
    const char *by = arena_printf(arena, "%s %s", out ? "recv" : "xmit", rule->network);
    const char *action = rule->bits_s ? arena_printf(arena, "pipe %u ip from any to any", rule->number)
                                      : "count ip from any to any";
    return strncmp(rule->body, action, strlen(action)) == 0 && has_words(rule, "layer2") &&
           has_words(rule, out ? "in" : "out") && has_words(rule, by) &&
           (!rule->bits_s || pipe_is(pipes, rule->number, rule->bits_s, rule->burst));
}

static void shaper_add(struct arena *arena, const struct ipfw_rule *rule, const char *pipes,
                       struct observed *observed)
{
    bool twice = false;
    const char *network = arena_strdup(arena, rule->network);
    vec_foreach (&observed->shapers, known) {
        twice |= known->number == rule->number - RULE_NETWORKS + 1;
        known->whole &= known->number != rule->number - RULE_NETWORKS + 1;
    }
    if (twice || name_fault(arena, network))
        return;
    *vec_push(arena, &observed->shapers) = (struct shaper){.network = network,
                                                           .outward = way_of(rule) == RATE_OUT,
                                                           .rate = {rule->bits_s, rule->burst},
                                                           .nics = strcmp(rule->kind, "nics") == 0,
                                                           .number = rule->number - RULE_NETWORKS + 1,
                                                           .whole = rule_holds(arena, rule, pipes)};
}

static void nic_add(struct arena *arena, const struct ipfw_rule *rule, const char *pipes,
                    struct observed *observed)
{
    struct wired_nic nic;
    enum rate_way way = way_of(rule);
    vec_foreach (&observed->links, link) {
        if (strcmp(link->name, rule->tap) != 0 || !owner_nic(arena, link, &nic) ||
            rule->number != freebsd_rate_number(link->name, way))
            continue;
        const char *mac = arena_strdup(arena, MAC_TEXT(&nic.mac));
        const char *macs =
            way == RATE_OUT ? arena_printf(arena, "MAC any %s", mac) : arena_printf(arena, "MAC %s any", mac);
        struct nic_rate *rate = &link->rates[way];
        if (rate->rate.bits_s || strcmp(nic.network, rule->network) != 0 || !has_words(rule, macs) ||
            !rule_holds(arena, rule, pipes))
            *rate = (struct nic_rate){0}; /* it is written anew */
        else
            *rate = (struct nic_rate){.shaped = true, .rate = {rule->bits_s, rule->burst}};
        return;
    }
    vec_foreach (&observed->stray_rates, known) {
        if (strcmp(*known, rule->tap) == 0)
            return;
    }
    if (freebsd_rate_number(rule->tap, way))
        *vec_push(arena, &observed->stray_rates) = arena_strdup(arena, rule->tap);
}

/* Actions behind which one_pass ends the way through the rules. */
static bool counts_on_one_pass(const struct ipfw_rule *rule)
{
    static const char *const actions[] = {"pipe ", "queue ", "nat ", "netgraph ", "ngtee "};
    for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++) {
        if (strncmp(rule->body, actions[i], strlen(actions[i])) == 0)
            return true;
    }
    return false;
}

struct look {
    const char *in_place, *one_pass, *others; /* rules of others */
    bool first, last, denies;
};

static void rule_look(struct arena *arena, const struct ipfw_rule *rule, const char *pipes, struct look *look,
                      struct observed *observed)
{
    if (rule->ours && !rule->words) {
        look->first |= rule->number == RULE_FIRST;
        look->last |= rule->number == RULE_LAST;
    } else if (rule->ours && rule->number >= RULE_NETWORKS && rule->number < RULE_NICS) {
        shaper_add(arena, rule, pipes, observed);
    } else if (rule->ours && rule->number >= RULE_NICS && rule->number < RULE_LAST) {
        nic_add(arena, rule, pipes, observed);
    } else if (rule->number == RULE_DEFAULT) {
        look->denies = strncmp(rule->body, "deny", 4) == 0;
    } else {
        if (rule->number <= RULE_FIRST || (rule->number >= RULE_NETWORKS && rule->number <= RULE_LAST))
            look->in_place = rule->text;
        if (counts_on_one_pass(rule))
            look->one_pass = rule->text;
        if (!look->others)
            look->others = rule->text;
    }
}

static bool sysctl_is(struct arena *arena, const char *text, const char *name, const char *value)
{
    const char *now = freebsd_sysctl_parse(arena, text, name);
    return now && strcmp(now, value) == 0;
}

static void refuse(struct arena *arena, const struct freebsd_rates *seen, const struct look *look,
                   struct observed *observed)
{
    const struct shaping *shaping = &observed->shaping;
    if (sysctl_is(arena, seen->sysctls, "net.inet.ip.fw.enable", "0"))
        observed->rate_refusal =
            "ipfw is loaded and switched off, so that no rule is in force; if its rules are "
            "right: sysctl net.inet.ip.fw.enable=1";
    else if (look->in_place)
        observed->rate_refusal =
            arena_printf(arena,
                         "vmwire's rules of ipfw are 1 and 50000 to 59999, and others have '%s': it needs "
                         "another number",
                         look->in_place);
    else if (!shaping->frames && !look->first && (look->others || look->denies))
        observed->rate_refusal =
            arena_printf(arena,
                         "ipfw's own rules ('%s') decide about frames already (net.link.ether.ipfw=1), and "
                         "would no longer: "
                         "limit rates by pipes among them, or sysctl net.link.ether.ipfw=0",
                         look->others ? look->others : "65535 deny ip from any to any");
    else if (shaping->one_pass && look->one_pass)
        observed->rate_refusal = arena_printf(
            arena,
            "rates need net.inet.ip.fw.one_pass=0, and ipfw's rule '%s' may count on 1: what has "
            "passed it would be looked at by the rules behind it; if that is right: sysctl "
            "net.inet.ip.fw.one_pass=0",
            look->one_pass);
}

/* Nics of a limited network pass its shaper too. */
static void mark_shaped(struct arena *arena, struct observed *observed)
{
    vec_foreach (&observed->links, link) {
        struct wired_nic nic;
        if (!observed->shapers.count || !owner_nic(arena, link, &nic))
            continue;
        vec_foreach (&observed->shapers, shaper)
            link->rates[shaper->outward ? RATE_OUT : RATE_IN].shaped |=
                shaper->rate.bits_s && strcmp(shaper->network, nic.network) == 0;
    }
}

void freebsd_rates_judge(struct arena *arena, const struct freebsd_rates *seen, struct observed *observed)
{
    struct look look = {0};
    observed->shapers.count = observed->stray_rates.count = 0;
    observed->rate_refusal = NULL;
    observed->shaping = (struct shaping){
        .ipfw = true, .dummynet = true, .accept = true, .rules = true, .one_pass = true, .frames = true};
    if (!seen)
        return;
    const char *byte_limit = "net.inet.ip.dummynet.pipe_byte_limit";
    for (const char *line = seen->rules; *line;) {
        size_t length = strcspn(line, "\n");
        struct ipfw_rule rule;
        if (rule_parse(arena, line, length, &rule))
            rule_look(arena, &rule, seen->pipes, &look, observed);
        line += length + (line[length] == '\n');
    }
    observed->shaping =
        (struct shaping){.dummynet = !freebsd_sysctl_parse(arena, seen->sysctls, byte_limit),
                         .rules = !look.first || !look.last,
                         .one_pass = !sysctl_is(arena, seen->sysctls, "net.inet.ip.fw.one_pass", "0"),
                         .frames = !sysctl_is(arena, seen->sysctls, "net.link.ether.ipfw", "1"),
                         .others = look.others};
    mark_shaped(arena, observed);
    refuse(arena, seen, &look, observed);
}
