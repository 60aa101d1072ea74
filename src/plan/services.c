/* services.c: a network's helper programs and their files.
 *
 * A change of a program's configuration needs a new start; a change of a table alone does not, and guests
 * notice nothing. */
#include <string.h>
#include <strings.h>

#include "plan/internal.h"

static void put_file(struct planner *planner, const struct passage *passage, const struct file *file)
{
    const struct file *old = file_find(planner->observed, file->path);
    if (old && file_equal(old, file))
        return;
    struct op op = op_for(passage, OP_FILE_WRITE);
    op.file = *file;
    struct op undo = op;
    if (old)
        undo.file = *old;
    else
        undo.kind = OP_FILE_REMOVE;
    step_add(planner, &op, &undo);
}

void file_put(struct planner *planner, const struct passage *passage, const char *path, const char *content)
{
    put_file(planner, passage, &(struct file){.path = path, .content = content, .mode = 0600});
}

static const struct service *service_wanted(const struct passage *passage, const char *kind)
{
    if (!passage->services)
        return NULL;
    vec_foreach (&passage->services->services, service) {
        if (strcmp(service->kind, kind) == 0)
            return service;
    }
    return NULL;
}

/* A service must start anew when one of its files changes. */
static bool files_changed(const struct planner *planner, const struct passage *passage)
{
    if (!passage->services)
        return false;
    vec_foreach (&passage->services->files, file) {
        const struct file *old = file_find(planner->observed, file->path);
        if (!old || strcmp(old->content, file->content) != 0)
            return true;
    }
    return false;
}

/* It must also start anew when the bridge that it is bound to is made anew. */
bool service_stays(const struct planner *planner, const struct passage *passage, const char *kind)
{
    return service_wanted(passage, kind) && !files_changed(planner, passage) && passage->bridge;
}

const struct service *service_running(const struct planner *planner, const char *network, const char *kind)
{
    vec_foreach (&planner->observed->services, service) {
        if (strcmp(service->network, network) == 0 && strcmp(service->kind, kind) == 0)
            return service;
    }
    return NULL;
}

/* --- the host's own resolver */

static const struct resolver *resolver_now(const struct planner *planner, const struct passage *passage)
{
    vec_foreach (&planner->observed->resolvers, resolver) {
        if (passage->bridge && strcmp(resolver->ifname, passage->name) == 0)
            return resolver;
    }
    return NULL;
}

static bool resolver_wanted(const struct planner *planner, const struct passage *passage)
{
    return passage->want.mode && network_has_subnet(passage->network) && passage->network->dns &&
           planner->observed->resolver_runs;
}

static void resolver_down(struct planner *planner, const struct passage *passage)
{
    const struct resolver *now = resolver_now(planner, passage);
    if (!now || resolver_wanted(planner, passage))
        return;
    struct op op = op_for(passage, OP_RESOLVER_CLEAR), undo = op_for(passage, OP_RESOLVER_SET);
    op.resolver = undo.resolver = *now;
    bool whole = ip_is_set(&now->server) && *now->domain;
    step_add_at(planner, STAGE_FIRST, &op, whole ? &undo : &(struct op){0});
}

static void resolver_up(struct planner *planner, const struct passage *passage)
{
    if (!resolver_wanted(planner, passage))
        return;
    const struct resolver *now = resolver_now(planner, passage);
    struct op op = op_for(passage, OP_RESOLVER_SET), undo = op_for(passage, OP_RESOLVER_CLEAR);
    op.resolver = undo.resolver = (struct resolver){.ifname = passage->name,
                                                    .server = network_host_address(passage->network).ip,
                                                    .domain = passage->network->domain};
    if (now && ip_equal(&now->server, &op.resolver.server) &&
        strcasecmp(now->domain, op.resolver.domain) == 0)
        return;
    if (now && ip_is_set(&now->server) && *now->domain) {
        undo.kind = OP_RESOLVER_SET;
        undo.resolver = *now;
    }
    step_add_at(planner, STAGE_LAST, &op, &undo);
}

/* A DHCP client is how the host has its address: it goes and comes with what it stands on. */
static enum stage stage_of(const struct planner *planner, const struct service *service, enum stage servers)
{
    return strcmp(service->kind, "dhcp-client") == 0 ? planner->stage : servers;
}

void services_steps_down(struct planner *planner, const struct passage *passage)
{
    resolver_down(planner, passage);
    vec_foreach (&planner->observed->services, service) {
        if (strcmp(service->network, passage->name) != 0 || service_stays(planner, passage, service->kind))
            continue;
        struct op op = op_for(passage, OP_SERVICE_STOP), undo = op_for(passage, OP_SERVICE_START);
        op.service = undo.service = *service;
        step_add_at(planner, stage_of(planner, service, STAGE_STOP), &op, &undo);
    }
}

/* A table of a service that goes on running is read anew; else it is there before the service starts. */
static void put_tables(struct planner *planner, const struct passage *passage)
{
    const struct network_services *services = passage->services;
    const struct service *service = services->services.count ? &services->services.items[0] : NULL;
    bool stays = service && service_running(planner, passage->name, service->kind) &&
                 service_stays(planner, passage, service->kind);
    vec_foreach (&services->tables, file) {
        const struct file *old = file_find(planner->observed, file->path);
        if (!stays || !old) {
            put_file(planner, passage, file);
            continue;
        }
        if (file_equal(old, file))
            continue;
        struct op op = op_for(passage, OP_SERVICE_RELOAD);
        op.reload = (struct reload){.kind = service->kind,
                                    .pid_path = service->pid_path,
                                    .path = file->path,
                                    .content = file->content,
                                    .mode = file->mode,
                                    .group = file->group};
        struct op undo = op;
        undo.reload.content = old->content;
        undo.reload.mode = old->mode;
        undo.reload.group = old->group;
        step_add(planner, &op, &undo);
    }
}

void services_steps_up(struct planner *planner, const struct passage *passage)
{
    if (!passage->services)
        return;
    vec_foreach (&passage->services->files, file)
        file_put(planner, passage, file->path, file->content);
    put_tables(planner, passage);
    vec_foreach (&passage->services->state, file) {
        if (!file_find(planner->observed, file->path))
            file_put(planner, passage, file->path, file->content);
    }
    vec_foreach (&passage->services->services, service) {
        if (service_running(planner, passage->name, service->kind) &&
            service_stays(planner, passage, service->kind))
            continue;
        struct op op = op_for(passage, OP_SERVICE_START), undo = op_for(passage, OP_SERVICE_STOP);
        op.service = undo.service = *service;
        step_add_at(planner, stage_of(planner, service, STAGE_START), &op, &undo);
    }
    resolver_up(planner, passage);
}

/* Leases that were given stay : the next `up` gives a guest the address that it had. */
void leases_steps_down(struct planner *planner, const struct passage *passage)
{
    const char *path = leases_path(planner->arena, planner->observed->run_dir, passage->name);
    const struct file *file = file_find(planner->observed, path);
    if (!file || *file->content)
        return;
    struct op op = op_for(passage, OP_FILE_REMOVE), undo = op_for(passage, OP_FILE_WRITE);
    op.file = undo.file = *file;
    step_add(planner, &op, &undo);
}
