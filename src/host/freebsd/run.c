/* run.c: running FreeBSD's programs. */
#include <errno.h>
#include <string.h>

#include "base/spawn.h"
#include "base/text.h"
#include "host/freebsd/system.h"

/* A NIC's driver may take seconds to attach; nothing that is run here waits for a network. */
enum { COMMAND_TIMEOUT_MS = 60000 };

int freebsd_run(struct arena *arena, const struct freebsd_command *command, struct freebsd_answer *answer,
                struct err *err)
{
    struct spawn spawn = {
        .argv = command->argv, .input = command->input, .timeout_ms = COMMAND_TIMEOUT_MS, .arena = arena};
    int rc = spawn_run(&spawn, err);
    *answer = (struct freebsd_answer){.output = spawn.output ? spawn.output : "",
                                      .errors = spawn.errors ? spawn.errors : "",
                                      .status = spawn.status};
    return rc;
}

int freebsd_ask(struct arena *arena, const char *const words[], struct freebsd_answer *answer,
                struct err *err)
{
    struct freebsd_command command = freebsd_command(arena, words);
    int rc = freebsd_run(arena, &command, answer, err);
    if (rc < 0 || answer->status == 0)
        return rc;
    return err_set(err, EIO, "'%s' ended with status %d: %.*s", shell_join(arena, words), answer->status,
                   (int)strcspn(answer->errors, "\n"), answer->errors);
}
