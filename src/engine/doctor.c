/* doctor.c: what status knows, given to diag's doctor. */
#include "engine/doctor.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "diag/doctor.h"
#include "engine/machine.h"

static void add_network(struct arena *arena, struct doctor_request *request,
                        const struct status_network *network)
{
    struct doctor_network *added = vec_push(arena, &request->networks);
    int64_t now = (int64_t)time(NULL);
    added->name = network->name;
    added->entry = network->entry;
    added->mode = network->mode;
    added->up = network->state != STATE_DOWN;
    added->uplink = network->uplink;
    added->port = network->port;
    added->vlan = network->vlan;
    added->uplink_named = network->uplink && !network->uplink_default;
    vec_foreach (&network->leases.list, lease) {
        if ((lease->expires && lease->expires < now) || lease->ip.family == AF_INET6)
            continue;
        *vec_push(arena, &added->leases) = (struct doctor_lease){.mac = lease->mac, .ip = lease->ip};
    }
    vec_foreach (&network->drift, line)
        *vec_push(arena, &added->drift) = *line;
}

static void add_machine(struct engine *engine, struct doctor_request *request, const char *name,
                        const struct machine *entry)
{
    struct machine_state state = {0};
    if (machine_state(engine->host, name, false, &state, NULL) < 0)
        state = (struct machine_state){0};
    *vec_push(engine->arena, &request->machines) =
        (struct doctor_machine){.name = name, .entry = entry, .running = state.running, .pid = state.pid};
}

/* Machines that left the file, by their nics. */
static void add_leavers(struct engine *engine, struct doctor_request *request)
{
    struct names known = {0};
    vec_foreach (&request->machines, machine)
        names_add(engine->arena, &known, machine->name);
    vec_foreach (&engine->observed.links, link) {
        struct wired_nic nic;
        if (owner_nic(engine->arena, link, &nic) && strcmp(nic.machine, "-") != 0 &&
            names_add(engine->arena, &known, nic.machine) == request->machines.count)
            add_machine(engine, request, nic.machine, NULL);
    }
}

int engine_doctor(struct engine *engine, const struct model *model, const struct status *status,
                  const char *name, struct findings *findings, struct err *err)
{
    struct doctor_request request = {.model = model, .observed = &engine->observed, .name = name};
    vec_foreach (&status->networks, network)
        add_network(engine->arena, &request, network);
    vec_foreach (&model->machines, machine)
        add_machine(engine, &request, machine->name, machine);
    add_leavers(engine, &request);
    vec_foreach (&status->host_drift, line)
        *vec_push(engine->arena, &request.host_drift) = *line;
    return doctor_run(engine->arena, engine->host, &request, findings, err);
}
