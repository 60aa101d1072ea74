/* forward.c: port forwards, of a network or of a nic. */
#include "config/walk.h"

static void forward_take(struct walk *walk, struct forward_entries *entries, const struct key *key,
                         const struct yaml_node *value, bool named)
{
    struct forward_entry entry = {.pos = value->pos};
    if (value->kind == YAML_MAPPING) {
        value_refuse(walk, key, value, "put it in quotes: ': ' parts a key from its value");
        return;
    }
    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    const char *fault = forward_parse(walk->arena, text, &entry.forward, &entry.name);
    if (!fault && named && !*entry.name && !ip_is_set(&entry.forward.target))
        fault = "behind '->' stands the machine or the address that it leads to";
    if (fault)
        value_refuse(walk, key, value, "%s", fault);
    else
        *vec_push(walk->arena, &entries->list) = entry;
}

static void forwards_take(struct walk *walk, void *target, const struct key *key,
                          const struct yaml_node *value, bool named)
{
    struct forward_entries *entries = KEY_MEMBER(struct forward_entries, target, key);
    if (value->kind != YAML_SEQUENCE) {
        forward_take(walk, entries, key, value, named); /* a single one needs no brackets */
        return;
    }
    yaml_foreach(value, item)
    {
        if (walk_enough(walk, item->pos))
            return;
        forward_take(walk, entries, key, item, named);
    }
}

void network_forward_take(struct walk *walk, void *target, const struct key *key,
                          const struct yaml_node *value)
{
    forwards_take(walk, target, key, value, true);
}

void nic_forward_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    forwards_take(walk, target, key, value, false);
}
