"""A process is held to its share of the time, also when signals come late."""

from __future__ import annotations

import signal

import pytest

from device_agents.virtual.duty import DutyCycle


class Clocked:
    """A machine with one process: counts for how long it was let run."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran = 0.0
        self.running = True
        self.gone = False

    def kill(self, pid: int, signum: int) -> None:
        if self.gone:
            raise ProcessLookupError
        self.running = signum == signal.SIGCONT

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.ran += seconds if self.running else 0.0


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.69, 0.97])
@pytest.mark.parametrize("late", [0.0, 0.001, 0.004])
def test_the_share_is_kept_though_signals_come_late(share: float, late: float) -> None:
    machine = Clocked()
    cycle = DutyCycle(machine.kill)
    cycle.set({7: share}, machine.now)
    while machine.now < 20.0:
        # Late only while it runs: then the CPU is taken.
        machine.wait(cycle.step(machine.now) + (late if machine.running else 0.0))
    assert machine.ran / machine.now == pytest.approx(share, abs=0.01)


def test_a_process_that_is_let_go_runs_on() -> None:
    machine = Clocked()
    cycle = DutyCycle(machine.kill)
    cycle.set({7: 0.5}, 0.0)
    while machine.running:
        machine.wait(max(cycle.step(machine.now), 1e-4))
    cycle.set({}, machine.now)
    assert machine.running and cycle.step(machine.now) == float("inf")


def test_nobody_is_woken_while_the_phone_sleeps() -> None:
    machine = Clocked()
    cycle = DutyCycle(machine.kill)
    cycle.set({7: 0.5}, 0.0)
    machine.running = False
    cycle.pause(0.0)
    assert cycle.step(5.0) == float("inf") and not machine.running
    cycle.set({}, 6.0)
    assert not machine.running


def test_a_process_that_is_gone_is_forgotten() -> None:
    machine = Clocked()
    machine.gone = True
    cycle = DutyCycle(machine.kill)
    cycle.set({7: 0.5}, 0.0)
    cycle.step(1.0)
    assert cycle.step(2.0) == float("inf")
