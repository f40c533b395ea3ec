/* Makes the n-th operation that changes a file fail, or kills the process at it. See injector.py.

It is loaded into a process with LD_PRELOAD and takes the place of the C library's functions, so it also reaches what
Arrow, Pillow and SQLite write. Only regular files below one folder count. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE, SYNC, RENAME, KINDS };
enum { COUNT, KILL, TEAR, FULL, BROKEN };

static char folder[PATH_MAX];
static long at = -1, seen[KINDS], total;
static int mode = COUNT, armed = 0;

/* Count from now on; at operation `number` (from 0) do what `what` says. */
void faults_arm(const char *below, long number, int what) {
    strncpy(folder, below, sizeof folder - 1);
    at = number;
    mode = what;
    total = 0;
    memset(seen, 0, sizeof seen);
    armed = 1;
}

void faults_disarm(void) { armed = 0; }
long faults_seen(int kind) { return kind < 0 ? total : seen[kind]; }

static int is_below(const char *path) {
    char resolved[PATH_MAX];
    if (path == NULL)
        return 0;
    if (path[0] != '/') {
        if (getcwd(resolved, sizeof resolved) == NULL)
            return 0;
        return strncmp(resolved, folder, strlen(folder)) == 0;
    }
    return strncmp(path, folder, strlen(folder)) == 0;
}

static int is_counted(int file) {
    char link[64], path[PATH_MAX];
    struct stat about;
    if (!armed || syscall(SYS_fstat, file, &about) != 0)
        return 0;
    if (!S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_below(path);
}

/* Return 0 to go on, or an error number. */
static int fault(int kind, int file, const void *content, size_t size) {
    long number = total++;
    seen[kind]++;
    if (mode == FULL && number >= at)
        return kind == RENAME ? 0 : ENOSPC;  /* A full disk still renames. */
    if (number != at)
        return 0;
    if (mode == TEAR && content != NULL && size > 1)
        syscall(SYS_write, file, content, size / 2);
    if (mode == KILL || mode == TEAR) {
        kill(getpid(), SIGKILL);
        pause();
    }
    return mode == BROKEN ? EIO : 0;
}

#define REAL(name) static typeof(&name) real; if (!real) real = (typeof(&name))dlsym(RTLD_NEXT, #name)
#define FAIL(kind, file, content, size) do { \
    int wrong; \
    if (is_counted(file) && (wrong = fault(kind, file, content, size)) != 0) { errno = wrong; return -1; } \
} while (0)

ssize_t write(int file, const void *content, size_t size) {
    REAL(write);
    FAIL(WRITE, file, content, size);
    return real(file, content, size);
}

ssize_t pwrite(int file, const void *content, size_t size, off_t place) {
    REAL(pwrite);
    FAIL(WRITE, file, NULL, size);
    return real(file, content, size, place);
}

ssize_t pwrite64(int file, const void *content, size_t size, off64_t place) {
    REAL(pwrite64);
    FAIL(WRITE, file, NULL, size);
    return real(file, content, size, place);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(writev);
    FAIL(WRITE, file, NULL, 0);
    return real(file, parts, count);
}

int fsync(int file) {
    REAL(fsync);
    FAIL(SYNC, file, NULL, 0);
    return real(file);
}

int fdatasync(int file) {
    REAL(fdatasync);
    FAIL(SYNC, file, NULL, 0);
    return real(file);
}

static int changes_names(const char *to) {
    int wrong;
    if (armed && is_below(to) && (wrong = fault(RENAME, -1, NULL, 0)) != 0) {
        errno = wrong;
        return -1;
    }
    return 0;
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return changes_names(to) ? -1 : real(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    REAL(renameat);
    return changes_names(to) ? -1 : real(from_folder, from, to_folder, to);
}

int unlink(const char *path) {
    REAL(unlink);
    return changes_names(path) ? -1 : real(path);
}
