/* library.h: shared libraries that few commands need, loaded where they are used.  Linked, libpcap, libkmod,
 * libpci and what they need in turn (D-Bus, OpenSSL, udev) would take most of the time of a start. */
#pragma once

#include <stddef.h>

#include "base/err.h"

struct library_function {
    const char *name;
    void *pointer; /* to the function pointer that is set */
};

struct library {
    const char *const *sonames; /* the same library on several systems: the first that is there; NULL ends */
    const struct library_function *functions;
    size_t count;
    void *handle; /* NULL: not loaded.  It stays loaded. */
};

/* Defines the struct library `variable`, and for each NAME in `NAMES(DO)`, which is DO(NAME) DO(NAME)…, a
 * function pointer sym_NAME with the type that a header declares.  What follows are sonames. */
#define LIBRARY(variable, NAMES, ...)                                                                        \
    NAMES(LIBRARY_POINTER)                                                                                   \
    static const struct library_function variable##_functions[] = {NAMES(LIBRARY_FUNCTION)};                 \
    static struct library variable = {.sonames = (const char *const[]){__VA_ARGS__, NULL},                   \
                                      .functions = variable##_functions,                                     \
                                      .count = sizeof(variable##_functions) / sizeof(*variable##_functions)}
#define LIBRARY_POINTER(symbol) static __typeof__(symbol) *sym_##symbol;
#define LIBRARY_FUNCTION(symbol) {#symbol, &sym_##symbol},

/* Loads the library, unless it is, and sets its function pointers, all or none.  Returns 0, or -ENOENT: it is
 * not installed, or lacks one of them; err says which.  Source: dlopen(3), dlsym(3). */
int library_load(struct library *library, struct err *err);
