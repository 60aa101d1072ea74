/* identity.h: root of the lab without being root outside; lab.c is its only caller. */
#ifndef VMWIRE_LAB_IDENTITY_H
#define VMWIRE_LAB_IDENTITY_H

#include <sys/types.h>

#include "base/err.h"

/* In a new user namespace: become its uid and gid 0, which are `uid` and `gid` outside, and let programs that
 * give up root believe that they did.  Errors: user_namespaces(7)'s. */
int identity_take(uid_t uid, gid_t gid, struct err *err);

#endif
