/* memory.c: memory_trim by proc_pid_smaps(5). */
#include "base/memory.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __linux__
#include <malloc.h>

/* A mapping of smaps: its first line, and how much of it is not the file's any longer. */
struct mapping {
    unsigned long start, end;
    char mode[5];
    int is_file;
    unsigned long dirty_kib;
};

/* Only what was never written to: relocated data looks like a file's too, and would come back unrelocated. */
static void mapping_drop(const struct mapping *mapping)
{
    if (mapping->is_file && mapping->mode[1] == '-' && mapping->mode[3] == 'p' && !mapping->dirty_kib)
        madvise((void *)mapping->start, mapping->end - mapping->start, MADV_DONTNEED); /* NOLINT */
}

void memory_trim(void)
{
    char line[512];
    struct mapping mapping = {0}, next;
    malloc_trim(0);
    FILE *file = fopen("/proc/self/smaps", "re");
    while (file && fgets(line, sizeof(line), file)) {
        unsigned long inode, kib;
        if (sscanf(line, "%lx-%lx %4s %*x %*s %lu", &next.start, &next.end, next.mode, &inode) == 4) {
            mapping_drop(&mapping);
            next.is_file = inode != 0;
            next.dirty_kib = 0;
            mapping = next;
        } else if (sscanf(line, "Private_Dirty: %lu", &kib) == 1 ||
                   sscanf(line, "Shared_Dirty: %lu", &kib) == 1 ||
                   sscanf(line, "Anonymous: %lu", &kib) == 1) {
            mapping.dirty_kib += kib;
        }
    }
    mapping_drop(&mapping);
    if (file)
        fclose(file);
}
#else
void memory_trim(void)
{
}
#endif
