/* map_text.h: the map as a tree for a terminal. */
#ifndef VMWIRE_CLI_MAP_TEXT_H
#define VMWIRE_CLI_MAP_TEXT_H

#include "cli/cli.h"
#include "diag/map.h"

/* Print it, grouped as the map is, with `width` columns of room for what is set in columns. */
void map_text_print(struct cli *cli, const struct map *map, size_t width);

#endif
