"""A busy program for virtual phones that tells how fast it was allowed to be."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.conftest import RunningLab

_SOURCE = r"""
/* spin THREADS SKIP_S SECONDS: threads that wait for each other after every bit of work, as those of a model do. Counts
   from SKIP_S on and prints JSON: rounds, wall_s, and of its slowest thread run_s (on a CPU) and wait_s (ready to run,
   but others had the CPU). */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static pthread_barrier_t barrier;
static int threads;
static volatile int stage;
static double skip_s, for_s;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void used(double *run, double *wait) {
    char path[64];
    unsigned long long a = 0, b = 0;
    snprintf(path, sizeof path, "/proc/self/task/%ld/schedstat", (long)syscall(SYS_gettid));
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%llu %llu", &a, &b) != 2) exit(3);
    fclose(file);
    *run = a / 1e9;
    *wait = b / 1e9;
}

static void *spin(void *first) {
    double begin = now(), from = 0, run = 0, wait = 0, run2, wait2;
    unsigned long rounds = 0;
    volatile unsigned x = 1;
    int counting = 0;
    for (;;) {
        for (int i = 0; i < 20000; i++) x = x * 1664525u + 1013904223u;
        if (first && !counting && now() - begin >= skip_s) stage = 1;
        if (first && counting && now() - from >= for_s) stage = 2;
        if (threads > 1) pthread_barrier_wait(&barrier);
        int at = stage;
        if (threads > 1) pthread_barrier_wait(&barrier);
        rounds++;
        if (at == 1 && !counting) {
            counting = 1;
            rounds = 0;
            from = now();
            used(&run, &wait);
        }
        if (at == 2) break;
    }
    if (first) {
        double wall = now() - from;
        used(&run2, &wait2);
        printf("{\"rounds\": %lu, \"wall_s\": %f, ", rounds, wall);
        printf("\"run_s\": %f, \"wait_s\": %f}\n", run2 - run, wait2 - wait);
    }
    return NULL;
}

int main(int count, char **words) {
    pthread_t other;
    if (count != 4) return 2;
    threads = atoi(words[1]);
    skip_s = atof(words[2]);
    for_s = atof(words[3]);
    pthread_barrier_init(&barrier, NULL, threads);
    for (int i = 1; i < threads; i++) pthread_create(&other, NULL, spin, NULL);
    spin(words);
    return 0;
}
"""


@dataclass(frozen=True, slots=True)
class Spin:
    """What one run did. Args: run_s, wait_s: of one thread: on a CPU, and kept from one by other processes."""

    rounds: int
    wall_s: float
    run_s: float
    wait_s: float

    @property
    def allowed(self) -> tuple[float, float]:
        """Share of the time that a single thread was let run: at least, and at most. The second one counts the time
        that others took its CPU as its own, and with it the moments in which it was stopped while it waited."""
        return self.run_s / self.wall_s, (self.run_s + self.wait_s) / self.wall_s

    def agrees(self, share: float, tolerance: float) -> bool:
        """Whether `share` is what it was let run, as far as a busy machine can tell."""
        low, high = self.allowed
        return low <= share * (1 + tolerance) and high >= share * (1 - tolerance)

    @property
    def tells(self) -> bool:
        """Whether the machine was quiet enough for a tight answer."""
        low, high = self.allowed
        return high - low < 0.05 * high

    @property
    def rate(self) -> float:
        return self.rounds / self.wall_s


def build(folder: Path) -> Path:
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        pytest.skip("no C compiler")
    source, program = folder / "spin.c", folder / "spin"
    source.write_text(_SOURCE)
    subprocess.run([compiler, "-O2", "-pthread", "-o", str(program), str(source)], check=True, timeout=60)
    return program


def push(lab: RunningLab, phone: str, folder: Path) -> None:
    program, serial = build(folder), lab.info.phone(phone).adb_serial
    assert lab.adb("-s", serial, "push", str(program), "/data/local/tmp/spin").returncode == 0
    lab.says(phone, "chmod 755 /data/local/tmp/spin")


def spin(lab: RunningLab, phone: str, threads: int, seconds: float, *, skip_s: float = 0.7, mask: str = "") -> Spin:
    """Args: skip_s: not counted; the phone needs two looks at its processes to know a busy one."""
    pinned = f"taskset {mask} " if mask else ""
    said = lab.says(phone, f"{pinned}/data/local/tmp/spin {threads} {skip_s} {seconds}", limit_s=60)
    return Spin(**json.loads(said))
