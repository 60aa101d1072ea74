/* rates_system.c: limits of rates, as this host has them: what its programs say, and a nic that comes or
 * goes. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "host/freebsd/system.h"

#define RECORD FREEBSD_RUN_DIR "/former-rates" /* plan/host_steps.c: some network has rates */

/* Those that are not there are told on stderr, and in the status. */
static int look(struct arena *arena, struct freebsd_rates *seen, bool *loaded, struct err *err)
{
    struct freebsd_answer answer;
    struct freebsd_command ask = FREEBSD_COMMAND(arena, "sysctl", FREEBSD_RATE_SYSCTLS);
    int rc = freebsd_run(arena, &ask, &answer, err);
    *seen = (struct freebsd_rates){.sysctls = answer.output, .rules = "", .pipes = ""};
    *loaded = rc == 0 && freebsd_sysctl_parse(arena, seen->sysctls, "net.inet.ip.fw.enable");
    if (!*loaded)
        return rc;
    rc = FREEBSD_ASK(arena, &answer, err, "ipfw", "list");
    if (rc < 0)
        return err_wrap(err, "reading the rules of ipfw");
    seen->rules = answer.output;
    if (freebsd_sysctl_parse(arena, seen->sysctls, "net.inet.ip.dummynet.pipe_byte_limit")) {
        rc = FREEBSD_ASK(arena, &answer, err, "ipfw", "-v", "pipe", "list");
        seen->pipes = answer.output;
    }
    return rc < 0 ? err_wrap(err, "reading the pipes of dummynet") : 0;
}

int freebsd_rates_observe(struct arena *arena, struct observed *observed, struct err *err)
{
    struct freebsd_rates seen;
    bool loaded;
    int rc = look(arena, &seen, &loaded, err);
    if (rc == 0)
        freebsd_rates_judge(arena, loaded ? &seen : NULL, observed);
    return rc;
}

/* Somebody may have told ipfw already: then that is his, and stays. */
void freebsd_rates_probe(struct arena *arena, struct observed *observed)
{
    struct freebsd_answer answer;
    struct freebsd_command ask = FREEBSD_COMMAND(arena, "kenv", "-q", "net.inet.ip.fw.default_to_accept");
    if (observed->shaping.ipfw && freebsd_run(arena, &ask, &answer, NULL) == 0 && answer.status == 0 &&
        answer.output[0] == '1')
        observed->shaping.accept = false;
}

static int rate_set(struct arena *arena, const struct op *op, struct err *err)
{
    struct freebsd_commands commands;
    int rc = 0;
    freebsd_commands(arena, op, &commands);
    for (size_t i = 0; rc == 0 && i < commands.list.count; i++) {
        struct freebsd_answer answer;
        const struct freebsd_command *command = &commands.list.items[i];
        rc = freebsd_run(arena, command, &answer, err);
        if (rc == 0 && answer.status != 0)
            rc = freebsd_failure(arena, op, command, answer.status, answer.output, answer.errors, 0, err);
    }
    return rc;
}

/* Is what the nic's rates stand on there? */
static int shaping_check(struct arena *arena, const struct nic_request *request, const char *tap,
                         struct err *err)
{
    struct observed seen = {0};
    if (request->mac_unknown)
        return err_set(
            err, ENOTSUP,
            "its rate goes by its MAC, and the program may choose another: have {mac0} in its command");
    int rc = freebsd_rates_observe(arena, &seen, err);
    for (int way = 0; way < RATE_WAYS && rc == 0; way++) {
        bool there = !request->rates.way[way].bits_s;
        vec_foreach (&seen.shapers, shaper)
            there |= shaper->outward == (way == RATE_OUT) && strcmp(shaper->network, request->network) == 0;
        if (!there)
            rc = err_set(
                err, EAGAIN,
                "network '%s' has nothing to limit what goes %s by: a nic of it in the file has to have "
                "such a rate, and `vmwire up`",
                request->network, rate_way_name((enum rate_way)way));
    }
    if (rc == 0 && !freebsd_rate_number(tap, RATE_IN))
        rc = err_set(err, ENOTSUP, "'%s' cannot have a rate: those of tap0 to tap3998 can", tap);
    return rc;
}

/* What another tap of that name left goes in any case. */
int freebsd_rates_open(struct arena *arena, const struct nic_request *request, const char *tap,
                       struct err *err)
{
    const struct rate *in = &request->rates.way[RATE_IN], *out = &request->rates.way[RATE_OUT];
    struct op op = {.kind = OP_RATE_SET,
                    .network = request->network,
                    .nic_rates = {.ifname = tap,
                                  .mac = request->mac,
                                  .in = {.shaped = in->bits_s, .rate = *in},
                                  .out = {.shaped = out->bits_s, .rate = *out}}};
    bool wanted = in->bits_s || out->bits_s;
    if (!wanted && access(RECORD, F_OK) < 0)
        return 0;
    int rc = wanted ? shaping_check(arena, request, tap, err) : 0;
    if (rc == 0)
        rc = rate_set(arena, &op, err);
    return rc < 0 ? err_wrap(err, "limiting its rate") : 0;
}

void freebsd_rates_close(struct arena *arena, const char *tap)
{
    struct op op = {.kind = OP_RATE_SET, .network = "", .nic_rates = {.ifname = tap}};
    if (access(RECORD, F_OK) == 0)
        rate_set(arena, &op, NULL);
}
