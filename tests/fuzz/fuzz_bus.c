/* fuzz_bus.c: any bytes as what the system bus answers: no crash, no read behind the end, and an end. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/linux/bus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena arena = {0};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        abort();
    if (send(pair[1], data, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && size)
        abort();
    shutdown(pair[1], SHUT_WR);
    struct bus bus = {.fd = pair[0]};
    struct bus_call call = {
        .destination = "a.b", .path = "/a", .interface = "a.b", .member = "C", .strings = {"x", "y"}};
    struct bus_reply reply = {0};
    struct err err = {0};
    if (bus_call(&bus, &arena, &call, &reply, &err) == 0) {
        /* a{sa{sas}}, the deepest that is asked for */
        size_t end = bus_read_array(&reply, 8);
        while (reply.at < end && !reply.failed) {
            bus_read_align(&reply, 8);
            bus_read_string(&reply, &arena);
            size_t inner = bus_read_array(&reply, 4);
            while (reply.at < inner && !reply.failed)
                bus_read_string(&reply, &arena);
        }
    }
    bus_close(&bus);
    close(pair[1]);
    return 0;
}
