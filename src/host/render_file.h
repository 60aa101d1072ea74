/* render_file.h: files under the run directory as lines of sh, for the renderers. */
#ifndef VMWIRE_HOST_RENDER_FILE_H
#define VMWIRE_HOST_RENDER_FILE_H

#include "base/text.h"
#include "model/state.h"

/* Missing directories, content, permission bits. */
void render_file_write(struct arena *arena, struct text *out, const struct file *file, const char *run_dir);
/* The same, and telling the program. */
void render_reload(struct arena *arena, struct text *out, const struct reload *reload, const char *run_dir);
/* `before` and `after` stand around the directory's name: how this system's rmdir(1) lets one stay that is
 * not empty. */
void render_file_remove(struct arena *arena, struct text *out, const struct file *file, const char *run_dir,
                        const char *before, const char *after);

#endif
