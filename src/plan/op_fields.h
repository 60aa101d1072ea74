/* op_fields.h: which members each kind of operation has, for op.c. */
#ifndef VMWIRE_PLAN_OP_FIELDS_H
#define VMWIRE_PLAN_OP_FIELDS_H

#include "plan/op.h"

enum field_type { F_TEXT, F_BOOL, F_U8, F_U32, F_MAC, F_IP, F_PREFIX, F_RATE, F_ARGV, F_FORWARDS };

struct field {
    const char *name;
    enum field_type type;
    size_t offset;
    unsigned optional; /* written only when this bit of the operation's fields is set; 0: always */
};

struct op_members {
    const char *name;           /* "link-create" */
    const struct field *fields; /* ending with a NULL name */
    size_t network;             /* where in struct op the network's name is once more; 0: nowhere */
};
extern const struct op_members op_members[OP_KIND_COUNT];

#endif
