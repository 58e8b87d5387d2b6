"""Signals by the numbers that Darwin gives them."""

from __future__ import annotations

import signal

_NUMBERS = {
    signal.SIGBUS: 10,
    signal.SIGSYS: 12,
    signal.SIGURG: 16,
    signal.SIGSTOP: 17,
    signal.SIGTSTP: 18,
    signal.SIGCONT: 19,
    signal.SIGCHLD: 20,
    signal.SIGUSR1: 30,
    signal.SIGUSR2: 31,
}
"""Where Darwin numbers a signal otherwise than Linux."""


def darwin_signal(signum: int) -> int:
    """Darwin's number of a signal that ended a process of this machine."""
    try:
        return _NUMBERS.get(signal.Signals(signum), signum)
    except ValueError:
        return signum
