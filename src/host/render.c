/* render.c: which host renders how: render.h. */
#include "host/render.h"

#include <stddef.h>

#include "host/profile.h"

host_render host_render_find(const char *host)
{
    const struct host_profile *profile = host_profile_find(host);
    return profile ? profile->render : NULL;
}
