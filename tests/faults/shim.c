/* Makes writes and syncs of chosen files fail, wait, or be the last thing a process does.
 *
 * FAULT_NEEDLE  part of the path of the files meant
 * FAULT_CALLS   letters: w (writes), s (syncs)
 * FAULT_DOES    count | kill | torn | errno:N | wait:MILLISECONDS
 * FAULT_AT      from the n-th such call of this process on (1)
 * FAULT_WHILE   only while this file exists
 * FAULT_TRACE   a file that gets one byte for every such call
 *
 * kill: SIGKILL before the call; torn: half of it is written first.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int calls;

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static int is_meant(int fd, char kind) {
    char link[64], path[4096];
    const char *needle = getenv("FAULT_NEEDLE");
    if (!needle || !strchr(setting("FAULT_CALLS"), kind)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strstr(path, needle) != NULL;
}

/* 0: go on as usual; 1: half of it, then die; -1: fail, with errno set. */
static int meddle(int fd, char kind) {
    int before = errno;
    if (!is_meant(fd, kind)) { errno = before; return 0; }
    const char *only_while = getenv("FAULT_WHILE"), *trace = getenv("FAULT_TRACE");
    const char *does = setting("FAULT_DOES"), *at = getenv("FAULT_AT");
    if (only_while && access(only_while, F_OK)) { errno = before; return 0; }
    int number = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (trace) {
        int out = open(trace, O_WRONLY | O_APPEND | O_CREAT, 0600);
        ssize_t ignored = (ssize_t)(out >= 0) * 0;
        if (out >= 0) {
            ssize_t (*raw)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
            ignored = raw(out, &kind, 1);
            close(out);
        }
        (void)ignored;
    }
    errno = before;
    if (at && number < atoi(at)) return 0;
    if (!strcmp(does, "kill")) kill(getpid(), SIGKILL);
    if (!strcmp(does, "torn")) return 1;
    if (!strncmp(does, "wait:", 5)) usleep(1000 * atoi(does + 5));
    if (!strncmp(does, "errno:", 6)) { errno = atoi(does + 6); return -1; }
    return 0;
}

#define REAL(type, name, ...) type (*real)(__VA_ARGS__) = dlsym(RTLD_NEXT, name)

#define A_WRITE(name, offset_type)                                                    \
    ssize_t name(int fd, const void *data, size_t size, offset_type at) {             \
        REAL(ssize_t, #name, int, const void *, size_t, offset_type);                 \
        int what = meddle(fd, 'w');                                                   \
        if (what < 0) return -1;                                                      \
        if (what) { real(fd, data, size / 2, at); kill(getpid(), SIGKILL); }          \
        return real(fd, data, size, at);                                              \
    }

A_WRITE(pwrite, off_t)
A_WRITE(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    int what = meddle(fd, 'w');
    if (what < 0) return -1;
    if (what) { real(fd, data, size / 2); kill(getpid(), SIGKILL); }
    return real(fd, data, size);
}

#define A_SYNC(name)                                                                  \
    int name(int fd) {                                                                \
        REAL(int, #name, int);                                                        \
        int what = meddle(fd, 's');                                                   \
        if (what < 0) return -1;                                                      \
        if (what) kill(getpid(), SIGKILL);                                            \
        return real(fd);                                                              \
    }

A_SYNC(fsync)
A_SYNC(fdatasync)
