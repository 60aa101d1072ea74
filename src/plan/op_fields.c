/* op_fields.c: the members of each kind of operation, as they are written (op_fields.h). */
#include "plan/op_fields.h"

#define FIELD(name, type, member)                                                                            \
    {                                                                                                        \
        name, type, offsetof(struct op, member), 0                                                           \
    }
#define OPTIONAL(name, type, member, bit)                                                                    \
    {                                                                                                        \
        name, type, offsetof(struct op, member), bit                                                         \
    }
/* Of the struct that names its network, too. */
#define NETWORK(member) offsetof(struct op, member.network)
#define NO_NETWORK 0
#define END                                                                                                  \
    {                                                                                                        \
        NULL, F_TEXT, 0, 0                                                                                   \
    }

static const struct field link_fields[] = {
    FIELD("ifname", F_TEXT, link.name),
    FIELD("kind", F_TEXT, link.kind),
    OPTIONAL("mac", F_MAC, link.mac, LINK_MAC),
    OPTIONAL("mtu", F_U32, link.mtu, LINK_MTU),
    OPTIONAL("up", F_BOOL, link.up, LINK_UP),
    OPTIONAL("alias", F_TEXT, link.alias, LINK_ALIAS),
    OPTIONAL("stp", F_BOOL, link.stp, LINK_STP),
    OPTIONAL("forward_delay", F_U32, link.forward_delay, LINK_FORWARD_DELAY),
    OPTIONAL("ipv6", F_BOOL, link.ipv6, LINK_IPV6),
    OPTIONAL("accept_ra", F_U8, link.accept_ra, LINK_ACCEPT_RA),
    FIELD("guest", F_BOOL, link.guest),
    OPTIONAL("filters_vlans", F_BOOL, link.filters_vlans, LINK_FILTERS_VLANS),
    FIELD("lower", F_TEXT, link.lower),
    FIELD("vlan", F_U32, link.vlan),
    END};

static const struct field port_fields[] = {FIELD("ifname", F_TEXT, port.ifname),
                                           FIELD("bridge", F_TEXT, port.bridge),
                                           FIELD("guest", F_BOOL, port.guest), END};

static const struct field port_rule_fields[] = {FIELD("ifname", F_TEXT, port.ifname),
                                                FIELD("bridge", F_TEXT, port.bridge),
                                                FIELD("guest", F_BOOL, port.guest),
                                                FIELD("isolated", F_BOOL, port.rules.isolated),
                                                FIELD("vlan", F_U32, port.vlan),
                                                FIELD("alias", F_TEXT, port.alias),
                                                END};

static const struct field port_vlan_fields[] = {FIELD("ifname", F_TEXT, port.ifname),
                                                FIELD("bridge", F_TEXT, port.bridge),
                                                FIELD("vlan", F_U32, port.vlan), END};

static const struct field address_fields[] = {FIELD("ifname", F_TEXT, address.ifname),
                                              FIELD("address", F_PREFIX, address.prefix),
                                              FIELD("peer", F_IP, address.peer),
                                              FIELD("broadcast", F_IP, address.broadcast),
                                              FIELD("label", F_TEXT, address.label),
                                              FIELD("scope", F_U8, address.scope),
                                              FIELD("flags", F_U32, address.flags),
                                              FIELD("metric", F_U32, address.metric),
                                              FIELD("valid", F_U32, address.valid_s),
                                              FIELD("preferred", F_U32, address.preferred_s),
                                              END};

static const struct field route_fields[] = {FIELD("table", F_U32, route.table),
                                            FIELD("to", F_PREFIX, route.to),
                                            FIELD("tos", F_U8, route.tos),
                                            FIELD("scope", F_U8, route.scope),
                                            FIELD("type", F_U8, route.type),
                                            FIELD("protocol", F_U8, route.protocol),
                                            FIELD("metric", F_U32, route.metric),
                                            FIELD("gateway", F_IP, route.gateway),
                                            FIELD("ifname", F_TEXT, route.ifname),
                                            FIELD("source", F_IP, route.source),
                                            FIELD("onlink", F_BOOL, route.onlink),
                                            FIELD("mtu", F_U32, route.mtu),
                                            FIELD("advmss", F_U32, route.advmss),
                                            FIELD("preference", F_U8, route.preference),
                                            END};

static const struct field neighbour_fields[] = {FIELD("ifname", F_TEXT, neighbour.ifname),
                                                FIELD("address", F_IP, neighbour.ip),
                                                FIELD("mac", F_MAC, neighbour.mac),
                                                FIELD("proxy", F_BOOL, neighbour.proxy),
                                                FIELD("router", F_BOOL, neighbour.router),
                                                FIELD("protocol", F_U8, neighbour.protocol),
                                                END};

static const struct field sysctl_fields[] = {FIELD("name", F_TEXT, sysctl.name),
                                             FIELD("value", F_TEXT, sysctl.value), END};

static const struct field firewall_fields[] = {FIELD("bridge", F_TEXT, firewall.bridge),
                                               FIELD("uplink", F_TEXT, firewall.uplink),
                                               FIELD("way", F_TEXT, firewall.way),
                                               FIELD("isolate", F_BOOL, firewall.isolate),
                                               FIELD("subnet", F_PREFIX, firewall.subnet),
                                               FIELD("subnet6", F_PREFIX, firewall.subnet6),
                                               FIELD("forwards", F_FORWARDS, firewall.forwards),
                                               END};

static const struct field main_fields[] = {FIELD("load", F_BOOL, main.load),
                                           FIELD("enable", F_BOOL, main.enable), END};

static const struct field admission_fields[] = {
    FIELD("family", F_TEXT, admission.family), FIELD("table", F_TEXT, admission.table),
    FIELD("chain", F_TEXT, admission.chain),   FIELD("kind", F_TEXT, admission.kind),
    FIELD("last", F_BOOL, admission.last),     END};

static const struct field zone_fields[] = {FIELD("ifname", F_TEXT, zone.ifname),
                                           FIELD("zone", F_TEXT, zone.zone), END};
static const struct field shared_fields[] = {FIELD("bridge", F_TEXT, shared.bridge),
                                             FIELD("uplink", F_TEXT, shared.uplink),
                                             FIELD("mac", F_MAC, shared.mac), END};

static const struct field shared_address_fields[] = {FIELD("address", F_IP, shared_address.ip),
                                                     FIELD("mac", F_MAC, shared_address.mac), END};

static const struct field unmanaged_fields[] = {FIELD("interfaces", F_TEXT, unmanaged.interfaces), END};

static const struct field service_fields[] = {
    FIELD("kind", F_TEXT, service.kind), FIELD("argv", F_ARGV, service.argv),
    FIELD("pid_path", F_TEXT, service.pid_path), FIELD("timeout_ms", F_U32, service.timeout_ms), END};

static const struct field lock_fields[] = {FIELD("mac", F_BOOL, lock.kinds[LOCK_MAC]),
                                           FIELD("ip", F_BOOL, lock.kinds[LOCK_IP]),
                                           FIELD("arp", F_BOOL, lock.kinds[LOCK_ARP]),
                                           FIELD("dhcp", F_BOOL, lock.kinds[LOCK_DHCP]),
                                           FIELD("ra", F_BOOL, lock.kinds[LOCK_RA]),
                                           FIELD("subnet6", F_PREFIX, lock.subnet6),
                                           FIELD("any6", F_BOOL, lock.any6),
                                           FIELD("subnet", F_PREFIX, lock.subnet),
                                           END};

static const struct field nic_fields[] = {FIELD("ifname", F_TEXT, nic.ifname),
                                          FIELD("mac", F_MAC, nic.mac),
                                          FIELD("any", F_BOOL, nic.any),
                                          FIELD("address", F_IP, nic.ip),
                                          FIELD("address6", F_IP, nic.ip6),
                                          FIELD("leased", F_IP, nic.leased),
                                          FIELD("held_mac", F_BOOL, nic.held.kinds[LOCK_MAC]),
                                          FIELD("held_ip", F_BOOL, nic.held.kinds[LOCK_IP]),
                                          FIELD("held_dhcp", F_BOOL, nic.held.kinds[LOCK_DHCP]),
                                          FIELD("held_ra", F_BOOL, nic.held.kinds[LOCK_RA]),
                                          FIELD("subnet", F_PREFIX, nic.held.subnet),
                                          FIELD("subnet6", F_PREFIX, nic.held.subnet6),
                                          FIELD("any6", F_BOOL, nic.held.any6),
                                          END};

static const struct field shaper_fields[] = {
    FIELD("outward", F_BOOL, shaper.outward), FIELD("nics", F_BOOL, shaper.nics),
    FIELD("number", F_U32, shaper.number), FIELD("rate", F_RATE, shaper.rate), END};

static const struct field nic_rate_fields[] = {FIELD("ifname", F_TEXT, nic_rates.ifname),
                                               FIELD("mac", F_MAC, nic_rates.mac),
                                               FIELD("in_shaped", F_BOOL, nic_rates.in.shaped),
                                               FIELD("in", F_RATE, nic_rates.in.rate),
                                               FIELD("out_shaped", F_BOOL, nic_rates.out.shaped),
                                               FIELD("out", F_RATE, nic_rates.out.rate),
                                               END};

static const struct field shaping_fields[] = {FIELD("ipfw", F_BOOL, shaping.ipfw),
                                              FIELD("dummynet", F_BOOL, shaping.dummynet),
                                              FIELD("accept", F_BOOL, shaping.accept),
                                              FIELD("rules", F_BOOL, shaping.rules),
                                              FIELD("one_pass", F_BOOL, shaping.one_pass),
                                              FIELD("frames", F_BOOL, shaping.frames),
                                              END};

static const struct field resolver_fields[] = {FIELD("ifname", F_TEXT, resolver.ifname),
                                               FIELD("server", F_IP, resolver.server),
                                               FIELD("domain", F_TEXT, resolver.domain), END};

static const struct field reload_fields[] = {FIELD("kind", F_TEXT, reload.kind),
                                             FIELD("pid_path", F_TEXT, reload.pid_path),
                                             FIELD("path", F_TEXT, reload.path),
                                             FIELD("content", F_TEXT, reload.content),
                                             FIELD("mode", F_U32, reload.mode),
                                             FIELD("group", F_TEXT, reload.group),
                                             END};

static const struct field device_fields[] = {
    FIELD("address", F_TEXT, device.address), FIELD("driver", F_TEXT, device.driver),
    FIELD("ifname", F_TEXT, device.ifname), FIELD("override", F_TEXT, device.override), END};

static const struct field functions_fields[] = {FIELD("address", F_TEXT, functions.address),
                                                FIELD("count", F_U32, functions.count),
                                                FIELD("probe", F_BOOL, functions.probe), END};

static const struct field function_fields[] = {
    FIELD("ifname", F_TEXT, function.ifname),
    FIELD("index", F_U32, function.index),
    OPTIONAL("mac", F_MAC, function.mac, FUNCTION_MAC),
    OPTIONAL("vlan", F_U32, function.vlan, FUNCTION_VLAN),
    OPTIONAL("spoof_check", F_BOOL, function.spoof_check, FUNCTION_SPOOF_CHECK),
    OPTIONAL("trust", F_BOOL, function.trust, FUNCTION_TRUST),
    OPTIONAL("rate_mbps", F_U32, function.rate_mbps, FUNCTION_RATE),
    OPTIONAL("link", F_U8, function.link, FUNCTION_LINK),
    END};

static const struct field file_fields[] = {
    FIELD("path", F_TEXT, file.path), FIELD("content", F_TEXT, file.content), FIELD("mode", F_U32, file.mode),
    FIELD("group", F_TEXT, file.group), END};

const struct op_members op_members[OP_KIND_COUNT] = {
    [OP_LINK_CREATE] = {"link-create", link_fields, NO_NETWORK},
    [OP_LINK_DELETE] = {"link-delete", link_fields, NO_NETWORK},
    [OP_LINK_SET] = {"link-set", link_fields, NO_NETWORK},
    [OP_PORT_ADD] = {"port-add", port_fields, NO_NETWORK},
    [OP_PORT_REMOVE] = {"port-remove", port_fields, NO_NETWORK},
    [OP_PORT_SET] = {"port-set", port_rule_fields, NO_NETWORK},
    [OP_PORT_VLAN_ADD] = {"port-vlan-add", port_vlan_fields, NO_NETWORK},
    [OP_PORT_VLAN_REMOVE] = {"port-vlan-remove", port_vlan_fields, NO_NETWORK},
    [OP_ADDRESS_ADD] = {"address-add", address_fields, NO_NETWORK},
    [OP_ADDRESS_REMOVE] = {"address-remove", address_fields, NO_NETWORK},
    [OP_ROUTE_ADD] = {"route-add", route_fields, NO_NETWORK},
    [OP_ROUTE_REMOVE] = {"route-remove", route_fields, NO_NETWORK},
    [OP_ROUTE_REPLACE] = {"route-replace", route_fields, NO_NETWORK},
    [OP_NEIGHBOUR_ADD] = {"neighbour-add", neighbour_fields, NO_NETWORK},
    [OP_NEIGHBOUR_REMOVE] = {"neighbour-remove", neighbour_fields, NO_NETWORK},
    [OP_SYSCTL_SET] = {"sysctl-set", sysctl_fields, NO_NETWORK},
    [OP_FIREWALL_SET] = {"firewall-set", firewall_fields, NETWORK(firewall)},
    [OP_FIREWALL_REMOVE] = {"firewall-remove", firewall_fields, NETWORK(firewall)},
    [OP_FIREWALL_ENABLE] = {"firewall-enable", main_fields, NO_NETWORK},
    [OP_FIREWALL_DISABLE] = {"firewall-disable", main_fields, NO_NETWORK},
    [OP_ADMISSION_ADD] = {"admission-add", admission_fields, NETWORK(admission)},
    [OP_ADMISSION_REMOVE] = {"admission-remove", admission_fields, NETWORK(admission)},
    [OP_ZONE_ADD] = {"zone-add", zone_fields, NO_NETWORK},
    [OP_ZONE_REMOVE] = {"zone-remove", zone_fields, NO_NETWORK},
    [OP_SHARED_SET] = {"shared-set", shared_fields, NETWORK(shared)},
    [OP_SHARED_REMOVE] = {"shared-remove", shared_fields, NETWORK(shared)},
    [OP_SHARED_ADDRESS_ADD] = {"shared-address-add", shared_address_fields, NETWORK(shared_address)},
    [OP_SHARED_ADDRESS_REMOVE] = {"shared-address-remove", shared_address_fields, NETWORK(shared_address)},
    [OP_UNMANAGE] = {"unmanage", unmanaged_fields, NETWORK(unmanaged)},
    [OP_MANAGE] = {"manage", unmanaged_fields, NETWORK(unmanaged)},
    [OP_SERVICE_START] = {"service-start", service_fields, NETWORK(service)},
    [OP_SERVICE_STOP] = {"service-stop", service_fields, NETWORK(service)},
    [OP_LOCK_SET] = {"lock-set", lock_fields, NETWORK(lock)},
    [OP_LOCK_REMOVE] = {"lock-remove", lock_fields, NETWORK(lock)},
    [OP_SHAPER_SET] = {"shaper-set", shaper_fields, NETWORK(shaper)},
    [OP_SHAPER_REMOVE] = {"shaper-remove", shaper_fields, NETWORK(shaper)},
    [OP_RATE_SET] = {"rate-set", nic_rate_fields, NO_NETWORK},
    [OP_SHAPING_ENABLE] = {"shaping-enable", shaping_fields, NO_NETWORK},
    [OP_SHAPING_DISABLE] = {"shaping-disable", shaping_fields, NO_NETWORK},
    [OP_NIC_SET] = {"nic-set", nic_fields, NETWORK(nic)},
    [OP_NIC_REMOVE] = {"nic-remove", nic_fields, NETWORK(nic)},
    [OP_RESOLVER_SET] = {"resolver-set", resolver_fields, NO_NETWORK},
    [OP_RESOLVER_CLEAR] = {"resolver-clear", resolver_fields, NO_NETWORK},
    [OP_SERVICE_RELOAD] = {"service-reload", reload_fields, NO_NETWORK},
    [OP_DEVICE_BIND] = {"device-bind", device_fields, NO_NETWORK},
    [OP_DEVICE_UNBIND] = {"device-unbind", device_fields, NO_NETWORK},
    [OP_FUNCTIONS_SET] = {"functions-set", functions_fields, NO_NETWORK},
    [OP_FUNCTION_SET] = {"function-set", function_fields, NO_NETWORK},
    [OP_FILE_WRITE] = {"file-write", file_fields, NO_NETWORK},
    [OP_FILE_REMOVE] = {"file-remove", file_fields, NO_NETWORK},
};
