/* Preloaded into a broker: fails one write or sync of the database's files, or records all of them.
 *
 * NOLAG_SHIM_FILE    path of the database; its -wal and -journal count too
 * NOLAG_SHIM_FAIL    "n:errno": the n-th write or sync (from 1) fails, once
 * NOLAG_SHIM_RECORD  file that every successful write, sync, truncation and removal is appended to, after it happened:
 *                    kind (w s t u), file (d w j), 8 bytes offset or length, 8 bytes count, and then so many bytes
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)

static char file_of(const char *path) {
    const char *database = getenv("NOLAG_SHIM_FILE");
    size_t length = database ? strlen(database) : 0;
    if (!length || strncmp(path, database, length)) return 0;
    if (!path[length]) return 'd';
    if (!strcmp(path + length, "-wal")) return 'w';
    if (!strcmp(path + length, "-journal")) return 'j';
    return 0;
}

static char file_of_fd(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return file_of(path);
}

static int fails(void) {
    static int calls;
    int at, error;
    const char *plan = getenv("NOLAG_SHIM_FAIL");
    if (!plan || sscanf(plan, "%d:%d", &at, &error) != 2 || ++calls != at) return 0;
    errno = error;
    return 1;
}

static ssize_t plain_write(int fd, const void *data, size_t count) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return real(fd, data, count);
}

static void record(char kind, char file, uint64_t where, const void *data, uint64_t count) {
    static int log = -1;
    int kept = errno;
    if (log < 0 && getenv("NOLAG_SHIM_RECORD")) log = open(getenv("NOLAG_SHIM_RECORD"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log >= 0) {
        char *entry = malloc(18 + count);
        entry[0] = kind, entry[1] = file;
        memcpy(entry + 2, &where, 8), memcpy(entry + 10, &count, 8);
        if (count) memcpy(entry + 18, data, count);
        if (plain_write(log, entry, 18 + count) != (ssize_t)(18 + count)) abort();
        free(entry);
    }
    errno = kept;
}

ssize_t write(int fd, const void *data, size_t count) {
    char file = file_of_fd(fd);
    if (!file) return plain_write(fd, data, count);
    if (fails()) return -1;
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t written = plain_write(fd, data, count);
    if (written > 0) record('w', file, at, data, written);
    return written;
}

#define PWRITE(name, symbol, offset)                                                 \
    ssize_t name(int fd, const void *data, size_t count, offset at) {                \
        REAL(ssize_t, symbol, int, const void *, size_t, offset);                    \
        char file = file_of_fd(fd);                                                  \
        if (file && fails()) return -1;                                              \
        ssize_t written = real(fd, data, count, at);                                 \
        if (file && written > 0) record('w', file, at, data, written);               \
        return written;                                                              \
    }
PWRITE(pwrite, "pwrite", off_t)
PWRITE(pwrite64, "pwrite64", off64_t)

#define SYNC(name, symbol)                                                           \
    int name(int fd) {                                                               \
        REAL(int, symbol, int);                                                      \
        char file = file_of_fd(fd);                                                  \
        if (file && fails()) return -1;                                              \
        int result = real(fd);                                                       \
        if (file && !result) record('s', file, 0, NULL, 0);                          \
        return result;                                                               \
    }
SYNC(fsync, "fsync")
SYNC(fdatasync, "fdatasync")

#define TRUNCATE(name, symbol, offset)                                               \
    int name(int fd, offset length) {                                                \
        REAL(int, symbol, int, offset);                                              \
        char file = file_of_fd(fd);                                                  \
        int result = real(fd, length);                                               \
        if (file && !result) record('t', file, length, NULL, 0);                     \
        return result;                                                               \
    }
TRUNCATE(ftruncate, "ftruncate", off_t)
TRUNCATE(ftruncate64, "ftruncate64", off64_t)

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    char file = file_of(path);
    int result = real(path);
    if (file && !result) record('u', file, 0, NULL, 0);
    return result;
}
