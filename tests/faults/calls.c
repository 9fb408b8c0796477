/* Loaded before libc: counts the file calls below a folder, and makes one of them fail or the process die there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char below[PATH_MAX];
static long count, at = -1, room = -1;
static int error; /* 0: die */

/* Begin to count below a folder. The call number `fail_at` fails with `number`, or dies (0); `bytes` is the disk. */
void ftclf_arm(const char *folder, long fail_at, int number, long bytes) {
  strncpy(below, folder, sizeof below - 1);
  count = 0, at = fail_at, error = number, room = bytes;
}

long ftclf_count(void) { return count; }

static int fails(const char *path) {
  if (!below[0] || !path || strncmp(path, below, strlen(below))) return 0;
  if (count++ != at) return 0;
  if (!error) kill(getpid(), SIGKILL);
  errno = error;
  return 1;
}

static const char *of(int fd, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  path[length < 0 ? 0 : length] = 0;
  return path;
}

static const char *in(int folder, const char *name, char *path) {
  if (name[0] == '/' || folder == AT_FDCWD) return name;
  of(folder, path);
  strncat(path, "/", PATH_MAX - strlen(path) - 1);
  strncat(path, name, PATH_MAX - strlen(path) - 1);
  return path;
}

/* Return how much of a write the disk takes: all, a part, or nothing (-1). */
static ssize_t taken(int fd, ssize_t length) {
  char path[PATH_MAX];
  if (!below[0] || length <= 0) return length;
  of(fd, path);
  if (strncmp(path, below, strlen(below))) return length;
  if (fails(path)) return -1;
  if (room < 0) return length;
  if (room == 0) { errno = ENOSPC; return -1; }
  if (length > room) length = room;
  room -= length;
  return length;
}

#define NEXT(name) static __typeof__(name) *next; if (!next) next = dlsym(RTLD_NEXT, #name)
#define WRITES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT))
#define MODE va_list list; va_start(list, flags); mode_t mode = va_arg(list, int); va_end(list)

int open(const char *path, int flags, ...) { NEXT(open); MODE; return WRITES(flags) && fails(path) ? -1 : next(path, flags, mode); }
int open64(const char *path, int flags, ...) { NEXT(open64); MODE; return WRITES(flags) && fails(path) ? -1 : next(path, flags, mode); }
int openat(int folder, const char *name, int flags, ...) {
  NEXT(openat); MODE; char path[PATH_MAX];
  return WRITES(flags) && fails(in(folder, name, path)) ? -1 : next(folder, name, flags, mode);
}
int openat64(int folder, const char *name, int flags, ...) {
  NEXT(openat64); MODE; char path[PATH_MAX];
  return WRITES(flags) && fails(in(folder, name, path)) ? -1 : next(folder, name, flags, mode);
}
FILE *fopen(const char *path, const char *how) { NEXT(fopen); return how[0] != 'r' && fails(path) ? NULL : next(path, how); }
FILE *fopen64(const char *path, const char *how) { NEXT(fopen64); return how[0] != 'r' && fails(path) ? NULL : next(path, how); }
ssize_t write(int fd, const void *from, size_t length) {
  NEXT(write); ssize_t part = taken(fd, length);
  return part < 0 ? -1 : next(fd, from, part);
}
ssize_t pwrite64(int fd, const void *from, size_t length, off64_t where) {
  NEXT(pwrite64); ssize_t part = taken(fd, length);
  return part < 0 ? -1 : next(fd, from, part, where);
}
ssize_t writev(int fd, const struct iovec *parts, int number) {
  NEXT(writev); ssize_t length = 0;
  for (int i = 0; i < number; i++) length += parts[i].iov_len;
  ssize_t part = taken(fd, length);
  if (part == length) return next(fd, parts, number);
  errno = part < 0 ? errno : ENOSPC;
  return -1;
}
int fsync(int fd) { NEXT(fsync); char path[PATH_MAX]; return below[0] && fails(of(fd, path)) ? -1 : next(fd); }
int rename(const char *from, const char *to) { NEXT(rename); return fails(from) ? -1 : next(from, to); }
int renameat(int a, const char *from, int b, const char *to) {
  NEXT(renameat); char path[PATH_MAX];
  return fails(in(a, from, path)) ? -1 : next(a, from, b, to);
}
int unlink(const char *path) { NEXT(unlink); return fails(path) ? -1 : next(path); }
int unlinkat(int folder, const char *name, int flags) {
  NEXT(unlinkat); char path[PATH_MAX];
  return fails(in(folder, name, path)) ? -1 : next(folder, name, flags);
}
int rmdir(const char *path) { NEXT(rmdir); return fails(path) ? -1 : next(path); }
int mkdir(const char *path, mode_t mode) { NEXT(mkdir); return fails(path) ? -1 : next(path, mode); }
int chmod(const char *path, mode_t mode) { NEXT(chmod); return fails(path) ? -1 : next(path, mode); }
int ftruncate64(int fd, off64_t length) { NEXT(ftruncate64); char path[PATH_MAX]; return below[0] && fails(of(fd, path)) ? -1 : next(fd, length); }
