/* finding.c: the table of codes, and building findings: finding.h. */
#include "diag/finding.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { EVERY = FIND_DOCTOR | FIND_PROBE | FIND_TRACE };

/* A cause stands before what follows from it: findings_sort goes by this order. */
/* clang-format off */
const struct finding_code finding_codes[] = {
    /* the host's kernel, and what vmwire made */
    {"kernel-feature-missing", FINDING_ERROR, FIND_DOCTOR,
     "this kernel lacks what the network needs",
     "boot a kernel that has it, or load its module (modprobe)"},
    /* The kernel refuses it as a port: the network cannot come up. */
    {"uplink-wireless", FINDING_ERROR, FIND_DOCTOR,
     "a wireless uplink passes no guest's MAC",
     "use mode nat on this uplink"},
    {"network-down", FINDING_ERROR, FIND_DOCTOR,
     "the network is not up",
     "vmwire up"},
    {"bridge-foreign", FINDING_ERROR, FIND_DOCTOR,
     "an interface that is not vmwire's has the network's name",
     "rename one of the two"},
    {"bridge-missing", FINDING_ERROR, FIND_DOCTOR | FIND_TRACE,
     "the bridge is gone, though the network was brought up",
     "vmwire up"},
    {"bridge-down", FINDING_ERROR, EVERY,
     "the bridge is down",
     "vmwire up"},
    /* the uplink: without it nothing behind it can be judged */
    {"uplink-missing", FINDING_ERROR, EVERY,
     "the uplink does not exist",
     "plug the card in, or name another uplink in the file"},
    {"uplink-down", FINDING_ERROR, EVERY,
     "the uplink is down",
     "vmwire up"},
    {"uplink-no-carrier", FINDING_ERROR, EVERY,
     "the uplink has no carrier",
     "check the cable, the switch port, or the other end of the link"},
    {"vlan-missing", FINDING_ERROR, EVERY,
     "the network's VLAN of its uplink is gone",
     "vmwire up"},
    {"vlan-down", FINDING_ERROR, FIND_DOCTOR,
     "the network's VLAN of its uplink is down",
     "vmwire up"},
    {"vlan-ends", FINDING_ERROR, FIND_DOCTOR,
     "a nic's VLAN does not reach the uplink",
     "vmwire up"},
    {"uplink-unplugged", FINDING_ERROR, EVERY,
     "the uplink is not a port of the bridge",
     "vmwire up"},
    /* the guest and its port of the bridge */
    {"machine-stopped", FINDING_ERROR, FIND_DOCTOR | FIND_TRACE,
     "the machine does not run",
     "vmwire start"},
    {"nic-missing", FINDING_ERROR, FIND_DOCTOR,
     "the machine runs, and a nic of it is not there",
     "vmwire attach, or vmwire stop and vmwire start the machine"},
    {"nic-unplugged", FINDING_ERROR, FIND_DOCTOR | FIND_TRACE,
     "the nic is not a port of its bridge",
     "vmwire stop and vmwire start the machine"},
    {"nic-down", FINDING_ERROR, FIND_DOCTOR | FIND_TRACE,
     "the nic's tap is down",
     "bring it up"},
    {"port-blocked", FINDING_ERROR, EVERY,
     "the bridge does not forward on this port",
     "let the spanning tree settle, or switch it off"},
    {"port-restricted", FINDING_ERROR, EVERY,
     "the bridge port is set to pass less than everything",
     "take the restriction back"},
    {"guest-paused", FINDING_ERROR, FIND_DOCTOR | FIND_TRACE,
     "the guest's hypervisor is stopped",
     "kill -CONT its process"},
    {"guest-driver-down", FINDING_ERROR, FIND_DOCTOR | FIND_TRACE,
     "the guest's network driver never came up: nobody reads its tap",
     "look at the guest's console: is there a driver for the nic?"},
    {"mac-duplicate", FINDING_ERROR, EVERY,
     "one MAC is in use twice",
     "give each nic a MAC of its own (leave `mac` out of the file)"},
    {"nic-locked", FINDING_WARNING, FIND_DOCTOR | FIND_TRACE,
     "the guest sends frames that are not its own to send",
     "give its nic what it uses, or lock less"},
    /* addresses, and the way between bridge and uplink */
    {"subnet-overlap", FINDING_ERROR, EVERY,
     "the network's subnet overlaps another of the host's networks",
     "choose another subnet in the file"},
    {"bridge-address-missing", FINDING_ERROR, EVERY,
     "the host's address is missing on the bridge",
     "vmwire up"},
    {"route-elsewhere", FINDING_ERROR, EVERY,
     "the way to the subnet leads through another interface than the bridge",
     "delete the route"},
    {"arp-off", FINDING_ERROR, EVERY,
     "the host does not answer ARP on the bridge",
     "switch ARP on again"},
    {"forwarding-off", FINDING_ERROR, EVERY,
     "the host does not forward",
     "sysctl -w net.ipv4.ip_forward=1"},
    {"ra-ignored", FINDING_ERROR, FIND_DOCTOR,
     "the host itself takes no router advertisements any longer",
     "vmwire up"},
    {"no-default-route", FINDING_ERROR, EVERY,
     "the host has no way to the outside",
     "give the host a default route"},
    {"route-refused", FINDING_ERROR, EVERY,
     "the host's routes refuse the guests' packets",
     "delete the route or rule"},
    {"uplink-not-routed", FINDING_ERROR, EVERY,
     "the host routes guests' packets elsewhere than to the uplink that the file names",
     "route them there, or leave `uplink` out of the file"},
    {"rp-filter", FINDING_ERROR, EVERY,
     "the reverse path filter drops the packets",
     "set rp_filter to 2 (loose)"},
    {"forward-refused", FINDING_ERROR, EVERY,
     "a firewall refuses to forward the guests' packets",
     "admit the bridge there"},
    {"bridge-netfilter", FINDING_ERROR, EVERY,
     "bridged frames are sent through the IP firewall, and it drops them",
     "sysctl -w net.bridge.bridge-nf-call-iptables=0"},
    {"bridge-refused", FINDING_ERROR, EVERY,
     "a firewall drops the bridge's frames",
     "admit them there"},
    {"masquerade-missing", FINDING_ERROR, EVERY,
     "guests' packets leave untranslated: nothing masquerades them",
     "vmwire up"},
    {"conntrack-full", FINDING_ERROR, EVERY,
     "the connection table is full",
     "raise net.netfilter.nf_conntrack_max"},
    /* DHCP and DNS */
    {"dnsmasq-port-taken", FINDING_ERROR, EVERY,
     "another program has the port of the network's DHCP and DNS server",
     "stop the other program, or bind it to its own address"},
    {"dnsmasq-dead", FINDING_ERROR, EVERY,
     "the network's DHCP and DNS server does not run",
     "vmwire up"},
    {"dnsmasq-stopped", FINDING_ERROR, EVERY,
     "the network's DHCP and DNS server runs, and does not answer",
     "restart it: vmwire down and vmwire up of the network"},
    {"service-refused", FINDING_ERROR, EVERY,
     "a firewall of this host drops what guests ask of it: DHCP, DNS, IPv6 routers and neighbours",
     "admit the bridge there"},
    {"dhcp-none", FINDING_ERROR, FIND_PROBE | FIND_TRACE,
     "no DHCP server answers on this segment",
     "start one, or give the guests static addresses"},
    {"dhcp-rogue", FINDING_ERROR, FIND_PROBE | FIND_TRACE,
     "a DHCP server answers that should not",
     "find it by its MAC, and switch it off"},
    {"dhcp-exhausted", FINDING_ERROR, EVERY,
     "every address of the DHCP range is leased",
     "widen `dhcp` in the file"},
    {"dhcp-silent", FINDING_ERROR, FIND_PROBE | FIND_TRACE,
     "the network's DHCP server does not answer",
     "vmwire doctor"},
    {"dhcp-client-dead", FINDING_ERROR, FIND_DOCTOR,
     "the DHCP client of the host's own address does not run",
     "vmwire up"},
    {"dhcp-client-no-lease", FINDING_ERROR, FIND_DOCTOR,
     "the host has no address from DHCP",
     "is there a DHCP server on the segment?  vmwire probe"},
    {"address-conflict", FINDING_ERROR, EVERY,
     "somebody else has the address",
     "give one of the two another address"},
    {"address-duplicate", FINDING_ERROR, EVERY,
     "two guests have one address",
     "give one of them another address"},
    {"guest-wrong-subnet", FINDING_ERROR, FIND_TRACE,
     "the guest has an address of another subnet",
     "let the guest use DHCP, or give it an address of the subnet"},
    {"dns-no-upstream", FINDING_WARNING, FIND_DOCTOR | FIND_PROBE,
     "the host knows no name server that could answer the guests",
     "name one in /etc/resolv.conf"},
    {"dns-silent", FINDING_ERROR, FIND_PROBE | FIND_TRACE,
     "the network's DNS server does not answer",
     "vmwire doctor"},
    {"dns-upstream-dead", FINDING_ERROR, FIND_PROBE | FIND_TRACE,
     "names are not resolved: the name servers behind the network do not answer",
     "check /etc/resolv.conf of the host"},
    /* beyond the uplink */
    {"switch-one-mac", FINDING_ERROR, FIND_PROBE | FIND_TRACE,
     "the switch passes one MAC only: the host's",
     "give the network 'mac: shared', which shows the switch the host's MAC alone; or use mode nat"},
    {"router-silent", FINDING_ERROR, EVERY,
     "the router does not answer",
     "check the router, and the cable to it"},
    {"target-silent", FINDING_ERROR, FIND_PROBE | FIND_TRACE,
     "the target does not answer, and the router does",
     "try another target; the fault is behind the router"},
    {"tcp-refused", FINDING_ERROR, FIND_PROBE | FIND_TRACE,
     "the target is there, and refuses the TCP connection",
     "is a server listening on that port?"},
    {"tcp-silent", FINDING_ERROR, FIND_PROBE | FIND_TRACE,
     "ping is answered, TCP connections are not",
     "a firewall behind the uplink drops them"},
    {"mtu-black-hole", FINDING_ERROR, FIND_PROBE | FIND_TRACE,
     "large packets vanish on the way, and nobody says so",
     "give the network an mtu that passes, or let ICMP pass"},
    {"dhcp6-silent", FINDING_ERROR, FIND_PROBE,
     "nobody offers the guest an IPv6 address by DHCPv6",
     "vmwire doctor tells whether dnsmasq runs; let UDP port 547 of the host pass its firewall"},
    {"ra-missing", FINDING_ERROR, FIND_PROBE,
     "no IPv6 router advertisement arrives",
     "check the router's (radvd's) configuration"},
    {"forward-target-silent", FINDING_ERROR, EVERY,
     "nothing listens where a port forward leads",
     "start the server in the guest, or correct the forward"},
    {"reply-lost", FINDING_ERROR, FIND_PROBE | FIND_TRACE,
     "the answer reached the host and not the guest",
     "see the hop where it was lost"},
    {"packet-lost", FINDING_ERROR, FIND_PROBE | FIND_TRACE,
     "a packet was lost on the way, and why is not known",
     "see the hops: the last that saw it, and the first that did not"},
    /* what will break, or breaks for some */
    {"network-drifted", FINDING_WARNING, FIND_DOCTOR,
     "the host is not as the file says",
     "vmwire up"},
    {"forward-address-missing", FINDING_WARNING, FIND_DOCTOR,
     "a port forward is at an address that the host has not",
     "correct the address, or leave it out, which is every address of the host"},
    {"guest-silent", FINDING_WARNING, FIND_DOCTOR | FIND_TRACE,
     "the guest has never sent a frame",
     "look at the guest's console: is its interface up?"},
    {"mtu-mismatch", FINDING_WARNING, FIND_DOCTOR,
     "not every port of the bridge has its MTU",
     "vmwire up, which gives bridge and taps the network's MTU; its uplink's is yours to set"},
    {"uplink-address", FINDING_WARNING, FIND_DOCTOR,
     "the uplink has an address of its own beside the bridge",
     "tell the network manager to leave the uplink alone"},
    {"neighbour-fixed", FINDING_WARNING, FIND_DOCTOR, "a neighbour entry was made by hand",
     "ip neigh del, where its MAC is not right"},
    {"neighbours-full", FINDING_WARNING, FIND_DOCTOR,
     "the neighbour table is full",
     "raise net.ipv4.neigh.default.gc_thresh3"},
    {"packet-program", FINDING_NOTE, FIND_DOCTOR,
     "a program on an interface may drop packets, and vmwire cannot read it",
     "if packets vanish there, try without it"},
    {"firewall-unknown", FINDING_NOTE, FIND_DOCTOR,
     "a firewall rule may drop the guests' packets, and vmwire cannot tell whether it does",
     "vmwire trace names the rule that drops a packet"},
    {"guest-no-lease", FINDING_NOTE, FIND_DOCTOR | FIND_TRACE,
     "the guest sends, and has neither lease nor address that the host knows",
     "look at the guest's console: does it ask for a lease?"},
    {"guest-no-ipv6", FINDING_NOTE, FIND_DOCTOR,
     "the guest does not use the IPv6 that its network has",
     "look at the guest's console: has it switched IPv6 off?"},
    {"nic-unlisted", FINDING_NOTE, FIND_DOCTOR,
     "the machine has a nic that the file does not give it",
     "vmwire detach, or write it into the file behind the others"},
    {NULL, FINDING_NOTE, 0, NULL, NULL},
};
/* clang-format on */

static const struct finding_code *code_find(const char *code)
{
    const struct finding_code *row = finding_codes;
    while (row->code && strcmp(row->code, code) != 0)
        row++;
    assert(row->code);
    return row;
}

struct finding *finding_add(struct findings *findings, const char *code, const char *subject)
{
    const struct finding_code *row = code_find(code);
    struct finding *finding = vec_push(findings->arena, &findings->list);
    *finding = (struct finding){.code = row->code,
                                .severity = row->severity,
                                .subject = arena_strdup(findings->arena, subject),
                                .title = row->title,
                                .evidence = "",
                                .cure = row->cure};
    return finding;
}

#define PRINT_INTO(member)                                                                                   \
    va_list args;                                                                                            \
    va_start(args, format);                                                                                  \
    finding->member = arena_vprintf(findings->arena, format, args);                                          \
    va_end(args)

void finding_title(struct findings *findings, struct finding *finding, const char *format, ...)
{
    PRINT_INTO(title);
}

void finding_evidence(struct findings *findings, struct finding *finding, const char *format, ...)
{
    PRINT_INTO(evidence);
}

void finding_cure(struct findings *findings, struct finding *finding, const char *format, ...)
{
    PRINT_INTO(cure);
}

const struct finding *finding_find(const struct findings *findings, const char *code, const char *subject)
{
    vec_foreach (&findings->list, finding) {
        if (strcmp(finding->code, code) == 0 && (!subject || strcmp(finding->subject, subject) == 0))
            return finding;
    }
    return NULL;
}

struct standing {
    enum finding_severity severity;
    const struct finding_code *row;
    size_t place;
};

static int standing_compare(const void *left, const void *right)
{
    const struct standing *a = left, *b = right;
    if (a->severity != b->severity)
        return a->severity > b->severity ? -1 : 1;
    if (a->row != b->row)
        return a->row < b->row ? -1 : 1;
    return (a->place > b->place) - (a->place < b->place);
}

void findings_sort(struct findings *findings)
{
    size_t count = findings->list.count;
    struct standing *standings = arena_alloc(findings->arena, (count + 1) * sizeof(*standings));
    struct finding *sorted = arena_alloc(findings->arena, (count + 1) * sizeof(*sorted));
    for (size_t i = 0; i < count; i++) {
        const struct finding *finding = &findings->list.items[i];
        standings[i] = (struct standing){finding->severity, code_find(finding->code), i};
    }
    qsort(standings, count, sizeof(*standings), standing_compare);
    for (size_t i = 0; i < count; i++)
        sorted[i] = findings->list.items[standings[i].place];
    if (count)
        memcpy(findings->list.items, sorted, count * sizeof(*sorted));
}

bool findings_any(const struct findings *findings, enum finding_severity severity)
{
    vec_foreach (&findings->list, finding) {
        if (finding->severity >= severity)
            return true;
    }
    return false;
}

const char *finding_severity_name(enum finding_severity severity)
{
    static const char *const names[] = {"note", "warning", "error"};
    return names[severity];
}

void findings_json(struct json *json, const struct findings *findings)
{
    json_array_open(json, "findings");
    vec_foreach (&findings->list, finding) {
        json_object_open(json, NULL);
        json_string(json, "code", finding->code);
        json_string(json, "severity", finding_severity_name(finding->severity));
        json_string(json, "subject", finding->subject);
        json_string(json, "title", finding->title);
        json_string(json, "evidence", finding->evidence);
        json_string(json, "cure", finding->cure);
        json_object_close(json);
    }
    json_array_close(json);
}
