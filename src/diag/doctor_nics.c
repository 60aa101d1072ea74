/* doctor_nics.c: every nic that is wired, once, with what belongs to it: the cost of doctor grows with the
 * number of nics and not with its square. */
#include <stdlib.h>
#include <sys/socket.h>

#include "diag/doctor_internal.h"

static int by_mac(const void *a, const void *b)
{
    const struct doctor_nic *const *one = a, *const *other = b;
    return memcmp((*one)->nic.mac.bytes, (*other)->nic.mac.bytes, 6);
}

static int by_machine(const void *a, const void *b)
{
    const struct doctor_nic *const *one = a, *const *other = b;
    int names = strcmp((*one)->nic.machine, (*other)->nic.machine);
    return names ? names : (int)(*one)->nic.index - (int)(*other)->nic.index;
}

static int machine_by_name(const void *a, const void *b)
{
    const struct doctor_machine *const *one = a, *const *other = b;
    return strcmp((*one)->name, (*other)->name);
}

/* The first of those that are equal. */
static struct doctor_nic **first_of(const struct doctor_nics *nics, struct doctor_nic **order,
                                    const struct doctor_nic *key, int (*compare)(const void *, const void *))
{
    struct doctor_nic **found =
        nics->list.count ? bsearch(&key, order, nics->list.count, sizeof(*order), compare) : NULL;
    while (found && found > order && compare(found - 1, &key) == 0)
        found--;
    return found;
}

struct doctor_nic *doctor_nic_by_mac(const struct doctor_nics *nics, const struct mac *mac,
                                     const struct doctor_nic *but)
{
    struct doctor_nic key = {.nic.mac = *mac};
    struct doctor_nic **found = first_of(nics, nics->by_mac, &key, by_mac),
                      **end = nics->by_mac + nics->list.count;
    const struct doctor_nic *wanted = &key;
    for (; found && found < end && by_mac(found, &wanted) == 0; found++) {
        if (*found != but)
            return *found;
    }
    return NULL;
}

bool doctor_machine_has(const struct doctor_nics *nics, const char *machine, unsigned index)
{
    struct doctor_nic key = {.nic = {.machine = machine, .index = index}};
    return first_of(nics, nics->by_machine, &key, by_machine);
}

bool doctor_machine_on(const struct doctor_nics *nics, const char *machine, const char *network)
{
    vec_foreach (&nics->list, nic) {
        if (strcmp(nic->nic.network, network) == 0 && strcmp(nic->nic.machine, machine) == 0)
            return true;
    }
    return false;
}

static void machines_join(struct arena *arena, struct doctor_nics *nics, const struct doctor_request *request)
{
    size_t count = request->machines.count;
    const struct doctor_machine **sorted = arena_alloc(arena, (count + 1) * sizeof(*sorted));
    for (size_t i = 0; i < count; i++)
        sorted[i] = &request->machines.items[i];
    qsort(sorted, count, sizeof(*sorted), machine_by_name);
    vec_foreach (&nics->list, nic) {
        const struct doctor_machine key = {.name = nic->nic.machine}, *wanted = &key;
        const struct doctor_machine **found =
            count ? bsearch(&wanted, sorted, count, sizeof(*sorted), machine_by_name) : NULL;
        nic->machine = found ? *found : NULL;
    }
}

static void leases_join(struct doctor_nics *nics, const struct doctor_request *request)
{
    vec_foreach (&request->networks, network) {
        vec_foreach (&network->leases, lease) {
            struct doctor_nic *nic = doctor_nic_by_mac(nics, &lease->mac, NULL);
            if (nic && strcmp(nic->nic.network, network->name) == 0)
                nic->lease = lease;
        }
    }
    vec_foreach (&request->observed->health.neighbours, neighbour) {
        struct doctor_nic *nic = doctor_nic_by_mac(nics, &neighbour->mac, NULL);
        if (!nic)
            continue;
        nic->neighbour = true;
        nic->neighbour6 |= neighbour->ip.family == AF_INET6;
    }
}

void doctor_nics_find(struct arena *arena, const struct doctor_request *request, struct doctor_nics *nics)
{
    vec_foreach (&request->observed->links, link) {
        struct doctor_nic nic = {.tap = link};
        if (!owner_nic(arena, link, &nic.nic))
            continue;
        nic.subject = strcmp(nic.nic.machine, "-") == 0
                          ? arena_printf(arena, "nic '%s'", link->name)
                          : arena_printf(arena, "machine '%s'", nic.nic.machine);
        nic.health = health_interface(&request->observed->health, link->name);
        *vec_push(arena, &nics->list) = nic;
    }
    size_t size = (nics->list.count + 1) * sizeof(struct doctor_nic *);
    nics->by_mac = arena_alloc(arena, size);
    nics->by_machine = arena_alloc(arena, size);
    for (size_t i = 0; i < nics->list.count; i++)
        nics->by_mac[i] = nics->by_machine[i] = &nics->list.items[i];
    qsort(nics->by_mac, nics->list.count, sizeof(*nics->by_mac), by_mac);
    qsort(nics->by_machine, nics->list.count, sizeof(*nics->by_machine), by_machine);
    machines_join(arena, nics, request);
    leases_join(nics, request);
}
