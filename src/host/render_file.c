/* render_file.c: files as lines of sh: render_file.h. */
#include "host/render_file.h"

#include <string.h>

static const char *folder_of(struct arena *arena, const struct file *file)
{
    return arena_strndup(arena, file->path, (size_t)(strrchr(file->path, '/') - file->path));
}

void render_file_write(struct arena *arena, struct text *out, const struct file *file, const char *run_dir)
{
    const char *folder = folder_of(arena, file), *below = folder + strlen(run_dir);
    const char *path = shell_quote(arena, file->path);
    bool table = strncmp(below, TABLES_SUFFIX "/", strlen(TABLES_SUFFIX "/")) == 0;
    if (table)
        text_add(out, "mkdir -p -m 710 %s" TABLES_SUFFIX " %s\n", run_dir, shell_quote(arena, folder));
    else if (strncmp(below, "/network/", 9) == 0)
        text_add(out, "mkdir -p -m 700 %s %s/network %s\n", run_dir, run_dir, shell_quote(arena, folder));
    else
        text_add(out, "mkdir -p -m 700 %s%s%s\n", run_dir, *below ? " " : "",
                 *below ? shell_quote(arena, folder) : "");
    size_t length = strlen(file->content);
    /* A here-document cannot hold a line that ends it, nor a last line without a newline. */
    if ((length && file->content[length - 1] != '\n') || strncmp(file->content, "EOF\n", 4) == 0 ||
        strstr(file->content, "\nEOF\n"))
        text_add(out, "printf %%s %s > %s\n", shell_quote(arena, file->content), path);
    else
        text_add(out, "cat > %s <<'EOF'\n%sEOF\n", path, file->content);
    text_add(out, "chmod %o %s\n", file->mode, path);
    if (table && file->group && *file->group)
        text_add(out, "chgrp %s %s" TABLES_SUFFIX " %s %s\n", shell_quote(arena, file->group), run_dir,
                 shell_quote(arena, folder), path);
    if (file->mode & 0004)
        text_add(out, "chmod 711 %s" TABLES_SUFFIX " %s\n", run_dir, shell_quote(arena, folder));
}

void render_reload(struct arena *arena, struct text *out, const struct reload *reload, const char *run_dir)
{
    struct file file = {
        .path = reload->path, .content = reload->content, .mode = reload->mode, .group = reload->group};
    render_file_write(arena, out, &file, run_dir);
    text_add(out, "kill -HUP \"$(cat %s)\"\n", shell_quote(arena, reload->pid_path));
}

void render_file_remove(struct arena *arena, struct text *out, const struct file *file, const char *run_dir,
                        const char *before, const char *after)
{
    const char *folder = folder_of(arena, file);
    bool table = strncmp(folder + strlen(run_dir), TABLES_SUFFIX, strlen(TABLES_SUFFIX)) == 0;
    text_add(out, "rm %s\n", shell_quote(arena, file->path));
    if (strcmp(folder, run_dir) != 0)
        text_add(out, "rmdir %s%s%s\n", before, shell_quote(arena, folder), after);
    if (table)
        text_add(out, "[ ! -d %s" TABLES_SUFFIX " ] || rmdir %s%s" TABLES_SUFFIX "%s\n", run_dir, before,
                 run_dir, after);
}
