/* library.c: dlopen(3) behind library.h. */
#include "base/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

int library_load(struct library *library, struct err *err)
{
    if (library->handle)
        return 0;
    void *handle = NULL;
    for (const char *const *soname = library->sonames; !handle && *soname; soname++)
        handle = dlopen(*soname, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return err_set(err, ENOENT, "the library '%s', which this needs, is not installed",
                       library->sonames[0]);
    for (int set = 0; set < 2; set++) {
        for (size_t i = 0; i < library->count; i++) {
            const struct library_function *function = &library->functions[i];
            void *address = dlsym(handle, function->name);
            if (!address) {
                dlclose(handle);
                return err_set(err, ENOENT, "the library '%s' has no '%s': it is too old",
                               library->sonames[0], function->name);
            }
            if (set)
                memcpy(function->pointer, &address, sizeof(address));
        }
    }
    library->handle = handle;
    return 0;
}
