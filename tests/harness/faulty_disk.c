/* A disk that fails on demand, put between a program and the C library by LD_PRELOAD.
 *
 * The file named by FAULTY_DISK_PLAN holds "N OP ERRNO SERIAL": of the calls of one kind (OP: write, sync, or any) on
 * files below FAULTY_DISK_PATH whose name begins with edge.db, counted from the moment that this plan (told from others by
 * SERIAL) was first seen, the N-th fails, once. N = 0 fails none, N = -1 all of them. The SERIAL of the last
 * plan that made a call fail is written to FAULTY_DISK_SEEN before the call returns.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long serial_seen = -1, count = 0;

static ssize_t (*real_pwrite64)(int, const void *, size_t, off64_t);
static ssize_t (*real_write)(int, const void *, size_t);

static int ours(int fd) {
    const char *below = getenv("FAULTY_DISK_PATH");
    char link[64], path[PATH_MAX];
    if (!below) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    return !strncmp(path, below, strlen(below)) && name && !strncmp(name + 1, "edge.db", 7);
}

/* 0 to go on, else the error to fail with. */
static int verdict(int fd, const char *operation) {
    int outcome = 0, kept = errno;
    if (!ours(fd)) { errno = kept; return 0; }
    pthread_mutex_lock(&lock);
    long which = 0, number = 0, serial = -1;
    char kind[16] = "any";
    const char *plan = getenv("FAULTY_DISK_PLAN"), *seen = getenv("FAULTY_DISK_SEEN");
    FILE *file = plan ? fopen(plan, "r") : NULL;
    if (file) {
        if (fscanf(file, "%ld %15s %ld %ld", &which, kind, &number, &serial) != 4) which = 0;
        fclose(file);
    }
    if (serial != serial_seen) { serial_seen = serial; count = 0; }
    if (which != 0 && (!strcmp(kind, "any") || !strcmp(kind, operation))) {
        count++;
        if (which < 0 || count == which) { outcome = (int)number; }
        file = outcome && seen ? fopen(seen, "w") : NULL;
        if (file) { fprintf(file, "%ld\n", serial); fclose(file); }
    }
    pthread_mutex_unlock(&lock);
    errno = kept;
    return outcome;
}

#define FIND(name) do { if (!real_##name) real_##name = dlsym(RTLD_NEXT, #name); } while (0)
#define FAIL_IF(fd, operation) do { int why = verdict(fd, operation); if (why) { errno = why; return -1; } } while (0)

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    FAIL_IF(fd, "write");
    FIND(pwrite64);
    return real_pwrite64(fd, bytes, length, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t write(int fd, const void *bytes, size_t length) {
    FAIL_IF(fd, "write");
    FIND(write);
    return real_write(fd, bytes, length);
}

static int (*real_fsync)(int), (*real_fdatasync)(int), (*real_ftruncate64)(int, off64_t);

int fsync(int fd) { FAIL_IF(fd, "sync"); FIND(fsync); return real_fsync(fd); }
int fdatasync(int fd) { FAIL_IF(fd, "sync"); FIND(fdatasync); return real_fdatasync(fd); }
int ftruncate64(int fd, off64_t length) { FAIL_IF(fd, "write"); FIND(ftruncate64); return real_ftruncate64(fd, length); }
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }
