/* op.h: operations: one change to the host each, as data; their text form for the journal and the records. */
#ifndef VMWIRE_PLAN_OP_H
#define VMWIRE_PLAN_OP_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "model/state.h"

enum op_kind {
    OP_NONE = 0,
    OP_LINK_CREATE,   /* link: a bridge, or a VLAN with `lower` and `vlan`, with the attributes in link.fields
                       */
    OP_LINK_DELETE,   /* link.name */
    OP_LINK_SET,      /* link.name and the attributes in link.fields */
    OP_PORT_ADD,      /* port */
    OP_PORT_REMOVE,   /* port */
    OP_PORT_SET,      /* port: rules, of one that leads to a guest; its VLAN, where that changes */
    OP_PORT_VLAN_ADD, /* port: also in `vlan`, with tags, or, the bridge's own, without */
    OP_PORT_VLAN_REMOVE,
    OP_ADDRESS_ADD,
    OP_ADDRESS_REMOVE,
    OP_ROUTE_ADD,
    OP_ROUTE_REMOVE,
    OP_ROUTE_REPLACE, /* takes the place of the route in the same slot: no moment without one */
    OP_NEIGHBOUR_ADD, /* neighbour: in the place of what is known of that address */
    OP_NEIGHBOUR_REMOVE,
    OP_SYSCTL_SET,
    OP_FIREWALL_SET,     /* one network's rules; makes the table when it is not there */
    OP_FIREWALL_REMOVE,  /* one network's rules; takes the table away with the last */
    OP_FIREWALL_ENABLE,  /* main: load the minimal main ruleset, switch the firewall on (pf) */
    OP_FIREWALL_DISABLE, /* main: the reverse */
    OP_ADMISSION_ADD,    /* admission: a rule in the chain of a firewall that is not vmwire's */
    OP_ADMISSION_REMOVE,
    OP_ZONE_ADD, /* zone: an interface into a zone of firewalld's, until that is reloaded */
    OP_ZONE_REMOVE,
    OP_SHARED_SET,            /* shared: one network's translation; makes the table when it is not there */
    OP_SHARED_REMOVE,         /* shared; takes the table away with the last */
    OP_SHARED_ADDRESS_ADD,    /* shared_address: ip is mac's for ever, whoever else claims it */
    OP_SHARED_ADDRESS_REMOVE, /* shared_address */
    OP_UNMANAGE,              /* unmanaged: tell systemd-networkd to leave interfaces alone */
    OP_MANAGE,                /* and take that back */
    OP_SERVICE_START,
    OP_SERVICE_STOP,
    OP_LOCK_SET,    /* lock: makes the table when it is not there */
    OP_LOCK_REMOVE, /* takes the table away with the last */
    OP_SHAPER_SET,  /* shaper: one way of one network */
    OP_SHAPER_REMOVE,
    OP_RATE_SET,        /* nic_rates: of one guest's port */
    OP_SHAPING_ENABLE,  /* shaping: what shapers stand on, where that is not theirs alone */
    OP_SHAPING_DISABLE, /* shaping: the reverse */
    OP_NIC_SET,         /* nic: what it may say that it is; instead of what was set before */
    OP_NIC_REMOVE,
    OP_RESOLVER_SET, /* resolver: the host's own resolver is told of a network's names */
    OP_RESOLVER_CLEAR,
    OP_SERVICE_RELOAD, /* reload: write its file, and tell the program, when it runs */
    OP_DEVICE_BIND,    /* device: give it to device.driver, which hands it to guests (vfio-pci, ppt) */
    OP_DEVICE_UNBIND,  /* device: back to device.driver (its own; "": whichever takes it), its interface named
                          device.ifname */
    OP_FUNCTIONS_SET,  /* functions: so many SR-IOV functions, none before */
    OP_FUNCTION_SET,   /* function: what the parent is told of one */
    OP_FILE_WRITE,     /* under the run directory; makes parent directories */
    OP_FILE_REMOVE,    /* and parent directories that are empty then, up to the run directory */
    OP_KIND_COUNT
};

struct port {
    const char *ifname;
    const char *bridge;
    struct port_rules rules;
    uint32_t vlan; /* PORT_SET: the only one, without tags, of a tap then tagged `alias`; 0: left alone */
    const char *alias;
    bool guest; /* a nic, which comes and goes with its program, whatever vmwire does: no failure */
};

struct nic_rates {
    const char *ifname;
    struct mac mac; /* the guest's */
    struct nic_rate in, out;
};

struct op {
    enum op_kind kind;
    const char *network; /* the network that it is done for; "" for the host's own */
    union {
        struct link link;
        struct port port;
        struct address address;
        struct route route;
        struct fixed_neighbour neighbour;
        struct sysctl sysctl;
        struct firewall firewall;
        struct firewall_main main; /* load, enable */
        struct admission admission;
        struct zone_member zone;
        struct shared shared;
        struct shared_address shared_address; /* network, ip, mac */
        struct unmanaged unmanaged;
        struct service service;
        struct lock lock;
        struct shaper shaper;
        struct nic_rates nic_rates;
        struct shaping shaping;
        struct lock_nic nic;
        struct resolver resolver;
        struct reload reload;
        struct device_driver device;
        struct functions functions;
        struct function function;
        struct file file;
    };
};

/* "link-create", "port-add", …: the names used in the journal, in JSON and in messages. */
const char *op_kind_name(enum op_kind kind);

/* One line of text, without a newline, that op_parse reads back: "port-add network=brext ifname=re1
 * bridge=brext". Values are percent-encoded where they hold a space, '%', '=', or a control character. */
const char *op_format(struct arena *arena, const struct op *op);
/* The reverse.  -EINVAL, with what is wrong, for anything that op_format does not write. */
int op_parse(struct arena *arena, const char *line, struct op *op, struct err *err);

/* What it does, for people: "adding port 're1' to bridge 'brext'". */
const char *op_describe(struct arena *arena, const struct op *op);

/* As members of the open JSON object: kind, network and the kind's own (a link's and a service's kind is
 * "type"). */
void op_json(struct json *json, const struct op *op);

#endif
