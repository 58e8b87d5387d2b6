"""An agent with what a test needs to have something run on its device, whatever the device runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from device_agents.base import DeviceAgent, JobHandle, JobOutput, JobSpec
from device_agents.ios.agent import IosAgent
from tests.contract import iphones
from tests.contract.helpers import marked_processes, spec


@dataclass(frozen=True, slots=True)
class Act:
    """What the program of a job does: prints, tells a variable of its environment, lasts, and ends in one way.

    Args:
        says: printed as a line. tells: a variable whose value is printed, too.
        lasts_s: seconds. holds: bytes of memory.
        dies: a signal that it sends to itself, 0 for none. exits: its exit code otherwise.
    """

    says: str = ""
    tells: str = ""
    lasts_s: float = 0.0
    holds: int = 0
    dies: int = 0
    exits: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """Args: job: makes the job that does an act. printed: what an act has printed. content: of a file on the device.
    runs: whether anything of a job does."""

    agent: DeviceAgent
    job: Callable[..., JobSpec]
    printed: Callable[[JobOutput], list[str]]
    content: Callable[[str], bytes]
    runs: Callable[[JobHandle], bool]


def subject_of(agent: DeviceAgent) -> Subject:
    if isinstance(agent, IosAgent):
        phone = agent._phone
        return Subject(
            agent,
            _app_job,
            lambda output: output.files["stderr"].read_text("utf-8").splitlines(),
            lambda path: phone.fetch(path, most=1 << 30, limit_s=60),
            lambda _handle: bool(phone.ask("pid_of", bundle=iphones.BUNDLE, limit_s=20)),
        )
    return Subject(
        agent,
        _shell_job,
        lambda output: output.files["stdout"].read_text("utf-8").splitlines(),
        lambda path: agent.shell.run(("cat", path), limit_s=30).stdout,
        lambda handle: bool(marked_processes(agent, handle.folder)),
    )


def _app_job(key: str, act: Act, **more: Any) -> JobSpec:
    steps: list[dict[str, Any]] = []
    steps += [{"print": act.says}] if act.says else []
    steps += [{"print_environment": act.tells}] if act.tells else []
    steps += [{"hold": act.holds}] if act.holds else []
    steps += [{"sleep": act.lasts_s}] if act.lasts_s else []
    steps += [{"signal": act.dies}] if act.dies else []
    steps += [{"exit": act.exits}] if act.exits else []
    return iphones.spec(key, *steps, **more)


_SCRIPT = """
[ -z "$1" ] || echo "$1"
[ -z "$2" ] || printenv "$2"
[ "$3" = 0 ] || held=$(head -c "$3" /dev/zero | tr '\\0' x)
[ "$4" = 0 ] || sleep "$4"
[ "$5" = 0 ] || kill -"$5" $$
exit "$6"
"""


def _shell_job(key: str, act: Act, **more: Any) -> JobSpec:
    words = (act.says, act.tells, str(act.holds), f"{act.lasts_s:g}", str(act.dies), str(act.exits))
    return spec(key, _SCRIPT, *words, **more)
