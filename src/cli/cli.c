/* cli.c: what the commands share: messages, options, finding the file. */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "config/config.h"
#include "host/fake/fault.h"

void cli_lines(const struct cli *cli, const char *text)
{
    const char *program = cli->program;
    for (const char *rest = text; *rest;) {
        size_t length = strcspn(rest, "\n");
        fprintf(stderr, "%s: %.*s\n", program, (int)length, rest);
        rest += length + (rest[length] == '\n');
    }
}

int cli_fail(struct cli *cli, const struct err *err)
{
    fflush(stdout);
    cli_lines(cli, *err->text ? err->text : "failed without a reason; please report this");
    return EXIT_REFUSED;
}

int cli_usage(struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *text = arena_vprintf(&cli->arena, format, args);
    va_end(args);
    cli_lines(cli, text);
    if (cli->command)
        fprintf(stderr, "usage: %s %s %s\n", cli->program, cli->command->name, cli->command->arguments);
    else
        fprintf(stderr, "usage: %s [-c FILE] [-v] COMMAND …   (%s help lists the commands)\n", cli->program,
                cli->program);
    return EXIT_USAGE;
}

int cli_problems(struct cli *cli)
{
    problem_sort(&cli->problems);
    vec_foreach (&cli->problems.list, problem)
        fprintf(stderr, "%s\n", problem_text(&cli->problems, problem));
    size_t wrong = problem_count(&cli->problems);
    cli->problems.list.count = 0; /* said once */
    return wrong ? EXIT_USAGE : EXIT_DONE;
}

/* Only the tests' twin of the program has it (host/fake/fault.h). */
extern __typeof__(host_fault_wrap) host_fault_wrap __attribute__((weak));

int cli_host(struct cli *cli)
{
    if (cli->host)
        return EXIT_DONE;
    struct err err = {0};
    int rc = host_open(&cli->host, &err);
    if (rc == 0 && host_fault_wrap)
        rc = host_fault_wrap(cli->host, &err);
    return rc < 0 ? cli_fail(cli, &err) : EXIT_DONE;
}

const char *cli_config_path(const struct cli *cli)
{
    if (cli->config_path)
        return cli->config_path;
    return access("vmwire.yaml", F_OK) == 0 ? "vmwire.yaml" : VMWIRE_FILE;
}

int cli_config_read(struct cli *cli)
{
    int status = cli_host(cli);
    if (status != EXIT_DONE)
        return status;
    struct err err = {0};
    const char *path = cli_config_path(cli);
    cli->problems = (struct problems){.arena = &cli->arena, .file = path};
    const char *seed = cli->foreign ? "" : cli->host->backend->identity(cli->host, &cli->arena);
    int rc = config_load(&cli->arena, path, seed, &cli->model, &cli->problems, &err);
    if (rc < 0) {
        cli_fail(cli, &err);
        if (rc == -ENOENT && !cli->config_path)
            fprintf(stderr,
                    "%s: write ./vmwire.yaml or " VMWIRE_FILE ", or name a file with -c "
                    "(vmwire.yaml(5))\n",
                    cli->program);
        return EXIT_USAGE;
    }
    return EXIT_DONE;
}

int cli_config(struct cli *cli)
{
    int status = cli_config_read(cli);
    return status == EXIT_DONE ? cli_problems(cli) : status;
}

int cli_config_optional(struct cli *cli)
{
    if (!cli->config_path && access("vmwire.yaml", F_OK) < 0 && access(VMWIRE_FILE, F_OK) < 0)
        return cli_host(cli);
    return cli_config(cli);
}

static const struct cli_option *option_find(const struct cli_option *options, const char *argument,
                                            const char **value)
{
    for (; options->name; options++) {
        size_t length = strlen(options->name);
        if (strncmp(argument, options->name, length) != 0)
            continue;
        if (argument[length] == '\0' || argument[length] == '=') {
            *value = argument[length] ? argument + length + 1 : NULL;
            return options;
        }
    }
    return NULL;
}

static int option_unknown(struct cli *cli, const char *argument, const struct cli_option *options)
{
    const char *names[16] = {0};
    for (size_t i = 0; options[i].name && i < 15; i++)
        names[i] = options[i].name;
    const char *near = text_nearest(argument, names);
    return near ? cli_usage(cli, "unknown option '%s'; did you mean '%s'?", argument, near)
                : cli_usage(cli, "unknown option '%s'", argument);
}

/* `vmwire COMMAND --help`: the usage line, and nothing is done. */
static int usage_print(struct cli *cli)
{
    printf("usage: %s %s %s\n  %s\n", cli->program, cli->command->name, cli->command->arguments,
           cli->command->summary ? cli->command->summary : "");
    return EXIT_HELPED;
}

int cli_options(struct cli *cli, int *argc, char **argv, const struct cli_option *options)
{
    bool help = false;
    /* The program's own options are taken behind the command too, where most people write them. */
    const struct cli_option global[] = {{"--help", .flag = &help},
                                        {"-h", .flag = &help},
                                        {"-c", .value = &cli->config_path},
                                        {"-v", .flag = &cli->verbose},
                                        {0}};
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            while (++i < *argc)
                argv[kept++] = argv[i];
            break;
        }
        if (argv[i][0] != '-' || argv[i][1] == '\0') {
            argv[kept++] = argv[i];
            continue;
        }
        const char *value = NULL;
        const struct cli_option *option = option_find(options, argv[i], &value);
        if (!option)
            option = option_find(global, argv[i], &value);
        if (!option)
            return option_unknown(cli, argv[i], options);
        if (option->flag && value)
            return cli_usage(cli, "option '%s' takes no value", option->name);
        if (option->flag) {
            *option->flag = true;
            continue;
        }
        if (!value && i + 1 >= *argc)
            return cli_usage(cli, "option '%s' needs a value", option->name);
        value = value ? value : argv[++i];
        if (option->value)
            *option->value = value;
        else if ((*option->number = cli_number(value, option->low, option->high)) < 0)
            return cli_usage(cli, "%s is a number of %s from %ld to %ld, not '%s'", option->name,
                             option->unit, option->low, option->high, value);
    }
    argv[kept] = NULL;
    *argc = kept;
    return help ? usage_print(cli) : EXIT_DONE;
}

long cli_number(const char *text, long low, long high)
{
    if (!*text || strlen(text) > 9 || text[strspn(text, "0123456789")])
        return -1;
    long number = strtol(text, NULL, 10);
    return number < low || number > high ? -1 : number;
}

volatile sig_atomic_t cli_stopped;

static void stop(int number)
{
    (void)number;
    cli_stopped = 1;
}

void cli_catch_signals(void)
{
    const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = stop}; /* without SA_RESTART: waiting ends */
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaction(numbers[i], &action, NULL);
}

void table_row(struct table *table, ...)
{
    va_list args;
    va_start(args, table);
    for (size_t i = 0; i < table->columns; i++) {
        *vec_push(table->arena, &table->cells) = va_arg(args, const char *);
        *vec_push(table->arena, &table->styles) = NULL;
    }
    va_end(args);
}

void table_style(struct table *table, size_t column, const char *sgr)
{
    if (table->styles.count >= table->columns)
        table->styles.items[table->styles.count - table->columns + column] = sgr;
}

size_t cli_width(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

void table_print(struct table *table, FILE *out, bool color)
{
    size_t *widths = arena_alloc(table->arena, table->columns * sizeof(*widths));
    for (size_t i = 0; i < table->cells.count; i++) {
        size_t width = cli_width(table->cells.items[i]);
        if (width > widths[i % table->columns])
            widths[i % table->columns] = width;
    }
    for (size_t i = 0; i < table->cells.count; i++) {
        const char *cell = table->cells.items[i], *style = color ? table->styles.items[i] : NULL;
        bool last = i % table->columns == table->columns - 1;
        fprintf(out, "%s%s%s%s%s", style ? "\033[" : "", style ? style : "", style ? "m" : "", cell,
                style ? "\033[0m" : "");
        if (last)
            fputc('\n', out);
        else
            fprintf(out, "%*s", (int)(widths[i % table->columns] - cli_width(cell) + 2), "");
    }
}
