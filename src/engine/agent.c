/* agent.c: a running machine's agent: machine_agent_ping of machine.h. */
#include <errno.h>
#include <unistd.h>

#include "engine/machine.h"
#include "engine/machine_dir.h"
#include "hyper/agent.h"

enum { ANSWER_MS = 1500 };

int machine_agent_ping(struct host *host, const char *name, const struct ip *target, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_machine_dir_ struct machine_dir dir = {.lock_fd = -1};
    int rc = machine_dir_init(&dir, &arena, host, name, err);
    if (rc < 0)
        return rc;
    if (access(dir.agent, F_OK) < 0)
        return err_set(err, ENOENT, "machine '%s' was not started with 'agent: yes'", name);
    rc = agent_ping(dir.agent, target, ANSWER_MS, err);
    return rc < 0 ? err_wrap(err, "machine '%s'", name) : 0;
}
