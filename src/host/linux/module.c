/* module.c: kernel modules, through libkmod: linux.h. */
#include <errno.h>
#include <libkmod.h>

#include "base/library.h"
#include "host/linux/linux.h"

/* clang-format off */
#define KMOD_FUNCTIONS(DO) \
    DO(kmod_list_next) DO(kmod_module_get_module) DO(kmod_module_new_from_lookup) \
    DO(kmod_module_probe_insert_module) DO(kmod_module_unref) DO(kmod_module_unref_list) DO(kmod_new) \
    DO(kmod_unref)
/* clang-format on */

LIBRARY(kmod_library, KMOD_FUNCTIONS, "libkmod.so.2");

bool module_available(const char *name)
{
    if (library_load(&kmod_library, NULL) < 0)
        return true; /* module_load says what is missing */
    struct kmod_ctx *context = sym_kmod_new(NULL, NULL);
    struct kmod_list *list = NULL;
    bool found = context && sym_kmod_module_new_from_lookup(context, name, &list) == 0 && list;
    sym_kmod_module_unref_list(list);
    sym_kmod_unref(context);
    return found;
}

int module_load(const char *name, struct err *err)
{
    int rc = library_load(&kmod_library, err);
    if (rc < 0)
        return err_wrap(err, "loading the kernel module '%s'", name);
    struct kmod_ctx *context = sym_kmod_new(NULL, NULL);
    struct kmod_list *list = NULL;
    rc = context ? sym_kmod_module_new_from_lookup(context, name, &list) : -ENOMEM;
    if (rc == 0 && !list)
        rc = -ENOENT;
    for (struct kmod_list *item = list; rc == 0 && item; item = sym_kmod_list_next(list, item)) {
        struct kmod_module *module = sym_kmod_module_get_module(item);
        rc = sym_kmod_module_probe_insert_module(module, 0, NULL, NULL, NULL, NULL);
        sym_kmod_module_unref(module);
    }
    sym_kmod_module_unref_list(list);
    sym_kmod_unref(context);
    return rc < 0 ? err_errno(err, rc, "loading the kernel module '%s'", name) : 0;
}
