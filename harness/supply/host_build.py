"""llama.cpp built from source for this host, with nothing but what Python's package index and a compiler give.

The source is the one inside the `llama-cpp-python` source distribution; CMake and Ninja come as Python packages into an
environment of their own; where the machine has no C++ compiler, `ziglang` is one.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ErrorClass, Permanent
from harness.supply.folders import cache_dir, downloads_dir, locked, new_folder, runners_dir, told
from harness.supply.unpack import unpack

SOURCE_PACKAGE = "llama-cpp-python"
SOURCE_VERSION = "0.3.36"
NAME = "llama.cpp-host"
"""Name of the folder in an inventory's `runners/`; in the cache the machine's type is added."""

TARGETS = ("llama-bench", "llama-server", "llama-quantize", "llama-completion")
_BUILD_TOOLS = ("cmake>=3.28", "ninja>=1.11")
_CMAKE_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DGGML_OPENMP=OFF",
    "-DGGML_CCACHE=OFF",
)
"""Static programs without what a benchmark on loopback does not need (web page, TLS); no OpenMP, so that nothing
but the C and C++ libraries is asked of the host."""

_LIMIT_S = 2 * 3600.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Tools:
    python: Path
    cmake: Path
    ninja: Path


def folder() -> Path:
    """Where the host's build is, or would be."""
    return runners_dir() / f"{NAME}-{platform.machine() or 'unknown'}"


def build(*, jobs: int = 1, again: bool = False, say: Say) -> Path:
    """Build llama.cpp for this host into the cache and return the folder; one that is there is kept.

    Args:
        jobs: parallel compilations.
        again: build even if a build is there.
        say: told each stage and, while it compiles, the progress.

    Raises:
        Permanent: the source cannot be had, there is no compiler, or the build fails (the log's end is in the message).
    """
    target = folder()
    if _is_there(target) and not again:
        say(f"{target} is there already")
        return target
    say("waiting for any other build to end")
    with told(str(target)), locked(cache_dir() / "host-build.lock"):
        if _is_there(target) and not again:
            return target
        with tempfile.TemporaryDirectory(prefix="llama.cpp-", dir=_work_dir()) as work:
            tools = _build_tools(say)
            source = _source(Path(work), say)
            objects = Path(work) / "build"
            say("configuring")
            compiler = _compiler(tools, Path(work), say)
            _call(
                [
                    tools.cmake,
                    *("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools.ninja}"),
                    *("-S", source, "-B", objects),
                    *_CMAKE_OPTIONS,
                    *compiler,
                ],
                what="cmake",
            )
            _compile(tools, objects, jobs, say)
            with new_folder(target) as part:
                for name in TARGETS:
                    shutil.copy2(objects / "bin" / name, part / name)
    return target


def _is_there(target: Path) -> bool:
    return all((target / name).is_file() for name in TARGETS)


def _work_dir() -> Path:
    made = cache_dir() / "work"
    made.mkdir(parents=True, exist_ok=True)
    return made


def _build_tools(say: Say) -> _Tools:
    """CMake and Ninja in an environment of their own in the cache, so that the caller's stays as it is."""
    home = cache_dir() / "build-tools"
    tools = _Tools(home / "bin" / "python", home / "bin" / "cmake", home / "bin" / "ninja")
    if not (tools.cmake.is_file() and tools.ninja.is_file()):
        say("installing cmake and ninja")
        _call([sys.executable, "-m", "venv", "--clear", home], what="venv")
        _call([tools.python, "-m", "pip", "install", "--quiet", *_BUILD_TOOLS], what="pip install cmake ninja")
    return tools


def _source(work: Path, say: Say) -> Path:
    """llama.cpp's source, unpacked in `work`."""
    archives = downloads_dir() / "source"
    archives.mkdir(parents=True, exist_ok=True)
    stem = f"{SOURCE_PACKAGE.replace('-', '_')}-{SOURCE_VERSION}"
    archive = archives / f"{stem}.tar.gz"
    if not archive.is_file():
        say(f"downloading {SOURCE_PACKAGE} {SOURCE_VERSION}")
        with tempfile.TemporaryDirectory(prefix="source-", dir=archives) as part:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
            _call([*pip, "-d", part, f"{SOURCE_PACKAGE}=={SOURCE_VERSION}"], what=f"pip download {SOURCE_PACKAGE}")
            found = sorted(Path(part).glob("*.tar.gz"))
            if len(found) != 1:
                raise _failed(f"pip download {SOURCE_PACKAGE}", "no source archive came")
            found[0].replace(archive)
    say("unpacking")
    inside = f"{stem}/vendor/llama.cpp"
    unpack(archive, work, below=inside)
    source = work / inside
    if not (source / "CMakeLists.txt").is_file():
        raise _failed("unpacking", f"{archive.name} holds no vendor/llama.cpp")
    return source


def _compiler(tools: _Tools, work: Path, say: Say) -> tuple[str, ...]:
    """CMake options that name the compiler: none for the machine's own, else zig from the package index."""
    if os.environ.get("CXX") or any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        return ()
    say("no C++ compiler on this machine: using ziglang")
    _call([tools.python, "-m", "pip", "install", "--quiet", "ziglang"], what="pip install ziglang")
    options: list[str] = []
    for variable, verb in (("C_COMPILER", "cc"), ("CXX_COMPILER", "c++"), ("AR", "ar"), ("RANLIB", "ranlib")):
        script = work / f"zig-{verb}"
        script.write_text(f'#!/bin/sh\nexec "{tools.python}" -m ziglang {verb} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
        options.append(f"-DCMAKE_{variable}={script}")
    return tuple(options)


def _compile(tools: _Tools, objects: Path, jobs: int, say: Say) -> None:
    command = [str(tools.ninja), "-C", str(objects), f"-j{max(1, jobs)}", *TARGETS]
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
            last = [*last[-19:], line.rstrip()]
            if line.startswith("["):
                say(line.split("]")[0].lstrip("[").strip())
    if ninja.returncode != 0:
        raise _failed("the build", " | ".join(last[-5:]))


def _call(argv: Sequence[str | Path], *, what: str) -> None:
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
        raise _failed(what, f"took longer than {_LIMIT_S:.0f} s") from late
    except OSError as wrong:
        raise _failed(what, str(wrong.strerror)) from wrong
    if done.returncode != 0:
        raise _failed(what, " | ".join((done.stderr + done.stdout).strip().splitlines()[-5:]))


def _failed(what: str, why: str) -> Permanent:
    return Permanent(
        f"llama.cpp could not be built: {what}: {why}",
        error_class=ErrorClass.RUNNER_MISSING,
        advice="check the network, the compiler and free disk space (2 GB)",
    )
