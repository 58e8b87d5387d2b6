/*
 * farm-calibrate: a runner whose truth is known. It emits tokens at times that were asked for, takes known amounts of
 * memory, burns a known share of CPU time, and dies in a chosen way.
 *
 * Standard output has one JSON object per line. Events ("start", "ready", "token", "end") carry CLOCK_BOOTTIME, the axis
 * of /proc/uptime. The line "truth" at the end is the program's own record, kept beside the events: token times by
 * CLOCK_MONOTONIC, memory as it was asked for on top of what the process had before, CPU time by the kernel's account.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000LL
#define SECOND 1000000000LL
#define WINDOW (10 * MS)
#define JITTERS_MAX 1024
#define THREADS_MAX 64
#define KEPT_MAX 4096
#define NEVER INT64_MAX

struct options {
    const char *model;
    int64_t load, first, interval, seconds, work, cpu, at_memory, hold_memory, die_at;
    int64_t jitter[JITTERS_MAX];
    int jitters, tokens, threads, burn_pct, code;
    long long anon_bytes, oom_max_bytes;
    int map_file;
    char die[16];
};

static struct options options = {.interval = 20 * MS, .tokens = 32, .threads = 1, .die_at = NEVER};
static int64_t began;
static atomic_int over;
static atomic_uint sink;
static long base_anon_kb, base_file_kb;
static long long file_bytes;
static uint64_t work_rounds;
static int64_t token_at[KEPT_MAX];
static int64_t late_max;
static pthread_t memory;

static int64_t now_of(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return at.tv_sec * SECOND + at.tv_nsec;
}

static int64_t now(void) { return now_of(CLOCK_MONOTONIC); }

static void until(int64_t deadline) {
    struct timespec at = {deadline / SECOND, deadline % SECOND};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) continue;
}

static void fail(const char *what, const char *why) {
    fprintf(stderr, "farm-calibrate: %s: %s\n", what, why);
    exit(2);
}

static void event(const char *name, int number) {
    printf("{\"event\":\"%s\",\"n\":%d,\"boottime_ns\":%lld}\n", name, number, (long long)now_of(CLOCK_BOOTTIME));
    fflush(stdout);
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

/* What the process has before it takes anything, in kB. */
static void note_base(void) {
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) {
        sscanf(line, "RssAnon: %ld", &base_anon_kb);
        sscanf(line, "RssFile: %ld", &base_file_kb);
    }
    if (status) fclose(status);
}

/* Every page gets other content, so that nothing merges or compresses them to almost nothing. */
static void touch(volatile char *memory, long long size) {
    long page = sysconf(_SC_PAGESIZE);
    uint64_t seed = 88172645463325252ULL;
    for (long long at = 0; at < size; at += page) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        memcpy((char *)memory + at, &seed, sizeof seed);
    }
}

static char *take(long long size) {
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    madvise(memory, size, MADV_NOHUGEPAGE);
    touch(memory, size);
    return memory;
}

static void map_file(void) {
    struct stat found;
    long page = sysconf(_SC_PAGESIZE);
    unsigned sum = 0;
    int file = open(options.model, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &found) != 0) fail(options.model, strerror(errno));
    const volatile char *memory = mmap(NULL, found.st_size, PROT_READ, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) fail(options.model, strerror(errno));
    for (off_t at = 0; at < found.st_size; at += page) sum += (unsigned char)memory[at];
    atomic_fetch_add(&sink, sum);
    file_bytes = found.st_size;
    close(file);
}

static void *memory_thread(void *unused) {
    (void)unused;
    until(began + options.at_memory);
    char *memory = take(options.anon_bytes);
    if (!memory) fail("failed to allocate buffer", strerror(errno));
    if (options.hold_memory) {
        until(now() + options.hold_memory);
        munmap(memory, options.anon_bytes);
    }
    return NULL;
}

/* --- load --------------------------------------------------------------------------------------------------------- */

static void spin(uint64_t rounds) {
    uint64_t seed = 2463534242u + rounds;
    for (uint64_t at = 0; at < rounds; at++) seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    atomic_fetch_add(&sink, (unsigned)seed);
}

/* Busy for a share of every 10 ms, by the thread's own CPU time. */
static void *burn_thread(void *unused) {
    (void)unused;
    int64_t window = now();
    while (!atomic_load(&over)) {
        int64_t share = now_of(CLOCK_THREAD_CPUTIME_ID) + WINDOW * options.burn_pct / 100;
        window += WINDOW;
        while (now_of(CLOCK_THREAD_CPUTIME_ID) < share && now() < window) spin(200);
        int64_t behind = now();
        if (behind < window) until(window);
        else if (behind > window + WINDOW) window = behind;
    }
    return NULL;
}

static void *work_thread(void *unused) {
    (void)unused;
    while (!atomic_load(&over)) spin(work_rounds / 8 + 2000);
    return NULL;
}

/* As much work as the thread gets done in this CPU time. */
static void spend(int64_t cpu) {
    int64_t end = now_of(CLOCK_THREAD_CPUTIME_ID) + cpu;
    while (now_of(CLOCK_THREAD_CPUTIME_ID) < end) spin(2000);
}

/* Rounds that take `options.work` of CPU time at the speed of this moment: the fastest of several tries. */
static void measure_work(void) {
    uint64_t tried = 200000;
    int64_t fastest = NEVER;
    for (int again = 0; again < 20; again++) {
        int64_t before = now_of(CLOCK_THREAD_CPUTIME_ID);
        spin(tried);
        int64_t took = now_of(CLOCK_THREAD_CPUTIME_ID) - before;
        if (took < fastest) fastest = took;
    }
    work_rounds = (uint64_t)((double)tried * (double)options.work / (double)(fastest > 0 ? fastest : 1)) + 1;
}

/* --- deaths ------------------------------------------------------------------------------------------------------- */

static void print_garbage(void) {
    unsigned seed = 12345;
    printf("{\"event\":\"token\",\"n\":1,\"boottime_ns\":99\n{{{]}\n{\"event\":\"token\",\"n\":\"two\"}\n");
    for (int at = 0; at < 4096; at++) {
        seed = seed * 1103515245u + 12345u;
        putchar((int)(seed >> 16 & 255));
    }
    fflush(stdout);
    _exit(0);
}

static void refuse_memory(void) {
    struct rlimit limit = {1, 1};
    setrlimit(RLIMIT_AS, &limit);
    if (take(1 << 24)) fail("no memory", "it was given against the limit");
    fprintf(stderr, "failed to allocate buffer of size %d: %s\n", 1 << 24, strerror(errno));
    _exit(1);
}

/* Grows until something ends it, or to the limit; then waits for that. */
static void grow(void) {
    const long long part = 16LL << 20;
    for (long long size = 0; size + part <= options.oom_max_bytes; size += part) {
        if (!take(part)) fail("failed to allocate buffer", strerror(errno));
        until(now() + 10 * MS);
    }
    for (;;) pause();
}

static volatile uintptr_t nowhere = 8;

static void illegal_instruction(void) {
#if defined(__aarch64__)
    __asm__ volatile(".inst 0");
#else
    __builtin_trap();
#endif
}

static void *death_thread(void *unused) {
    (void)unused;
    until(began + options.die_at);
    if (!strcmp(options.die, "exit")) _exit(options.code);
    signal(SIGABRT, SIG_DFL);
    if (!strcmp(options.die, "segv")) *(volatile int *)nowhere = 1;
    if (!strcmp(options.die, "ill")) illegal_instruction();
    if (!strcmp(options.die, "abort")) abort();
    if (!strcmp(options.die, "kill")) kill(getpid(), SIGKILL);
    if (!strcmp(options.die, "garbage")) print_garbage();
    if (!strcmp(options.die, "nomem")) refuse_memory();
    if (!strcmp(options.die, "oom")) grow();
    for (;;) pause();
    return NULL;
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static void emit(int number, int64_t due) {
    int64_t at = now();
    if (number <= KEPT_MAX) token_at[number - 1] = at;
    if (due && at - due > late_max) late_max = at - due;
    event("token", number);
}

static int64_t gap(int number) {
    return options.jitters ? options.jitter[(number - 2) % options.jitters] : options.interval;
}

static int scheduled_tokens(int64_t ready) {
    int64_t due = ready + options.first;
    int64_t end = options.seconds ? ready + options.seconds : NEVER;
    int number = 0;
    while (options.seconds ? due <= end : number < options.tokens) {
        until(due);
        emit(++number, due);
        due += gap(number + 1);
    }
    if (options.seconds) until(end);
    return number;
}

/* A token is a fixed amount of work, or of CPU time: its time tells how fast the phone is, or what share of its time it
 * runs. */
static int worked_tokens(int64_t ready) {
    int number = 0;
    while (options.seconds ? now() < ready + options.seconds : number < options.tokens) {
        if (options.cpu) spend(options.cpu);
        else spin(work_rounds);
        emit(++number, 0);
    }
    return number;
}

static void tell_truth(int64_t ready, int tokens) {
    printf("{\"event\":\"truth\",\"load_ns\":%lld,\"tokens\":%d,\"late_max_ns\":%lld,\"base_anon_kb\":%ld,"
           "\"base_file_kb\":%ld,\"anon_bytes\":%lld,\"file_bytes\":%lld,\"cpu_ns\":%lld,\"ready_monotonic_ns\":%lld,\"token_monotonic_ns\":[",
           (long long)(ready - began), tokens, (long long)late_max, base_anon_kb, base_file_kb,
           options.anon_bytes, file_bytes, (long long)now_of(CLOCK_PROCESS_CPUTIME_ID), (long long)ready);
    for (int at = 0; tokens <= KEPT_MAX && at < tokens; at++) printf("%s%lld", at ? "," : "", (long long)token_at[at]);
    printf("]}\n");
    fflush(stdout);
}

/* --- command line ------------------------------------------------------------------------------------------------- */

static double number_of(const char *name, const char *text, double max) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0) || value > max) {
        fprintf(stderr, "invalid argument for %s: %s\n", name, text);
        exit(2);
    }
    return value;
}

static void read_death(char *text) {
    static const char *known[] = {"exit", "segv", "ill", "abort", "kill", "garbage", "nomem", "oom", "hang"};
    char *at = strchr(text, '@'), *code = strchr(text, ':');
    if (!at) fail("invalid argument for --die (HOW@MS)", text);
    options.die_at = (int64_t)(number_of("--die", at + 1, 1e9) * MS);
    *at = 0;
    if (code && code < at) {
        options.code = (int)number_of("--die", code + 1, 125);
        *code = 0;
    }
    for (size_t index = 0; index < sizeof known / sizeof *known; index++)
        if (!strcmp(text, known[index])) {
            snprintf(options.die, sizeof options.die, "%s", text);
            return;
        }
    fail("invalid argument for --die", text);
}

static void read_jitters(char *text) {
    for (char *part = strtok(text, ","); part; part = strtok(NULL, ",")) {
        if (options.jitters == JITTERS_MAX) fail("invalid argument for --jitter-list", "too long");
        options.jitter[options.jitters++] = (int64_t)(number_of("--jitter-list", part, 1e6) * MS);
    }
}

static void read_option(const char *name, char *value) {
    if (!strcmp(name, "--model")) options.model = value;
    else if (!strcmp(name, "--die")) read_death(value);
    else if (!strcmp(name, "--jitter-list")) read_jitters(value);
    else if (!strcmp(name, "--load-ms")) options.load = (int64_t)(number_of(name, value, 1e9) * MS);
    else if (!strcmp(name, "--first-ms")) options.first = (int64_t)(number_of(name, value, 1e9) * MS);
    else if (!strcmp(name, "--interval-ms")) options.interval = (int64_t)(number_of(name, value, 1e9) * MS);
    else if (!strcmp(name, "--work-ms")) options.work = (int64_t)(number_of(name, value, 1e6) * MS);
    else if (!strcmp(name, "--cpu-ms")) options.cpu = (int64_t)(number_of(name, value, 1e6) * MS);
    else if (!strcmp(name, "--seconds")) options.seconds = (int64_t)(number_of(name, value, 1e6) * SECOND);
    else if (!strcmp(name, "--anon-at-ms")) options.at_memory = (int64_t)(number_of(name, value, 1e9) * MS);
    else if (!strcmp(name, "--anon-hold-ms")) options.hold_memory = (int64_t)(number_of(name, value, 1e9) * MS);
    else if (!strcmp(name, "--anon-mb")) options.anon_bytes = (long long)(number_of(name, value, 1e6) * 1e6);
    else if (!strcmp(name, "--oom-max-mb")) options.oom_max_bytes = (long long)(number_of(name, value, 1e6) * 1e6);
    else if (!strcmp(name, "--map-file")) options.map_file = (int)number_of(name, value, 1);
    else if (!strcmp(name, "--tokens")) options.tokens = (int)number_of(name, value, 1e7);
    else if (!strcmp(name, "--threads")) options.threads = (int)number_of(name, value, THREADS_MAX);
    else if (!strcmp(name, "--burn")) options.burn_pct = (int)number_of(name, value, 100);
    else fail("unknown argument", name);
}

static pthread_t start_thread(void *(*body)(void *)) {
    pthread_t thread;
    int wrong = pthread_create(&thread, NULL, body, NULL);
    if (wrong) fail("cannot start a thread", strerror(wrong));
    return thread;
}

static void start_threads(void) {
    if (options.die_at != NEVER) start_thread(death_thread);
    if (options.anon_bytes) memory = start_thread(memory_thread);
    for (int at = 0; options.burn_pct && at < options.threads; at++) start_thread(burn_thread);
    for (int at = 1; (options.work || options.cpu) && at < options.threads; at++) start_thread(work_thread);
}

int main(int count, char **words) {
    began = now();
    event("start", 0);
    if (count % 2 == 0) fail("invalid argument", "every option takes a value");
    for (int at = 1; at < count; at += 2) read_option(words[at], words[at + 1]);
    if (!strcmp(options.die, "hang")) signal(SIGTERM, SIG_IGN);
    note_base();
    if (options.work) measure_work();
    start_threads();
    if (options.map_file && options.model) map_file();
    until(began + options.load);
    int64_t ready = now();
    event("ready", 0);
    if (options.die_at != NEVER) {
        scheduled_tokens(ready);
        until(began + options.die_at + 3600 * SECOND);
    }
    int tokens = options.work || options.cpu ? worked_tokens(ready) : scheduled_tokens(ready);
    /* On a busy machine taking the memory may last longer than the tokens; only then is it what was asked for. */
    if (options.anon_bytes) pthread_join(memory, NULL);
    event("end", tokens);
    atomic_store(&over, 1);
    tell_truth(ready, tokens);
    return 0;
}
