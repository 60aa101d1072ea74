/* json.c: the writer of json.h.  libfyaml's JSON emitter prints the string "10" as a number; this one keeps
 * types. */
#include "base/json.h"

#include <string.h>

static void quoted(struct text *out, const char *value)
{
    text_add(out, "\"");
    for (const unsigned char *c = (const unsigned char *)value; *c;) {
        if (*c == '"' || *c == '\\') {
            text_add(out, "\\%c", *c++);
        } else if (*c == '\n') {
            text_add(out, "\\n");
            c++;
        } else if (*c < 0x20 || *c == 0x7f) {
            text_add(out, "\\u%04x", *c++);
        } else if (*c < 0x80) {
            text_add_bytes(out, (const char *)c++, 1);
        } else {
            size_t length = *c >= 0xf0 && *c < 0xf5 ? 4 : *c >= 0xe0 ? 3 : *c >= 0xc2 ? 2 : 0;
            size_t have = 1;
            while (have < length && (c[have] & 0xc0) == 0x80)
                have++;
            if (length == 0 || *c >= 0xf5 || have < length) {
                text_add(out, "\\ufffd");
                c++;
            } else {
                text_add_bytes(out, (const char *)c, length);
                c += length;
            }
        }
    }
    text_add(out, "\"");
}

static void begin(struct json *json, const char *key)
{
    if (json->filled)
        text_add(json->out, ",");
    if (json->depth)
        text_add(json->out, "\n%*s", json->depth * 2, "");
    if (key) {
        quoted(json->out, key);
        text_add(json->out, ": ");
    }
    json->filled = true;
}

static void open_with(struct json *json, const char *key, const char *bracket)
{
    begin(json, key);
    text_add(json->out, "%s", bracket);
    json->depth++;
    json->filled = false;
}

static void close_with(struct json *json, const char *bracket)
{
    json->depth--;
    if (json->filled)
        text_add(json->out, "\n%*s", json->depth * 2, "");
    text_add(json->out, "%s", bracket);
    json->filled = true;
    if (json->depth == 0)
        text_add(json->out, "\n");
}

void json_object_open(struct json *json, const char *key)
{
    open_with(json, key, "{");
}

void json_object_close(struct json *json)
{
    close_with(json, "}");
}

void json_array_open(struct json *json, const char *key)
{
    open_with(json, key, "[");
}

void json_array_close(struct json *json)
{
    close_with(json, "]");
}

void json_string(struct json *json, const char *key, const char *value)
{
    if (!value) {
        json_null(json, key);
        return;
    }
    begin(json, key);
    quoted(json->out, value);
}

void json_integer(struct json *json, const char *key, int64_t value)
{
    begin(json, key);
    text_add(json->out, "%lld", (long long)value);
}

void json_bool(struct json *json, const char *key, bool value)
{
    begin(json, key);
    text_add(json->out, value ? "true" : "false");
}

void json_null(struct json *json, const char *key)
{
    begin(json, key);
    text_add(json->out, "null");
}
