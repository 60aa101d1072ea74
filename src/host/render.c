/* render.c: which host renders how: render.h. */
#include "host/render.h"

#include <stddef.h>
#include <string.h>

static const struct {
    const char *host;
    host_render render;
} renderers[] = {
    {"linux", linux_render},
};

host_render host_render_find(const char *host)
{
    for (size_t i = 0; i < sizeof(renderers) / sizeof(renderers[0]); i++) {
        if (strcmp(renderers[i].host, host) == 0)
            return renderers[i].render;
    }
    return NULL;
}
