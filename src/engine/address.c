/* address.c: a forward to a guest that runs leads to the address that it has, not to one that it would get
 * with its next lease: address.h. */
#include "engine/address.h"

#include <string.h>
#include <sys/socket.h>

#include "service/service.h"

/* By the table that an earlier `up` wrote: it stays as long as the network is up. */
static bool table_address(const struct engine *engine, const char *network, const struct mac *mac,
                          struct ip *ip)
{
    const char *path = table_path(engine->arena, engine->observed.run_dir, network, "dhcp-hosts");
    const struct file *file = file_find(&engine->observed, path);
    const char *line = file ? strstr(file->content, MAC_TEXT(mac)) : NULL;
    if (!line || line[MAC_TEXT_SIZE - 1] != ',')
        return false;
    line += MAC_TEXT_SIZE;
    return ip_parse(arena_strndup(engine->arena, line, strcspn(line, ",\n")), ip) == 0;
}

static bool lease_address(const struct leases *leases, const struct mac *mac, struct ip *ip)
{
    vec_foreach (&leases->list, lease) {
        if (lease->ip.family == AF_INET && mac_equal(&lease->mac, mac)) {
            *ip = lease->ip;
            return true;
        }
    }
    return false;
}

static bool address_free(struct engine *engine, const struct network *network, const struct ip *ip)
{
    if (guest_address_fault(engine->arena, network, ip))
        return false;
    vec_foreach (&network->nics, member) {
        if (ip_equal(&member->nic->address, ip))
            return false;
    }
    return true;
}

static void nic_settle(struct engine *engine, struct network *network, struct nic *nic,
                       const struct leases *leases)
{
    struct ip had;
    if (!table_address(engine, network->name, &nic->mac, &had) && !lease_address(leases, &nic->mac, &had))
        return;
    if (ip_equal(&had, &nic->address) || !address_free(engine, network, &had))
        return;
    vec_foreach (&network->forwards.list, forward) {
        if (ip_equal(&forward->target, &nic->address))
            forward->target = had;
    }
    nic->address = had;
}

void addresses_settle(struct engine *engine, struct model *model)
{
    vec_foreach (&model->networks, network) {
        struct leases leases = {0};
        bool read = false;
        vec_foreach (&network->nics, member) {
            if (!member->nic->address_chosen)
                continue;
            const struct file *file =
                read ? NULL
                     : file_find(&engine->observed,
                                 leases_path(engine->arena, engine->observed.run_dir, network->name));
            if (file)
                dnsmasq_leases_parse(engine->arena, file->content, &leases);
            read = true;
            nic_settle(engine, network, member->nic, &leases);
        }
        if (read)
            forwards_settle(&network->forwards);
    }
}
