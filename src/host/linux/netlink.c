/* netlink.c: the netlink conversations behind netlink.h, on libmnl. */
#include "host/linux/netlink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <linux/netlink.h>

enum { DUMP_TRIES = 10, BATCH_MAX = 4 };

int netlink_open(struct netlink *netlink, int protocol, struct err *err)
{
    if (netlink->socket)
        return 0;
    struct mnl_socket *socket = mnl_socket_open2(protocol, SOCK_CLOEXEC);
    if (!socket)
        return err_errno(err, errno, "opening a netlink socket");
    int on = 1;
    /* Each may be missing on an old kernel; nothing but better messages and cheaper answers depend on them.
     */
    mnl_socket_setsockopt(socket, NETLINK_EXT_ACK, &on, sizeof(on));
    mnl_socket_setsockopt(socket, NETLINK_CAP_ACK, &on, sizeof(on));
    mnl_socket_setsockopt(socket, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
    if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        int code = errno;
        mnl_socket_close(socket);
        return err_errno(err, code, "binding a netlink socket");
    }
    netlink->buffer = malloc(NETLINK_ANSWER_SIZE);
    if (!netlink->buffer) {
        mnl_socket_close(socket);
        return err_errno(err, ENOMEM, "opening a netlink socket");
    }
    netlink->socket = socket;
    return 0;
}

void netlink_close(struct netlink *netlink)
{
    if (netlink->socket)
        mnl_socket_close(netlink->socket);
    free(netlink->buffer);
    *netlink = (struct netlink){0};
}

void *netlink_start(struct netlink_message *message, uint16_t type, uint16_t flags, size_t extra)
{
    memset(message, 0, sizeof(*message)); /* attributes are padded with what is there */
    struct nlmsghdr *header = mnl_nlmsg_put_header(message->bytes);
    header->nlmsg_type = type;
    header->nlmsg_flags = NLM_F_REQUEST | flags;
    return mnl_nlmsg_put_extra_header(header, extra);
}

void netlink_put(struct netlink_message *message, uint16_t type, const void *bytes, size_t length)
{
    if (!mnl_attr_put_check(&message->header, NETLINK_MESSAGE_SIZE, type, length, bytes))
        message->overflow = true;
}

void netlink_put_u8(struct netlink_message *message, uint16_t type, uint8_t value)
{
    netlink_put(message, type, &value, sizeof(value));
}

void netlink_put_u16(struct netlink_message *message, uint16_t type, uint16_t value)
{
    netlink_put(message, type, &value, sizeof(value));
}

void netlink_put_u32(struct netlink_message *message, uint16_t type, uint32_t value)
{
    netlink_put(message, type, &value, sizeof(value));
}

void netlink_put_string(struct netlink_message *message, uint16_t type, const char *text)
{
    netlink_put(message, type, text, strlen(text) + 1);
}

void netlink_put_ip(struct netlink_message *message, uint16_t type, const struct ip *ip)
{
    netlink_put(message, type, ip->bytes, ip_size(ip));
}

struct nlattr *netlink_nest_open(struct netlink_message *message, uint16_t type)
{
    struct nlattr *nest = mnl_attr_nest_start_check(&message->header, NETLINK_MESSAGE_SIZE, type);
    if (!nest)
        message->overflow = true;
    return nest;
}

void netlink_nest_close(struct netlink_message *message, struct nlattr *nest)
{
    if (nest)
        mnl_attr_nest_end(&message->header, nest);
}

/* The kernel's words in an error or done message whose attributes start `offset` bytes into the payload. */
static const char *kernel_words(const struct nlmsghdr *header, size_t offset)
{
    if (!(header->nlmsg_flags & NLM_F_ACK_TLVS))
        return "";
    const struct nlattr *attribute;
    mnl_attr_for_each (attribute, header, offset) {
        if (mnl_attr_get_type(attribute) == NLMSGERR_ATTR_MSG)
            return netlink_text(attribute);
    }
    return "";
}

static int refusal(int code, const char *words, struct err *err)
{
    if (code == -EPERM)
        return err_set(err, code, "not permitted: CAP_NET_ADMIN is needed (run as root)%s%s",
                       *words ? ": " : "", words);
    if (*words)
        return err_set(err, code, "%s (%s)", strerror(-code), words);
    return err_set(err, code, "%s", strerror(-code));
}

static int error_read(const struct nlmsghdr *header, struct err *err)
{
    const struct nlmsgerr *error = mnl_nlmsg_get_payload(header);
    if (mnl_nlmsg_get_payload_len(header) < sizeof(*error))
        return err_errno(err, EBADMSG, "reading a netlink answer");
    if (error->error == 0)
        return 0;
    size_t offset = sizeof(*error);
    if (!(header->nlmsg_flags & NLM_F_CAPPED))
        offset += error->msg.nlmsg_len - sizeof(struct nlmsghdr);
    return refusal(error->error, kernel_words(header, offset), err);
}

static int done_read(const struct nlmsghdr *header, struct err *err)
{
    int code = 0;
    if (mnl_nlmsg_get_payload_len(header) >= sizeof(code))
        memcpy(&code, mnl_nlmsg_get_payload(header), sizeof(code));
    return code < 0 ? refusal(code, kernel_words(header, sizeof(code)), err) : 0;
}

/* Read until the answer to request `sequence` has ended.  Answers to earlier requests, of which somebody gave
 * up reading, are passed over.  `torn` is set when the kernel marks the dump as interrupted. */
static int receive(struct netlink *netlink, uint32_t sequence, netlink_each *each, void *data, bool *torn,
                   struct err *err)
{
    int failed = 0;
    for (;;) {
        ssize_t got = mnl_socket_recvfrom(netlink->socket, netlink->buffer, NETLINK_ANSWER_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_errno(err, errno, "reading a netlink answer");
        int left = (int)got;
        for (const struct nlmsghdr *header = (const void *)netlink->buffer; mnl_nlmsg_ok(header, left);
             header = mnl_nlmsg_next(header, &left)) {
            if (header->nlmsg_seq != sequence)
                continue;
            if (header->nlmsg_flags & NLM_F_DUMP_INTR)
                *torn = true;
            if (header->nlmsg_type == NLMSG_ERROR) {
                int rc = error_read(header, failed ? NULL : err);
                return failed ? failed : rc;
            }
            if (header->nlmsg_type == NLMSG_DONE) {
                int rc = done_read(header, failed ? NULL : err);
                return failed ? failed : rc;
            }
            if (header->nlmsg_type >= NLMSG_MIN_TYPE && each && !failed) {
                failed = each(header, data);
                if (failed)
                    err_errno(err, failed, "reading a netlink answer");
            }
        }
    }
}

static int transmit(struct netlink *netlink, struct netlink_message messages[], size_t count, struct err *err)
{
    struct iovec parts[BATCH_MAX];
    for (size_t i = 0; i < count; i++) {
        if (messages[i].overflow)
            return err_set(err, EMSGSIZE, "a netlink request does not fit into %d bytes",
                           NETLINK_MESSAGE_SIZE);
        messages[i].header.nlmsg_seq = ++netlink->sequence;
        parts[i] = (struct iovec){.iov_base = messages[i].bytes, .iov_len = messages[i].header.nlmsg_len};
    }
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    struct msghdr send = {
        .msg_name = &kernel, .msg_namelen = sizeof(kernel), .msg_iov = parts, .msg_iovlen = count};
    while (sendmsg(mnl_socket_get_fd(netlink->socket), &send, 0) < 0)
        if (errno != EINTR)
            return err_errno(err, errno, "sending a netlink request");
    return 0;
}

int netlink_call(struct netlink *netlink, struct netlink_message *message, netlink_each *each, void *data,
                 struct err *err)
{
    bool torn = false;
    message->header.nlmsg_flags |= NLM_F_ACK;
    int rc = transmit(netlink, message, 1, err);
    if (rc < 0)
        return rc;
    return receive(netlink, message->header.nlmsg_seq, each, data, &torn, err);
}

int netlink_call_all(struct netlink *netlink, struct netlink_message messages[], size_t count,
                     struct err *err)
{
    bool torn = false;
    if (count > BATCH_MAX)
        return err_set(err, EINVAL, "%zu netlink requests at once", count);
    for (size_t i = 0; i < count; i++)
        messages[i].header.nlmsg_flags |= NLM_F_ACK;
    int rc = transmit(netlink, messages, count, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count; i++) {
        int answer = receive(netlink, messages[i].header.nlmsg_seq, NULL, NULL, &torn, rc ? NULL : err);
        rc = rc ? rc : answer;
    }
    return rc;
}

int netlink_dump(struct netlink *netlink, struct netlink_message *message, netlink_each *each,
                 void (*reset)(void *data), void *data, struct err *err)
{
    message->header.nlmsg_flags |= NLM_F_DUMP;
    for (int i = 0; i < DUMP_TRIES; i++) {
        bool torn = false;
        reset(data);
        int rc = transmit(netlink, message, 1, err);
        if (rc == 0)
            rc = receive(netlink, message->header.nlmsg_seq, each, data, &torn, err);
        if (rc < 0 || !torn)
            return rc;
    }
    return err_set(err, EBUSY, "the host's configuration keeps changing while it is read");
}

static void index_attribute(const struct nlattr *attribute, const struct nlattr *table[], size_t count)
{
    uint16_t type = mnl_attr_get_type(attribute);
    if (type < count)
        table[type] = attribute;
}

void netlink_attributes(const struct nlmsghdr *header, size_t extra, const struct nlattr *table[],
                        size_t count)
{
    const struct nlattr *attribute;
    memset(table, 0, count * sizeof(*table));
    if (mnl_nlmsg_get_payload_len(header) < extra)
        return;
    mnl_attr_for_each (attribute, header, extra)
        index_attribute(attribute, table, count);
}

void netlink_nested(const struct nlattr *nest, const struct nlattr *table[], size_t count)
{
    const struct nlattr *attribute;
    memset(table, 0, count * sizeof(*table));
    if (!nest)
        return;
    mnl_attr_for_each_nested (attribute, nest)
        index_attribute(attribute, table, count);
}

uint32_t netlink_u32(const struct nlattr *attribute)
{
    uint32_t value = 0;
    if (attribute && mnl_attr_get_payload_len(attribute) >= sizeof(value))
        memcpy(&value, mnl_attr_get_payload(attribute), sizeof(value));
    return value;
}

uint16_t netlink_u16(const struct nlattr *attribute)
{
    uint16_t value = 0;
    if (attribute && mnl_attr_get_payload_len(attribute) >= sizeof(value))
        memcpy(&value, mnl_attr_get_payload(attribute), sizeof(value));
    return value;
}

uint8_t netlink_u8(const struct nlattr *attribute)
{
    if (!attribute || mnl_attr_get_payload_len(attribute) < 1)
        return 0;
    return *(const uint8_t *)mnl_attr_get_payload(attribute);
}

const char *netlink_text(const struct nlattr *attribute)
{
    if (!attribute)
        return "";
    const char *text = mnl_attr_get_payload(attribute);
    return memchr(text, '\0', mnl_attr_get_payload_len(attribute)) ? text : "";
}

struct ip netlink_ip(const struct nlattr *attribute, int family)
{
    struct ip ip = {.family = (uint8_t)family};
    size_t size = ip_size(&ip);
    if (!attribute || mnl_attr_get_payload_len(attribute) < size)
        return (struct ip){0};
    memcpy(ip.bytes, mnl_attr_get_payload(attribute), size);
    return ip;
}
