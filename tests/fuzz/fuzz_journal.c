/* fuzz_journal.c: any bytes as the journal of an interrupted change: no crash; only whole lines are undone,
 * the last first; a damaged journal undoes nothing and stays. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t applied;

static int apply(struct host *host, const struct op *op, unsigned flags, struct err *err)
{
    (void)host, (void)err;
    _cleanup_arena_ struct arena arena = {0};
    if (op->kind <= OP_NONE || op->kind >= OP_KIND_COUNT || !(flags & HOST_APPLY_TOLERANT))
        abort();
    op_describe(&arena, op);
    applied++;
    return 0;
}

static const struct host_backend backend = {
    .name = "linux", .run_dir = "", .apply = apply, .apply_many = host_apply_each};

static char folder[] = "/tmp/fuzz-journal-XXXXXX";

static void remove_folder(void)
{
    rmdir(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool made;
    _cleanup_arena_ struct arena arena = {0};
    if (!made && !mkdtemp(folder))
        abort();
    if (!made)
        atexit(remove_folder);
    made = true;
    const char *path = journal_path(&arena, folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    close(fd);
    struct host host = {.backend = &backend};
    struct err err = {0};
    size_t undone = 0;
    applied = 0;
    int rc = journal_roll_back(&host, &arena, folder, &undone, &err);
    if (undone != applied || (rc == 0) != (access(path, F_OK) < 0) || (rc < 0 && undone))
        abort();
    unlink(path);
    return 0;
}
