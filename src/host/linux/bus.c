/* bus.c: D-Bus behind bus.h.
 *
 * A message is a header (fixed part, then an array of fields), padded to 8 bytes, and a body.  Every value is
 * aligned to its size from the message's start.  Names and arguments are vmwire's own or were checked when
 * they were read; what comes back is checked here. */
#include "host/linux/bus.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"

#define BUS_SOCKET "/run/dbus/system_bus_socket"

enum { CALL = 1, RETURN = 2, FAILURE = 3 };
enum {
    PATH = 1,
    INTERFACE = 2,
    MEMBER = 3,
    FAILURE_NAME = 4,
    REPLY_SERIAL = 5,
    DESTINATION = 6,
    SIGNATURE = 8
};
enum { NO_AUTO_START = 2, TIMEOUT_S = 10, FIXED_SIZE = 16, ANSWER_MAX = 1 << 20 };

void bus_close(struct bus *bus)
{
    fd_close(&bus->fd);
}

static int receive(struct bus *bus, void *bytes, size_t length, struct err *err)
{
    char *rest = bytes;
    while (length) {
        ssize_t got = recv(bus->fd, rest, length, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_errno(err, errno == EAGAIN ? ETIMEDOUT : errno,
                             "waiting for an answer on the system bus");
        if (got == 0)
            return err_set(err, EPIPE, "the system bus hung up");
        rest += got;
        length -= (size_t)got;
    }
    return 0;
}

static int transmit(struct bus *bus, const void *bytes, size_t length, struct err *err)
{
    const char *rest = bytes;
    while (length) {
        ssize_t put = send(bus->fd, rest, length, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return err_errno(err, errno, "writing to the system bus");
        rest += put;
        length -= (size_t)put;
    }
    return 0;
}

/* "AUTH EXTERNAL" with the user's number, each digit as two of hexadecimal. */
static int authenticate(struct bus *bus, struct err *err)
{
    char number[16], line[64], answer[128];
    int digits = snprintf(number, sizeof(number), "%u", (unsigned)geteuid());
    size_t used = (size_t)snprintf(line, sizeof(line), "%cAUTH EXTERNAL ", 0);
    for (int i = 0; i < digits; i++)
        used += (size_t)snprintf(line + used, sizeof(line) - used, "%02x", (unsigned)number[i]);
    used += (size_t)snprintf(line + used, sizeof(line) - used, "\r\n");
    int rc = transmit(bus, line, used, err);
    size_t length = 0;
    while (rc == 0 && length + 1 < sizeof(answer) && (length == 0 || answer[length - 1] != '\n'))
        rc = receive(bus, answer + length++, 1, err);
    if (rc < 0)
        return rc;
    if (strncmp(answer, "OK ", 3) != 0)
        return err_set(err, EACCES, "the system bus does not let user %s in", number);
    return transmit(bus, "BEGIN\r\n", 7, err);
}

int bus_open(struct bus *bus, struct err *err)
{
    if (bus->fd >= 0)
        return 0;
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = BUS_SOCKET};
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    bus->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bus->fd < 0)
        return err_errno(err, errno, "opening the system bus");
    setsockopt(bus->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(bus->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    int rc = 0;
    if (connect(bus->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        rc = err_errno(err, errno, "connecting to the system bus");
    if (rc == 0)
        rc = authenticate(bus, err);
    if (rc == 0) {
        _cleanup_arena_ struct arena scratch = {0};
        struct bus_call hello = {.destination = "org.freedesktop.DBus",
                                 .path = "/org/freedesktop/DBus",
                                 .interface = "org.freedesktop.DBus",
                                 .member = "Hello"};
        struct bus_reply reply;
        rc = bus_call(bus, &scratch, &hello, &reply, err);
    }
    if (rc < 0)
        bus_close(bus);
    return rc;
}

/* --- writing */

void bus_put_bytes(struct bus_writer *writer, const void *bytes, size_t length)
{
    if (length > sizeof(writer->bytes) - writer->length) {
        writer->overflow = true;
        return;
    }
    memcpy(writer->bytes + writer->length, bytes, length);
    writer->length += length;
}

void bus_put_align(struct bus_writer *writer, size_t alignment)
{
    static const uint8_t zeros[8];
    bus_put_bytes(writer, zeros, -writer->length & (alignment - 1));
}

void bus_put_u32(struct bus_writer *writer, uint32_t value)
{
    bus_put_align(writer, 4);
    bus_put_bytes(writer, &value, sizeof(value));
}

void bus_put_string(struct bus_writer *writer, const char *text)
{
    bus_put_u32(writer, (uint32_t)strlen(text));
    bus_put_bytes(writer, text, strlen(text) + 1);
}

size_t bus_put_array_open(struct bus_writer *writer, size_t alignment)
{
    bus_put_u32(writer, 0); /* its length: at its end */
    size_t start = writer->length;
    bus_put_align(writer, alignment);
    return start;
}

void bus_put_array_close(struct bus_writer *writer, size_t start, size_t alignment)
{
    size_t first = (start + alignment - 1) & ~(alignment - 1);
    uint32_t length = (uint32_t)(writer->length - first);
    if (!writer->overflow)
        memcpy(writer->bytes + start - sizeof(length), &length, sizeof(length));
}

static void put_signature(struct bus_writer *writer, const char *signature)
{
    uint8_t length = (uint8_t)strlen(signature);
    bus_put_bytes(writer, &length, 1);
    bus_put_bytes(writer, signature, length + 1u);
}

/* One header field: its number, and a variant. */
static void put_field(struct bus_writer *writer, uint8_t number, const char *type, const char *text)
{
    bus_put_align(writer, 8);
    bus_put_bytes(writer, &number, 1);
    put_signature(writer, type);
    if (*type == 'g')
        put_signature(writer, text);
    else
        bus_put_string(writer, text);
}

static uint8_t native_order(void)
{
    const uint16_t one = 1;
    return *(const uint8_t *)&one ? 'l' : 'B';
}

static void put_call(struct bus_writer *writer, const struct bus_call *call, uint32_t serial)
{
    struct bus_writer body = {.length = 0};
    char signature[16] = "";
    for (size_t i = 0; i < BUS_STRINGS_MAX && call->strings[i]; i++) {
        bus_put_string(&body, call->strings[i]);
        strcat(signature, "s");
    }
    if (call->has_number) {
        bus_put_u32(&body, call->number);
        strcat(signature, "u");
    }
    if (call->body) {
        body = *call->body;
        snprintf(signature, sizeof(signature), "%s", call->signature);
    }
    const uint8_t fixed[4] = {native_order(), CALL, NO_AUTO_START, 1};
    bus_put_bytes(writer, fixed, sizeof(fixed));
    bus_put_u32(writer, (uint32_t)body.length);
    bus_put_u32(writer, serial);
    bus_put_u32(writer, 0); /* the fields' length: below */
    put_field(writer, PATH, "o", call->path);
    put_field(writer, INTERFACE, "s", call->interface);
    put_field(writer, MEMBER, "s", call->member);
    put_field(writer, DESTINATION, "s", call->destination);
    if (*signature)
        put_field(writer, SIGNATURE, "g", signature);
    uint32_t fields = (uint32_t)(writer->length - FIXED_SIZE);
    memcpy(writer->bytes + FIXED_SIZE - 4, &fields, sizeof(fields));
    bus_put_align(writer, 8);
    bus_put_bytes(writer, body.bytes, body.length);
    writer->overflow |= body.overflow;
}

/* --- reading */

void bus_read_align(struct bus_reply *reply, size_t alignment)
{
    reply->at = (reply->at + alignment - 1) & ~(alignment - 1);
    reply->failed |= reply->at > reply->length;
}

static bool has(struct bus_reply *reply, size_t length)
{
    if (!reply->failed && length > reply->length - reply->at)
        reply->failed = true;
    return !reply->failed;
}

uint32_t bus_read_u32(struct bus_reply *reply)
{
    uint32_t value = 0;
    bus_read_align(reply, 4);
    if (has(reply, sizeof(value))) {
        memcpy(&value, reply->bytes + reply->at, sizeof(value));
        reply->at += sizeof(value);
    }
    return value;
}

const char *bus_read_string(struct bus_reply *reply, struct arena *arena)
{
    size_t length = bus_read_u32(reply);
    if (!has(reply, length + 1))
        return "";
    const char *text = arena_strndup(arena, (const char *)reply->bytes + reply->at, length);
    reply->at += length + 1;
    return text;
}

const uint8_t *bus_read_bytes(struct bus_reply *reply, size_t length)
{
    if (!has(reply, length))
        return NULL;
    reply->at += length;
    return reply->bytes + reply->at - length;
}

void bus_read_variant(struct bus_reply *reply, const char *signature)
{
    const uint8_t *length = bus_read_bytes(reply, 1);
    const uint8_t *text = length ? bus_read_bytes(reply, *length + 1u) : NULL;
    if (!text || *length != strlen(signature) || memcmp(text, signature, *length) != 0)
        reply->failed = true;
}

size_t bus_read_array(struct bus_reply *reply, size_t alignment)
{
    size_t length = bus_read_u32(reply);
    bus_read_align(reply, alignment);
    return has(reply, length) ? reply->at + length : reply->at;
}

static void skip_signature(struct bus_reply *reply, char *first)
{
    if (!has(reply, 1))
        return;
    size_t length = reply->bytes[reply->at++];
    if (!has(reply, length + 1))
        return;
    *first = length == 1 ? (char)reply->bytes[reply->at] : '?';
    reply->at += length + 1;
}

struct header {
    uint8_t type;
    uint32_t reply_serial;
    const char *failure;
};

/* The fields of a header; those that are not known are passed over, which their types must allow. */
static void header_read(struct bus_reply *reply, struct arena *arena, struct header *header)
{
    while (reply->at < reply->length && !reply->failed) {
        bus_read_align(reply, 8);
        if (!has(reply, 1))
            return;
        uint8_t number = reply->bytes[reply->at++];
        char type = '?', ignored;
        skip_signature(reply, &type);
        if (type == 'u') {
            uint32_t value = bus_read_u32(reply);
            if (number == REPLY_SERIAL)
                header->reply_serial = value;
        } else if (type == 's' || type == 'o') {
            const char *value = bus_read_string(reply, arena);
            if (number == FAILURE_NAME)
                header->failure = value;
        } else if (type == 'g') {
            skip_signature(reply, &ignored);
        } else {
            reply->failed = true;
        }
    }
}

/* One whole message. */
static int message_read(struct bus *bus, struct arena *arena, struct header *header, struct bus_reply *body,
                        struct err *err)
{
    uint8_t fixed[FIXED_SIZE];
    uint32_t body_length, fields_length;
    int rc = receive(bus, fixed, sizeof(fixed), err);
    if (rc < 0)
        return rc;
    memcpy(&body_length, fixed + 4, 4);
    memcpy(&fields_length, fixed + 12, 4);
    if (fixed[0] != native_order() || fixed[3] != 1 || body_length > ANSWER_MAX || fields_length > ANSWER_MAX)
        return err_set(err, EPROTO, "the system bus sent something that is not a message");
    size_t padded = (fields_length + 7u) & ~(size_t)7u;
    uint8_t *bytes = arena_alloc(arena, padded + body_length + 1);
    rc = receive(bus, bytes, padded + body_length, err);
    if (rc < 0)
        return rc;
    /* The fixed part is 16 bytes long: alignment counts the same from here. */
    struct bus_reply fields = {.bytes = bytes, .length = fields_length};
    *header = (struct header){.type = fixed[1], .failure = ""};
    header_read(&fields, arena, header);
    *body = (struct bus_reply){.bytes = bytes + padded, .length = body_length};
    return fields.failed ? err_set(err, EPROTO, "the system bus sent a message with a damaged header") : 0;
}

static bool nobody_there(const char *failure)
{
    return strcmp(failure, "org.freedesktop.DBus.Error.ServiceUnknown") == 0 ||
           strcmp(failure, "org.freedesktop.DBus.Error.NameHasNoOwner") == 0;
}

int bus_call(struct bus *bus, struct arena *arena, const struct bus_call *call, struct bus_reply *reply,
             struct err *err)
{
    struct bus_writer writer = {.length = 0};
    uint32_t serial = ++bus->serial;
    put_call(&writer, call, serial);
    if (writer.overflow)
        return err_set(err, EMSGSIZE, "calling '%s': its arguments are too long", call->member);
    int rc = transmit(bus, writer.bytes, writer.length, err);
    struct header header = {.failure = ""};
    while (rc == 0 && (header.reply_serial != serial || (header.type != RETURN && header.type != FAILURE)))
        rc = message_read(bus, arena, &header, reply, err);
    if (rc < 0)
        return err_wrap(err, "calling '%s' of '%s'", call->member, call->destination);
    if (header.type == RETURN)
        return 0;
    if (nobody_there(header.failure))
        return err_set(err, ENOENT, "'%s' does not run", call->destination);
    return err_set(err, EIO, "%s", bus_read_string(reply, arena));
}
