/* bus.h: as much of D-Bus as it takes to tell firewalld and network managers something: calls to services of
 * the system bus that are running, with strings and numbers as arguments. Source: the D-Bus Specification,
 * "Message Protocol" and "Authentication Protocol". */
#ifndef VMWIRE_HOST_LINUX_BUS_H
#define VMWIRE_HOST_LINUX_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

enum { BUS_STRINGS_MAX = 4 };

/* One connection.  Start with {.fd = -1}. */
struct bus {
    int fd;
    uint32_t serial;
};

/* Values being written, each aligned as D-Bus wants it. */
enum { BUS_BODY_MAX = 2048 };
struct bus_writer {
    uint8_t bytes[BUS_BODY_MAX];
    size_t length;
    bool overflow;
};
void bus_put_u32(struct bus_writer *writer, uint32_t value);
void bus_put_string(struct bus_writer *writer, const char *text);
void bus_put_bytes(struct bus_writer *writer, const void *bytes, size_t length);
void bus_put_align(struct bus_writer *writer, size_t alignment);
/* An array: open gives what close needs; its elements are aligned to `alignment`. */
size_t bus_put_array_open(struct bus_writer *writer, size_t alignment);
void bus_put_array_close(struct bus_writer *writer, size_t start, size_t alignment);

struct bus_call {
    const char *destination, *path, *interface, *member;
    const char *strings[BUS_STRINGS_MAX]; /* its arguments of type s, up to the first NULL */
    bool has_number;                      /* and one of type u behind them */
    uint32_t number;
    const struct bus_writer *body; /* or these arguments instead, whose types are `signature` */
    const char *signature;
};

/* What came back: read in the order of its signature.  `failed` stays true from the first thing that was not
 * there. */
struct bus_reply {
    const uint8_t *bytes; /* in the caller's arena; aligned as the body was */
    size_t length, at;
    bool failed;
};

/* Connect to the system bus.  -ENOENT, -ECONNREFUSED: there is none. */
int bus_open(struct bus *bus, struct err *err);
void bus_close(struct bus *bus);
#define _cleanup_bus_ __attribute__((cleanup(bus_close)))

/* Call and wait for the answer, at most 10 s.  A service that does not run is not started: -ENOENT.  What the
 * service refuses is -EIO with its own words. */
int bus_call(struct bus *bus, struct arena *arena, const struct bus_call *call, struct bus_reply *reply,
             struct err *err);

uint32_t bus_read_u32(struct bus_reply *reply);
/* In the arena; "" when it failed. */
const char *bus_read_string(struct bus_reply *reply, struct arena *arena);
/* Enter an array whose elements are aligned to `alignment`; returns where it ends.  While reply->at is below
 * that there are elements. */
size_t bus_read_array(struct bus_reply *reply, size_t alignment);
void bus_read_align(struct bus_reply *reply, size_t alignment);
/* The next `length` bytes, or NULL. */
const uint8_t *bus_read_bytes(struct bus_reply *reply, size_t length);
/* Enter a variant; fails when its type is another. */
void bus_read_variant(struct bus_reply *reply, const char *signature);

#endif
