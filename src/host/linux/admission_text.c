/* admission_text.c: what others are told: rules in their chains as nft(8) text, a file of systemd-networkd's.
 */
#include "base/text.h"
#include "host/linux/text.h"

/* Interface names were checked when they were read (name_fault): no quote, no backslash. */
static const char *match_text(struct arena *arena, const struct admission *admission)
{
    const char *bridge = admission->network;
    switch (admission_kind_find(admission->kind)) {
    case ADMISSION_FROM:
        return arena_printf(arena, "iifname \"%s\"", bridge);
    case ADMISSION_TO:
        return arena_printf(arena, "oifname \"%s\"", bridge);
    case ADMISSION_INSIDE:
        return arena_printf(arena, "iifname \"%s\" oifname \"%s\"", bridge, bridge);
    case ADMISSION_DHCP:
        return arena_printf(arena, "iifname \"%s\" udp dport 67", bridge);
    case ADMISSION_DHCP6:
        return arena_printf(arena, "iifname \"%s\" udp dport 547", bridge);
    case ADMISSION_DNS_UDP:
        return arena_printf(arena, "iifname \"%s\" udp dport 53", bridge);
    case ADMISSION_DNS_TCP:
        return arena_printf(arena, "iifname \"%s\" tcp dport 53", bridge);
    case ADMISSION_NONE:
    case ADMISSION_KIND_COUNT:
        break;
    }
    return "";
}

const char *admission_add_text(struct arena *arena, const struct admission *admission)
{
    return arena_printf(arena, "%s rule %s %s %s %s counter accept comment \"%s\"",
                        admission->last ? "add" : "insert", admission->family, admission->table,
                        admission->chain, match_text(arena, admission), admission_tag(arena, admission));
}

const char *admission_remove_text(struct arena *arena, const struct admission *admission, const char *handle)
{
    return arena_printf(arena, "delete rule %s %s %s handle %s", admission->family, admission->table,
                        admission->chain, handle);
}

const char *unmanaged_text(struct arena *arena, const struct unmanaged *unmanaged)
{
    return arena_printf(arena, "[Match]\nName=%s\n\n[Link]\nUnmanaged=yes\n", unmanaged->interfaces);
}
