/* hyper.h: a machine entry as a hypervisor's command line.  Pure: no process is started here.
 *
 * A command line carries placeholders where the nics go, the same that `vmwire exec` knows: {tap0} the tap's
 * name, {mac0} the guest's MAC, {mtu0} its MTU, {fd0} the first descriptor of nic 0, {fds0} all of its
 * descriptors joined by ':', {vhostfds0} likewise for vhost.  nic_substitute (engine) fills them in, so that
 * `run`, `args` and `exec` are one mechanism. */
#ifndef VMWIRE_HYPER_HYPER_H
#define VMWIRE_HYPER_HYPER_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "model/model.h"

/* How many nics a running machine can be given beyond those that it started with. */
enum { HYPER_SPARE_NICS = 8 };

/* What the machine entry does not say. */
struct hyper_options {
    bool accelerated;       /* hardware virtualisation can be used */
    bool vhost;             /* the host has /dev/vhost-net */
    bool background;        /* `start`: daemonize, serial on a socket */
    const char *qmp_path;   /* control socket; NULL: none (`args`), and no room for further nics */
    const char *agent_path; /* socket of the guest's agent, for a machine that has one; NULL: none */
    const char *pid_path;   /* NULL: none */
    const char
        *serial_path; /* socket for the serial console, with SERIAL_SOCKET or in the background; NULL: none */
    const char *directory; /* where relative paths start; NULL: left as they are */
    const char *wait_path; /* second control socket, for display.wait: the guest is held (-S) until somebody
                            * says `cont` there; NULL: the guest is not held */
    const char *vars_path; /* with FIRMWARE_UEFI: the machine's own variable store, a copy of firmware->vars
                            * that the caller made; NULL: a throw-away copy, forgotten when the guest ends */
    const char *const
        *devices;         /* one a nic: the PCI address of a passthrough nic's device, NULL for a nic with a
                           * tap; the placeholders count the taps only.  NULL: every nic has a tap */
    const uint32_t *mtus; /* one a nic: its network's MTU; 0 not known.  NULL: none is */
    const char *firmware_directory; /* where OVMF is; NULL: where distributions put it */
};

/* UEFI firmware: code, which is never written, and the variable store that a machine starts with. */
struct hyper_firmware {
    const char *code, *vars;
};

/* Find OVMF.  `directory` NULL: the known places.  -ENOENT, naming the package, when it is not installed. */
int qemu_firmware_find(struct arena *arena, const char *directory, struct hyper_firmware *firmware,
                       struct err *err);

/* The command line, NULL-terminated, in the arena; argv[0] is the program's name, to be found by
 * program_find. Errors: -EINVAL for what this hypervisor cannot do, naming the machine and the key; -ENOENT
 * for firmware that is not installed, naming the package. */
int qemu_argv(struct arena *arena, const struct machine *machine, const struct hyper_options *options,
              const char *const **argv, struct err *err);

/* The same for bhyve.  Of the options it reads background, directory, devices (also as 3/0/0) and
 * firmware_directory; it looks at no file. */
int bhyve_argv(struct arena *arena, const struct machine *machine, const struct hyper_options *options,
               const char *const **argv, struct err *err);

#endif
