/*
 * Preloaded into every program of a virtual phone.
 *
 * 1. adbd asks libbase for properties when it introduces the phone to the adb server. Debian's build has no property
 *    store; this answers from one file per property. The function is C++ (std::string by value, libstdc++ layout), which
 *    is written out by hand here so that any C compiler will do.
 * 2. A phone has more cores than the machine may have. Affinity calls are made in the phone's core numbers. What a thread
 *    asked for is noted in one file per thread (the simulation slows the process down to the speed of those cores, and
 *    affinity is answered from it), and carried to as many CPUs of the machine as there are cores asked for. Threads and
 *    processes inherit it as the kernel's affinity is inherited.
 * 3. /proc/PID/status names the machine's CPUs in Cpus_allowed; a copy in the phone's numbers is opened instead.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STATE "/mnt/virtual/"

/* toybox calls the kernel through syscall(3), so that is answered here too, and not used below. */
static long kernel(long number, long a, long b, void *c, long d) {
    static long (*next)(long, ...);
    if (!next) next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return next(number, a, b, c, d);
}

static int real_open(int folder, const char *path, int flags, mode_t mode) {
    return (int)kernel(SYS_openat, folder, (long)path, (void *)(long)flags, mode);
}

static ssize_t read_file(const char *path, char *into, size_t size) {
    int fd = real_open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    size_t got = 0;
    for (ssize_t more; got < size - 1 && (more = read(fd, into + got, size - 1 - got)) > 0;) got += (size_t)more;
    close(fd);
    into[got] = 0;
    return (ssize_t)got;
}

#if defined(__x86_64__)
/* libstdc++'s std::string: short values live in the object itself. */
struct text {
    char *data;
    size_t size;
    union {
        char local[16];
        size_t capacity;
    } room;
};

static void set_text(struct text *to, const char *value, size_t size) {
    to->data = to->room.local;
    if (size > sizeof to->room.local - 1) {
        to->data = malloc(size + 1);
        if (!to->data) abort();
        to->room.capacity = size;
    }
    memcpy(to->data, value, size);
    to->data[size] = 0;
    to->size = size;
}

/* std::string android::base::GetProperty(const std::string&, const std::string&): the result's place comes first. */
struct text *farm_get_property(struct text *result, const struct text *key, const struct text *fallback) __asm__(
    "_ZN7android4base11GetPropertyERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEES8_");

struct text *farm_get_property(struct text *result, const struct text *key, const struct text *fallback) {
    char path[256] = STATE "props/", value[256];
    size_t base = strlen(path);
    if (key->size == 0 || key->size >= sizeof path - base || memchr(key->data, '/', key->size)) {
        set_text(result, fallback->data, fallback->size);
        return result;
    }
    memcpy(path + base, key->data, key->size);
    path[base + key->size] = 0;
    ssize_t got = read_file(path, value, sizeof value);
    if (got <= 0) {
        set_text(result, fallback->data, fallback->size);
        return result;
    }
    while (got > 0 && value[got - 1] == '\n') got--;
    set_text(result, value, (size_t)got);
    return result;
}
#endif

typedef unsigned long long cores_t;

/* The CPUs that processes of this phone may use at all: those of process 1. */
static int machine_cpus(int *cpus, int room) {
    cpu_set_t set;
    int count = 0;
    CPU_ZERO(&set);
    if (kernel(SYS_sched_getaffinity, 1, sizeof set, &set, 0) < 0) return 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && count < room; cpu++)
        if (CPU_ISSET(cpu, &set)) cpus[count++] = cpu;
    return count;
}

static int phone_cores(void) {
    char text[16];
    int cores = read_file(STATE "cores", text, sizeof text) > 0 ? atoi(text) : 0;
    return cores > 64 ? 0 : cores;
}

static cores_t every_core(int cores) { return cores == 64 ? ~0ULL : (1ULL << cores) - 1; }

/* What a thread asked for; 0: nothing. */
static cores_t noted(long tid) {
    char path[64], text[32];
    snprintf(path, sizeof path, STATE "affinity/%ld", tid);
    return read_file(path, text, sizeof text) > 0 ? strtoull(text, NULL, 16) : 0;
}

/* `only_new`: what the thread noted itself stays. */
static void note(long tid, cores_t asked, int only_new) {
    char path[64], temporary[80], text[32];
    snprintf(path, sizeof path, STATE "affinity/%ld", tid);
    snprintf(temporary, sizeof temporary, STATE "affinity/.%ld.%ld", tid, kernel(SYS_gettid, 0, 0, NULL, 0));
    int fd = real_open(AT_FDCWD, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return;
    int size = snprintf(text, sizeof text, "%llx\n", asked);
    int whole = write(fd, text, (size_t)size) == size;
    close(fd);
    if (!whole || (only_new ? link(temporary, path) : rename(temporary, path)) != 0 || only_new) unlink(temporary);
}

/* A number from the lines of a status file. */
static long field(const char *status, const char *name) {
    const char *found = strstr(status, name);
    return found ? atol(found + strlen(name)) : 0;
}

/* Asked by the thread itself, else by its process, else by a process before it. */
static cores_t inherited(long tid) {
    char path[64], status[4096];
    for (int steps = 0; tid > 1 && steps < 32; steps++) {
        cores_t asked = noted(tid);
        if (asked) return asked;
        snprintf(path, sizeof path, "/proc/%ld/status", tid);
        if (read_file(path, status, sizeof status) <= 0) return 0;
        long group = field(status, "\nTgid:"), parent = field(status, "\nPPid:");
        tid = group && group != tid ? group : parent;
    }
    return 0;
}

/* A process that was forked keeps what its parent had, also when that parent is gone by the time somebody asks. */
static cores_t before_fork;
static void on_fork(void) { before_fork = inherited(kernel(SYS_gettid, 0, 0, NULL, 0)); }
static void after_fork(void) {
    if (before_fork) note(kernel(SYS_getpid, 0, 0, NULL, 0), before_fork, 0);
}

/* Noted by the parent too: it may be gone, and somebody ask, before the child has run at all. */
pid_t fork(void) {
    static pid_t (*next)(void);
    if (!next) next = (pid_t (*)(void))dlsym(RTLD_NEXT, "fork");
    pid_t child = next();
    int error = errno;
    if (child > 0 && before_fork) note(child, before_fork, 1);
    errno = error;
    return child;
}

/* One that was started without fork(3) is told by its parent. */
__attribute__((constructor)) static void begin(void) {
    long me = kernel(SYS_getpid, 0, 0, NULL, 0);
    if (me > 1 && !noted(me)) {
        cores_t asked = inherited(me);
        if (asked) note(me, asked, 0);
    }
    pthread_atfork(on_fork, NULL, after_fork);
}

static int set_affinity(pid_t pid, size_t size, const cpu_set_t *mask) {
    int cpus[CPU_SETSIZE], count = machine_cpus(cpus, CPU_SETSIZE), cores = phone_cores();
    if (count == 0 || cores == 0) return (int)kernel(SYS_sched_setaffinity, pid, (long)size, (void *)mask, 0);
    cores_t asked = 0;
    cpu_set_t real;
    int used = 0;
    CPU_ZERO(&real);
    for (int core = 0; core < cores && core < (int)size * 8; core++) {
        if (!CPU_ISSET_S(core, size, mask)) continue;
        asked |= 1ULL << core;
        if (used == count) continue;
        /* Two cores of the phone are two CPUs here as long as there are any. */
        int at = core % count;
        while (CPU_ISSET(cpus[at], &real)) at = (at + 1) % count;
        CPU_SET(cpus[at], &real);
        used++;
    }
    int done = (int)kernel(SYS_sched_setaffinity, pid, sizeof real, &real, 0);
    if (done == 0) note(pid ? pid : kernel(SYS_gettid, 0, 0, NULL, 0), asked, 0);
    return done;
}

/* As the system call: bytes written, or -1. */
static long get_affinity(pid_t pid, size_t size, cpu_set_t *mask) {
    int cores = phone_cores();
    if (cores == 0) return kernel(SYS_sched_getaffinity, pid, (long)size, mask, 0);
    if ((size_t)cores > size * 8) {
        errno = EINVAL;
        return -1;
    }
    cpu_set_t real;
    if (kernel(SYS_sched_getaffinity, pid, sizeof real, &real, 0) < 0) return -1;
    cores_t asked = inherited(pid ? pid : kernel(SYS_gettid, 0, 0, NULL, 0));
    if (!asked) asked = every_core(cores);
    CPU_ZERO_S(size, mask);
    for (int core = 0; core < cores; core++)
        if (asked >> core & 1) CPU_SET_S(core, size, mask);
    return (long)sizeof(long);
}

int sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *mask) { return set_affinity(pid, size, mask); }

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *mask) { return get_affinity(pid, size, mask) < 0 ? -1 : 0; }

long syscall(long number, ...) {
    static long (*next)(long, ...);
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_sched_setaffinity) return set_affinity((pid_t)a[0], (size_t)a[1], (const cpu_set_t *)a[2]);
    if (number == SYS_sched_getaffinity) return get_affinity((pid_t)a[0], (size_t)a[1], (cpu_set_t *)a[2]);
    if (!next) next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* Cores as the kernel lists them, "0-3,7". */
static void list_cores(char *into, size_t room, cores_t asked) {
    size_t at = 0;
    into[0] = 0;
    for (int core = 0; core < 64; core++) {
        if (!(asked >> core & 1)) continue;
        int last = core;
        while (last < 63 && asked >> (last + 1) & 1) last++;
        at += (size_t)snprintf(into + at, room - at, last > core ? "%s%d-%d" : "%s%d", at ? "," : "", core, last);
        core = last;
    }
}

/* A copy of a status file with Cpus_allowed in the phone's numbers, at its start; -1 when there is nothing to change. */
static int phones_status(int fd) {
    char status[8192], cores_list[256];
    size_t got = 0;
    int cores = phone_cores();
    if (cores == 0) return -1;
    for (ssize_t more; got < sizeof status - 1 && (more = pread(fd, status + got, sizeof status - 1 - got, (off_t)got)) > 0;)
        got += (size_t)more;
    status[got] = 0;
    char *from = strstr(status, "\nCpus_allowed:"), *after = strstr(status, "\nMems_allowed:");
    if (!from || !after || after < from) return -1;
    cores_t asked = inherited(field(status, "\nPid:"));
    if (!asked) asked = every_core(cores);
    list_cores(cores_list, sizeof cores_list, asked);
    int copy = memfd_create("status", MFD_CLOEXEC);
    if (copy < 0) return -1;
    if (write(copy, status, (size_t)(from - status)) < 0 ||
        dprintf(copy, "\nCpus_allowed:\t%llx\nCpus_allowed_list:\t%s", asked, cores_list) < 0 ||
        write(copy, after, strlen(after)) < 0 || lseek(copy, 0, SEEK_SET) < 0) {
        close(copy);
        return -1;
    }
    return copy;
}

static int is_status(const char *path) {
    size_t size = strlen(path);
    return size > 13 && strncmp(path, "/proc/", 6) == 0 && strcmp(path + size - 7, "/status") == 0;
}

static int phone_open(int folder, const char *path, int flags, mode_t mode) {
    int fd = real_open(folder, path, flags, mode);
    if (fd < 0 || (flags & O_ACCMODE) != O_RDONLY || !is_status(path)) return fd;
    int copy = phones_status(fd);
    if (copy < 0) return fd;
    if (!(flags & O_CLOEXEC)) fcntl(copy, F_SETFD, 0);
    close(fd);
    return copy;
}

#define MODE_OF(flags, mode)                              \
    if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) { \
        va_list list;                                     \
        va_start(list, flags);                            \
        mode = va_arg(list, mode_t);                      \
        va_end(list);                                     \
    }

int open(const char *path, int flags, ...) {
    mode_t mode = 0;
    MODE_OF(flags, mode)
    return phone_open(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    mode_t mode = 0;
    MODE_OF(flags, mode)
    return phone_open(AT_FDCWD, path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...) {
    mode_t mode = 0;
    MODE_OF(flags, mode)
    return phone_open(folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
    mode_t mode = 0;
    MODE_OF(flags, mode)
    return phone_open(folder, path, flags, mode);
}
