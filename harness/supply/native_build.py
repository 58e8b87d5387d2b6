"""farm-runner, the runner of the runner contract, built around a runtime for this host, the virtual phones or arm64.

Everything goes through the one CMakeLists.txt beside its source, so that compiler options and libraries stand in one
place for these builds, the tests and a build by hand; configuring costs a second. What was compiled is kept in the
cache: a second build compiles only what changed.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from harness.errors import ErrorClass, Permanent
from harness.supply import cmake_build
from harness.supply.cmake_build import Say, Tools
from harness.supply.folders import cache_dir, new_folder, runners_dir, told
from harness.supply.native_recipes import Recipe, recipe

PROGRAM = "farm-runner"
_KEEP_S = 30 * 24 * 3600.0
_START_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Built:
    """A build in the cache, and the words of its entry in an inventory.

    Args:
        folder: the program and, beside it, every library it needs that the system does not have.
        platform: "android" (virtual phones too) or "local".
        abi: Android's name of it.
    """

    folder: Path
    id: str
    platform: str
    abi: str
    runtime: str


def source() -> Path:
    """The folder with the runner's CMakeLists.txt."""
    return Path(str(resources.files("android_runner").joinpath("native")))


def build(
    target: str,
    runtime: str,
    *,
    isa: str | None = None,
    from_source: bool = False,
    jobs: int = 1,
    again: bool = False,
    say: Say,
) -> Built:
    """Build farm-runner into the cache; what did not change since the last build is not compiled again.

    Args:
        target: "host" or "android-arm64".
        runtime: "llama.cpp" or "executorch".
        isa: of arm64, one of `native_recipes.ISA_VARIANTS`.
        from_source: llama.cpp from its source for this host itself, in place of Debian's for the virtual phones.
        jobs: parallel compilations.
        again: forget what was compiled before.
        say: told each stage and, while it compiles, the progress.

    Raises:
        Permanent: the combination cannot be built here, something for it cannot be had, or the build fails (the
            log's end is in the message).
    """
    with told(str(cache_dir())), cmake_build.one_at_a_time(say):
        tools = cmake_build.build_tools(say)
        made = recipe(target, runtime, isa=isa, from_source=from_source, tools=tools, say=say)
        program = _compiled(tools, made, jobs=jobs, again=again, say=say)
        folder = runners_dir() / made.name
        _put([program], made.assemble, folder)
        _check_starts(folder / PROGRAM, made)
        return Built(folder, made.name, made.platform, made.abi, runtime)


def _compiled(tools: Tools, made: Recipe, *, jobs: int, again: bool, say: Say) -> Path:
    """The program, compiled in a folder of the cache that is kept."""
    parent = cache_dir() / "builds"
    key = hashlib.sha256("\0".join([str(source()), *made.options]).encode()).hexdigest()[:12]
    objects = parent / f"{made.name}-{key}"
    if again:
        shutil.rmtree(objects, ignore_errors=True)
    objects.mkdir(parents=True, exist_ok=True)
    os.utime(objects)
    for other in parent.iterdir():
        if time.time() - other.stat().st_mtime > _KEEP_S:
            shutil.rmtree(other, ignore_errors=True)
    cmake_build.configure(tools, source(), objects, made.options, say)
    cmake_build.compile_(tools, objects, (PROGRAM,), jobs, say)
    return objects / PROGRAM


def _put(programs: Sequence[Path], assemble: Callable[[Sequence[Path], Path], None], folder: Path) -> None:
    """Make `folder` hold the programs and their libraries; one that holds the same already is left alone."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as part:
        assemble(programs, Path(part))
        if folder.is_dir() and _same(Path(part), folder):
            return
        with new_folder(folder) as complete:
            shutil.copytree(part, complete, dirs_exist_ok=True)


def _same(one: Path, other: Path) -> bool:
    names = sorted(file.name for file in one.iterdir())
    if names != sorted(file.name for file in other.iterdir()):
        return False
    return filecmp.cmpfiles(one, other, names, shallow=False)[0] == names


def _check_starts(program: Path, made: Recipe) -> None:
    """Ask the program what it is, where this machine can run it.

    Raises:
        Permanent: RUNNER_INVALID: it does not answer as a runner of its runtime.
    """
    if made.starter is None:
        return
    argv = [*made.starter, str(program), "--capabilities"]
    try:
        done = subprocess.run(argv, check=False, capture_output=True, timeout=_START_LIMIT_S, cwd=program.parent)
    except (OSError, subprocess.TimeoutExpired) as wrong:
        raise _does_not_start(program, str(wrong)) from wrong
    if done.returncode != 0 or f'"runtime":"{made.runtime}"'.encode() not in done.stdout:
        said = (done.stderr + done.stdout).decode("utf-8", "replace").strip().splitlines()[-3:]
        raise _does_not_start(program, f"exit {done.returncode}: {' | '.join(said)}")


def _does_not_start(program: Path, why: str) -> Permanent:
    return Permanent(
        f"{program} was built but does not tell its capabilities: {why}",
        error_class=ErrorClass.RUNNER_INVALID,
        advice="build it again with --again; if that does not help, report it with this message",
    )
