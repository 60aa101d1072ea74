/* cmd_completion.c: `vmwire completion bash|zsh`: shell completion, made from the table of commands.
 *
 * What completes an argument is read out of the table's usage text, so that it is written once:
 *
 *     [--timeout SECONDS]  an option that takes a value, because a word in capitals follows it; NET, MACHINE
 *                          and FILE say what kind
 *     [NET…]               an argument that may be repeated, because an ellipsis follows it
 *     -- CMD…              a command of its own behind "--"; without the dashes, behind the options
 *     bash|zsh             one of these words
 *     [COMMAND]            one of vmwire's commands
 *
 * The names of networks and machines are asked of vmwire itself while completing: `vmwire completion
 * networks|machines|both` prints those of the file, one a line, and is silent about mistakes in it. */
#include <ctype.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"
#include "config/config.h"

/* ---- the table, read ---- */

/* The word in capitals behind `option` in the usage text ("NET", "SECONDS"), or NULL for an option without a
 * value. */
static const char *value_name(struct arena *arena, const struct command *command, const char *option)
{
    const char *at = strstr(command->arguments, option);
    if (!at || at[strlen(option)] != ' ')
        return NULL;
    at += strlen(option) + 1;
    size_t length = 0;
    while (isupper((unsigned char)at[length]))
        length++;
    return length ? arena_strndup(arena, at, length) : NULL;
}

/* What completes a value of that name: "networks", "machines", "files" or "nothing". */
static const char *value_kind(const char *name)
{
    return strcmp(name, "NET") == 0       ? "networks"
           : strcmp(name, "MACHINE") == 0 ? "machines"
           : strcmp(name, "FILE") == 0    ? "files"
                                          : "nothing";
}

static bool may_repeat(const struct command *command)
{
    return strstr(command->arguments, "NET…") || strstr(command->arguments, "MACHINE…");
}

/* A command follows "--" only. */
static bool behind_dashes(const struct command *command)
{
    return strstr(command->arguments, "-- CMD") != NULL;
}

/* "bash zsh" of "bash|zsh", all commands of "[COMMAND]", else "". */
static const char *fixed_words(struct arena *arena, const struct command *command)
{
    struct text out = {.arena = arena};
    if (strcmp(command->arguments, "[COMMAND]") == 0) {
        for (const struct command *other = commands; other->name; other++) {
            if (other->summary)
                text_add(&out, "%s%s", out.length ? " " : "", other->name);
        }
    } else if (strchr(command->arguments, '|') && !strpbrk(command->arguments, " [-")) {
        for (const char *c = command->arguments; *c; c++)
            text_add_bytes(&out, *c == '|' ? " " : c, 1);
    }
    return text_get(&out);
}

/* Calls `each` for every option of a command. */
static void options_each(struct cli *cli, const struct command *command, struct text *out,
                         void (*each)(struct text *out, const char *option, const char *value))
{
    char *rest = arena_strdup(&cli->arena, command->options), *option;
    while ((option = strsep(&rest, " "))) {
        if (*option)
            each(out, option, value_name(&cli->arena, command, option));
    }
}

/* ---- bash ---- */

static const char bash_head[] =
    "# bash completion for vmwire(8), made by `vmwire completion bash`.\n"
    "\n"
    "# What a command takes: its options, those with a value as OPTION:KIND, and the kind of its arguments.\n"
    "_vmwire_command()\n"
    "{\n"
    "    options= values= kind=nothing fixed= many=\n"
    "    case $1 in\n";

static const char bash_middle[] =
    "    *) return 1 ;;\n"
    "    esac\n"
    "}\n"
    "\n"
    "# A path without what the shell would take away from it.\n"
    "_vmwire_path()\n"
    "{\n"
    "    local path=${1/#\\~\\//$HOME/}\n"
    "    printf '%s' \"${path//[\\\\\\\"\\']/}\"\n"
    "}\n"
    "\n"
    "# Candidates of one kind, one a line.\n"
    "_vmwire_words()\n"
    "{\n"
    "    case $1 in\n"
    "    networks | machines | both) \"${vmwire[@]}\" completion \"$1\" 2>/dev/null ;;\n"
    "    fixed) printf '%s\\n' $fixed ;;\n"
    "    esac\n"
    "}\n"
    "\n"
    "# Offers the candidates of a kind, but for those that stand on the line already.\n"
    "_vmwire_offer()\n"
    "{\n"
    "    local word\n"
    "    if [[ $1 == files ]]; then\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n"
    "        return\n"
    "    fi\n"
    "    while IFS= read -r word; do\n"
    "        [[ $word == \"$current\"* && \" $given \" != *\" $word \"* ]] && COMPREPLY+=(\"$word\")\n"
    "    done < <(_vmwire_words \"$1\")\n"
    "}\n"
    "\n"
    "# The command that begins at word $1, by its own completion where bash-completion is loaded.\n"
    "_vmwire_foreign()\n"
    "{\n"
    "    if declare -F _command_offset >/dev/null; then\n"
    "        _command_offset \"$1\"\n"
    "    elif ((COMP_CWORD == $1)); then\n"
    "        mapfile -t COMPREPLY < <(compgen -c -- \"$current\")\n"
    "    else\n"
    "        compopt -o default 2>/dev/null\n"
    "    fi\n"
    "}\n"
    "\n"
    "# The kind of value that option $1 takes; fails when it takes none.\n"
    "_vmwire_value()\n"
    "{\n"
    "    local pair\n"
    "    for pair in $values; do\n"
    "        [[ $pair == \"$1\":* ]] && printf '%s' \"${pair#*:}\" && return\n"
    "    done\n"
    "    return 1\n"
    "}\n"
    "\n"
    "# Arguments of the command at word $1.\n"
    "_vmwire_arguments()\n"
    "{\n"
    "    local options values kind fixed many value i given= count=0 ended=\n"
    "    _vmwire_command \"${COMP_WORDS[$1]}\" || return\n"
    "    for ((i = $1 + 1; i < COMP_CWORD; i++)); do\n"
    "        local word=${COMP_WORDS[i]}\n"
    "        if [[ $word == -- && ! $ended ]]; then\n"
    "            ended=1\n"
    "            [[ $kind == command || $kind == dashes ]] && { _vmwire_foreign $((i + 1)); return; }\n"
    "        elif [[ $word == -* && ! $ended ]]; then\n"
    "            if _vmwire_value \"$word\" >/dev/null; then\n"
    "                # bash makes a word of its own of the '=' in --option=value\n"
    "                [[ ${COMP_WORDS[i + 1]} == = ]] && ((i++))\n"
    "                ((++i >= COMP_CWORD)) && break\n"
    "            fi\n"
    "        elif [[ $kind == command ]]; then\n"
    "            _vmwire_foreign \"$i\"\n"
    "            return\n"
    "        else\n"
    "            given+=\" $word\" count=$((count + 1))\n"
    "        fi\n"
    "    done\n"
    "    local before=${COMP_WORDS[COMP_CWORD - 1]}\n"
    "    [[ $current == = ]] && current=\n"
    "    [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    if [[ ! $ended ]] && value=$(_vmwire_value \"$before\"); then\n"
    "        given=\n"
    "        _vmwire_offer \"$value\"\n"
    "    elif [[ ! $ended && $current == -* ]]; then\n"
    "        [[ $kind == dashes ]] && options+=' --'\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$current\")\n"
    "    elif [[ $kind == command ]]; then\n"
    "        _vmwire_foreign \"$COMP_CWORD\"\n"
    "    elif [[ $kind == dashes ]]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$options --\" -- \"$current\")\n"
    "    elif [[ $many ]] || ((count == 0)); then\n"
    "        _vmwire_offer \"$kind\"\n"
    "    fi\n"
    "}\n"
    "\n"
    "_vmwire()\n"
    "{\n"
    "    local current=${COMP_WORDS[COMP_CWORD]} vmwire=(\"$(_vmwire_path \"$1\")\") i given=\n"
    "    COMPREPLY=()\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        case ${COMP_WORDS[i]} in\n"
    "        -c)\n"
    "            ((++i == COMP_CWORD)) && { _vmwire_offer files; return; }\n"
    "            # the word is as typed: quotes and backslashes are not part of the name\n"
    "            vmwire+=(-c \"$(_vmwire_path \"${COMP_WORDS[i]}\")\")\n"
    "            ;;\n"
    "        -*) ;;\n"
    "        *)\n"
    "            _vmwire_arguments \"$i\"\n"
    "            return\n"
    "            ;;\n"
    "        esac\n"
    "    done\n"
    "    mapfile -t COMPREPLY < <(compgen -W '";

static const char bash_tail[] = " -c -v --help --version' -- \"$current\")\n"
                                "}\n"
                                "\n"
                                "complete -F _vmwire vmwire\n";

static void bash_option(struct text *out, const char *option, const char *value)
{
    (void)value;
    text_add(out, "%s%s", out->length ? " " : "", option);
}

static void bash_value(struct text *out, const char *option, const char *value)
{
    if (value)
        text_add(out, "%s%s:%s", out->length ? " " : "", option, value_kind(value));
}

static void bash_command(struct cli *cli, const struct command *command)
{
    struct text options = {.arena = &cli->arena}, values = {.arena = &cli->arena};
    options_each(cli, command, &options, bash_option);
    options_each(cli, command, &values, bash_value);
    const char *fixed = fixed_words(&cli->arena, command), *kind = command->words;
    if (*fixed)
        kind = "fixed";
    else if (strcmp(kind, "command") == 0)
        kind = behind_dashes(command) ? "dashes" : "command";
    else if (strcmp(kind, "none") == 0)
        kind = "nothing";
    printf("    %s) options='%s' values='%s' kind=%s fixed='%s' many=%s ;;\n", command->name,
           text_get(&options), text_get(&values), kind, fixed, may_repeat(command) ? "1" : "");
}

static void bash_print(struct cli *cli)
{
    fputs(bash_head, stdout);
    for (const struct command *command = commands; command->name; command++) {
        if (command->summary)
            bash_command(cli, command);
    }
    fputs(bash_middle, stdout);
    bool first = true;
    for (const struct command *command = commands; command->name; command++) {
        if (!command->summary)
            continue;
        printf("%s%s", first ? "" : " ", command->name);
        first = false;
    }
    fputs(bash_tail, stdout);
}

/* ---- zsh ---- */

static const char zsh_head[] =
    "#compdef vmwire\n"
    "# zsh completion for vmwire(8), made by `vmwire completion zsh`.\n"
    "\n"
    "# Names of the file, but for those that stand on the line already.\n"
    "_vmwire_names() {\n"
    "  local -a names given\n"
    "  names=(${(f)\"$(\"${vmwire[@]}\" completion $1 2>/dev/null)\"})\n"
    "  given=(${(b)words[2,CURRENT-1]})\n"
    "  compadd -F given \"${@[2,-1]}\" -a names\n"
    "}\n"
    "(( $+functions[_vmwire_networks] )) || _vmwire_networks() { _vmwire_names networks \"$@\" }\n"
    "(( $+functions[_vmwire_machines] )) || _vmwire_machines() { _vmwire_names machines \"$@\" }\n"
    "(( $+functions[_vmwire_both] )) || _vmwire_both() { _vmwire_names both \"$@\" }\n"
    "\n"
    "_vmwire_commands() {\n"
    "  local -a commands\n"
    "  commands=(\n";

static const char zsh_middle[] =
    "  )\n"
    "  _describe -t commands 'vmwire command' commands\n"
    "}\n"
    "\n"
    "_vmwire() {\n"
    "  local curcontext=$curcontext state line ret=1\n"
    "  local -a vmwire\n"
    "  local -A opt_args\n"
    "  vmwire=(${(Q)words[1]/#\\~\\//$HOME/})\n"
    "  _arguments -C \\\n"
    "    '-c[read this file]:file:_files' \\\n"
    "    '-v[show each operation as it runs]' \\\n"
    "    '(- *)--help[show usage]' \\\n"
    "    '(- *)--version[show the version]' \\\n"
    "    '1:command:_vmwire_commands' \\\n"
    "    '*::argument:->argument' && ret=0\n"
    "  [[ $state == argument ]] || return ret\n"
    "  (( $+opt_args[-c] )) && vmwire+=(-c ${(Q)${(Q)opt_args[-c]}/#\\~\\//$HOME/})\n"
    "  case $words[1] in\n";

static const char zsh_tail[] = "  *) _message 'no arguments' ;;\n"
                               "  esac && ret=0\n"
                               "  return ret\n"
                               "}\n"
                               "\n"
                               "# Autoloaded, this file is the function; sourced, it only registers it.\n"
                               "if [[ $funcstack[1] == _vmwire ]]; then\n"
                               "  _vmwire \"$@\"\n"
                               "else\n"
                               "  compdef _vmwire vmwire\n"
                               "fi\n";

static void zsh_option(struct text *out, const char *option, const char *value)
{
    if (!value) {
        text_add(out, " '%s'", option);
        return;
    }
    const char *kind = value_kind(value);
    const char *action = strcmp(kind, "networks") == 0   ? "_vmwire_networks"
                         : strcmp(kind, "machines") == 0 ? "_vmwire_machines"
                         : strcmp(kind, "files") == 0    ? "_files"
                                                         : "( )";
    text_add(out, " '*%s=:%s:%s'", option, value, action);
}

static void zsh_command(struct cli *cli, const struct command *command)
{
    struct text out = {.arena = &cli->arena};
    options_each(cli, command, &out, zsh_option);
    const char *fixed = fixed_words(&cli->arena, command), *words = command->words;
    const char *place = may_repeat(command) ? "*" : "1";
    if (*fixed)
        text_add(&out, " '1:word:(%s)'", fixed);
    else if (strcmp(words, "networks") == 0 || strcmp(words, "machines") == 0 || strcmp(words, "both") == 0)
        text_add(&out, " '%s:%s:_vmwire_%s'", place, words, words);
    else if (strcmp(words, "command") == 0)
        text_add(&out, " '(-)1:command:_command_names -e' '*::argument:_normal'");
    printf("  %s) _arguments -S%s ;;\n", command->name, text_get(&out));
}

static void zsh_print(struct cli *cli)
{
    fputs(zsh_head, stdout);
    for (const struct command *command = commands; command->name; command++) {
        if (command->summary)
            printf("    %s\n", shell_quote(&cli->arena, arena_printf(&cli->arena, "%s:%s", command->name,
                                                                     command->summary)));
    }
    fputs(zsh_middle, stdout);
    for (const struct command *command = commands; command->name; command++) {
        if (command->summary)
            zsh_command(cli, command);
    }
    fputs(zsh_tail, stdout);
}

/* ---- names ---- */

/* For the scripts above.  A file that is missing or wrong has no names, or fewer: nobody wants to read of it
 * between two keys. */
static int names_print(struct cli *cli, bool networks, bool machines)
{
    struct err err = {0};
    cli->problems = (struct problems){.arena = &cli->arena};
    if (config_load(&cli->arena, cli_config_path(cli), "", &cli->model, &cli->problems, &err) < 0)
        return EXIT_DONE;
    if (networks) {
        vec_foreach (&cli->model.networks, network)
            puts(network->name);
    }
    if (machines) {
        vec_foreach (&cli->model.machines, machine)
            puts(machine->name);
    }
    return EXIT_DONE;
}

int cmd_completion(struct cli *cli, int argc, char **argv)
{
    int status = cli_options(cli, &argc, argv, (struct cli_option[]){{0}});
    if (status != EXIT_DONE)
        return status;
    if (argc != 2)
        return cli_usage(cli, "name one shell: bash or zsh");
    const char *what = argv[1];
    bool both = strcmp(what, "both") == 0;
    if (both || strcmp(what, "networks") == 0 || strcmp(what, "machines") == 0)
        return names_print(cli, both || *what == 'n', both || *what == 'm');
    if (strcmp(what, "bash") == 0)
        bash_print(cli);
    else if (strcmp(what, "zsh") == 0)
        zsh_print(cli);
    else
        return cli_usage(cli, "no completion for '%s'; there is one for bash and one for zsh", what);
    return EXIT_DONE;
}
