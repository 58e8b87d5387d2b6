"""Moves one phone's truth along with the load of its real processes, and writes what its gauges show."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from device_agents.virtual import physics, sensors, usage
from device_agents.virtual.profiles import Profile
from device_agents.virtual.texts import Temperatures

TICK_S = 0.2
_SERVICES_S = 1.0
_TRUTH_S = 0.5
_LOAD_WINDOWS_S = (60.0, 300.0, 900.0)
_HEAVY_SHARE = 0.15
"""A process that uses more than this share of one CPU is slowed down when the phone is hot."""


@dataclass(frozen=True, slots=True)
class Duty:
    """Let the processes `pids` run for the share `run` of the time."""

    run: float
    pids: tuple[int, ...]


def _machine_cpus() -> int:
    return len(os.sched_getaffinity(0))


def _machine_available_kb() -> int:
    with Path("/proc/meminfo").open(encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1])
    return 0


class Simulator:
    """State of one phone over its boots: heat and charge stay, processes and boot id do not."""

    def __init__(self, profile: Profile, serial: str, state: Path, truth: Path, behaviours: frozenset[str]) -> None:
        self._profile = profile
        self._serial = serial
        self._folder = state
        self._truth_path = truth
        self._behaviours = behaviours
        self._files = sensors.Files(state)
        self._proc: int | None = None
        self._state = physics.at_rest(profile, 74.0)
        self._charger = "usb"
        self._charging = True
        self._settings: Mapping[str, str] = {}
        self._settings_stamp = 0
        self._boot_id = ""
        self._booted_at = 0.0
        self._last = 0.0
        self._usage = usage.Usage(0.0, 0, 0, {})
        self._gauge_due = self._services_due = self._truth_due = 0.0
        self._duty = Duty(1.0, ())
        self._averages = (0.0, 0.0, 0.0)

    @property
    def state(self) -> physics.State:
        return self._state

    @property
    def charger(self) -> str:
        return self._charger

    def boot(self, boot_id: str, uptime_s: float) -> None:
        """Write every file for a boot that starts now, with the phone's clock at `uptime_s`."""
        self._files.forget()
        self._boot_id = boot_id
        self._booted_at = time.monotonic() - uptime_s
        self._last = time.monotonic()
        self._usage = usage.Usage(0.0, 0, 0, {})
        self._averages = (0.0, 0.0, 0.0)
        self._duty = Duty(1.0, ())
        sensors.write_fixed(self._files, self._profile, self._serial, boot_id, self._behaviours)
        sensors.link_policies(self._folder, self._profile)
        self._gauge_due = self._services_due = self._truth_due = 0.0
        self._write(time.monotonic())

    def attach(self, proc: int) -> None:
        """Take the descriptor of the booted phone's /proc."""
        self.halt()
        self._proc = proc

    def halt(self) -> None:
        if self._proc is not None:
            os.close(self._proc)
            self._proc = None

    def set(
        self,
        *,
        battery_level: float | None = None,
        temperature_c: float | None = None,
        charger: str | None = None,
        charging: bool | None = None,
    ) -> None:
        """Change the truth: level in percent; temperature of skin, battery and CPU in °C; charger "none", "usb", "ac";
        whether the charger feeds the battery."""
        state = self._state
        if battery_level is not None:
            state = replace(state, charge_mah=state.full_mah * battery_level / 100.0)
        if temperature_c is not None:
            cap = physics.cap_for(temperature_c, self._profile.physics)
            state = replace(state, cpu_c=temperature_c, skin_c=temperature_c, battery_c=temperature_c, cap=cap)
        self._charger = charger or self._charger
        self._charging = self._charging if charging is None else charging
        # A moment later the current is the new one too.
        self._state = physics.step(
            state, self._profile, load=state.load, seconds=1e-3, charger=self._charger, charging=self._charging
        )
        self._gauge_due = self._services_due = self._truth_due = 0.0
        if self._proc is not None:
            self._write(time.monotonic())

    def tick(self) -> Duty | None:
        """Advance to now; a new duty when the phone must run slower or may run faster, else None."""
        if self._proc is None:
            return None
        now = time.monotonic()
        seconds = now - self._last
        if seconds <= 0:
            return None
        before, seen = self._usage, usage.read(self._proc)
        self._usage = replace(seen, busy_s=max(seen.busy_s, before.busy_s))
        used = self._usage.busy_s - before.busy_s
        load = min(1.0, used / seconds / min(_machine_cpus(), self._profile.cores))
        one, five, fifteen = (
            average + (used / seconds - average) * (1.0 - math.exp(-seconds / window))
            for average, window in zip(self._averages, _LOAD_WINDOWS_S, strict=True)
        )
        self._averages = (one, five, fifteen)
        self._state = physics.step(
            self._state, self._profile, load=load, seconds=seconds, charger=self._charger, charging=self._charging
        )
        self._last = now
        self._read_settings()
        self._write(now)
        return self._new_duty(before, seconds)

    def _new_duty(self, before: usage.Usage, seconds: float) -> Duty | None:
        run = self._state.cap
        threshold = _HEAVY_SHARE * min(1.0, run) * seconds
        heavy = tuple(
            sorted(
                pid
                for pid, used in self._usage.per_process.items()
                if pid in self._duty.pids or used - before.per_process.get(pid, used) > threshold
            )
        )
        duty = Duty(run, heavy) if run < 1.0 else Duty(1.0, ())
        if duty == self._duty:
            return None
        self._duty = duty
        return duty

    def _read_settings(self) -> None:
        folder = self._folder / "settings"
        stamp = folder.stat().st_mtime_ns
        if stamp == self._settings_stamp:
            return
        self._settings_stamp = stamp
        found: dict[str, str] = {}
        for file in folder.iterdir():
            if not file.name.startswith("."):
                try:
                    found[file.name] = file.read_text(encoding="utf-8", errors="replace").strip()
                except OSError:
                    continue
        self._settings = found
        self._services_due = 0.0

    def _write(self, now: float) -> None:
        profile, state, files = self._profile, self._state, self._files
        uptime = now - self._booted_at
        sensors.write_frequencies(files, profile, state.load, state.cap)
        sensors.write_processors(
            files, profile, busy_s=self._usage.busy_s, uptime_s=uptime, boot_time=time.time() - uptime
        )
        temperatures = Temperatures(
            cpu=state.cpu_c,
            gpu=state.skin_c + 0.3 * (state.cpu_c - state.skin_c),
            skin=state.skin_c,
            battery=state.battery_c,
        )
        sensors.write_thermal(files, profile, temperatures)
        gauge = sensors.read_gauge(profile, state, self._charger, self._charging)
        if now >= self._gauge_due:
            self._gauge_due = now + profile.battery.period_s
            sensors.write_gauge(files, profile, gauge)
        if now >= self._services_due:
            self._services_due = now + _SERVICES_S
            sensors.write_memory(
                files,
                profile,
                anon_kb=self._usage.anon_kb,
                file_kb=self._usage.file_kb,
                machine_available_kb=_machine_available_kb(),
            )
            sensors.write_load(files, self._averages, len(self._usage.per_process) + 1)
            sensors.write_services(files, profile, temperatures, gauge, self._settings)
            files.put("phone/applied", self._settings.get("sequence", "") + "\n")
        if now >= self._truth_due:
            self._truth_due = now + _TRUTH_S
            self._append_truth(uptime)

    def _append_truth(self, uptime: float) -> None:
        """One line of exact truth, where neither the phone nor measuring code looks."""
        state = self._state
        line = {
            "host_s": time.time(),
            "uptime_s": uptime,
            "boot_id": self._boot_id,
            "power_w": state.power_w,
            "energy_j": state.energy_j,
            "battery_out_j": state.battery_out_j,
            "battery_in_j": state.battery_in_j,
            "battery_a": state.battery_a,
            "battery_v": state.battery_v,
            "charge_mah": state.charge_mah,
            "cpu_c": state.cpu_c,
            "skin_c": state.skin_c,
            "battery_c": state.battery_c,
            "cap": state.cap,
            "load": state.load,
            "busy_s": self._usage.busy_s,
            "anon_kb": self._usage.anon_kb,
            "charger": self._charger,
        }
        with self._truth_path.open("a", encoding="utf-8") as truth:
            truth.write(json.dumps(line) + "\n")
