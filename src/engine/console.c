/* console.c: a terminal joined to a machine's serial console (machine_console of machine.h): QEMU's socket,
 * or with bhyve our side of a pair of nmdm(4) devices, which RUN/machine/NAME/serial names.
 *
 * Signals are blocked but inside ppoll(2), where their handlers only note that they came: so the terminal is
 * restored in one place, whatever ends the session. */
#include "engine/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/machine_dir.h"

enum { ESCAPE = 0x1d /* Ctrl-] */, BUFFER_SIZE = 4096, LOOK_S = 1, PATH_SIZE_MAX = 256 };

static volatile sig_atomic_t interrupted;

static void note_signal(int signal)
{
    (void)signal;
    interrupted = 1;
}

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
enum { SIGNALS = sizeof(signals) / sizeof(signals[0]) };

/* What is put back at the end. */
struct session {
    int in, out, line;            /* terminal and console */
    struct machine_dir *lifeline; /* where the line does not end with the machine, what does; else NULL */
    bool raw;
    struct termios former_terminal;
    sigset_t former_mask, waiting_mask;
    struct sigaction former_actions[SIGNALS], former_pipe;
};

static void session_enter(struct session *session)
{
    sigset_t blocked;
    struct sigaction note = {.sa_handler = note_signal}, ignore = {.sa_handler = SIG_IGN};
    interrupted = 0;
    sigemptyset(&blocked);
    for (int i = 0; i < SIGNALS; i++)
        sigaddset(&blocked, signals[i]);
    sigprocmask(SIG_BLOCK, &blocked, &session->former_mask);
    session->waiting_mask = session->former_mask;
    for (int i = 0; i < SIGNALS; i++) {
        sigdelset(&session->waiting_mask, signals[i]);
        sigaction(signals[i], &note, &session->former_actions[i]);
    }
    sigaction(SIGPIPE, &ignore, &session->former_pipe);
    if (isatty(session->in) && tcgetattr(session->in, &session->former_terminal) == 0) {
        struct termios raw = session->former_terminal;
        cfmakeraw(&raw);
        session->raw = tcsetattr(session->in, TCSADRAIN, &raw) == 0;
    }
}

static void session_leave(struct session *session)
{
    if (session->raw)
        tcsetattr(session->in, TCSAFLUSH, &session->former_terminal);
    for (int i = 0; i < SIGNALS; i++)
        sigaction(signals[i], &session->former_actions[i], NULL);
    sigaction(SIGPIPE, &session->former_pipe, NULL);
    sigprocmask(SIG_SETMASK, &session->former_mask, NULL);
}

/* Bytes on their way in one direction. */
struct stream {
    char bytes[BUFFER_SIZE];
    size_t start, end;
};

/* Write what waits.  False when the other side is gone. */
static bool stream_write(struct stream *stream, int fd)
{
    ssize_t put = write(fd, stream->bytes + stream->start, stream->end - stream->start);
    if (put < 0)
        return errno == EINTR || errno == EAGAIN;
    stream->start += (size_t)put;
    if (stream->start == stream->end)
        stream->start = stream->end = 0;
    return true;
}

/* Read into an empty stream: >0 read, 0 the end, -EAGAIN nothing. */
static int stream_read(struct stream *stream, int fd)
{
    ssize_t got = read(fd, stream->bytes, sizeof(stream->bytes));
    if (got < 0)
        return errno == EINTR || errno == EAGAIN ? -EAGAIN : 0;
    stream->end = (size_t)got;
    return got > 0;
}

static enum machine_console_end session_run(struct session *session)
{
    struct stream typed = {0}, shown = {0};
    bool input = true, detached = false;
    for (;;) {
        if (interrupted)
            return CONSOLE_INTERRUPTED;
        if (detached && typed.start == typed.end)
            return CONSOLE_DETACHED;
        bool keys = typed.end > 0, screen = shown.end > 0;
        short events = (short)((screen ? 0 : POLLIN) | (keys ? POLLOUT : 0));
        struct pollfd fds[] = {
            {.fd = input && !keys && !detached ? session->in : -1, .events = POLLIN},
            {.fd = screen ? session->out : -1, .events = POLLOUT},
            {.fd = events ? session->line : -1, .events = events},
        };
        const struct timespec look = {.tv_sec = LOOK_S};
        bool running = true;
        int ready = ppoll(fds, 3, session->lifeline ? &look : NULL, &session->waiting_mask);
        if (ready < 0)
            continue; /* a signal: `interrupted` tells */
        if (ready == 0 && machine_dir_running(session->lifeline, false, &running, NULL) == 0 && !running)
            return CONSOLE_CLOSED;
        if (fds[0].revents) {
            int got = stream_read(&typed, session->in);
            input = got != 0;
            char *escape = session->raw ? memchr(typed.bytes, ESCAPE, typed.end) : NULL;
            if (escape) {
                detached = true;
                typed.end = (size_t)(escape - typed.bytes);
            }
        }
        if (fds[1].revents && !stream_write(&shown, session->out))
            return CONSOLE_INTERRUPTED;
        if ((fds[2].revents & POLLOUT) && !stream_write(&typed, session->line))
            return CONSOLE_CLOSED;
        if ((fds[2].revents & (POLLIN | POLLHUP | POLLERR)) && !shown.end &&
            stream_read(&shown, session->line) == 0)
            return CONSOLE_CLOSED;
    }
}

static int no_console(const struct machine_dir *dir, struct err *err)
{
    return err_set(err, ENOENT,
                   "machine '%s' has no console: it runs in the foreground, or has `serial: off`", dir->name);
}

/* CLOCAL: the line is not hung up while the guest reboots.  The speed counts where nmdm(4) plays one. */
static int nmdm_open(const struct machine_dir *dir, struct err *err)
{
    _cleanup_arena_ struct arena scratch = {0};
    char *path;
    struct termios line;
    int rc = file_read(&scratch, AT_FDCWD, dir->serial, PATH_SIZE_MAX, &path, NULL, NULL);
    if (rc == -ENOENT)
        return no_console(dir, err);
    if (rc < 0)
        return err_errno(err, rc, "reading '%s'", dir->serial);
    path[strcspn(path, "\n")] = '\0';
    _cleanup_fd_ int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || tcgetattr(fd, &line) < 0)
        return err_errno(err, errno, "console '%s'", path);
    cfmakeraw(&line);
    line.c_cflag |= CLOCAL | CREAD;
    cfsetspeed(&line, B115200);
    if (tcsetattr(fd, TCSANOW, &line) < 0)
        return err_errno(err, errno, "console '%s'", path);
    return fd_steal(&fd);
}

static int socket_connect(const struct machine_dir *dir, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(dir->serial) >= sizeof(address.sun_path))
        return err_errno(err, ENAMETOOLONG, "console socket '%s'", dir->serial);
    memcpy(address.sun_path, dir->serial, strlen(dir->serial));
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, errno, "console socket '%s'", dir->serial);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
        fcntl(fd, F_SETFL, O_NONBLOCK);
        return fd_steal(&fd);
    }
    if (errno == ENOENT)
        return no_console(dir, err);
    return err_errno(err, errno, "console socket '%s'", dir->serial);
}

int machine_console(struct host *host, const char *name, int in, int out, enum machine_console_end *end,
                    struct err *err)
{
    _cleanup_arena_ struct arena scratch = {0};
    _cleanup_machine_dir_ struct machine_dir dir = {.lock_fd = -1};
    bool running = false;
    int rc = machine_dir_init(&dir, &scratch, host, name, err);
    if (rc == 0)
        rc = machine_dir_running(&dir, true, &running, err);
    if (rc < 0)
        return rc;
    if (!running)
        return err_set(err, ESRCH, "machine '%s' is not running", name);

    /* QEMU lets a second one connect and then lets it wait without a word. */
    _cleanup_fd_ int turn = open(dir.console, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (turn < 0)
        return err_errno(err, errno, "opening '%s'", dir.console);
    if (flock(turn, LOCK_EX | LOCK_NB) < 0)
        return err_set(err, EBUSY, "machine '%s': somebody else has its console open", name);

    struct session session = {.in = in, .out = out, .lifeline = host->backend->bhyve ? &dir : NULL};
    _cleanup_fd_ int fd = host->backend->bhyve ? nmdm_open(&dir, err) : socket_connect(&dir, err);
    if (fd < 0)
        return fd;
    session.line = fd;
    session_enter(&session);
    *end = session_run(&session);
    session_leave(&session);
    /* A console that ended because the machine did leaves nothing: the lock is free a moment later. */
    return 0;
}
