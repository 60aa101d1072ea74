/* machine.h: what the commands about one machine share. */
#ifndef VMWIRE_CLI_MACHINE_H
#define VMWIRE_CLI_MACHINE_H

#include "cli/cli.h"

/* argv[1], the only argument, as a name that can be a machine's.  EXIT_DONE or a usage error. */
int cli_machine_name(struct cli *cli, int argc, char **argv, const char **name);

/* For commands without options of their own: argv[1], the only argument, as a machine of the file, which is
 * read here.  EXIT_DONE, or what was printed for: the nearest name is suggested. */
int cli_machine(struct cli *cli, int argc, char **argv, const struct machine **machine);

#endif
