"""Moves one phone's truth along with the load of its real processes, and writes what its gauges show."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from device_agents.virtual import physics, sensors, usage
from device_agents.virtual.gauge import FuelGauge
from device_agents.virtual.load import Throttle
from device_agents.virtual.profiles import Profile, with_bad_battery
from device_agents.virtual.texts import Gauge, Temperatures
from device_agents.virtual.truth import Truth, of_state

TICK_S = 0.2
_SERVICES_S = 1.0
_LOAD_WINDOWS_S = (60.0, 300.0, 900.0)
_CLEAN_S = 2.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a test asked of a phone beyond its profile; all of it is in the truth.

    Args:
        charger: "none", "usb", "ac"; charging: whether it feeds the battery.
        ambient_c: temperature of the room in °C, None: that of the profile.
        heat_scale: how many times as fast it warms and cools; battery_scale: how much finer and faster its gauge is.
        other_load: busy share of all cores by a process of the system; apps_kb: memory that others hold.
    """

    charger: str = "usb"
    charging: bool = True
    ambient_c: float | None = None
    heat_scale: float = 1.0
    battery_scale: float = 1.0
    other_load: float = 0.0
    apps_kb: int = 0


def machine_cpus() -> int:
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
        self._profile = self._heat = with_bad_battery(profile) if "bad_battery" in behaviours else profile
        self._serial = serial
        self._folder = state
        self._truth = Truth(truth)
        self._behaviours = behaviours
        self._files = sensors.Files(state)
        self._proc: int | None = None
        self._state = physics.at_rest(self._profile, 74.0)
        self._wanted = Wanted()
        self._gauge = FuelGauge(self._profile, serial)
        self._throttle = Throttle(profile.capacities, state / "affinity")
        self._settings: Mapping[str, str] = {}
        self._settings_stamp = 0
        self._shown: Gauge | None = None
        self._boot_id = ""
        self._booted_at = 0.0
        self._forget_boot()

    def _forget_boot(self) -> None:
        self._shown = None
        self._last = time.monotonic()
        self._usage = usage.Usage(0.0, 0, 0, {})
        self._averages = (0.0, 0.0, 0.0)
        self._services_due = self._clean_due = 0.0
        self._shares: dict[int, float] = {}
        self._hogs: frozenset[int] = frozenset()
        self._hog_s = 0.0
        self._asleep_until = 0.0
        self._slept_s = 0.0
        self._throttle.forget()

    @property
    def state(self) -> physics.State:
        return self._state

    @property
    def charger(self) -> str:
        return self._wanted.charger

    @property
    def booted_at(self) -> float:
        """When the phone's uptime was 0, on this machine's monotonic clock."""
        return self._booted_at

    @property
    def other_load(self) -> float:
        return self._wanted.other_load

    def boot(self, boot_id: str, uptime_s: float, reason: str = "reboot") -> None:
        """Write every file for a boot that starts now, with the phone's clock at `uptime_s`."""
        self._files.forget()
        self._boot_id = boot_id
        self._booted_at = time.monotonic() - uptime_s
        self._forget_boot()
        self._gauge.refresh()
        for noted in (self._folder / "affinity").glob("*"):
            noted.unlink(missing_ok=True)
        sensors.write_fixed(self._files, self._profile, self._serial, boot_id, self._behaviours, reason)
        sensors.link_policies(self._folder, self._profile)
        self._write(time.monotonic(), event="boot", boot_reason=reason)

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
        memory_available_mb: float | None = None,
        **wanted: Any,
    ) -> None:
        """Change the truth: level in percent; temperature of skin, battery and CPU in °C; what MemAvailable shows now;
        and the fields of `Wanted`."""
        state = self._state
        if battery_level is not None:
            state = replace(state, charge_mah=state.full_mah * battery_level / 100.0)
        if temperature_c is not None:
            cap = physics.cap_for(temperature_c, self._profile.physics)
            state = replace(state, cpu_c=temperature_c, skin_c=temperature_c, battery_c=temperature_c, cap=cap)
        if memory_available_mb is not None:
            if self._proc is not None:
                # As of now: what a process held that has just ended would be available on top.
                seen = usage.read(self._proc)
                self._usage = replace(self._usage, anon_kb=seen.anon_kb, file_kb=seen.file_kb)
            free = sensors.free_for_processes_kb(self._profile) - self._usage.anon_kb
            wanted["apps_kb"] = max(0, free - round(memory_available_mb * 1e6 / 1024))
        self._wanted = replace(self._wanted, **wanted)
        room = self._profile.physics
        if self._wanted.ambient_c is not None:
            room = replace(room, ambient_c=self._wanted.ambient_c)
        self._heat = replace(self._profile, physics=physics.faster_heat(room, self._wanted.heat_scale))
        if self._gauge.scale != self._wanted.battery_scale:
            self._gauge.set_scale(self._wanted.battery_scale)
        # A moment later the current is the new one too.
        capped = state.cap != self._state.cap
        self._state = self._step(state, state.load, 1e-3)
        self._gauge.refresh()
        self._services_due = 0.0
        if self._proc is not None:
            self._write(time.monotonic(), event="cap" if capped else "set")

    def use_build(self, build: str) -> None:
        """The next boot is one of this build of the system."""
        self._profile = replace(self._profile, build=build)
        self._heat = replace(self._heat, build=build)

    def sleep(self, seconds: float) -> None:
        """The phone is suspended from now on for `seconds`."""
        self._asleep_until = time.monotonic() + seconds
        self._write(time.monotonic(), event="suspend", seconds=seconds)

    def hogs(self, pids: frozenset[int]) -> None:
        """The processes that are the system's own load."""
        self._hogs = pids

    def process(self, pid: int) -> tuple[str, int] | None:
        """Name and resident kB of a process of the phone; None when there is none."""
        return None if self._proc is None else usage.describe(self._proc, pid)

    def killed(self, pid: int, name: str, rss_kb: int) -> None:
        """Write what the low memory killer says of a process it ended."""
        said = time.strftime("%m-%d %H:%M:%S") + ".000   495   495 I lowmemorykiller: "
        text = (
            f"{said}Kill '{name}' ({pid}), uid 2000, oom_score_adj -1000 to free {rss_kb}kB rss, 0kB swap; reason: "
            "low watermark is breached and swap is low (712kB < 389076kB)\n"
        )
        log = self._folder / "phone/logcat"
        self._files.put("phone/logcat", log.read_text(encoding="utf-8") + text)
        self._write(time.monotonic(), event="low_memory_kill", pid=pid)

    def tick(self) -> dict[int, float] | None:
        """Advance to now; pid → share of the time that it may run, when that changed, else None."""
        if self._proc is None:
            return None
        now = time.monotonic()
        seconds = now - self._last
        if seconds <= 0:
            return None
        asleep = now < self._asleep_until
        self._slept_s += max(0.0, min(now, self._asleep_until) - self._last)
        before = self._usage
        seen = usage.read(self._proc, None if now >= self._services_due else before)
        self._usage = replace(seen, busy_s=max(seen.busy_s, before.busy_s))
        used = self._usage.busy_s - before.busy_s
        self._hog_s += sum(seen.per_process.get(pid, 0.0) - before.per_process.get(pid, 0.0) for pid in self._hogs)
        # Held to the speed of slow cores a program keeps them busy all the same.
        kept_busy = used + self._throttle.withheld(before, seen)
        load = min(1.0, kept_busy / seconds / min(machine_cpus(), self._profile.cores))
        one, five, fifteen = (
            average + (used / seconds - average) * (1.0 - math.exp(-seconds / window))
            for average, window in zip(self._averages, _LOAD_WINDOWS_S, strict=True)
        )
        self._averages = (one, five, fifteen)
        cap = self._state.cap
        self._state = self._step(self._state, load, seconds, asleep=asleep)
        self._gauge.passed(self._state.battery_a, seconds)
        self._last = now
        self._read_settings()
        if not asleep:
            # A phone that sleeps writes nothing; what changed is seen when it wakes up.
            self._write(now, event="cap" if self._state.cap != cap else "")
        return self._new_shares(before, seconds)

    def _step(self, state: physics.State, load: float, seconds: float, *, asleep: bool = False) -> physics.State:
        wanted = self._wanted
        return physics.step(
            state,
            self._heat,
            load=load,
            seconds=seconds,
            charger=wanted.charger,
            charging=wanted.charging,
            asleep=asleep,
        )

    def _new_shares(self, before: usage.Usage, seconds: float) -> dict[int, float] | None:
        assert self._proc is not None
        shares = self._throttle.shares(
            self._proc, before, self._usage, seconds=seconds, cap=self._state.cap, exempt=self._hogs
        )
        if shares == self._shares:
            return None
        self._shares = shares
        return shares

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

    def _write(self, now: float, *, event: str = "", **more: Any) -> None:
        profile, state, files = self._profile, self._state, self._files
        uptime = now - self._booted_at
        sensors.write_frequencies(files, profile, state.load, state.cap)
        sensors.write_processors(
            files,
            profile,
            busy_s=self._busy_s(),
            awake_s=uptime - self._slept_s,
            boot_time=time.time() - uptime,
        )
        temperatures = Temperatures(
            cpu=state.cpu_c,
            gpu=state.skin_c + 0.3 * (state.cpu_c - state.skin_c),
            skin=state.skin_c,
            battery=state.battery_c,
        )
        sensors.write_thermal(files, profile, temperatures)
        gauge = self._gauge.read(state, now, charger=self._wanted.charger, charging=self._wanted.charging)
        if gauge is not self._shown:
            self._shown = gauge
            sensors.write_gauge(files, profile, gauge)
            sensors.write_battery_service(files, profile, gauge, self._settings)
        if now >= self._services_due:
            self._services_due = now + _SERVICES_S
            sensors.write_memory(
                files,
                profile,
                anon_kb=self._usage.anon_kb,
                file_kb=self._usage.file_kb,
                machine_available_kb=_machine_available_kb(),
                apps_kb=self._wanted.apps_kb,
            )
            sensors.write_load(files, self._averages, len(self._usage.per_process) + 1)
            sensors.write_services(files, profile, temperatures, gauge, self._settings)
            files.put("phone/applied", self._settings.get("sequence", "") + "\n")
        if now >= self._clean_due:
            self._clean_due = now + _CLEAN_S
            self._forget_dead_threads()
        self._truth.note(now, uptime, lambda: self._facts(uptime), event=event, **more)

    def _busy_s(self) -> float:
        """CPU time as the phone counts it: the system's own load takes a share of all its cores, other processes take
        what they really take, as /proc/PID/stat has it."""
        cores = self._profile.cores
        return self._usage.busy_s + self._hog_s * (cores / min(machine_cpus(), cores) - 1.0)

    def _forget_dead_threads(self) -> None:
        """Remove what threads that are gone had noted, so that another of the same number does not inherit it."""
        if self._proc is None:
            return
        for noted in (self._folder / "affinity").iterdir():
            if usage.parent(self._proc, int(noted.name) if noted.name.isdecimal() else 0) == 0:
                noted.unlink(missing_ok=True)

    def _facts(self, uptime: float) -> dict[str, Any]:
        """One line of exact truth, where neither the phone nor measuring code looks."""
        state, wanted = self._state, self._wanted
        first, tops = 0, {}
        for cluster in self._profile.clusters:
            tops[f"policy{first}"] = sensors.capped_khz(cluster, state.cap)
            first += cluster.cores
        return {
            "host_s": time.time(),
            "uptime_s": uptime,
            "boot_id": self._boot_id,
            **of_state(state),
            "max_khz": tops,
            "busy_s": self._busy_s(),
            "slept_s": self._slept_s,
            "anon_kb": self._usage.anon_kb,
            "charger": wanted.charger,
            "charging": wanted.charging,
            "ambient_c": self._heat.physics.ambient_c,
            "heat_scale": wanted.heat_scale,
            "battery_scale": wanted.battery_scale,
            "other_load": wanted.other_load,
            "apps_kb": wanted.apps_kb,
        }
