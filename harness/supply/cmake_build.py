"""CMake and Ninja of Python's package index, a compiler, and llama.cpp's source: what the builds of runners share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ErrorClass, Permanent
from harness.supply.folders import cache_dir, downloads_dir, locked, new_folder
from harness.supply.unpack import unpack

SOURCE_PACKAGE = "llama-cpp-python"
SOURCE_VERSION = "0.3.36"
"""The source distribution that holds llama.cpp's source."""

_BUILD_TOOLS = ("cmake>=3.28", "ninja>=1.11")
_LIMIT_S = 2 * 3600.0
_LAST_LINES = 20
_TOLD_LINES = 5

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs of the environment that builds are made with."""

    python: Path
    cmake: Path
    ninja: Path


@contextmanager
def one_at_a_time(say: Say) -> Iterator[None]:
    """Hold the lock of all builds: two at once would only slow each other down."""
    say("waiting for any other build to end")
    with locked(cache_dir() / "host-build.lock"):
        yield


def failed(what: str, why: str) -> Permanent:
    """The error of a build: `what` of it went wrong, and why."""
    return Permanent(
        f"the runner could not be built: {what}: {why}",
        error_class=ErrorClass.RUNNER_MISSING,
        advice="check the network, the compiler and free disk space (2 GB)",
    )


def build_tools(say: Say) -> Tools:
    """CMake and Ninja in an environment of their own in the cache, so that the caller's stays as it is.

    Raises:
        Permanent: they cannot be installed.
    """
    home = cache_dir() / "build-tools"
    tools = Tools(home / "bin" / "python", home / "bin" / "cmake", home / "bin" / "ninja")
    if not (tools.cmake.is_file() and tools.ninja.is_file()):
        say("installing cmake and ninja")
        call([sys.executable, "-m", "venv", "--clear", home], what="venv")
        call([tools.python, "-m", "pip", "install", "--quiet", *_BUILD_TOOLS], what="pip install cmake ninja")
    return tools


def downloaded(requirement: str, options: Sequence[str], target: Path, say: Say) -> Path:
    """The one file that `pip download` gets for `requirement`, kept as `target`.

    Args:
        options: more words for pip.

    Raises:
        Permanent: it cannot be had.
    """
    if target.is_file():
        return target
    say(f"downloading {requirement.replace('==', ' ')}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as part:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *options, "-d", part, requirement]
        call(pip, what=f"pip download {requirement}")
        found = sorted(Path(part).iterdir())
        if len(found) != 1:
            raise failed(f"pip download {requirement}", f"{len(found)} files came in place of one")
        found[0].replace(target)
    return target


def llama_source(say: Say) -> Path:
    """The folder with llama.cpp's source, unpacked in the cache.

    Raises:
        Permanent: it cannot be had.
    """
    stem = f"{SOURCE_PACKAGE.replace('-', '_')}-{SOURCE_VERSION}"
    target = cache_dir() / "sources" / stem
    inside = Path(stem, "vendor", "llama.cpp")
    if not (target / inside / "CMakeLists.txt").is_file():
        archive = downloaded(
            f"{SOURCE_PACKAGE}=={SOURCE_VERSION}",
            ("--no-binary", ":all:"),
            downloads_dir() / "source" / f"{stem}.tar.gz",
            say,
        )
        say("unpacking")
        with new_folder(target) as part:
            unpack(archive, part, below=inside.as_posix())
            if not (part / inside / "CMakeLists.txt").is_file():
                raise failed("unpacking", f"{archive.name} holds no vendor/llama.cpp")
    return target / inside


def has_compiler() -> bool:
    """Whether this machine has a C++ compiler of its own."""
    return bool(os.environ.get("CXX")) or any(shutil.which(name) for name in ("c++", "g++", "clang++"))


def zig(tools: Tools, folder: Path, words: Sequence[str], say: Say) -> tuple[str, ...]:
    """CMake options that make zig the compiler, called with `words` each time; its scripts go into `folder`.

    Raises:
        Permanent: zig cannot be installed.
    """
    if not (tools.python.parent / "zig.installed").is_file():
        say("installing ziglang")
        call([tools.python, "-m", "pip", "install", "--quiet", "ziglang"], what="pip install ziglang")
        (tools.python.parent / "zig.installed").touch()
    folder.mkdir(parents=True, exist_ok=True)
    options: list[str] = []
    for variable, verb in (("C_COMPILER", "cc"), ("CXX_COMPILER", "c++"), ("AR", "ar"), ("RANLIB", "ranlib")):
        script = folder / f"zig-{verb}"
        more = "".join(f" {word}" for word in words) if variable.endswith("COMPILER") else ""
        keep = f'export ZIG_GLOBAL_CACHE_DIR="{cache_dir() / "zig"}"\n'
        text = f'#!/bin/sh\n{keep}exec "{tools.python}" -m ziglang {verb}{more} "$@"\n'
        # A script that is rewritten makes everything compile again.
        if not script.is_file() or script.read_text(encoding="utf-8") != text:
            script.write_text(text, encoding="utf-8")
            script.chmod(0o755)
        options.append(f"-DCMAKE_{variable}={script}")
    return tuple(options)


def configure(tools: Tools, source: Path, objects: Path, options: Sequence[str], say: Say) -> None:
    """Run CMake for `source` into the folder `objects`, with Ninja.

    Raises:
        Permanent: it fails; the end of its output is in the message.
    """
    say("configuring")
    generator = ("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools.ninja}")
    call([tools.cmake, *generator, "-S", source, "-B", objects, *options], what="cmake")


def compile_(tools: Tools, objects: Path, targets: Sequence[str], jobs: int, say: Say) -> None:
    """Build `targets` in the configured folder `objects` and say the progress.

    Raises:
        Permanent: it fails; the end of its output is in the message.
    """
    command = [str(tools.ninja), "-C", str(objects), f"-j{max(1, jobs)}", *targets]
    last: list[str] = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as ninja:
        assert ninja.stdout is not None
        for line in ninja.stdout:
            last = [*last[1 - _LAST_LINES :], line.rstrip()]
            if line.startswith("["):
                say(line.split("]")[0].lstrip("[").strip())
    if ninja.returncode != 0:
        raise failed("the build", _end_of(last))


def _end_of(lines: Sequence[str]) -> str:
    """The compiler's or linker's complaints, else the last lines."""
    wrong = [line for line in lines if "error" in line.lower() and not line.startswith(("FAILED", "ninja:"))]
    return " | ".join((wrong or lines)[-_TOLD_LINES:])


def call(argv: Sequence[str | Path], *, what: str) -> None:
    """Run a tool to its end.

    Raises:
        Permanent: it fails; `what` and the end of its output are in the message.
    """
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
        )
    except subprocess.TimeoutExpired as late:
        raise failed(what, f"took longer than {_LIMIT_S:.0f} s") from late
    except OSError as wrong:
        raise failed(what, str(wrong.strerror)) from wrong
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise failed(what, " | ".join(lines[-_TOLD_LINES:]))
