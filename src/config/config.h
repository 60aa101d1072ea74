/* config.h: vmwire.yaml to a model.  The only room that knows YAML. */
#ifndef VMWIRE_CONFIG_CONFIG_H
#define VMWIRE_CONFIG_CONFIG_H

#include "base/arena.h"
#include "base/err.h"
#include "model/model.h"
#include "model/problem.h"

enum { CONFIG_SIZE_MAX = 2 * 1024 * 1024 }; /* bytes; 4,000 machines take about 1 MiB */

/* Parse `length` bytes of YAML into `model` (all of it in `arena`).  Mistakes go to `problems`; the model
 * then holds what was right, so that one run reports them all.  Does not call model_check. */
void config_parse(struct arena *arena, const char *text, size_t length, struct model *model,
                  struct problems *problems);

/* Read the file at `path`: opened once, checked on the open descriptor (a regular file, owned by root or the
 * caller, not writable by group or others: -EPERM with the command that cures it), at most CONFIG_SIZE_MAX
 * bytes; then config_parse and model_check, which is left out when part of the file could not be read
 * (syntax, encoding, too many mistakes).  Sets problems->file and model->directory; problems are in file
 * order.  Returns 0 also when there are problems.  Errors: open(2)'s; -EPERM; -EFBIG; -EISDIR; -EINVAL for
 * what is no regular file. */
int config_load(struct arena *arena, const char *path, const char *mac_seed, struct model *model,
                struct problems *problems, struct err *err);

#endif
