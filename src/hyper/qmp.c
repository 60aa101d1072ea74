/* qmp.c: the QMP client behind qmp.h: a strict reader for one JSON object a line, and the exchange of lines.
 *
 * The reader checks the whole line against RFC 8259 and keeps only what four members of the outermost object
 * say: QMP, return, error (its class and desc), event.  It holds no pointers into freed memory and builds no
 * tree; its only recursion is bounded by QMP_DEPTH_MAX. */
#include "hyper/qmp.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "hyper/qmp_internal.h"

struct reader {
    const char *at, *end;
    int depth;
};

/* Called with each member's name, the reader standing at its value, which it must consume. */
typedef bool member_fn(struct reader *reader, const char *name, void *data);

static bool read_value(struct reader *reader);

static void skip_space(struct reader *reader)
{
    while (reader->at < reader->end && memchr(" \t\r\n", *reader->at, 4))
        reader->at++;
}

static bool take(struct reader *reader, char c)
{
    skip_space(reader);
    if (reader->at == reader->end || *reader->at != c)
        return false;
    reader->at++;
    return true;
}

static bool read_hex4(struct reader *reader, unsigned *code)
{
    *code = 0;
    for (int i = 0; i < 4; i++) {
        if (reader->at == reader->end)
            return false;
        char c = *reader->at++;
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (unsigned)((c | 0x20) - 'a') + 10;
        else
            return false;
        *code = *code << 4 | digit;
    }
    return true;
}

/* An escape, after its backslash, as the byte it stands for; what is not ASCII becomes '?'. */
static bool read_escape(struct reader *reader, char *byte)
{
    static const char letters[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    if (reader->at == reader->end)
        return false;
    char c = *reader->at++;
    if (c == 'u') {
        unsigned code;
        if (!read_hex4(reader, &code))
            return false;
        *byte = code >= 0x20 && code < 0x7f ? (char)code : '?';
        return true;
    }
    const char *found = memchr(letters, c, sizeof(letters) - 1);
    if (!found)
        return false;
    *byte = bytes[found - letters];
    return true;
}

/* A string; its beginning goes to `text` of `size` bytes (may be NULL), NUL-terminated. */
static bool read_string(struct reader *reader, char *text, size_t size)
{
    size_t used = 0;
    if (!take(reader, '"'))
        return false;
    while (reader->at < reader->end) {
        char c = *reader->at++;
        if (c == '"') {
            if (text)
                text[used] = '\0';
            return true;
        }
        if ((unsigned char)c < 0x20 || (c == '\\' && !read_escape(reader, &c)))
            return false;
        /* An error's text reaches a terminal: no control characters. */
        if (text && used + 1 < size)
            text[used++] = (unsigned char)c < 0x20 || c == 0x7f ? ' ' : c;
    }
    return false;
}

static bool read_digits(struct reader *reader)
{
    const char *start = reader->at;
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9')
        reader->at++;
    return reader->at > start;
}

static bool read_number(struct reader *reader)
{
    if (reader->at < reader->end && *reader->at == '-')
        reader->at++;
    if (reader->at < reader->end && *reader->at == '0')
        reader->at++;
    else if (!read_digits(reader))
        return false;
    if (reader->at < reader->end && *reader->at == '.') {
        reader->at++;
        if (!read_digits(reader))
            return false;
    }
    if (reader->at < reader->end && (*reader->at | 0x20) == 'e') {
        reader->at++;
        if (reader->at < reader->end && (*reader->at == '+' || *reader->at == '-'))
            reader->at++;
        return read_digits(reader);
    }
    return true;
}

static bool read_literal(struct reader *reader, const char *literal)
{
    size_t length = strlen(literal);
    if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, literal, length) != 0)
        return false;
    reader->at += length;
    return true;
}

static bool pass_member(struct reader *reader, const char *name, void *data)
{
    (void)name;
    (void)data;
    return read_value(reader);
}

static bool read_object(struct reader *reader, member_fn *member, void *data)
{
    if (!take(reader, '{') || ++reader->depth > QMP_DEPTH_MAX)
        return false;
    if (!take(reader, '}')) {
        do {
            char name[32];
            if (!read_string(reader, name, sizeof(name)) || !take(reader, ':') || !member(reader, name, data))
                return false;
        } while (take(reader, ','));
        if (!take(reader, '}'))
            return false;
    }
    reader->depth--;
    return true;
}

static bool read_array(struct reader *reader)
{
    if (!take(reader, '[') || ++reader->depth > QMP_DEPTH_MAX)
        return false;
    if (!take(reader, ']')) {
        do {
            if (!read_value(reader))
                return false;
        } while (take(reader, ','));
        if (!take(reader, ']'))
            return false;
    }
    reader->depth--;
    return true;
}

static bool read_value(struct reader *reader)
{
    skip_space(reader);
    if (reader->at == reader->end)
        return false;
    switch (*reader->at) {
    case '{':
        return read_object(reader, pass_member, NULL);
    case '[':
        return read_array(reader);
    case '"':
        return read_string(reader, NULL, 0);
    case 't':
        return read_literal(reader, "true");
    case 'f':
        return read_literal(reader, "false");
    case 'n':
        return read_literal(reader, "null");
    default:
        return read_number(reader);
    }
}

static bool error_member(struct reader *reader, const char *name, void *data)
{
    struct qmp_message *message = data;
    if (strcmp(name, "desc") == 0)
        return read_string(reader, message->text, sizeof(message->text));
    if (strcmp(name, "class") == 0)
        return read_string(reader, message->class, sizeof(message->class));
    return read_value(reader);
}

static bool top_member(struct reader *reader, const char *name, void *data)
{
    struct qmp_message *message = data;
    if (strcmp(name, "event") == 0) {
        message->kind = QMP_EVENT;
        return read_string(reader, message->text, sizeof(message->text));
    }
    if (strcmp(name, "error") == 0) {
        message->kind = QMP_ERROR;
        return read_object(reader, error_member, message);
    }
    if (strcmp(name, "QMP") == 0)
        message->kind = QMP_GREETING;
    else if (strcmp(name, "return") == 0)
        message->kind = QMP_RETURN;
    return read_value(reader);
}

int qmp_parse(const char *line, size_t length, struct qmp_message *message)
{
    *message = (struct qmp_message){0};
    struct reader reader = {.at = line, .end = line + length};
    if (!read_object(&reader, top_member, message))
        return -EPROTO;
    skip_space(&reader);
    return reader.at == reader.end ? 0 : -EPROTO;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t qmp_deadline(int timeout_ms)
{
    return timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
}

/* Wait until the socket can be read (or written).  -ETIMEDOUT past the deadline. */
int qmp_wait_for(int fd, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t left = deadline_ms == INT64_MAX ? -1 : deadline_ms - now_ms();
        if (left < 0 && deadline_ms != INT64_MAX)
            left = 0;
        struct pollfd poller = {.fd = fd, .events = events};
        int ready = poll(&poller, 1, left > 60000 ? 60000 : (int)left);
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (deadline_ms != INT64_MAX && now_ms() >= deadline_ms)
            return -ETIMEDOUT;
    }
}

/* Room for more, up to the longest line. */
int qmp_grow(struct qmp *qmp)
{
    if (qmp->used < qmp->capacity)
        return 0;
    if (qmp->capacity >= QMP_LINE_MAX)
        return -EPROTO;
    size_t capacity = qmp->capacity ? qmp->capacity * 2 : 4096;
    char *buffer = realloc(qmp->buffer, capacity);
    if (!buffer)
        return -ENOMEM;
    qmp->buffer = buffer;
    qmp->capacity = capacity;
    return 0;
}

/* The next message.  Empty lines are passed over. */
int qmp_receive(struct qmp *qmp, int64_t deadline_ms, struct qmp_message *message)
{
    size_t searched = 0;
    for (;;) {
        char *newline =
            qmp->used > searched ? memchr(qmp->buffer + searched, '\n', qmp->used - searched) : NULL;
        if (newline) {
            size_t length = (size_t)(newline - qmp->buffer);
            bool empty = length == 0 || (length == 1 && qmp->buffer[0] == '\r');
            int rc = empty ? 0 : qmp_parse(qmp->buffer, length, message);
            qmp->used -= length + 1;
            memmove(qmp->buffer, newline + 1, qmp->used);
            if (!empty)
                return rc;
            searched = 0;
            continue;
        }
        searched = qmp->used;
        int rc = qmp_grow(qmp);
        if (rc == 0)
            rc = qmp_wait_for(qmp->fd, POLLIN, deadline_ms);
        if (rc < 0)
            return rc;
        ssize_t got = recv(qmp->fd, qmp->buffer + qmp->used, qmp->capacity - qmp->used, MSG_DONTWAIT);
        if (got == 0)
            return -ECONNRESET;
        if (got < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        /* A peer that never stops sending must not keep us past the deadline. */
        if (deadline_ms != INT64_MAX && now_ms() > deadline_ms)
            return -ETIMEDOUT;
        if (got > 0)
            qmp->used += (size_t)got;
    }
}

/* `passed` (-1: none) goes with the first byte (unix(7), SCM_RIGHTS). */
static int transmit_fd(struct qmp *qmp, const char *bytes, size_t length, int passed, int64_t deadline_ms)
{
    while (length) {
        union {
            char bytes[CMSG_SPACE(sizeof(int))];
            struct cmsghdr align;
        } control = {0};
        struct iovec part = {.iov_base = (char *)bytes, .iov_len = length};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        if (passed >= 0) {
            message.msg_control = control.bytes;
            message.msg_controllen = sizeof(control.bytes);
            struct cmsghdr *header = CMSG_FIRSTHDR(&message);
            *header = (struct cmsghdr){
                .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
            memcpy(CMSG_DATA(header), &passed, sizeof(int));
        }
        ssize_t put = sendmsg(qmp->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put > 0) {
            bytes += put;
            length -= (size_t)put;
            passed = -1;
            continue;
        }
        if (put < 0 && errno != EINTR && errno != EAGAIN)
            return errno == EPIPE ? -ECONNRESET : -errno;
        int rc = qmp_wait_for(qmp->fd, POLLOUT, deadline_ms);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int qmp_transmit(struct qmp *qmp, const char *bytes, size_t length, int64_t deadline_ms)
{
    return transmit_fd(qmp, bytes, length, -1, deadline_ms);
}

/* The words for what went wrong in an exchange. */
static int exchange_error(struct err *err, int rc, const char *what, const char *name)
{
    const char *why = rc == -ETIMEDOUT    ? "no answer in time"
                      : rc == -ECONNRESET ? "the hypervisor closed the control socket"
                      : rc == -EPROTO     ? "the answer is not QMP"
                                          : NULL;
    if (why)
        return err_set(err, rc, "%s '%s': %s", what, name, why);
    return err_errno(err, rc, "%s '%s'", what, name);
}

static int call_until(struct qmp *qmp, const char *command, const char *arguments, int fd,
                      int64_t deadline_ms, struct err *err)
{
    char line[QMP_COMMAND_MAX];
    int length =
        snprintf(line, sizeof(line),
                 arguments ? "{\"execute\": \"%s\", \"arguments\": %s}\n" : "{\"execute\": \"%s\"}\n",
                 command, arguments);
    if (length < 0 || (size_t)length >= sizeof(line) || strpbrk(command, "\"\\\r\n"))
        return err_set(err, EINVAL, "QMP command '%s' is not one", command);
    int rc = transmit_fd(qmp, line, (size_t)length, fd, deadline_ms);
    struct qmp_message message;
    while (rc == 0) {
        rc = qmp_receive(qmp, deadline_ms, &message);
        if (rc == 0 && message.kind == QMP_RETURN)
            return 0;
        if (rc == 0 && message.kind == QMP_ERROR)
            return err_set(err, strcmp(message.class, "DeviceNotFound") == 0 ? ENODEV : EIO,
                           "QMP command '%s': %s", command, message.text);
    }
    return exchange_error(err, rc, "QMP command", command);
}

static int negotiate(struct qmp *qmp, int64_t deadline_ms, const char *name, struct err *err)
{
    struct qmp_message message = {0};
    int rc = qmp_receive(qmp, deadline_ms, &message);
    if (rc == 0 && message.kind != QMP_GREETING)
        rc = -EPROTO;
    if (rc == -ETIMEDOUT)
        err_set(err, rc, "control socket '%s': no greeting in time (another client may be connected)", name);
    else if (rc < 0)
        exchange_error(err, rc, "control socket", name);
    else
        rc = call_until(qmp, "qmp_capabilities", NULL, -1, deadline_ms, err);
    if (rc < 0)
        qmp_close(qmp);
    return rc;
}

int qmp_attach(struct qmp *qmp, int fd, int timeout_ms, struct err *err)
{
    *qmp = (struct qmp){.fd = fd};
    return negotiate(qmp, qmp_deadline(timeout_ms), "(descriptor)", err);
}

int qmp_connect(struct qmp *qmp, const char *path, int64_t deadline_ms, struct err *err)
{
    *qmp = (struct qmp){.fd = -1};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length >= sizeof(address.sun_path))
        return err_errno(err, ENAMETOOLONG, "control socket '%s'", path);
    memcpy(address.sun_path, path, length + 1);

    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, errno, "control socket '%s'", path);
    while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        /* A full backlog says EAGAIN: other clients wait already (unix(7)). */
        if (errno != EAGAIN && errno != EINTR)
            return err_errno(err, errno, "control socket '%s'", path);
        if (now_ms() >= deadline_ms)
            return err_set(err, ETIMEDOUT, "control socket '%s': too many clients wait there", path);
        poll(NULL, 0, 10);
    }
    qmp->fd = fd_steal(&fd);
    return 0;
}

int qmp_open(struct qmp *qmp, const char *path, int timeout_ms, struct err *err)
{
    int64_t deadline_ms = qmp_deadline(timeout_ms);
    int rc = qmp_connect(qmp, path, deadline_ms, err);
    return rc < 0 ? rc : negotiate(qmp, deadline_ms, path, err);
}

int qmp_execute(struct qmp *qmp, const char *command, int timeout_ms, struct err *err)
{
    return qmp_call(qmp, command, NULL, -1, timeout_ms, err);
}

int qmp_call(struct qmp *qmp, const char *command, const char *arguments, int fd, int timeout_ms,
             struct err *err)
{
    return call_until(qmp, command, arguments, fd, qmp_deadline(timeout_ms), err);
}

int qmp_wait_event(struct qmp *qmp, const char *event, int timeout_ms, struct err *err)
{
    int64_t deadline_ms = qmp_deadline(timeout_ms);
    for (;;) {
        struct qmp_message message;
        int rc = qmp_receive(qmp, deadline_ms, &message);
        if (rc < 0)
            return exchange_error(err, rc, "waiting for QMP event", event);
        if (message.kind == QMP_EVENT && strcmp(message.text, event) == 0)
            return 0;
    }
}

void qmp_close(struct qmp *qmp)
{
    fd_close(&qmp->fd);
    free(qmp->buffer);
    qmp->buffer = NULL;
    qmp->used = qmp->capacity = 0;
}
