/* machine.c: the keys of a machine, its disks, display and nics. */
#include "config/walk.h"

#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/text.h"

enum {
    CPUS_MAX = 1024,
    PIXELS_MIN = 64,
    PIXELS_MAX = 16384,
    VNC_PORT_MIN = 5900,       /* RFC 6143 speaks of 5900 + display number */
    CMDLINE_LENGTH_MAX = 2047, /* x86's COMMAND_LINE_SIZE less the NUL */
};

#define MEBIBYTE ((uint64_t)1024 * 1024)
#define MEMORY_MAX ((uint64_t)64 * 1024 * 1024 * MEBIBYTE) /* bytes: what 46 physical address bits reach */

/* "machine 'vm0'", for messages about a mapping inside it. */
static const char *subject(struct walk *walk, const struct machine *machine, const char *part, size_t index)
{
    if (part)
        return arena_printf(walk->problems->arena, "%s %zu of machine '%s'", part, index + 1, machine->name);
    return arena_printf(walk->problems->arena, "machine '%s'", machine->name);
}

/* A list; nothing at all is an empty one.  False after a problem. */
static bool list_check(struct walk *walk, const struct key *key, const struct yaml_node *value)
{
    if (value->kind == YAML_SEQUENCE || value->kind == YAML_NULL)
        return true;
    value_refuse(walk, key, value, NULL);
    return false;
}

/* ---- simple values ---- */

static void memory_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    static const char units[] = "KMGT";
    struct machine *machine = target;
    unsigned long number;

    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    size_t length = strlen(text);
    char *digits = arena_strndup(walk->problems->arena, text, length);
    const char *unit = NULL;
    if (length > 1) {
        char last = digits[length - 1];
        unit = strchr(units, last >= 'a' && last <= 'z' ? last - 'a' + 'A' : last);
    }
    unsigned shift = 0;
    if (unit && *unit) {
        digits[length - 1] = '\0';
        shift = 10 * (unsigned)(unit - units + 1);
    }
    if (!number_parse(digits, ULONG_MAX, &number))
        value_refuse(walk, key, value, NULL);
    else if (number > MEMORY_MAX >> shift)
        value_refuse(walk, key, value, "64T is the most");
    else if (number << shift < MEBIBYTE && shift == 0 && number > 0)
        value_refuse(walk, key, value, "a number alone is bytes; did you mean '%luM'?", number);
    else if (number << shift < MEBIBYTE)
        value_refuse(walk, key, value, "1M is the least");
    else if (number << shift & (MEBIBYTE - 1))
        value_refuse(walk, key, value, "it is no whole number of mebibytes (1M)");
    else
        machine->memory_bytes = (uint64_t)number << shift;
}

static void firmware_take(struct walk *walk, void *target, const struct key *key,
                          const struct yaml_node *value)
{
    static const char *const names[] = {"uefi", "bios", NULL};
    struct machine *machine = target;

    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    if (strcmp(text, "uefi") == 0) {
        machine->firmware = FIRMWARE_UEFI;
    } else if (strcmp(text, "bios") == 0) {
        machine->firmware = FIRMWARE_BIOS;
    } else if (strpbrk(text, "/.")) {
        key_path(walk, target, key, value);
        if (machine->firmware_path)
            machine->firmware = FIRMWARE_PATH;
    } else {
        const char *nearest = text_nearest(text, names);
        if (nearest)
            value_refuse(walk, key, value, "did you mean '%s'?", nearest);
        else
            value_refuse(walk, key, value, "for a file beside this one write './%s'", text);
    }
}

static void cmdline_take(struct walk *walk, void *target, const struct key *key,
                         const struct yaml_node *value)
{
    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    if (*text == '-')
        value_refuse(walk, key, value, "it would be read as an option");
    else if (value->length > CMDLINE_LENGTH_MAX)
        value_refuse(walk, key, value, "it has %zu bytes, and a kernel takes %d", value->length,
                     CMDLINE_LENGTH_MAX);
    else
        *KEY_MEMBER(const char *, target, key) = arena_strdup(walk->arena, text);
}

static void serial_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    struct machine *machine = target;
    bool on;
    /* `off` is a word here, but whoever writes `no` or `false` means the same. */
    if (value->kind == YAML_SCALAR && bool_parse(value->text, &on) && !on)
        machine->serial = SERIAL_OFF;
    else
        key_word(walk, target, key, value);
}

static void extra_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    static const struct key item_key = {.name = "extra", .takes = "arguments, each a text"};
    struct machine *machine = target;
    if (!list_check(walk, key, value))
        return;
    yaml_foreach(value, item)
    {
        if (walk_enough(walk, item->pos))
            return;
        const char *text = value_text(walk, &item_key, item);
        if (text)
            *vec_push(walk->arena, &machine->extra) = arena_strdup(walk->arena, text);
    }
}

/* ---- disks ---- */

const struct section section_disk = {
    .what = "a disk",
    .keys =
        (const struct key[]){{.name = "path",
                              .take = key_path,
                              .takes = "a path",
                              .offset = offsetof(struct disk, path),
                              .missing = "write the image's path"},
                             {.name = "format",
                              .take = key_word,
                              .takes = "raw or qcow2",
                              .offset = offsetof(struct disk, format),
                              .words = (const struct word[]){{"raw", DISK_RAW}, {"qcow2", DISK_QCOW2}, {0}}},
                             {.name = "read_only",
                              .take = key_bool,
                              .takes = "yes or no",
                              .offset = offsetof(struct disk, read_only)},
                             {0}}};

static enum disk_format format_by_ending(const char *path)
{
    static const char ending[] = ".qcow2";
    size_t length = strlen(path), tail = sizeof(ending) - 1;
    return length > tail && strcmp(path + length - tail, ending) == 0 ? DISK_QCOW2 : DISK_RAW;
}

static void disks_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    struct machine *machine = target;
    size_t index = 0;
    if (!list_check(walk, key, value))
        return;
    yaml_foreach(value, item)
    {
        struct disk disk = {.pos = item->pos};
        if (walk_enough(walk, item->pos))
            return;
        walk_section(walk, &section_disk, subject(walk, machine, "disk", index++), 0, &disk, item);
        if (!disk.path)
            continue;
        if (!walk_child(item, "format"))
            disk.format = format_by_ending(disk.path);
        *vec_push(walk->arena, &machine->disks) = disk;
    }
}

/* ---- display ---- */

/* The port behind the colon, or 0 after a problem. */
static uint16_t vnc_port(struct walk *walk, const struct key *key, const struct yaml_node *value,
                         const char *text, const char *host)
{
    unsigned long port;
    if (!number_parse(text, UINT16_MAX, &port)) {
        value_refuse(walk, key, value, "'%s' is no port", text);
        return 0;
    }
    if (port < 100)
        value_refuse(walk, key, value, "%lu looks like a display number; its port is %lu: '%s:%lu'", port,
                     port + VNC_PORT_MIN, *host ? host : "127.0.0.1", port + VNC_PORT_MIN);
    else if (port < VNC_PORT_MIN)
        value_refuse(walk, key, value, "VNC's ports begin at %d", VNC_PORT_MIN);
    return port < VNC_PORT_MIN ? 0 : (uint16_t)port;
}

static void vnc_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    struct display *display = target;
    struct ip ip;

    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    const char *colon = strrchr(text, ':');
    if (ip_parse(text, &ip) == 0) {
        bool v6 = ip.family == AF_INET6;
        unsigned long port;
        if (v6 && number_parse(colon + 1, UINT16_MAX, &port) && port >= VNC_PORT_MIN)
            value_refuse(walk, key, value, "did you mean '[%.*s]:%lu'?", (int)(colon - text), text, port);
        else
            value_refuse(walk, key, value, "the port is missing; did you mean '%s%s%s:5900'?", v6 ? "[" : "",
                         text, v6 ? "]" : "");
        return;
    }
    if (!colon) {
        unsigned long port;
        bool number = number_parse(text, UINT16_MAX, &port) && port >= VNC_PORT_MIN;
        value_refuse(walk, key, value, "it is both, with a colon between; did you mean '%s:%s'?",
                     number ? "127.0.0.1" : "0.0.0.0", number ? text : "5900");
        return;
    }
    const char *host = arena_strndup(walk->problems->arena, text, (size_t)(colon - text));
    uint16_t port = vnc_port(walk, key, value, colon + 1, host);
    if (!port)
        return;
    size_t length = strlen(host);
    bool bracketed = length > 2 && host[0] == '[' && host[length - 1] == ']';
    const char *bare = bracketed ? arena_strndup(walk->problems->arena, host + 1, length - 2) : host;
    if (ip_parse(bare, &ip) < 0 || (ip.family == AF_INET6) != bracketed) {
        const char *right = bracketed || strchr(bare, ':') ? "[::1]" : "127.0.0.1";
        value_refuse(walk, key, value, "'%s' is no address; did you mean '%s:%u'?", host, right, port);
        return;
    }
    display->vnc_ip = ip;
    display->vnc_port = port;
    display->on = true;
}

const struct section section_display = {
    .what = "a display",
    .keys = (const struct key[]){
        {.name = "vnc",
         .take = vnc_take,
         .takes = "an address and port such as 127.0.0.1:5900",
         .pos_offset = offsetof(struct display, vnc_pos),
         .missing = "write where VNC listens, such as 'vnc: \"127.0.0.1:5900\"'"},
        {.name = "width",
         .take = key_number,
         .takes = "pixels, 64 to 16384",
         .offset = offsetof(struct display, width),
         .min = PIXELS_MIN,
         .max = PIXELS_MAX},
        {.name = "height",
         .take = key_number,
         .takes = "pixels, 64 to 16384",
         .offset = offsetof(struct display, height),
         .min = PIXELS_MIN,
         .max = PIXELS_MAX},
        {.name = "wait", .take = key_bool, .takes = "yes or no", .offset = offsetof(struct display, wait)},
        {0}}};

static void display_take(struct walk *walk, void *target, const struct key *key,
                         const struct yaml_node *value)
{
    struct machine *machine = target;
    struct display display = {0};
    bool on;

    if (value->kind == YAML_SCALAR && bool_parse(value->text, &on) && !on)
        return;
    if (value->kind != YAML_MAPPING) {
        value_refuse(walk, key, value, NULL);
        return;
    }
    walk_section(walk, &section_display, "'display'", 0, &display, value);
    const struct yaml_node *width = walk_child(value, "width"), *height = walk_child(value, "height");
    if (!width != !height && !walk->partial)
        problem_add(walk->problems, width ? width->pos : height->pos,
                    "'%s' without '%s'; write both or neither", width ? "width" : "height",
                    width ? "height" : "width");
    machine->display = display;
}

/* ---- nics ---- */

/* Twelve hexadecimal digits in another dress (00-a0-…, 00a0.981b.c807) as a MAC. */
static bool mac_parse_loosely(const char *text, struct mac *mac)
{
    char normal[MAC_TEXT_SIZE] = "";
    size_t digits = 0, at = 0;
    for (; *text; text++) {
        if (strchr(":-. ", *text))
            continue;
        if (!strchr("0123456789abcdefABCDEF", *text) || digits == 12)
            return false;
        if (digits && digits % 2 == 0)
            normal[at++] = ':';
        normal[at++] = *text;
        digits++;
    }
    return digits == 12 && mac_parse(normal, mac) == 0;
}

static void nic_mac_take(struct walk *walk, void *target, const struct key *key,
                         const struct yaml_node *value)
{
    struct nic *nic = target;
    struct mac mac;

    const char *text = value_text(walk, key, value);
    if (!text)
        return;
    if (mac_parse(text, &mac) < 0) {
        if (mac_parse_loosely(text, &mac))
            value_refuse(walk, key, value, "did you mean '%s'?", MAC_TEXT(&mac));
        else
            value_refuse(walk, key, value, NULL);
    } else if (mac_is_zero(&mac)) {
        value_refuse(walk, key, value, "it is all zero; leave 'mac' out to get one");
    } else if (mac_is_multicast(&mac) && mac.bytes[0] == 0xff) {
        value_refuse(walk, key, value, "that is for everybody on a segment; leave 'mac' out to get one");
    } else if (mac_is_multicast(&mac)) {
        mac.bytes[0] = (uint8_t)((mac.bytes[0] & ~1u) | 2);
        value_refuse(walk, key, value,
                     "that is a multicast address (its first byte is odd); did you mean '%s'?",
                     MAC_TEXT(&mac));
    } else {
        nic->mac = mac;
        nic->mac_given = true;
    }
}

static void nic_network_take(struct walk *walk, void *target, const struct key *key,
                             const struct yaml_node *value)
{
    struct nic *nic = target;
    const char *text = value_text(walk, key, value);
    if (text)
        nic->network = arena_strdup(walk->arena, text);
}

/* An address without length, of `family`; `other` says where one of the other family belongs.  False where it
 * is refused. */
static bool nic_ip_read(struct walk *walk, const struct key *key, const struct yaml_node *value, int family,
                        const char *other, struct ip *ip)
{
    struct prefix prefix;
    const char *text = value_text(walk, key, value);
    if (!text)
        return false;
    if (prefix_parse(text, &prefix) == 0 && prefix.ip.family == family)
        value_refuse(walk, key, value, "the length is its network's; write '%s'", IP_TEXT(&prefix.ip));
    else if (ip_parse(text, ip) < 0)
        value_refuse(walk, key, value, NULL);
    else if (ip->family != family)
        value_refuse(walk, key, value, "%s", other);
    else
        return true;
    return false;
}

static void nic_address_take(struct walk *walk, void *target, const struct key *key,
                             const struct yaml_node *value)
{
    struct nic *nic = target;
    struct ip ip;
    if (!nic_ip_read(walk, key, value, AF_INET, "that is IPv6, which is 'address6'", &ip))
        return;
    if (ip_is_multicast(&ip) || ip_is_loopback(&ip) || ip.bytes[0] == 0 || ip.bytes[0] >= 240)
        value_refuse(walk, key, value, "it is no address that a guest can have");
    else
        nic->address = ip;
}

static void nic_address6_take(struct walk *walk, void *target, const struct key *key,
                              const struct yaml_node *value)
{
    struct nic *nic = target;
    struct ip ip;
    if (!nic_ip_read(walk, key, value, AF_INET6, "that is IPv4, which is 'address'", &ip))
        return;
    if (ip_is_multicast(&ip) || ip_is_link_local(&ip) || ip.bytes[0] == 0)
        value_refuse(walk, key, value, "it is no address that a guest can be given");
    else
        nic->address6 = ip;
}

const struct section section_nic = {
    .what = "a nic",
    .keys = (const struct key[]){
        {.name = "network",
         .take = nic_network_take,
         .takes = "the name of a network",
         .pos_offset = offsetof(struct nic, network_pos),
         .missing = "write the network that it is on"},
        {.name = "mac",
         .take = nic_mac_take,
         .takes = "a MAC such as 00:a0:98:1b:c8:07",
         .pos_offset = offsetof(struct nic, mac_pos)},
        {.name = "address",
         .take = nic_address_take,
         .takes = "an IPv4 address such as 10.0.0.5",
         .pos_offset = offsetof(struct nic, address_pos)},
        {.name = "address6",
         .take = nic_address6_take,
         .takes = "an IPv6 address such as fd00:1:2:3::5",
         .pos_offset = offsetof(struct nic, address6_pos)},
        {.name = "forward",
         .take = nic_forward_take,
         .takes = "port forwards such as [\"tcp 2222 -> 22\"]",
         .offset = offsetof(struct nic, forward_entries)},
        {.name = "rate",
         .take = rate_take,
         .takes = "a rate such as 100Mbit, or keys such as {in: 100Mbit, out: 50Mbit}",
         .offset = offsetof(struct nic, rates),
         .pos_offset = offsetof(struct nic, rate_pos)},
        {.name = "vlan",
         .take = key_number,
         .takes = "a VLAN id, 1 to 4094",
         .offset = offsetof(struct nic, vlan),
         .pos_offset = offsetof(struct nic, vlan_pos),
         .min = 1,
         .max = VLAN_ID_MAX},
        {.name = "queues",
         .take = key_number,
         .takes = "a number from 1 to 16",
         .offset = offsetof(struct nic, queues),
         .min = 1,
         .max = NIC_QUEUES_MAX},
        {.name = "model",
         .take = key_word,
         .takes = "virtio or e1000",
         .offset = offsetof(struct nic, model),
         .words = (const struct word[]){{"virtio", NIC_VIRTIO}, {"e1000", NIC_E1000}, {0}}},
        {0}}};

static void nics_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    struct machine *machine = target;
    size_t index = 0;
    if (!list_check(walk, key, value))
        return;
    yaml_foreach(value, item)
    {
        struct nic nic = {.pos = item->pos};
        if (walk_enough(walk, item->pos))
            return;
        walk_section(walk, &section_nic, subject(walk, machine, "nic", index++), 0, &nic, item);
        if (nic.model == NIC_E1000 && nic.queues > 1)
            problem_add(walk->problems, walk_child(item, "queues")->pos,
                        "an e1000 has one queue, not %u; leave "
                        "'queues' out or take 'model: virtio'",
                        nic.queues);
        /* One that is wrong keeps its place: the index of those behind it is part of their MACs. */
        *vec_push(walk->arena, &machine->nics) = nic;
    }
}

/* ---- the section ---- */

#define IN_MACHINE(member) offsetof(struct machine, member)

const struct section section_machine = {
    .what = "a machine",
    .keys =
        (const struct key[]){
            {.name = "cpus",
             .take = key_number,
             .takes = "a number from 1 to 1024",
             .offset = IN_MACHINE(cpus),
             .min = 1,
             .max = CPUS_MAX},
            {.name = "memory", .take = memory_take, .takes = "a size such as 512M or 4G"},
            {.name = "firmware",
             .take = firmware_take,
             .takes = "uefi, bios or a path",
             .offset = IN_MACHINE(firmware_path)},
            {.name = "kernel", .take = key_path, .takes = "a path", .offset = IN_MACHINE(kernel)},
            {.name = "initrd", .take = key_path, .takes = "a path", .offset = IN_MACHINE(initrd)},
            {.name = "cmdline",
             .take = cmdline_take,
             .takes = "the kernel's command line",
             .offset = IN_MACHINE(cmdline)},
            {.name = "cdrom", .take = key_path, .takes = "a path", .offset = IN_MACHINE(cdrom)},
            {.name = "disks", .take = disks_take, .takes = "a list of disks such as [{path: vm0.raw}]"},
            {.name = "display",
             .take = display_take,
             .takes = "off or a display such as {vnc: \"127.0.0.1:5900\"}"},
            {.name = "tablet", .take = key_bool, .takes = "yes or no", .offset = IN_MACHINE(tablet)},
            {.name = "serial",
             .take = serial_take,
             .takes = "stdio, socket or off",
             .offset = IN_MACHINE(serial),
             .words =
                 (const struct word[]){
                     {"stdio", SERIAL_STDIO}, {"socket", SERIAL_SOCKET}, {"off", SERIAL_OFF}, {0}}},
            {.name = "agent", .take = key_bool, .takes = "yes or no", .offset = IN_MACHINE(agent)},
            {.name = "nics", .take = nics_take, .takes = "a list of nics such as [{network: brnat}]"},
            {.name = "extra",
             .take = extra_take,
             .takes = "a list of arguments such as [\"-device\", \"virtio-rng-pci\"]"},
            {0}}};

static void machine_take(struct walk *walk, const char *name, const struct yaml_node *entry)
{
    static const char *const boot_keys[] = {"initrd", "cmdline"};
    struct machine machine = {
        .name = name, .pos = entry->key->pos, .cpus = 1, .memory_bytes = 1024 * MEBIBYTE};

    walk_section(walk, &section_machine, subject(walk, &machine, NULL, 0), 0, &machine, entry);
    for (size_t i = 0; i < 2 && !walk->partial && !walk_child(entry, "kernel"); i++) {
        const struct yaml_node *child = walk_child(entry, boot_keys[i]);
        if (child)
            problem_add(walk->problems, child->key->pos,
                        "'%s' without 'kernel'; it goes with a kernel booted directly", boot_keys[i]);
    }
    if (!walk_child(entry, "tablet"))
        machine.tablet = machine.display.on;
    *vec_push(walk->arena, &walk->model->machines) = machine;
}

void machines_take(struct walk *walk, void *target, const struct key *key, const struct yaml_node *value)
{
    (void)target;
    if (value->kind == YAML_MAPPING)
        walk_entries(walk, "machine", machine_name_fault, value, machine_take);
    else if (value->kind != YAML_NULL)
        value_refuse(walk, key, value, NULL);
}
