/* pcapng.c: the blocks of pcapng: pcapng.h.  Numbers are of this host's byte order, as the format allows. */
#include "diag/pcapng.h"

#include <errno.h>
#include <string.h>

#include "base/text.h"

enum {
    BLOCK_SECTION = 0x0a0d0d0a,
    BLOCK_INTERFACE = 1,
    BLOCK_PACKET = 6,
    BYTE_ORDER_MAGIC = 0x1a2b3c4d,
    LINKTYPE_ETHERNET = 1,
    OPTION_COMMENT = 1,
    SECTION_APPLICATION = 4,
    INTERFACE_NAME = 2,
    INTERFACE_DESCRIPTION = 3,
    INTERFACE_RESOLUTION = 9,
    PACKET_FLAGS = 2,
    FLAG_INBOUND = 1,
    FLAG_OUTBOUND = 2,
};

/* The options of one block. */
struct options {
    uint8_t bytes[1024];
    size_t length;
};

static void put(struct options *options, const void *bytes, size_t length)
{
    memcpy(options->bytes + options->length, bytes, length);
    options->length += length;
}

/* Code, length, value, and zeros up to 4 bytes.  One that does not fit is left out. */
static void option_add(struct options *options, uint16_t code, const void *value, size_t length)
{
    static const uint8_t zeros[4];
    uint16_t size = (uint16_t)length;
    if (options->length + 4 + length + 3 + 4 > sizeof(options->bytes))
        return;
    put(options, &code, sizeof(code));
    put(options, &size, sizeof(size));
    put(options, value, length);
    put(options, zeros, -length & 3);
}

static void option_add_text(struct options *options, uint16_t code, const char *text)
{
    if (*text)
        option_add(options, code, text, strlen(text));
}

/* Type, length, head, body and zeros up to 4 bytes, options with their end, length again. */
static int block_write(FILE *out, uint32_t type, const void *head, size_t head_size, const void *body,
                       size_t body_size, struct options *options, struct err *err)
{
    static const uint8_t zeros[4];
    if (options->length)
        put(options, zeros, 4); /* opt_endofopt */
    size_t padding = -body_size & 3;
    uint32_t length = (uint32_t)(12 + head_size + body_size + padding + options->length);
    errno = 0;
    fwrite(&type, 1, sizeof(type), out);
    fwrite(&length, 1, sizeof(length), out);
    fwrite(head, 1, head_size, out);
    fwrite(body, 1, body_size, out);
    fwrite(zeros, 1, padding, out);
    fwrite(options->bytes, 1, options->length, out);
    fwrite(&length, 1, sizeof(length), out);
    if (ferror(out))
        return err_errno(err, errno ? errno : EIO, "writing the capture");
    return 0;
}

const char *hop_label(struct arena *arena, const struct hop *hop)
{
    if (hop->kind == HOP_NIC && strcmp(hop->nic.machine, "-") != 0)
        return arena_printf(arena, "%s/%u", hop->nic.machine, hop->nic.index);
    return hop->ifname;
}

const char *hop_describe(struct arena *arena, const struct hop *hop)
{
    switch (hop->kind) {
    case HOP_NIC:
        if (strcmp(hop->nic.machine, "-") == 0)
            return arena_printf(arena, "nic %u of a program that exec wired to network %s", hop->nic.index,
                                hop->network);
        return arena_printf(arena, "nic %u of machine %s on network %s", hop->nic.index, hop->nic.machine,
                            hop->network);
    case HOP_BRIDGE:
        return arena_printf(arena, "bridge of network %s", hop->network);
    case HOP_UPLINK:
        return arena_printf(arena, "uplink of network %s", hop->network);
    default:
        return hop->ifname;
    }
}

int pcapng_start(FILE *out, const struct hops *hops, const char *application, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct {
        uint32_t magic;
        uint16_t major, minor;
        int64_t length; /* -1: not known, read on */
    } section = {BYTE_ORDER_MAGIC, 1, 0, -1};
    struct options options = {0};
    option_add_text(&options, SECTION_APPLICATION, application);
    int rc = block_write(out, BLOCK_SECTION, &section, sizeof(section), "", 0, &options, err);
    for (size_t i = 0; rc == 0 && i < hops->list.count; i++) {
        const struct hop *hop = &hops->list.items[i];
        struct {
            uint16_t link_type, reserved;
            uint32_t snap_length; /* 0: no limit */
        } interface = {LINKTYPE_ETHERNET, 0, 0};
        uint8_t nanoseconds = 9;
        options = (struct options){0};
        option_add_text(&options, INTERFACE_NAME, hop->ifname);
        option_add_text(&options, INTERFACE_DESCRIPTION, hop_describe(&arena, hop));
        option_add(&options, INTERFACE_RESOLUTION, &nanoseconds, 1);
        rc = block_write(out, BLOCK_INTERFACE, &interface, sizeof(interface), "", 0, &options, err);
    }
    return rc;
}

int pcapng_packet(FILE *out, const struct capture_packet *packet, const char *comment, struct err *err)
{
    uint64_t time = (uint64_t)packet->time_ns;
    struct {
        uint32_t interface, time_high, time_low, caplen, length;
    } head = {(uint32_t)packet->hop, (uint32_t)(time >> 32), (uint32_t)time, (uint32_t)packet->caplen,
              (uint32_t)packet->length};
    struct options options = {0};
    uint32_t flags = packet->direction == CAPTURE_IN    ? FLAG_INBOUND
                     : packet->direction == CAPTURE_OUT ? FLAG_OUTBOUND
                                                        : 0;
    option_add_text(&options, OPTION_COMMENT, comment);
    if (flags)
        option_add(&options, PACKET_FLAGS, &flags, sizeof(flags));
    return block_write(out, BLOCK_PACKET, &head, sizeof(head), packet->bytes, packet->caplen, &options, err);
}
