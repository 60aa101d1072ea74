/* doctor_link.c: the bridge, its uplink and its ports: doctor.h. */
#include "base/text.h"
#include "diag/doctor_internal.h"

static bool find_bridge(struct patient *patient)
{
    const char *name = patient->network->name;
    const struct link *link = link_find(patient->observed, name);
    const char *owner = link ? owner_network(patient->arena, link->alias) : NULL;
    if (link && (strcmp(link->kind, "bridge") != 0 || !owner || strcmp(owner, name) != 0)) {
        PATIENT_FIND(patient, "bridge-foreign", patient->subject,
                     "interface '%s' (%s) has the network's name, and not vmwire's tag", name,
                     *link->kind ? link->kind : "a card");
        return false;
    }
    if (!link && patient->network->up)
        PATIENT_FIND(patient, "bridge-missing", patient->subject, "there is no interface '%s'", name);
    else if (!link)
        PATIENT_FIND(patient, "network-down", patient->subject, "nothing of it is on this host");
    else if (!link->up)
        PATIENT_FIND(patient, "bridge-down", patient->subject, "'%s' is down", name);
    patient->bridge = link;
    return link;
}

/* The VLAN that is the bridge's port; it goes down with its uplink, which was looked at. */
static const struct link *check_vlan(struct patient *patient)
{
    const struct doctor_network *network = patient->network;
    const struct link *uplink = patient->uplink, *vlan = link_find(patient->observed, network->port);
    patient->out = network->port;
    patient->uplink = vlan;
    if (!vlan && patient->bridge)
        PATIENT_FIND(patient, "vlan-missing", patient->subject,
                     "there is no interface '%s' on '%s' for VLAN %u", network->port, uplink->name,
                     network->vlan);
    else if (vlan && !vlan->up && uplink->up)
        PATIENT_FIND(patient, "vlan-down", patient->subject, "'%s' is down", vlan->name);
    return vlan;
}

static void check_uplink(struct patient *patient)
{
    const struct doctor_network *network = patient->network;
    const char *name = network->uplink;
    const struct link *uplink = name ? link_find(patient->observed, name) : NULL;
    patient->uplink = uplink;
    if (!name && mode_forwards(network->mode)) {
        PATIENT_FIND(patient, "no-default-route", patient->subject,
                     "the routing table has no IPv4 default route");
        return;
    }
    if (!name)
        return;
    patient->out = name;
    if (!uplink) {
        PATIENT_FIND(patient, "uplink-missing", patient->subject, "there is no interface '%s'", name);
        return;
    }
    const struct interface_health *health = health_interface(patient->health, name);
    if (!uplink->up)
        PATIENT_FIND(patient, "uplink-down", patient->subject, "'%s' is down", name);
    else if (!uplink->carrier)
        PATIENT_FIND(patient, "uplink-no-carrier", patient->subject, "'%s' is up and has no carrier", name);
    if (network->mode != NETWORK_BRIDGED)
        return;
    if (health && health->wireless)
        PATIENT_FIND(patient, "uplink-wireless", patient->subject,
                     "'%s' is wireless: its access point takes frames from its own MAC alone", name);
    if (network->vlan)
        uplink = check_vlan(patient);
    if (uplink && patient->bridge && strcmp(uplink->master, network->name) != 0)
        PATIENT_FIND(patient, "uplink-unplugged", patient->subject, "'%s' is %s%s%s, not a port of '%s'",
                     uplink->name, *uplink->master ? "a port of '" : "no bridge's port", uplink->master,
                     *uplink->master ? "'" : "", network->name);
}

/* What somebody may have set on the uplink's port; guests' ports are looked at with their guests. */
static void check_uplink_port(struct patient *patient)
{
    const struct link *uplink = patient->uplink;
    const struct interface_health *port = uplink ? health_interface(patient->health, uplink->name) : NULL;
    if (!port || patient->network->mode != NETWORK_BRIDGED ||
        strcmp(uplink->master, patient->network->name) != 0)
        return;
    if (port->state != PORT_FORWARDING && uplink->carrier && uplink->up)
        PATIENT_FIND(patient, "port-blocked", patient->subject, "the bridge's port '%s' is %s", uplink->name,
                     port_state_name(port->state));
    const char *restriction = port_restriction(port);
    if (restriction)
        PATIENT_FIND(patient, "port-restricted", patient->subject, "the bridge's port '%s' %s", uplink->name,
                     restriction);
}

static bool carries(const struct link *port, uint32_t id)
{
    vec_foreach (&port->vlans, vlan) {
        if (vlan->id == id)
            return true;
    }
    return false;
}

/* A nic's VLAN that ends at the bridge. */
static void check_port_vlans(struct patient *patient)
{
    const struct link *uplink = patient->uplink;
    if (!patient->bridge->filters_vlans || !uplink || strcmp(uplink->master, patient->bridge->name) != 0)
        return;
    vec_foreach (&patient->observed->links, port) {
        uint32_t id = port_vlan_own(port);
        struct wired_nic nic;
        if (strcmp(port->master, patient->bridge->name) == 0 && id && !carries(uplink, id) &&
            owner_nic(patient->arena, port, &nic))
            PATIENT_FIND(patient, "vlan-ends", patient->subject,
                         "port '%s' is in VLAN %u, and port '%s' of the uplink is not", port->name, id,
                         uplink->name);
    }
}

static void check_mtu(struct patient *patient)
{
    vec_foreach (&patient->observed->links, link) {
        if (strcmp(link->master, patient->bridge->name) != 0 || link->mtu == patient->bridge->mtu)
            continue;
        struct wired_nic nic;
        bool guest = owner_nic(patient->arena, link, &nic) && strcmp(nic.machine, "-") != 0;
        PATIENT_FIND(patient, "mtu-mismatch", patient->subject, "the bridge has %u bytes, its port '%s'%s %u",
                     patient->bridge->mtu, link->name,
                     guest ? arena_printf(patient->arena, " of machine '%s'", nic.machine) : "", link->mtu);
    }
}

static void check_uplink_address(struct patient *patient)
{
    if (!patient->uplink || patient->network->mode != NETWORK_BRIDGED)
        return;
    vec_foreach (&patient->observed->addresses, address) {
        if (strcmp(address->ifname, patient->uplink->name) == 0 && !address->kernel &&
            !ip_is_link_local(&address->prefix.ip))
            PATIENT_FIND(patient, "uplink-address", patient->subject, "'%s' has %s", patient->uplink->name,
                         PREFIX_TEXT(&address->prefix));
    }
}

static void check_programs(struct patient *patient)
{
    vec_foreach (&patient->health->interfaces, interface) {
        if (!interface->program && !interface->filters)
            continue;
        const struct link *link = link_find(patient->observed, interface->ifname);
        if (link && !interface->program && (link->rates[RATE_IN].shaped || link->rates[RATE_OUT].shaped))
            continue; /* vmwire's own */
        bool here = link && (link == patient->bridge || link == patient->uplink ||
                             strcmp(link->master, patient->network->name) == 0);
        if (here)
            PATIENT_FIND(patient, "packet-program", patient->subject, "'%s' has %s", interface->ifname,
                         interface->program ? "an XDP program (ip link show)"
                                            : "filters for what arrives (tc filter show, clsact or ingress)");
    }
}

bool doctor_links(struct patient *patient)
{
    bool there = find_bridge(patient);
    if (patient->network->up || patient->network->uplink_named)
        check_uplink(patient);
    if (!there)
        return false;
    check_uplink_port(patient);
    check_port_vlans(patient);
    check_mtu(patient);
    check_uplink_address(patient);
    check_programs(patient);
    return true;
}
