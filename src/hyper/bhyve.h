/* bhyve.h: what bhyve(8) says and does beyond its command line (hyper.h).  Pure. */
#ifndef VMWIRE_HYPER_BHYVE_H
#define VMWIRE_HYPER_BHYVE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/arena.h"
#include "model/address.h"

/* The UEFI firmware of FreeBSD's package bhyve-firmware. */
#define BHYVE_UEFI "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd"

/* The MAC that bhyve gives a nic without `mac=`: 00:a0:98 and the first three bytes of the MD5 (RFC 1321) of
 * "SLOT-FUNCTION-MACHINE".  Source: bhyve's net_utils.c; the machines of the transcripts. */
void bhyve_mac(const char *machine, unsigned slot, unsigned function, struct mac *mac);

/* One side of the pair of nmdm(4) devices that is a machine's first serial port: 'A' the guest's, 'B' the
 * console's. */
const char *bhyve_console(struct arena *arena, const char *machine, char side);

struct bhyve_device {
    unsigned domain, bus, slot, function;
};

/* "3/0/0", "pci0:3:0:0" (pciconf(8)) or "0000:03:00.0".  -EINVAL. */
int bhyve_device_parse(const char *text, struct bhyve_device *device);

/* What is there from the moment when bhyve has made the machine until `bhyvectl --destroy`, also when bhyve
 * has ended: "/dev/vmm/NAME". */
const char *bhyve_node(struct arena *arena, const char *machine);
/* How bhyve calls itself, setproctitle(3), once it has opened everything and the guest runs: "bhyve: NAME".
 */
const char *bhyve_title(struct arena *arena, const char *machine);
/* `bhyvectl ORDER --vm=NAME`, NULL-terminated, in the arena.  --destroy of a machine that is not there prints
 * "is not created" and ends with 1; of one whose bhyve runs it takes the node and leaves the process, which
 * keeps the tap: to be asked only when the process has ended. */
#define BHYVE_DESTROY "--destroy"
#define BHYVE_POWER_OFF_NOW "--force-poweroff"
const char *const *bhyve_control(struct arena *arena, const char *machine, const char *order);
/* `pgrep -lf bhyve`: the process of this machine, also one that is starting; 0 none. */
pid_t bhyve_pid_parse(const char *text, const char *machine);
/* The last line that bhyve said that is worth showing, in the arena, "" none: the errno in "device emulation
 * initialization error: …" is an earlier call's, so the line before it tells. */
const char *bhyve_last_words(struct arena *arena, const char *said);
/* What an error that bhyve printed means and what would help, or NULL. */
const char *bhyve_meaning(const char *said);

/* How a bhyve process ended. */
enum bhyve_end {
    BHYVE_REBOOT,       /* 0: to be started again */
    BHYVE_POWER_OFF,    /* 1 */
    BHYVE_HALT,         /* 2 */
    BHYVE_TRIPLE_FAULT, /* 3; abort(3) on FreeBSD 12.1 */
    BHYVE_USAGE,        /* 1 or 64 before there was a guest */
    BHYVE_ERROR,        /* 4, 71 and the like: a device or the machine could not be made */
    BHYVE_CRASH,        /* another signal */
    BHYVE_KILLED,       /* by SIGKILL, SIGTERM, SIGINT or SIGHUP */
};

/* `status`: the exit status, or 128 and the number of a signal.  `ran`: there was a guest, which tells a
 * power-off (1) from a usage error (1 too). */
enum bhyve_end bhyve_exit(int status, bool ran);
/* "the guest powered off", … */
const char *bhyve_end_text(enum bhyve_end end);

#endif
