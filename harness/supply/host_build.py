"""llama.cpp's own programs built from source for this host, with nothing but Python's package index and a compiler.

The source is the one inside the `llama-cpp-python` source distribution; CMake and Ninja come as Python packages into an
environment of their own; where the machine has no C++ compiler, `ziglang` is one.
"""

from __future__ import annotations

import platform
import shutil
import tempfile
from pathlib import Path

from harness.supply import cmake_build
from harness.supply.cmake_build import SOURCE_VERSION, Say
from harness.supply.folders import cache_dir, new_folder, runners_dir, told

__all__ = ["NAME", "SOURCE_VERSION", "TARGETS", "build", "folder"]

NAME = "llama.cpp-host"
"""Name of the folder in an inventory's `runners/`; in the cache the machine's type is added."""

TARGETS = ("llama-bench", "llama-server", "llama-quantize", "llama-completion")
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
    with told(str(target)), cmake_build.one_at_a_time(say):
        if _is_there(target) and not again:
            return target
        with tempfile.TemporaryDirectory(prefix="llama.cpp-", dir=_work_dir()) as work:
            tools = cmake_build.build_tools(say)
            source = cmake_build.llama_source(say)
            objects = Path(work) / "build"
            compiler: tuple[str, ...] = ()
            if not cmake_build.has_compiler():
                say("no C++ compiler on this machine: using ziglang")
                compiler = cmake_build.zig(tools, Path(work), (), say)
            cmake_build.configure(tools, source, objects, (*_CMAKE_OPTIONS, *compiler), say)
            cmake_build.compile_(tools, objects, TARGETS, jobs, say)
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
