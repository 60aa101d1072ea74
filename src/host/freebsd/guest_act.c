/* guest_act.c: a guest's lease and address, in its jail: host/guest.h.
 *
 * The lease is dhclient's, with a configuration, a lease file and a pid file of its own, and without a
 * script: it asks, writes down what it was given, and sets nothing; so the host's resolv.conf, which the jail
 * shares, stays as it is. It runs in the foreground as a child that dies with the guest, and has ended before
 * the address is set. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/spawn.h"
#include "host/freebsd/system.h"

enum { LOOK_EVERY_MS = 20, LEASES_SIZE_MAX = 1 << 16, WORDS_MAX = 4096 };

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static pid_t client_start(const struct freebsd_command *command, int words_fd)
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    int null = open("/dev/null", O_RDWR);
    spawn_die_with(parent);
    if (null >= 0 && dup2(null, 0) >= 0 && dup2(null, 1) >= 0 && dup2(words_fd, 2) >= 0) {
        closefrom(3);
        execve(command->argv[0], (char *const *)command->argv, spawn_environment);
    }
    _exit(127);
}

/* Why it ended by itself: the last line but "exiting." of what it said. */
static int client_failed(struct arena *arena, int words_fd, int status, struct err *err)
{
    char *words = arena_alloc(arena, WORDS_MAX + 1), *rest = words;
    ssize_t got = read(words_fd, words, WORDS_MAX);
    words[got < 0 ? 0 : got] = '\0';
    const char *last = "it said nothing";
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127 && got <= 0)
        return err_set(err, ENOENT, "dhclient could not be started");
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (*line && strcmp(line, "exiting.") != 0)
            last = line;
    }
    return err_set(err, EIO, "dhclient ended: %s", last);
}

/* Until a whole lease is written down: -ETIMEDOUT when the time is over. */
static int lease_await(struct arena *arena, pid_t client, int words_fd, const char *path, const char *ifname,
                       int timeout_ms, struct guest_lease *lease, struct err *err)
{
    int status, rc = 1;
    for (int64_t end = now_ms() + timeout_ms; rc > 0;) {
        char *text;
        bool ended = waitpid(client, &status, WNOHANG) == client;
        if (file_read(arena, AT_FDCWD, path, LEASES_SIZE_MAX, &text, NULL, NULL) == 0 &&
            freebsd_lease_parse(text, ifname, lease))
            rc = 0;
        else if (ended)
            rc = client_failed(arena, words_fd, status, err);
        else if (now_ms() > end)
            rc = err_set(err, ETIMEDOUT, "no lease");
        else
            poll(NULL, 0, LOOK_EVERY_MS);
        if (ended)
            return rc;
    }
    kill(client, SIGKILL); /* its privileged half ends when it does */
    while (waitpid(client, NULL, 0) < 0 && errno == EINTR)
        ;
    return rc;
}

int freebsd_guest_address_set(const char *ifname, const struct prefix *address, const struct ip *gateway,
                              struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct freebsd_commands commands;
    freebsd_guest_address_commands(&arena, ifname, address, gateway, &commands);
    return freebsd_run_all(&arena, &commands, "setting the guest's address", err);
}

int freebsd_guest_lease(const char *ifname, const char *program, int timeout_ms, struct guest_lease *lease,
                        struct err *err)
{
    (void)program;
    _cleanup_arena_ struct arena arena = {0};
    struct freebsd_guest_files files;
    const char *config = freebsd_guest_dhclient_conf();
    int pair[2];
    *lease = (struct guest_lease){0};
    if (!freebsd_guest_files(&arena, ifname, &files))
        return err_set(err, EINVAL, "'%s' is no epair", ifname);
    unlink(files.leases);
    int rc = file_write_atomic(files.config, config, strlen(config), 0644, err);
    if (rc < 0)
        return rc;
    if (pipe2(pair, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_errno(err, errno, "starting dhclient");
    _cleanup_fd_ int words_fd = pair[0], client_fd = pair[1];
    struct freebsd_command command = FREEBSD_COMMAND(&arena, "dhclient", "-d", "-c", files.config, "-l",
                                                     files.leases, "-p", files.pid, ifname);
    pid_t client = client_start(&command, client_fd);
    if (client < 0)
        return err_errno(err, errno, "starting dhclient");
    fd_close(&client_fd);
    rc = lease_await(&arena, client, words_fd, files.leases, ifname, timeout_ms, lease, err);
    return rc < 0 ? rc : freebsd_guest_address_set(ifname, &lease->address, &lease->gateway, err);
}
