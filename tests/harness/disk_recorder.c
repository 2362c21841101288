/* Records what a program does to its database files, put between it and the C library by LD_PRELOAD.
 *
 * Every call that changes a file below DISK_RECORDER_PATH whose name begins with edge.db (the -shm left out, which nothing
 * needs after a loss of power), or that makes such a change durable, is appended to the file DISK_RECORDER_LOG once it has
 * succeeded: one record, written by one call, so that what other processes append there falls between two of them.
 *
 * A record: kind (1 byte), length of the name (u16), offset (u64), length of the data (u32), the name, the data; numbers in
 * the machine's order. Kinds: C made, W written, T cut or grown to the offset, S made durable, D the directory made durable,
 * U removed, R renamed to what the data names.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Held over a call and its record, so that records stand in the order of what they tell. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;

static void record(char kind, const char *name, uint64_t offset, const void *data, uint32_t length) {
    int kept = errno;
    if (log_fd < 0) {
        const char *path = getenv("DISK_RECORDER_LOG");
        log_fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
        if (log_fd < 0) abort();
    }
    char head[15];
    uint16_t name_length = (uint16_t)strlen(name);
    head[0] = kind;
    memcpy(head + 1, &name_length, 2);
    memcpy(head + 3, &offset, 8);
    memcpy(head + 11, &length, 4);
    struct iovec parts[3] = {{head, sizeof head}, {(void *)name, name_length}, {(void *)data, length}};
    ssize_t whole = (ssize_t)sizeof head + name_length + length;
    if (syscall(SYS_writev, log_fd, parts, 3) != whole) abort();
    errno = kept;
}

/* The name within the directory of a path of ours, or NULL. */
static const char *ours(const char *path) {
    const char *below = getenv("DISK_RECORDER_PATH");
    size_t length = below ? strlen(below) : 0;
    if (!length || strncmp(path, below, length) || path[length] != '/') return NULL;
    const char *name = path + length + 1;
    size_t end = strlen(name);
    if (strncmp(name, "edge.db", 7) || strchr(name, '/')) return NULL;
    return end > 4 && !strcmp(name + end - 4, "-shm") ? NULL : name;
}

static const char *name_of(int fd, char path[PATH_MAX]) {
    char link[64];
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    errno = kept;
    if (length <= 0) return NULL;
    path[length] = 0;
    return ours(path);
}

static int is_directory(int fd) {
    char link[64], path[PATH_MAX];
    const char *below = getenv("DISK_RECORDER_PATH");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0 || !below) return 0;
    path[length] = 0;
    return !strcmp(path, below);
}

#define REAL(type, name, ...)                                      \
    static type (*real)(__VA_ARGS__);                              \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static ssize_t written(const char *name, const void *bytes, ssize_t done, off64_t offset) {
    if (name && done > 0) record('W', name, (uint64_t)offset, bytes, (uint32_t)done);
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    char path[PATH_MAX];
    const char *name = name_of(fd, path);
    if (!name) return real(fd, bytes, length, offset);
    pthread_mutex_lock(&lock);
    ssize_t done = written(name, bytes, real(fd, bytes, length, offset), offset);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(ssize_t, write, int, const void *, size_t);
    char path[PATH_MAX];
    const char *name = name_of(fd, path);
    if (!name) return real(fd, bytes, length);
    pthread_mutex_lock(&lock);
    off64_t offset = lseek64(fd, 0, SEEK_CUR);
    ssize_t done = written(name, bytes, real(fd, bytes, length), offset);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate64(int fd, off64_t length) {
    REAL(int, ftruncate64, int, off64_t);
    char path[PATH_MAX];
    const char *name = name_of(fd, path);
    if (!name) return real(fd, length);
    pthread_mutex_lock(&lock);
    int done = real(fd, length);
    if (done == 0) record('T', name, (uint64_t)length, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int durable(int fd, int (*sync)(int)) {
    char path[PATH_MAX];
    const char *name = name_of(fd, path);
    if (!name && !is_directory(fd)) return sync(fd);
    pthread_mutex_lock(&lock);
    int done = sync(fd);
    if (done == 0) record(name ? 'S' : 'D', name ? name : "", 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd) {
    REAL(int, fsync, int);
    return durable(fd, real);
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    return durable(fd, real);
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    const char *name = ours(path);
    if (!name) return real(path);
    pthread_mutex_lock(&lock);
    int done = real(path);
    if (done == 0) record('U', name, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    const char *name = ours(from), *other = ours(to);
    if (!name || !other) return real(from, to);
    pthread_mutex_lock(&lock);
    int done = real(from, to);
    if (done == 0) record('R', name, 0, other, (uint32_t)strlen(other));
    pthread_mutex_unlock(&lock);
    return done;
}

static int opened(const char *path, int flags, mode_t mode, int (*open)(const char *, int, ...)) {
    const char *name = ours(path);
    if (!name || !(flags & (O_CREAT | O_TRUNC))) return open(path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat64 before;
    int there = stat64(path, &before) == 0;
    int fd = open(path, flags, mode);
    if (fd >= 0 && !there) record('C', name, 0, NULL, 0);
    if (fd >= 0 && there && (flags & O_TRUNC)) record('T', name, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags)                                        \
    mode_t mode = 0;                                       \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {               \
        va_list arguments;                                 \
        va_start(arguments, flags);                        \
        mode = (mode_t)va_arg(arguments, int);             \
        va_end(arguments);                                 \
    }

int open64(const char *path, int flags, ...) {
    REAL(int, open64, const char *, int, ...);
    MODE(flags)
    return opened(path, flags, mode, real);
}

int open(const char *path, int flags, ...) {
    REAL(int, open, const char *, int, ...);
    MODE(flags)
    return opened(path, flags, mode, real);
}
