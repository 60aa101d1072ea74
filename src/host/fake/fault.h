/* fault.h: makes one change of a host fail, or kills the program there.  For the tests' twin of the program,
 * never installed. */
#ifndef VMWIRE_HOST_FAKE_FAULT_H
#define VMWIRE_HOST_FAKE_FAULT_H

#include "host/host.h"

/* Wrap `host` as the environment variable VMWIRE_FAULT says: "fail-before N", "fail-after N" (-EIO; the
 * operation was done), "kill-before N", "kill-after N" (SIGKILL to all of this vmwire;
 * "kill-caller-…" and "kill-guard-…" to one of the two, where a guard makes the change).  N counts the
 * operations applied from 1; rolling back and giving back do not count, and with "tolerant-" in front nothing
 * else.  One host of a process can be wrapped. */
int host_fault_wrap(struct host *host, struct err *err);

#endif
