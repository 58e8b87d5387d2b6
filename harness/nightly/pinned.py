"""How the pinned build of a runner is called where it is measured beside the runner."""

from __future__ import annotations

_END = "@baseline"


def baseline_id(runner: str) -> str:
    """Id under which the pinned build of a runner is measured."""
    return f"{runner}{_END}"


def is_baseline(runner: str) -> bool:
    """Whether a runner's id is that of a pinned build."""
    return runner.endswith(_END)


def compared_with(runner: str) -> str:
    """Id of the runner that a pinned build belongs to, and of any other runner its own."""
    return runner.removesuffix(_END)
