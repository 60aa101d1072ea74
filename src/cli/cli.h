/* cli.h: what every command gets, and what it prints with.  The only room that prints or exits. */
#ifndef VMWIRE_CLI_CLI_H
#define VMWIRE_CLI_CLI_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"
#include "host/host.h"
#include "model/model.h"

/* Exit statuses (docs/ERRORS.md). */
enum {
    EXIT_DONE = 0,
    EXIT_REFUSED = 1,
    EXIT_USAGE = 2,
    EXIT_DRIFT = 3,
    EXIT_HELPED = -1 /* usage was asked for: 0 in the end */
};

struct cli {
    struct arena arena;      /* lives as long as the command */
    const char *program;     /* "vmwire" */
    const char *config_path; /* -c FILE, or NULL: the search path */
    const struct command *command;
    bool verbose;       /* -v: show each operation as it runs */
    bool color;         /* standard output is a terminal and NO_COLOR is unset */
    bool foreign;       /* the file is for another host: what is made from an identity is made from none */
    struct host *host;  /* opened by cli_host */
    struct model model; /* read by cli_config */
    struct problems problems;
};

/* One command.  The table in commands.c drives dispatch, usage and completion. */
struct command {
    const char *name;
    const char *arguments; /* "[NET…] [--confirm SECONDS]" */
    const char *summary;   /* one line, no capital, no full stop */
    const char *options;   /* space-separated long options for completion: "--json --exit-code" */
    const char
        *words; /* what its positional arguments are: "networks", "machines", "both", "none", "command" */
    int (*run)(struct cli *cli, int argc,
               char **argv); /* argv[0] is the command's name; returns the exit status */
};

extern const struct command commands[]; /* ends with a NULL name; hidden commands have a NULL summary */

/* Print "vmwire: TEXT" (every line of it) to standard error. */
void cli_lines(const struct cli *cli, const char *text);
/* The same with what went wrong, and return EXIT_REFUSED. */
int cli_fail(struct cli *cli, const struct err *err);
/* The same for a wrong command line, followed by the command's usage line; returns EXIT_USAGE. */
int cli_usage(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Print all problems (file:line:column: text) to standard error.  EXIT_USAGE when one is not a warning, else
 * EXIT_DONE. */
int cli_problems(struct cli *cli);

/* Open the host into cli->host (once).  EXIT_DONE, or what cli_fail returned. */
int cli_host(struct cli *cli);
/* Find, read and check the file into cli->model; prints its problems.  Opens the host.  EXIT_DONE, or the
 * exit status. */
int cli_config(struct cli *cli);
/* The same, with the problems left in cli->problems, not printed. */
int cli_config_read(struct cli *cli);

/* As cli_config where there is a file: a host can be looked at without. */
int cli_config_optional(struct cli *cli);

/* The file that cli_config reads: -c FILE, else ./vmwire.yaml, else the system's.  It need not exist. */
const char *cli_config_path(const struct cli *cli);

/* Options of a command: walks argv, taking `--name` and `--name=VALUE`/`--name VALUE`, leaving positional
 * arguments at the front of argv (argv[0] stays) and setting *argc.  `--` ends the options.  EXIT_DONE or
 * cli_usage's status. */
struct cli_option {
    const char *name;   /* "--json", or "-w" */
    bool *flag;         /* set for an option without a value, or NULL */
    const char **value; /* set for an option with one, or NULL; the last one wins */
    long *number;       /* likewise, and the value is a whole number of `unit` in [low, high] */
    const char *unit;   /* "seconds" */
    long low, high;
};
int cli_options(struct cli *cli, int *argc, char **argv, const struct cli_option *options);

/* A whole number in [low, high], or -1 (nothing printed). */
long cli_number(const char *text, long low, long high);

/* From the next call on an interrupt, a hang-up or a termination only sets cli_stopped, and what waits
 * returns. */
extern volatile sig_atomic_t cli_stopped;
void cli_catch_signals(void);

/* A table with aligned columns.  Cells are arena strings; a cell's width is counted in UTF-8 characters. */
struct table {
    struct arena *arena;
    size_t columns;
    VEC(const char *) cells;
    VEC(const char *) styles; /* an SGR sequence a cell, or NULL */
};
void table_row(struct table *table, ...);                              /* `columns` const char *, in order */
void table_style(struct table *table, size_t column, const char *sgr); /* of the last row; "31" is red */
void table_print(struct table *table, FILE *out, bool color);

/* Columns that UTF-8 text takes: its characters. */
size_t cli_width(const char *text);

/* clang-format off */
#define CLI_COMMANDS(X) \
    X(args) X(attach) X(capture) X(check) X(completion) X(confirm) X(console) X(detach) X(devices) X(doctor) X(down) X(exec) X(help) X(lab) X(leases) X(map) X(plan) X(probe) X(run) X(start) \
    X(status) X(stop) X(trace) X(up) X(version) X(watch) X(dhcp_event)
/* clang-format on */

#define CLI_DECLARE(name) int cmd_##name(struct cli *cli, int argc, char **argv);
CLI_COMMANDS(CLI_DECLARE)
#undef CLI_DECLARE

#endif
