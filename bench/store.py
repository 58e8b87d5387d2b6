"""What the store makes of a worst night of telemetry: size, time to write, time to read, and what its export takes.

The night: 40 measurements of half an hour, 30 channels at 10 Hz each, 21.6 million samples. The values are made up like
those of a phone: temperatures in tenths that wander, frequencies that jump between steps, memory in pages, a current
that is noise in mA, times with the 10 ms grid and the jitter of a sampler. They go in as a run hands them over
(tuples of Python numbers, one transaction for each measurement) through the store that farm uses.

The peer is the plain way: a row for each sample (measurement, channel, time, value, with the index that reading a
trace needs) through SQLAlchemy core, on a part of the night, scaled up.

Export is run as the command itself, in a process of its own; its peak memory is told, and the same for a twentieth of
the night: what grows with the night is no streaming.

Asked (the project's own limit): at most 50 MB on disk, written within 10 s, one trace read within 5 ms (median over
200), and an export whose peak memory is at most 1.5 times that of the small one.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from common import Finding, finding, main, say, timed

from harness.model import (
    CaseResult,
    CaseStatus,
    Channel,
    DeviceKind,
    Model,
    PlannedCase,
    Platform,
    Runner,
    RunRecord,
    RunStatus,
    Trace,
    Workload,
    WorkloadKind,
)
from harness.store import Store
from harness.store.care import size_of

MEASUREMENTS, CHANNELS, SAMPLES = 40, 30, 18_000
DISK_MB, WRITE_S, READ_MS, MEMORY = 50.0, 10.0, 5.0, 1.5
READS = 200
PEER_MEASUREMENTS = 1
"""Of the night that the peer writes."""
SMALL = 20
"""The night is that many times the small one whose export is compared."""
RUN = "20261121-220000-ab12"
_RUNNING = """
import runpy, sys
sys.argv = ["farm", *sys.argv[1:]]
try:
    runpy.run_module("harness", run_name="__main__")
finally:
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""The peak of getrusage would be that of this program, from which the process was started."""


def planned(repeat: int) -> PlannedCase:
    """One measurement of the night."""
    return PlannedCase(
        run=RUN,
        case="c0ffee000001",
        repeat=repeat,
        series_key="series",
        device_id="bench",
        serial="bench",
        identity="bench",
        platform=Platform.LOCAL,
        kind=DeviceKind.HOST,
        tier="bench",
        model=Model("m", "F", "Q4_K_M", "gguf", path="m.gguf"),
        runner=Runner("r", "llama.cpp", Platform.LOCAL, "x86_64", path="r"),
        workload_id="sustained",
        workload=Workload(WorkloadKind.SUSTAINED, 64, 128),
        model_sha256="a" * 64,
        runner_sha256="b" * 64,
    )


def series(number: int, random: np.random.Generator, samples: int) -> tuple[str, str, np.ndarray]:
    """Name, unit and values of a channel: of ten temperatures, six clocks, six of memory, four of power, four of
    load."""
    if number < 10:
        wander = 35 + np.cumsum(random.normal(0, 0.02, samples)) + 5 * np.tanh(np.arange(samples) / 4000)
        return f"zone.cpu-{number}.temperature", "°C", np.round(wander, 1)
    if number < 16:
        steps = np.array([600, 902.4, 1401.6, 1804.8, 2265.6, 2956.8])
        return f"policy{number}.cur_freq", "MHz", np.repeat(random.choice(steps, samples // 20 + 1), 20)[:samples]
    if number < 22:
        pages = np.cumsum(random.integers(0, 3, samples) * (random.random(samples) < 0.1))
        return f"runner.memory-{number}", "MB", 500 + pages * 0.004096
    if number < 26:
        return f"battery.current-{number}", "A", np.round(random.normal(-1.2, 0.15, samples), 3)
    return f"cpu.busy-{number}", "%", np.round(random.normal(50, 6, samples) / 0.25) * 0.25


def traces(seed: int, samples: int) -> tuple[Trace, ...]:
    """Telemetry of one measurement, as a parser of samples hands it over."""
    random = np.random.default_rng(seed)
    times = np.round(1000 + seed * 2000 + np.arange(samples) * 0.1 + random.integers(0, 3, samples) * 0.01, 2)
    found = []
    for number in range(CHANNELS):
        name, unit, values = series(number, random, samples)
        # Channels of one pass over the files have its time; a few are of a slower pass of their own.
        own = times if number < 26 else np.round(times + random.integers(0, 2, samples) * 0.01, 2)
        found.append(Trace(Channel(name, unit, "made up", 0.001), tuple(own.tolist()), tuple(values.tolist())))
    return tuple(found)


def result(found: tuple[Trace, ...]) -> CaseResult:
    """A measurement with nothing but telemetry."""
    return CaseResult(CaseStatus.MEASURED, 1, 1_795_000_000.0, 1800.0, {}, found, (), {})


def write_night(path: Path, measurements: int, samples: int) -> float:
    """Make the database; returns the seconds the store took (making up the values is not its work)."""
    run = RunRecord(RUN, 1_795_000_000.0, RunStatus.RUNNING, {}, "bench", "inventory.yaml", "e" * 64, "0")
    taken = 0.0
    with Store.open(f"sqlite:///{path}") as store:
        cases = [planned(repeat) for repeat in range(1, measurements + 1)]
        store.begin_run(run, cases)
        for number, case in enumerate(cases):
            night = result(traces(number, samples))
            gc.collect()
            taken += timed(lambda key=case.key, night=night: store.finish_case(key, night))
        taken += timed(lambda: store.set_run_status(RUN, RunStatus.FINISHED, 1_795_000_000.0))
    return taken


def read_traces(path: Path, measurements: int) -> list[float]:
    """Milliseconds of each read of one channel of one measurement, all of its samples."""
    random = np.random.default_rng(1)
    taken = []
    with Store.open(f"sqlite:///{path}") as store:
        names = [trace.channel.name for trace in store.traces(planned(1).key)]
        for _ in range(READS):
            key = planned(int(random.integers(1, measurements + 1))).key
            name = names[int(random.integers(0, len(names)))]
            begun = time.perf_counter()
            (trace,) = store.traces(key, name)
            taken.append((time.perf_counter() - begun) * 1000)
            assert len(trace.values) == len(trace.uptime_s) > 0
    return taken


def rows_peer(path: Path, measurements: int, samples: int) -> tuple[float, float, float]:
    """A row for each sample: (seconds to write, bytes on disk, ms to read one trace)."""
    engine = sa.create_engine(f"sqlite:///{path}")
    metadata = sa.MetaData()
    table = sa.Table(
        "samples",
        metadata,
        sa.Column("key", sa.Integer, primary_key=True),
        sa.Column("channel", sa.Integer, primary_key=True),
        sa.Column("uptime_s", sa.Double, primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    metadata.create_all(engine)
    taken = 0.0
    for number in range(measurements):
        # A clock that steps back would break its key: the times of this peer ascend.
        night = [(trace, sorted(set(trace.uptime_s))) for trace in traces(number, samples)]
        gc.collect()
        taken += timed(lambda number=number, night=night: _insert(engine, table, number, night))
    begun = time.perf_counter()
    with engine.connect() as connection:
        wanted = sa.select(table.c.uptime_s, table.c.value).where(table.c.key == 0, table.c.channel == 3)
        found = connection.execute(wanted.order_by(table.c.uptime_s)).all()
    read_ms = (time.perf_counter() - begun) * 1000
    assert found
    engine.dispose()
    return taken, float(size_of(path)), read_ms


def _insert(engine: sa.Engine, table: sa.Table, key: int, night: Sequence[tuple[Trace, list[float]]]) -> None:
    with engine.begin() as connection:
        for channel, (trace, times) in enumerate(night):
            rows = [
                {"key": key, "channel": channel, "uptime_s": at, "value": value}
                for at, value in zip(times, trace.values, strict=False)
            ]
            connection.execute(sa.insert(table), rows)


def export(path: Path, form: str) -> tuple[float, float, float]:
    """(seconds, peak memory in MB, MB of the file) of `farm export --telemetry`."""
    out = path.with_name(f"telemetry.{form}")
    command = [sys.executable, "-c", _RUNNING, "--db", f"sqlite:///{path}"]
    command += ["export", "--telemetry", "--format", form, "-o", str(out)]
    begun = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=480)
    taken = time.perf_counter() - begun
    size = out.stat().st_size / 1e6
    out.unlink()
    return taken, int(done.stdout.split()[-1]) * 1024 / 1e6, size


def program(chosen: argparse.Namespace) -> list[Finding]:
    """Write, read and export the night; then the peer."""
    with tempfile.TemporaryDirectory(prefix="bench-store-", dir=chosen.folder) as folder:
        return list(_findings(chosen, Path(folder)))


def _findings(chosen: argparse.Namespace, folder: Path) -> Iterator[Finding]:
    night = MEASUREMENTS * CHANNELS * SAMPLES
    written, sizes, reads = [], [], []
    for number in range(chosen.rounds):
        path = folder / f"night{number}.db"
        written.append(write_night(path, MEASUREMENTS, SAMPLES))
        sizes.append(size_of(path) / 1e6)
        reads += read_traces(path, MEASUREMENTS)
        say(f"  round {number + 1} of {chosen.rounds}: {written[-1]:.1f} s, {sizes[-1]:.1f} MB")
    detail = f"{night / 1e6:.1f} M samples"
    yield finding("a night on disk", sizes, "MB", limit=DISK_MB, detail=detail)
    yield _of_limit("a night on disk / limit", sizes, DISK_MB)
    yield finding("a night written", written, "s", limit=WRITE_S, detail=detail)
    yield _of_limit("a night written / limit", written, WRITE_S)
    yield finding("one trace read", reads, "ms", limit=READ_MS, detail=f"{SAMPLES} samples, {len(reads)} reads")
    yield _of_limit("one trace read / limit", reads, READ_MS)
    yield from _peer(folder, written, sizes, reads)
    yield from _exports(folder)


def _of_limit(what: str, values: Sequence[float], limit: float) -> Finding:
    return finding(what, [value / limit for value in values])


def _peer(folder: Path, written: Sequence[float], sizes: Sequence[float], reads: Sequence[float]) -> Iterator[Finding]:
    seconds, size, read_ms = rows_peer(folder / "rows.db", PEER_MEASUREMENTS, SAMPLES)
    scale = MEASUREMENTS / PEER_MEASUREMENTS
    told = f"measured on 1/{scale:.0f} of the night, scaled"
    peers = ((seconds * scale, "s", written), (size / 1e6 * scale, "MB", sizes), (read_ms, "ms", reads))
    for what, (value, unit, ours) in zip(("written", "on disk", "one trace read"), peers, strict=True):
        detail = told if unit != "ms" else "from that part"
        yield finding(f"rows, {what}", [value], unit, detail=detail)
        yield finding(f"rows / blobs, {what}", [value / each for each in ours])


def _exports(folder: Path) -> Iterator[Finding]:
    small = folder / "small.db"
    write_night(small, MEASUREMENTS // SMALL, SAMPLES)
    for form in ("parquet", "csv"):
        _, low, _ = export(small, form)
        seconds, high, size = export(folder / "night0.db", form)
        detail = f"{high:.0f} MB for the night, {low:.0f} MB for a twentieth; {seconds:.0f} s, a file of {size:.0f} MB"
        yield finding(f"peak memory of export as {form}, night / twentieth", [high / low], limit=MEMORY, detail=detail)


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this program."""
    parser.add_argument("--rounds", type=int, default=3, help="rounds of writing and reading  [default: 3]")
    parser.add_argument("--folder", default=os.environ.get("TMPDIR"), help="where to write  [default: TMPDIR or /tmp]")


if __name__ == "__main__":
    main(program, sys.modules[__name__].__doc__ or "", options)
