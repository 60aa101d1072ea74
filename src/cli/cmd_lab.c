/* cmd_lab.c: `vmwire lab`: a private practice host around a command, or around a shell. */
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "lab/lab.h"

static const char welcome[] =
    "\n"
    "  The lab: a practice host of your own.  Nothing reaches the real one; `exit` takes it all away.\n"
    "\n"
    "    re0   192.168.87.44, the way out          re1   down and bare, yours to wire\n"
    "    router 192.168.87.1: DHCP, DNS, NAT       8.8.8.8: ping, DNS, http\n"
    "\n"
    "  Try:\n"
    "    ip -br address                            what the host looks like\n"
    "    ping -c 1 8.8.8.8                         through the router's NAT\n"
    "    ip netns exec router tcpdump -ni lan      what the router sees (internet is the other one)\n"
    "    vmwire -c FILE plan                       what `vmwire up` would do here\n"
    "    vmwire -c FILE up && vmwire status        do it; `vmwire down` puts all back\n"
    "\n";

/* The command has options of its own: ours end before the first word that is none. */
static int options_end(int argc, char **argv)
{
    int end = 1;
    while (end < argc && argv[end][0] == '-' && argv[end][1] && strcmp(argv[end], "--") != 0)
        end++;
    return end;
}

int cmd_lab(struct cli *cli, int argc, char **argv)
{
    struct lab_options lab = {.welcome = welcome};
    const struct cli_option options[] = {{"--single-mac", .flag = &lab.single_mac}, {0}};
    int end = options_end(argc, argv), count = end;
    char *first = argv[end]; /* cli_options ends what it keeps with a NULL, which may be here */
    int status = cli_options(cli, &count, argv, options);
    argv[end] = first;
    if (status != EXIT_DONE)
        return status;
    if (end < argc && strcmp(argv[end], "--") == 0)
        end++;
    if (end < argc)
        lab.argv = (const char *const *)argv + end;

    struct err err = {0};
    if (lab_check(&err) < 0)
        fprintf(stderr, "%s: warning: %s; the lab works without guests\n", cli->program, err.text);
    err = (struct err){0};
    if (lab_run(&lab, &status, &err) < 0) {
        int refused = cli_fail(cli, &err);
        return status ? status : refused;
    }
    return status;
}
