/* json.h: writes JSON (RFC 8259) to a text, two spaces an indent. */
#ifndef VMWIRE_BASE_JSON_H
#define VMWIRE_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

/* A writer.  Start with {.out = &text}.  `key` is NULL inside an array and at the top. */
struct json {
    struct text *out;
    int depth;
    bool filled; /* the open object or array already has a member */
};

void json_object_open(struct json *json, const char *key);
void json_object_close(struct json *json);
void json_array_open(struct json *json, const char *key);
void json_array_close(struct json *json);
/* A string; NULL writes null.  Bytes that are not UTF-8 are written as U+FFFD. */
void json_string(struct json *json, const char *key, const char *value);
void json_integer(struct json *json, const char *key, int64_t value);
void json_bool(struct json *json, const char *key, bool value);
void json_null(struct json *json, const char *key);

#endif
