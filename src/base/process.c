/* process.c: pidfds and /proc on Linux, kqueue and sysctl(3) on FreeBSD, behind process.h. */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef __FreeBSD__
#include <sys/event.h>
#include <sys/sysctl.h>
#include <sys/user.h>
#else
#include <dirent.h>
#include <sys/syscall.h>
#endif

#include "base/fd.h"

enum { ARGUMENTS_SIZE_MAX = 1 << 18 };

void process_close(struct process *process)
{
    fd_close(&process->fd);
}

bool process_wait(const struct process *process, int timeout_ms)
{
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int left_ms = timeout_ms;;) {
        struct pollfd poller = {.fd = process->fd, .events = POLLIN};
        int ready = poll(&poller, 1, timeout_ms < 0 ? -1 : left_ms);
        if (ready >= 0 || errno != EINTR)
            return ready > 0;
        clock_gettime(CLOCK_MONOTONIC, &now);
        left_ms =
            timeout_ms - (int)((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000);
        if (timeout_ms >= 0 && left_ms < 0)
            return false;
    }
}

/* Words that follow each other, each ended by a NUL. */
static const char *const *words_of(struct arena *arena, const char *text, size_t length)
{
    VEC(const char *) words = {0};
    for (size_t at = 0; at < length; at += strlen(text + at) + 1)
        *vec_push(arena, &words) = text + at;
    *vec_push(arena, &words) = NULL;
    return words.items;
}

#ifdef __FreeBSD__

int process_open(struct process *process, pid_t pid)
{
    _cleanup_fd_ int queue = kqueue();
    struct kevent end;
    if (queue < 0)
        return -errno;
    EV_SET(&end, (uintptr_t)pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL);
    if (kevent(queue, &end, 1, NULL, 0, NULL) < 0)
        return -errno;
    fcntl(queue, F_SETFD, FD_CLOEXEC);
    *process = (struct process){.pid = pid, .fd = fd_steal(&queue)};
    return 0;
}

/* An end that the queue holds means that the number may be another process's by now. */
int process_signal(const struct process *process, int signal)
{
    struct pollfd ended = {.fd = process->fd, .events = POLLIN};
    if (poll(&ended, 1, 0) > 0)
        return 0;
    return kill(process->pid, signal) < 0 && errno != ESRCH ? -errno : 0;
}

/* The answer of a process's sysctl, in malloc(3)ed memory, or NULL. */
static char *process_sysctl(int what, pid_t pid, size_t *length)
{
    int name[] = {CTL_KERN, KERN_PROC, what, (int)pid};
    *length = 0;
    if (sysctl(name, 4, NULL, length, NULL, 0) < 0)
        return NULL;
    *length = *length * 4 / 3; /* what is open may grow between the two calls */
    char *answer = malloc(*length + 1);
    if (answer && sysctl(name, 4, answer, length, NULL, 0) < 0) {
        free(answer);
        return NULL;
    }
    return answer;
}

bool process_has_file(pid_t pid, const char *path)
{
    struct stat info;
    size_t length;
    if (stat(path, &info) < 0)
        return false;
    char *answer = process_sysctl(KERN_PROC_FILEDESC, pid, &length);
    bool found = false;
    for (size_t at = 0; answer && !found && at + sizeof(int) <= length;) {
        struct kinfo_file file = {0};
        int size;
        memcpy(&size, answer + at, sizeof(size)); /* kf_structsize, its first member */
        if (size <= 0 || at + (size_t)size > length)
            break;
        memcpy(&file, answer + at, (size_t)size < sizeof(file) ? (size_t)size : sizeof(file));
        found = file.kf_type == KF_TYPE_VNODE && file.kf_fd >= 0 &&
                file.kf_un.kf_file.kf_file_fileid == info.st_ino &&
                file.kf_un.kf_file.kf_file_fsid == info.st_dev;
        at += (size_t)size;
    }
    free(answer);
    return found;
}

const char *const *process_argv(struct arena *arena, pid_t pid)
{
    int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_ARGS, (int)pid};
    char *text = arena_alloc(arena, ARGUMENTS_SIZE_MAX + 1);
    size_t length = ARGUMENTS_SIZE_MAX;
    int rc = sysctl(name, 4, text, &length, NULL, 0);
    if (rc == 0 && length > 0)
        return words_of(arena, text, length);
    errno = rc < 0 ? errno : ESRCH;
    return NULL;
}

#else

int process_open(struct process *process, pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return -errno;
    *process = (struct process){.pid = pid, .fd = fd};
    return 0;
}

int process_signal(const struct process *process, int signal)
{
    if (syscall(SYS_pidfd_send_signal, process->fd, signal, NULL, 0) < 0 && errno != ESRCH)
        return -errno;
    return 0;
}

bool process_has_file(pid_t pid, const char *path)
{
    struct stat info, its;
    char folder[32];
    if (stat(path, &info) < 0)
        return false;
    snprintf(folder, sizeof(folder), "/proc/%d/fd", (int)pid);
    DIR *fds = opendir(folder);
    if (!fds)
        return false;
    bool found = false;
    for (struct dirent *entry; !found && (entry = readdir(fds));)
        found = fstatat(dirfd(fds), entry->d_name, &its, 0) == 0 && its.st_dev == info.st_dev &&
                its.st_ino == info.st_ino;
    closedir(fds);
    return found;
}

const char *const *process_argv(struct arena *arena, pid_t pid)
{
    char *text, path[32];
    size_t length;
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    int rc = file_read(arena, AT_FDCWD, path, ARGUMENTS_SIZE_MAX, &text, &length, NULL);
    if (rc == 0 && length > 0)
        return words_of(arena, text, length);
    errno = rc < 0 ? -rc : ESRCH;
    return NULL;
}

#endif
