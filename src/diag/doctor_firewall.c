/* doctor_firewall.c: what everybody's firewall rules do to a network's packets: doctor.h. */
#include <sys/socket.h>

#include "base/text.h"
#include "diag/doctor_internal.h"
#include "diag/firewall_text.h"
#include "plan/plan.h"
#include "plan/refusal.h"

static const char *refusal_text(struct arena *arena, struct host *host, const struct refusal *refusal)
{
    const struct judgement *judgement = &refusal->judgement;
    const char *rule = "";
    if (judgement->rule && host->backend->rule_text)
        rule = host->backend->rule_text(host, arena, judgement->chain, judgement->rule);
    const char *where = judgement_text(arena, judgement);
    if (!*rule)
        return where;
    const struct rule_chain *chain = judgement->chain;
    return arena_printf(arena, "table '%s %s', chain '%s', rule '%s' (handle %llu)", chain->family,
                        chain->table, chain->name, rule, (unsigned long long)judgement->rule->handle);
}

static const char *code_of(const struct patient *patient, const struct refusal *refusal)
{
    const char *family = refusal->judgement.chain->family;
    bool bridge = strcmp(family, "bridge") == 0 || strcmp(family, "netdev") == 0;
    if (bridge)
        return "bridge-refused";
    if (refusal->way == WAY_ARP && !refusal->six)
        return "arp-off";
    if (refusal->way == WAY_SERVICE || refusal->way == WAY_ARP)
        return "service-refused";
    return refusal->way == WAY_BRIDGED || patient->network->mode == NETWORK_BRIDGED ? "bridge-netfilter"
                                                                                    : "forward-refused";
}

/* `up` tells Docker, ufw and firewalld by itself; others are the administrator's to tell. */
static const char *cure_of(struct patient *patient, const struct refusal *refusal, const char *owner)
{
    if (owner && patient->network->drift.count)
        return arena_printf(patient->arena, "vmwire up %s", patient->network->name);
    return firewall_cure(patient->arena, patient->network->name, refusal);
}

static bool same_rule(const struct refusal *a, const struct refusal *b)
{
    return a->judgement.as == b->judgement.as && a->judgement.rule == b->judgement.rule &&
           a->judgement.chain == b->judgement.chain && a->way == b->way;
}

/* A code is told once, and once more where another rule does the same to IPv6. */
static bool is_told(const struct patient *patient, const struct refusals *refusals,
                    const struct refusal *refusal)
{
    const char *code = code_of(patient, refusal);
    if (!refusal->six)
        return finding_find(patient->findings, code, patient->subject);
    for (const struct refusal *earlier = refusals->list.items; earlier < refusal; earlier++) {
        if (earlier->judgement.as == JUDGED_DROPPED && strcmp(code_of(patient, earlier), code) == 0 &&
            (earlier->six || same_rule(earlier, refusal)))
            return true;
    }
    return false;
}

/* Everything that the same rule drops, in one finding. */
static void tell_dropped(struct patient *patient, const struct refusals *refusals,
                         const struct refusal *first)
{
    struct text what = {.arena = patient->arena};
    const char *code = code_of(patient, first);
    if (is_told(patient, refusals, first))
        return;
    vec_foreach (&refusals->list, refusal) {
        if (same_rule(refusal, first))
            text_add(&what, "%s%s", what.length ? ", " : "", refusal->what);
    }
    const char *owner = judgement_owner(&patient->observed->ruleset, &first->judgement);
    PATIENT_FIND(patient, code, patient->subject, "%s%s %s %s",
                 refusal_text(patient->arena, patient->host, first),
                 owner ? arena_printf(patient->arena, " (%s's)", owner) : "",
                 first->judgement.told ? "rejects" : "drops", text_get(&what));
    struct finding *finding = &patient->findings->list.items[patient->findings->list.count - 1];
    if (strcmp(code, "bridge-netfilter") != 0)
        finding_cure(patient->findings, finding, "%s", cure_of(patient, first, owner));
    else if (first->six)
        finding_cure(patient->findings, finding, "sysctl -w net.bridge.bridge-nf-call-ip6tables=0");
}

static void tell_unknown(struct patient *patient, const struct refusal *refusal)
{
    PATIENT_FIND(patient, "firewall-unknown", patient->subject, "%s may drop %s: not known is %s",
                 refusal_text(patient->arena, patient->host, refusal), refusal->what, refusal->judgement.why);
}

static struct refusal_request request_make(const struct patient *patient)
{
    const struct network *entry = patient->network->entry;
    bool nat = mode_behind_host(patient->network->mode);
    struct refusal_request request = {
        .mode = patient->network->mode,
        .bridge = patient->network->name,
        .uplink = patient->out,
        .uplink6 = patient->network->uplink_named ? NULL : plan_default_uplink6(patient->observed),
        .target = patient->target};
    if (nat) {
        request.subnet = patient->subnet;
        request.host = patient->host_ip;
        request.subnet6 = patient->subnet6;
        request.host6 = patient->host_ip6;
        request.dns = !entry || entry->dns;
        request.dhcp = !entry || entry->dhcp;
    }
    return request;
}

/* A rule may be about one guest alone. */
static void check_guests(struct patient *patient, const struct refusal_request *common)
{
    enum { GUESTS_MAX = 16 };
    size_t count = 0;
    vec_foreach (&patient->network->leases, lease) {
        if (++count > GUESTS_MAX)
            return;
        struct refusal_request request = *common;
        struct refusals refusals = {0};
        request.guest = (struct prefix){.ip = lease->ip, .length = 32};
        plan_refusals(patient->arena, patient->observed, &request, &refusals);
        const struct refusal *first = refusal_first(&refusals, true);
        if (!first)
            continue;
        PATIENT_FIND(patient, code_of(patient, first),
                     arena_printf(patient->arena, "guest %s", IP_TEXT(&lease->ip)), "%s drops its %s",
                     refusal_text(patient->arena, patient->host, first), first->what);
    }
}

static void check_translation(struct patient *patient)
{
    vec_foreach (&patient->observed->firewall_translates, name) {
        if (strcmp(*name, patient->network->name) == 0)
            return;
    }
    PATIENT_FIND(patient, "masquerade-missing", patient->subject, "nftables table 'inet vmwire' %s",
                 patient->observed->firewall_base ? "has no entry for it in its nat maps"
                                                  : "lacks rules of the chain 'postrouting'");
}

static bool has_address(const struct observed *observed, const struct ip *ip)
{
    vec_foreach (&observed->addresses, address) {
        if (ip_equal(&address->prefix.ip, ip))
            return true;
    }
    return ip_is_loopback(ip) || ip_equal(ip, &(struct ip){.family = ip->family});
}

/* The first that is at an address of nobody's; nothing is refused, since the host may get it yet. */
static void check_forwards(struct patient *patient)
{
    vec_foreach (&patient->observed->firewalls, firewall) {
        if (strcmp(firewall->network, patient->network->name) != 0)
            continue;
        vec_foreach (&firewall->forwards.list, forward) {
            if (!ip_is_set(&forward->listen) || has_address(patient->observed, &forward->listen))
                continue;
            PATIENT_FIND(patient, "forward-address-missing", patient->subject,
                         "%s: the host has no address %s", forward_format(patient->arena, forward),
                         IP_TEXT(&forward->listen));
            return;
        }
    }
}

void doctor_firewall(struct patient *patient)
{
    check_forwards(patient);
    if (!patient->observed->ruleset.read)
        return;
    struct refusal_request request = request_make(patient);
    struct refusals refusals = {0};
    plan_refusals(patient->arena, patient->observed, &request, &refusals);
    vec_foreach (&refusals.list, refusal) {
        if (refusal->judgement.as == JUDGED_DROPPED)
            tell_dropped(patient, &refusals, refusal);
    }
    const struct refusal *maybe = refusal_first(&refusals, false);
    if (!refusal_first(&refusals, true)) {
        check_guests(patient, &request);
        if (maybe)
            tell_unknown(patient, maybe);
    }
    if (patient->observed->ruleset.legacy)
        PATIENT_FIND(patient, "firewall-unknown", patient->subject,
                     "tables of iptables-legacy are there and cannot be read");
    if (patient->network->mode == NETWORK_NAT && patient->host->backend->rule_text)
        check_translation(patient);
}
