/* libc_start.c: the start of a FreeBSD program, for FreeBSD 12 and 13.
 *
 * Since FreeBSD 14 crt1.o leaves the first steps to the C library's __libc_start1, and zig has 14's crt1.o
 * only.  With a __libc_start1 of its own the program also starts where the library has none.  The dynamic
 * linker has run the constructors by now (crt1.o's note says so).  Source: FreeBSD's lib/csu. */
#include <stdlib.h>

extern char **environ;
extern const char *__progname;

_Noreturn void __libc_start1(int argc, char *argv[], char *environment[], void (*cleanup)(void),
                             int (*entry)(int, char *[], char *[]));

_Noreturn void __libc_start1(int argc, char *argv[], char *environment[], void (*cleanup)(void),
                             int (*entry)(int, char *[], char *[]))
{
    if (!environ)
        environ = environment;
    if (argc > 0 && argv[0]) {
        __progname = argv[0];
        for (const char *c = argv[0]; *c; c++) {
            if (*c == '/')
                __progname = c + 1;
        }
    }
    if (cleanup)
        atexit(cleanup);
    exit(entry(argc, argv, environment));
}
