/* cmd_capture.c: `vmwire capture`: frames of every hop of a network, a machine or a nic, as lines or pcapng.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "cli/cli.h"
#include "diag/capture.h"
#include "diag/frame_owner.h"
#include "diag/packet.h"
#include "diag/pcapng.h"
#include "engine/engine.h"

enum {
    LINE_SNAP = 512,
    BUFFER_TOTAL = 128 << 20,
    BUFFER_LEAST = 2 << 20,
    BUFFER_MOST = 16 << 20,
    DRAIN_MS = 200
};

struct capturing {
    struct cli *cli;
    struct hops hops;
    const char *name, *write_path, *filter;
    long count, seconds, snap;
    FILE *file; /* pcapng; NULL: lines */
    int label_width;
    const char **labels; /* a hop's short name */
    struct frame_owners *owners;
};

/* Machine and direction: "vm0/0: in, from the guest", "re0: out, from vm0/0". */
static const char *comment(const struct capturing *it, const struct capture_packet *captured,
                           const struct packet *packet, char text[128])
{
    bool from;
    size_t nic = frame_owner(it->owners, &it->hops, captured, packet, &from);
    const char *label = it->labels[captured->hop], *direction = capture_direction_name(captured->direction);
    if (nic == SIZE_MAX)
        snprintf(text, 128, "%s: %s", label, direction);
    else
        snprintf(text, 128, "%s: %s, %s %s", label, direction, from ? "from" : "to",
                 nic == captured->hop ? "the guest" : it->labels[nic]);
    return text;
}

static void line_print(const struct capturing *it, const struct capture_packet *captured,
                       const struct packet *packet)
{
    time_t seconds = (time_t)(captured->time_ns / 1000000000);
    struct tm parts = {0};
    localtime_r(&seconds, &parts);
    printf("%02d:%02d:%02d.%06d %-*s %-3s %s\n", parts.tm_hour, parts.tm_min, parts.tm_sec,
           (int)(captured->time_ns % 1000000000 / 1000), it->label_width, it->labels[captured->hop],
           capture_direction_name(captured->direction), PACKET_TEXT(packet));
    fflush(stdout);
}

static int packet_out(const struct capturing *it, const struct capture_packet *captured, struct err *err)
{
    struct packet packet;
    char text[128];
    packet_decode(captured->bytes, captured->caplen, captured->length, &packet);
    if (!it->file) {
        line_print(it, captured, &packet);
        return ferror(stdout) ? err_errno(err, EPIPE, "writing") : 0;
    }
    int rc = pcapng_packet(it->file, captured, comment(it, captured, &packet, text), err);
    /* A pipe's reader wants to see each one now. */
    if (rc == 0 && it->file == stdout && fflush(stdout) != 0)
        rc = err_errno(err, errno, "writing the capture");
    return rc;
}

/* What passed before the end and still waits for its turn: capture_next gives frames out late. */
static int packets_drain(const struct capturing *it, struct capture *capture, struct err *err)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t end_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    struct capture_packet captured;
    int rc;
    while ((rc = capture_next(capture, DRAIN_MS, &captured, err)) > 0 && captured.time_ns <= end_ns) {
        rc = packet_out(it, &captured, err);
        if (rc < 0)
            return rc;
    }
    return rc == -ENODEV || rc > 0 ? 0 : rc;
}

/* Until a signal, the count, the time, or nothing is left to see. */
static int packets_take(const struct capturing *it, struct capture *capture, struct err *err)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    time_t end = now.tv_sec + it->seconds;
    long end_ns = now.tv_nsec;
    for (long count = 0; !cli_stopped && (it->count <= 0 || count < it->count);) {
        struct capture_packet captured;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (it->seconds > 0 && (now.tv_sec > end || (now.tv_sec == end && now.tv_nsec >= end_ns)))
            break;
        int rc = capture_next(capture, 200, &captured, err);
        if (rc == 0 && it->file)
            fflush(it->file); /* quiet: whoever looks at the file sees all of it */
        if (rc > 0) {
            rc = packet_out(it, &captured, err);
            count++;
        }
        if (rc < 0)
            return rc;
    }
    return it->count > 0 ? 0 : packets_drain(it, capture, err);
}

static void say_what(const struct capturing *it, const struct capture *capture)
{
    fprintf(stderr, "%s: capturing on", it->cli->program);
    for (size_t i = 0; i < it->hops.list.count; i++) {
        const struct hop *hop = &it->hops.list.items[i];
        bool same = strcmp(hop->ifname, it->labels[i]) == 0;
        fprintf(stderr, "%s %s%s%s%s", i ? "," : "", hop->ifname, same ? "" : " (", same ? "" : it->labels[i],
                same ? "" : ")");
        if (!capture_seeing(capture, i))
            fputs(" (down: nothing is seen there)", stderr);
    }
    fputc('\n', stderr);
}

static void say_counts(const struct capture *capture)
{
    struct capture_counts counts;
    capture_counts(capture, &counts);
    fflush(stdout);
    fprintf(stderr, "%" PRIu64 " packets captured\n%" PRIu64 " packets dropped by kernel\n", counts.captured,
            counts.dropped);
}

static size_t buffer_size(const struct capturing *it)
{
    size_t each = BUFFER_TOTAL / (it->hops.list.count * 2);
    return each > BUFFER_MOST ? BUFFER_MOST : each < BUFFER_LEAST ? BUFFER_LEAST : each;
}

static int file_open(struct capturing *it, struct err *err)
{
    if (!it->write_path)
        return 0;
    if (strcmp(it->write_path, "-") == 0) {
        it->file = stdout;
        return 0;
    }
    /* What guests say is not for everybody to read. */
    _cleanup_fd_ int fd = file_create(it->write_path, 0600, err);
    if (fd < 0)
        return fd;
    it->file = fdopen(fd, "w");
    if (!it->file)
        return err_errno(err, errno, "opening '%s'", it->write_path);
    fd_steal(&fd);
    return 0;
}

static void labels_make(struct capturing *it)
{
    struct arena *arena = &it->cli->arena;
    it->owners = arena_new(arena, struct frame_owners);
    it->labels = arena_alloc(arena, (it->hops.list.count + 1) * sizeof(*it->labels));
    for (size_t i = 0; i < it->hops.list.count; i++) {
        it->labels[i] = hop_label(arena, &it->hops.list.items[i]);
        int width = (int)strlen(it->labels[i]);
        it->label_width = width > it->label_width ? width : it->label_width;
    }
}

static int capture_run(struct capturing *it, struct err *err)
{
    bool piped = it->write_path && strcmp(it->write_path, "-") == 0;
    struct capture_options options = {.filter = it->filter,
                                      .snap_bytes = it->snap > 0      ? (unsigned)it->snap
                                                    : !it->write_path ? LINE_SNAP
                                                                      : 0,
                                      .buffer_bytes = it->write_path ? buffer_size(it) : 0,
                                      .relaxed = it->write_path && !piped};
    _cleanup_capture_ struct capture *capture = NULL;
    labels_make(it);
    cli_catch_signals();
    int rc = capture_open(&capture, &it->hops, &options, err);
    if (rc == 0)
        rc = file_open(it, err);
    if (rc < 0)
        return rc;
    if (it->file)
        rc = pcapng_start(it->file, &it->hops, "vmwire " VMWIRE_VERSION, err);
    if (rc == 0 && it->file && fflush(it->file) != 0)
        rc = err_errno(err, errno, "writing the capture");
    say_what(it, capture);
    if (rc == 0)
        rc = packets_take(it, capture, err);
    say_counts(capture);
    if (it->file && it->file != stdout && fclose(it->file) != 0 && rc == 0)
        rc = err_errno(err, errno, "writing '%s'", it->write_path);
    /* Whoever closes the pipe has seen enough. */
    return rc == -EPIPE ? 0 : rc;
}

static const char *filter_join(struct arena *arena, int argc, char **argv)
{
    struct text out = {.arena = arena};
    for (int i = 0; i < argc; i++)
        text_add(&out, "%s%s", i ? " " : "", argv[i]);
    return text_get(&out);
}

static int options_read(struct capturing *it, int argc, char **argv)
{
    struct cli *cli = it->cli;
    const struct cli_option options[] = {
        {"-w", .value = &it->write_path},
        {"--count", .number = &it->count, .unit = "packets", .low = 1, .high = 999999999},
        {"--seconds", .number = &it->seconds, .unit = "seconds", .low = 1, .high = 999999999},
        {"--snap", .number = &it->snap, .unit = "bytes", .low = 14, .high = 262144},
        {0}};
    int status = cli_options(cli, &argc, argv, options);
    if (status != EXIT_DONE)
        return status;
    if (argc < 2)
        return cli_usage(cli, "'capture' needs a network, a machine or a nic");
    it->name = argv[1];
    it->filter = filter_join(&cli->arena, argc - 2, argv + 2);
    if (it->write_path && strcmp(it->write_path, "-") == 0 && isatty(STDOUT_FILENO))
        return cli_usage(cli,
                         "'-w -' writes pcapng, which is not for a terminal: pipe it into wireshark -k -i -");
    return EXIT_DONE;
}

int cmd_capture(struct cli *cli, int argc, char **argv)
{
    struct capturing it = {.cli = cli};
    struct err err = {0};
    int status = options_read(&it, argc, argv);
    if (status != EXIT_DONE)
        return status;
    int rc = capture_filter_check(it.filter, &err);
    if (rc < 0)
        return rc == -EINVAL ? cli_usage(cli, "%s", err.text) : cli_fail(cli, &err);
    status = cli_config_optional(cli);
    if (status != EXIT_DONE)
        return status;
    _cleanup_engine_ struct engine engine;
    engine_init(&engine, &cli->arena, cli->host, NULL);
    if (engine_observe(&engine, HOST_OBSERVE_LINKS | HOST_OBSERVE_ROUTES | HOST_OBSERVE_FILES, &err) < 0 ||
        capture_hops(&cli->arena, &engine.observed, &cli->model, it.name, &it.hops, &err) < 0 ||
        capture_run(&it, &err) < 0)
        return cli_fail(cli, &err);
    return EXIT_DONE;
}
