/*
 * Preloaded into every program of a virtual phone.
 *
 * 1. adbd asks libbase for properties when it introduces the phone to the adb server. Debian's build has no property
 *    store; this answers from one file per property. The function is C++ (std::string by value, libstdc++ layout), which
 *    is written out by hand here so that any C compiler will do.
 * 2. A phone has more cores than the machine may have. Affinity calls are made in the phone's core numbers; each is
 *    carried to a CPU of the machine (number modulo CPUs), so that `taskset f0` works on a machine with two CPUs.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STATE "/mnt/virtual/"

static ssize_t read_file(const char *path, char *into, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t got = read(fd, into, size - 1);
    close(fd);
    if (got < 0) return -1;
    into[got] = 0;
    return got;
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

/* toybox calls the kernel through syscall(3), so that is answered here too, and not used below. */
static long kernel(long number, long a, long b, void *c) {
    static long (*next)(long, ...);
    if (!next) next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return next(number, a, b, c);
}

/* The CPUs that processes of this phone may use at all: those of process 1. */
static int machine_cpus(int *cpus, int room) {
    cpu_set_t set;
    int count = 0;
    CPU_ZERO(&set);
    if (kernel(SYS_sched_getaffinity, 1, sizeof set, &set) < 0) return 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && count < room; cpu++)
        if (CPU_ISSET(cpu, &set)) cpus[count++] = cpu;
    return count;
}

static int phone_cores(void) {
    char text[16];
    return read_file(STATE "cores", text, sizeof text) > 0 ? atoi(text) : 0;
}

static int set_affinity(pid_t pid, size_t size, const cpu_set_t *mask) {
    int cpus[CPU_SETSIZE], count = machine_cpus(cpus, CPU_SETSIZE), cores = phone_cores();
    if (count == 0 || cores == 0) return (int)kernel(SYS_sched_setaffinity, pid, (long)size, (void *)mask);
    cpu_set_t real;
    CPU_ZERO(&real);
    for (int core = 0; core < cores && core < (int)size * 8; core++)
        if (CPU_ISSET_S(core, size, mask)) CPU_SET(cpus[core % count], &real);
    return (int)kernel(SYS_sched_setaffinity, pid, sizeof real, &real);
}

/* As the system call: bytes written, or -1. */
static long get_affinity(pid_t pid, size_t size, cpu_set_t *mask) {
    int cpus[CPU_SETSIZE], count = machine_cpus(cpus, CPU_SETSIZE), cores = phone_cores();
    if (count == 0 || cores == 0) return kernel(SYS_sched_getaffinity, pid, (long)size, mask);
    if ((size_t)cores > size * 8) {
        errno = EINVAL;
        return -1;
    }
    cpu_set_t real;
    CPU_ZERO(&real);
    if (kernel(SYS_sched_getaffinity, pid, sizeof real, &real) < 0) return -1;
    CPU_ZERO_S(size, mask);
    for (int core = 0; core < cores; core++)
        if (CPU_ISSET(cpus[core % count], &real)) CPU_SET_S(core, size, mask);
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
