/* admission.c: names and tags of admission.h. */
#include "model/admission.h"

#include <string.h>

#include "model/state.h"

static const char *const names[ADMISSION_KIND_COUNT] = {
    [ADMISSION_NONE] = "",           [ADMISSION_FROM] = "from",      [ADMISSION_TO] = "to",
    [ADMISSION_INSIDE] = "inside",   [ADMISSION_DHCP] = "dhcp",      [ADMISSION_DHCP6] = "dhcp6",
    [ADMISSION_DNS_UDP] = "dns-udp", [ADMISSION_DNS_TCP] = "dns-tcp"};

const char *admission_name(enum admission_kind kind)
{
    return kind > ADMISSION_NONE && kind < ADMISSION_KIND_COUNT ? names[kind] : "";
}

enum admission_kind admission_kind_find(const char *name)
{
    for (int kind = ADMISSION_NONE + 1; kind < ADMISSION_KIND_COUNT; kind++) {
        if (strcmp(names[kind], name) == 0)
            return (enum admission_kind)kind;
    }
    return ADMISSION_NONE;
}

const char *admission_tag(struct arena *arena, const struct admission *admission)
{
    return arena_printf(arena, OWNER_PREFIX "%s %s", admission->network, admission->kind);
}

bool admission_of_tag(struct arena *arena, const char *tag, struct admission *admission)
{
    size_t prefix = strlen(OWNER_PREFIX);
    const char *space = strchr(tag, ' ');
    if (strncmp(tag, OWNER_PREFIX, prefix) != 0 || !space || space == tag + prefix)
        return false;
    enum admission_kind kind = admission_kind_find(space + 1);
    admission->network = arena_strndup(arena, tag + prefix, (size_t)(space - tag) - prefix);
    admission->kind = names[kind];
    return kind != ADMISSION_NONE;
}

bool admission_equal(const struct admission *a, const struct admission *b)
{
    return strcmp(a->network, b->network) == 0 && strcmp(a->family, b->family) == 0 &&
           strcmp(a->table, b->table) == 0 && strcmp(a->chain, b->chain) == 0 &&
           strcmp(a->kind, b->kind) == 0;
}

const char *zone_of(const struct foreign_firewalls *foreign, const char *ifname)
{
    vec_foreach (&foreign->members, member) {
        if (strcmp(member->ifname, ifname) == 0)
            return member->zone;
    }
    return NULL;
}
