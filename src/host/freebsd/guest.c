/* guest.c: a guest without a hypervisor: start and end of host/guest.h.
 *
 * Theory of operation.  nic_open made an epair whose first end is a port of the bridge (tap.c).
 *
 *  1. The guest's process, which dies with its parent, makes a jail with a network stack of its own and is in
 * it; the jail is not persistent, so it ends with its last process.  Its number goes to the parent.
 *  2. The parent, who alone sees both, moves the epair's other end into the jail.  It keeps its name: a name
 * that was given in the jail would come back with the interface, where the host may have one of that name.
 *  3. The guest sets it up, and acts.
 *  4. At the end the parent removes the jail with all that runs in it; nic_close destroys the epair.
 *
 * The jail shares the host's files: ifconfig(8) and dhclient(8) are run in it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/spawn.h"
#include "base/text.h"
#include "host/freebsd/system.h"

/* What the guest's process tells of steps 1 and 3. */
struct word {
    int code; /* 1: the jail's number; a negative errno */
    char text[ERR_TEXT_MAX];
};

int freebsd_run_all(struct arena *arena, const struct freebsd_commands *commands, const char *what,
                    struct err *err)
{
    vec_foreach (&commands->list, command) {
        struct freebsd_answer answer;
        int rc = freebsd_run(arena, command, &answer, err);
        if (rc == 0 && answer.status != 0)
            rc = err_set(err, EIO, "'%s': %.*s", shell_join(arena, command->argv),
                         (int)strcspn(answer.errors, "\n"), answer.errors);
        if (rc < 0)
            return err_wrap(err, "%s", what);
    }
    return 0;
}

static int interface_up(const char *ifname, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct freebsd_commands may_fail, commands;
    freebsd_guest_up_commands(&arena, ifname, &may_fail, &commands);
    freebsd_run_all(&arena, &may_fail, "", NULL);
    return freebsd_run_all(&arena, &commands, "setting up the guest's nic", err);
}

static void tell(int fd, int code, const struct err *err)
{
    struct word word = {.code = code};
    snprintf(word.text, sizeof(word.text), "%s", err->text);
    (void)!send(fd, &word, sizeof(word), MSG_NOSIGNAL);
}

static _Noreturn void live(const struct guest_request *request, const char *ifname, pid_t parent, int fd)
{
    struct err err = {0};
    char moved;
    spawn_die_with(parent);
    int code = freebsd_jail_enter(&err);
    tell(fd, code, &err);
    if (code < 0 || read(fd, &moved, 1) != 1)
        _exit(1);
    code = interface_up(ifname, &err);
    tell(fd, code, &err);
    if (code == 0)
        request->act(fd, ifname, request->data);
    _exit(code < 0);
}

static int hear(const struct guest *guest, struct err *err)
{
    struct word word;
    if (read(guest->fd, &word, sizeof(word)) != (ssize_t)sizeof(word))
        return err_set(err, EPIPE, "the guest's process ended before it acted");
    return word.code < 0 ? err_set(err, word.code, "%.*s", (int)sizeof(word.text) - 1, word.text) : word.code;
}

static int move(struct arena *arena, const char *ifname, int jail, struct err *err)
{
    struct freebsd_answer answer;
    int rc = FREEBSD_ASK(arena, &answer, err, "ifconfig", ifname, "vnet", arena_printf(arena, "%d", jail));
    return rc < 0 ? err_wrap(err, "giving '%s' to a jail", ifname) : 0;
}

static void guest_end(struct guest *guest)
{
    if (guest->pid > 0) {
        kill(guest->pid, SIGKILL);
        freebsd_jail_remove(guest->jail); /* not yet waited for, it is the jail's still */
        while (waitpid(guest->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        guest->pid = 0;
        guest->jail = 0;
    }
    fd_close(&guest->fd);
}

static int guest_start(struct host *host, const struct guest_request *request, struct guest *guest,
                       struct err *err)
{
    (void)host;
    _cleanup_arena_ struct arena arena = {0};
    const char *ifname = freebsd_epair_other(&arena, request->nic->tap);
    int pair[2];
    pid_t parent = getpid();
    *guest = (struct guest){.fd = -1};
    if (!ifname)
        return err_set(err, EINVAL, "'%s' is no epair", request->nic->tap);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(err, errno, "starting a guest");
    guest->pid = fork();
    if (guest->pid == 0) {
        close(pair[0]);
        live(request, ifname, parent, pair[1]);
    }
    int code = errno;
    close(pair[1]);
    if (guest->pid < 0) {
        close(pair[0]);
        return err_errno(err, code, "starting a guest");
    }
    guest->fd = pair[0];
    int rc = guest->jail = hear(guest, err);
    if (rc > 0)
        rc = move(&arena, ifname, guest->jail, err);
    if (rc == 0 && send(guest->fd, "m", 1, MSG_NOSIGNAL) != 1)
        rc = err_errno(err, errno, "starting a guest");
    if (rc == 0)
        rc = hear(guest, err);
    if (rc < 0)
        guest_end(guest);
    return rc;
}

const struct host_guest freebsd_guest = {
    .start = guest_start,
    .end = guest_end,
    .lease = freebsd_guest_lease,
    .address_set = freebsd_guest_address_set,
    .arp_open = freebsd_guest_arp_open,
    .arp_read = freebsd_guest_arp_read,
    .never_fragment = freebsd_guest_never_fragment,
    .solicit = true,
};
