/* netlink.h: one netlink conversation: requests whose every answer is checked, dumps that are repeated when
 * the kernel says that they were torn, and the kernel's own words (extended acknowledgement) in struct err.
 * Source: <linux/netlink.h>, the kernel's Documentation/userspace-api/netlink/intro.rst. */
#ifndef VMWIRE_HOST_LINUX_NETLINK_H
#define VMWIRE_HOST_LINUX_NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libmnl/libmnl.h>

#include "base/err.h"
#include "model/address.h"

/* One socket.  Start with {0}; netlink_open opens it at first use. */
struct netlink {
    struct mnl_socket *socket;
    uint32_t sequence;
    char *buffer; /* for answers, NETLINK_ANSWER_SIZE bytes */
};

/* The kernel fills answers up to 32 KiB where the reader offers that much (netlink_dump,
 * net/netlink/af_netlink.c). */
enum { NETLINK_ANSWER_SIZE = 32768, NETLINK_MESSAGE_SIZE = 2048 };

/* A request that is being written.  `overflow`: an attribute did not fit; sending then fails with -EMSGSIZE.
 */
struct netlink_message {
    union {
        struct nlmsghdr header;
        char bytes[NETLINK_MESSAGE_SIZE];
    };
    bool overflow;
};

/* Open the socket for `protocol` (NETLINK_ROUTE, NETLINK_NETFILTER) unless it is open.  0 or a negative
 * errno. */
int netlink_open(struct netlink *netlink, int protocol, struct err *err);
void netlink_close(struct netlink *netlink);

/* Start a message of `type` with `flags` beyond NLM_F_REQUEST; returns its zeroed family header of `extra`
 * bytes. */
void *netlink_start(struct netlink_message *message, uint16_t type, uint16_t flags, size_t extra);
void netlink_put(struct netlink_message *message, uint16_t type, const void *bytes, size_t length);
void netlink_put_u8(struct netlink_message *message, uint16_t type, uint8_t value);
void netlink_put_u16(struct netlink_message *message, uint16_t type, uint16_t value);
void netlink_put_u32(struct netlink_message *message, uint16_t type, uint32_t value);
void netlink_put_string(struct netlink_message *message, uint16_t type, const char *text);
void netlink_put_ip(struct netlink_message *message, uint16_t type, const struct ip *ip);
/* Nested attributes: everything put between open and close.  NULL when it did not fit, which close accepts.
 */
struct nlattr *netlink_nest_open(struct netlink_message *message, uint16_t type);
void netlink_nest_close(struct netlink_message *message, struct nlattr *nest);

/* Called for each message of an answer.  Returns 0 or a negative errno, which ends the call with it. */
typedef int netlink_each(const struct nlmsghdr *header, void *data);

/* Send one request and wait for its acknowledgement; `each` (may be NULL) sees what it answers.  Returns 0 or
 * the kernel's negative errno; err gets strerror and the kernel's words in parentheses. */
int netlink_call(struct netlink *netlink, struct netlink_message *message, netlink_each *each, void *data,
                 struct err *err);
/* Send `count` (at most 4) requests at once, and wait for all their acknowledgements: the first failure
 * counts. */
int netlink_call_all(struct netlink *netlink, struct netlink_message messages[], size_t count,
                     struct err *err);
/* Dump.  Where the kernel says that the answer was torn by a change, `reset` (forget what was seen) is called
 * and the dump is repeated, up to 10 times, then -EBUSY. */
int netlink_dump(struct netlink *netlink, struct netlink_message *message, netlink_each *each,
                 void (*reset)(void *data), void *data, struct err *err);

/* Index an attribute list: table[type] for type < count; others are passed over. */
void netlink_attributes(const struct nlmsghdr *header, size_t extra, const struct nlattr *table[],
                        size_t count);
void netlink_nested(const struct nlattr *nest, const struct nlattr *table[], size_t count);
/* An attribute's value, checked for its length; 0 or unset when the attribute is NULL or too short. */
uint32_t netlink_u32(const struct nlattr *attribute);
uint16_t netlink_u16(const struct nlattr *attribute);
uint8_t netlink_u8(const struct nlattr *attribute);
const char *netlink_text(const struct nlattr *attribute); /* "" when missing or not terminated */
struct ip netlink_ip(const struct nlattr *attribute, int family);

#endif
