/* render.c: operations as ifconfig(8), pfctl(8), route(8), sysctl(8) and sh(1) of FreeBSD would have them:
 * what apply.c runs, word for word.  Pure. */
#include "host/render.h"

#include <string.h>

#include "base/text.h"
#include "host/freebsd/freebsd.h"
#include "host/render_file.h"

/* Programs of the base system are found by every shell. */
static const char *typed(const char *path)
{
    static const char *const folders[] = {"/sbin/", "/bin/", "/usr/sbin/", "/usr/bin/"};
    for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
        size_t length = strlen(folders[i]);
        if (strncmp(path, folders[i], length) == 0 && !strchr(path + length, '/'))
            return path + length;
    }
    return path;
}

static void render_command(struct arena *arena, struct text *out, const struct freebsd_command *command)
{
    for (size_t i = 0; command->argv[i]; i++)
        text_add(out, "%s%s", i ? " " : "",
                 shell_quote(arena, i ? command->argv[i] : typed(command->argv[i])));
    if (command->input)
        text_add(out, " <<'EOF'\n%sEOF", command->input);
    text_add(out, "\n");
}

const char *freebsd_render(struct arena *arena, const struct op *op)
{
    struct text out = {.arena = arena};
    struct freebsd_commands commands;
    freebsd_commands(arena, op, &commands);
    if (op->kind == OP_SERVICE_STOP)
        text_add(&out, "kill \"$(cat %s)\"\n", shell_quote(arena, op->service.pid_path));
    vec_foreach (&commands.list, command)
        render_command(arena, &out, command);
    switch (op->kind) {
    case OP_SERVICE_START:
        text_add(&out, "%s\n", shell_join(arena, op->service.argv));
        break;
    case OP_SERVICE_RELOAD:
        render_reload(arena, &out, &op->reload, FREEBSD_RUN_DIR);
        break;
    case OP_FILE_WRITE:
        render_file_write(arena, &out, &op->file, FREEBSD_RUN_DIR);
        break;
    case OP_FILE_REMOVE:
        render_file_remove(arena, &out, &op->file, FREEBSD_RUN_DIR, "", " 2>/dev/null || :");
        break;
    case OP_FUNCTIONS_SET:
    case OP_FUNCTION_SET:
        text_add(&out, "# SR-IOV functions are made by iovctl(8): see iovctl.conf(5)\n");
        break;
    case OP_PORT_VLAN_ADD: /* refused: struct host_traits */
    case OP_PORT_VLAN_REMOVE:
        text_add(&out, "# ports are as they are\n");
        break;
    case OP_LOCK_SET: /* never planned: struct host_traits */
    case OP_LOCK_REMOVE:
        text_add(&out, "# each nic's rules are its own\n");
        break;
    case OP_RESOLVER_SET:
    case OP_RESOLVER_CLEAR:
        text_add(&out, "# the host's resolver is resolvconf(8)'s\n");
        break;
    case OP_ADMISSION_ADD: /* never planned */
    case OP_ADMISSION_REMOVE:
    case OP_ZONE_ADD:
    case OP_ZONE_REMOVE:
    case OP_SHARED_SET: /* refused: struct host_traits */
    case OP_SHARED_REMOVE:
    case OP_SHARED_ADDRESS_ADD:
    case OP_SHARED_ADDRESS_REMOVE:
        text_add(&out, "# the main ruleset of pf is the administrator's: see pf.conf(5)\n");
        break;
    case OP_UNMANAGE:
    case OP_MANAGE:
        text_add(&out, "# none of FreeBSD's: there is no firewall and no manager of this kind\n");
        break;
    default:
        break;
    }
    return text_get(&out);
}
