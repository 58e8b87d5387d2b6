"""What farm-runner is built from, for each target and runtime: CMake's options and the libraries beside the program."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from harness.errors import ErrorClass, Permanent
from harness.supply import cmake_build, debian_tools
from harness.supply.cmake_build import Say, Tools
from harness.supply.folders import cache_dir, downloads_dir, new_folder
from harness.supply.unpack import unpack

TARGETS = ("host", "android-arm64")
RUNTIMES = ("llama.cpp", "executorch")
CALIBRATION = "calibration"
"""The runtime whose truth is known: only the self-test asks for it."""

EXECUTORCH_VERSION = "1.5.1"
_EXECUTORCH_LIBRARIES = (
    "libexecutorch.so",
    "libexecutorch_threadpool.so",
    "libexecutorch_kernels_optimized.so",
    "libexecutorch_kernels_quantized.so",
    "libexecutorch_backend_xnnpack.so",
)
"""What the program asks for; beyond them they ask for the C and C++ libraries only."""

ISA_VARIANTS: Mapping[str, str] = {
    "armv8-a": "generic",
    "armv8.2-a+dotprod": "generic+v8_2a+dotprod",
    "armv8.2-a+dotprod+i8mm": "generic+v8_2a+dotprod+i8mm",
}
"""`-march` of GCC and Clang → `-mcpu` of zig, which does not take the former."""

DEFAULT_ISA = "armv8.2-a+dotprod"
"""Phones since about 2018; older ones (Cortex-A53, A72) end it with an illegal instruction."""

_ARM64_ABI = "arm64-v8a"
_ANDROID_API = 28
"""The level of llama.cpp's own Android builds."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One build of farm-runner.

    Args:
        name: of its folder; its id in an inventory.
        platform, abi, runtime: as an inventory has them.
        options: of CMake.
        assemble: puts programs and what they need into a folder.
        starter: words before the program that start it on this machine; None: it cannot be started here.
    """

    name: str
    platform: str
    abi: str
    runtime: str
    options: tuple[str, ...]
    assemble: Callable[[Sequence[Path], Path], None]
    starter: tuple[str, ...] | None


def recipe(target: str, runtime: str, *, isa: str | None, from_source: bool, tools: Tools, say: Say) -> Recipe:
    """What is to be built; everything it is built from is fetched. Arguments as for `native_build.build`.

    Raises:
        Permanent: the combination cannot be built here, or something for it cannot be had.
    """
    if runtime == CALIBRATION:
        return _calibration(target, tools, say)
    if target == "android-arm64":
        if runtime != "llama.cpp":
            raise _no_executorch_for_arm64()
        return _llama_arm64(isa or DEFAULT_ISA, tools, say)
    if isa is not None:
        raise _impossible(f"--isa {isa} is for arm64", "leave --isa out, or use --target android-arm64")
    if runtime == "executorch":
        if from_source:
            raise _impossible("ExecuTorch is not built from its source here", "leave --from-source out")
        return _executorch_host(say)
    return _llama_source_host(tools, say) if from_source else _llama_debian(say)


def is_of_debian(runtime: str) -> bool:
    """Whether a build for the host with this runtime uses Debian's libraries, and so Debian's C library."""
    return runtime == "llama.cpp"


def _impossible(what: str, advice: str) -> Permanent:
    return Permanent(what, error_class=ErrorClass.RUNNER_MISSING, advice=advice)


def _no_executorch_for_arm64() -> Permanent:
    ndk = os.environ.get("ANDROID_NDK_HOME")
    missing = "" if ndk else "the Android NDK (ANDROID_NDK_HOME) and "
    return _impossible(
        f"ExecuTorch for arm64 needs {missing}a build of ExecuTorch from its source: its wheels are not for Android",
        "use --runtime llama.cpp, or build ExecuTorch's llama_main with the NDK and name its folder in the inventory",
    )


def _copy(programs: Sequence[Path], folder: Path) -> None:
    for program in programs:
        shutil.copy2(program, folder / program.name)


def _release(*options: str) -> tuple[str, ...]:
    return ("-DCMAKE_BUILD_TYPE=Release", *options)


def _llama_debian(say: Say) -> Recipe:
    """Against Debian's libllama: for the virtual phones, whose C library is new enough for it."""
    host = debian_tools.machine()
    if not debian_tools.is_unpacked(headers=True):
        say("fetching llama.cpp from Debian")
    root = debian_tools.unpacked(headers=True)
    _need_compiler("llama.cpp")
    return Recipe(
        name=f"farm-runner-llama.cpp-{host.abi}",
        platform="android",
        abi=host.abi,
        runtime="llama.cpp",
        options=_release(
            "-DFARM_BACKEND=llama",
            f"-DFARM_LLAMA_PREFIX={root / 'usr'}",
            f"-DFARM_LLAMA_VERSION=Debian {debian_tools.version('libllama0')}",
        ),
        assemble=debian_tools.assemble,
        starter=debian_tools.loader_command(),
    )


def _llama_source_host(tools: Tools, say: Say) -> Recipe:
    """From llama.cpp's source: for this host itself."""
    compiler: tuple[str, ...] = ()
    if not cmake_build.has_compiler():
        compiler = cmake_build.zig(tools, cache_dir() / "zig-scripts" / "host", (), say)
    return Recipe(
        name="farm-runner-llama.cpp-host",
        platform="local",
        abi=_host_abi(),
        runtime="llama.cpp",
        options=_release(*_llama_source(say), *compiler),
        assemble=_copy,
        starter=(),
    )


def _llama_source(say: Say) -> tuple[str, ...]:
    return (
        "-DFARM_BACKEND=llama",
        f"-DFARM_LLAMA_SOURCE={cmake_build.llama_source(say)}",
        f"-DFARM_LLAMA_VERSION=source of {cmake_build.SOURCE_PACKAGE} {cmake_build.SOURCE_VERSION}",
    )


def _llama_arm64(isa: str, tools: Tools, say: Say) -> Recipe:
    """From llama.cpp's source with the NDK, else, static, with zig."""
    if isa not in ISA_VARIANTS:
        raise _impossible(f"{isa} is no variant of arm64 that is built", f"use one of {', '.join(ISA_VARIANTS)}")
    compiler, starter = _arm64_compiler(isa, tools, say)
    return Recipe(
        name=f"farm-runner-llama.cpp-{_ARM64_ABI}-{isa.replace('+', '-')}",
        platform="android",
        abi=_ARM64_ABI,
        runtime="llama.cpp",
        options=_release(*_llama_source(say), *compiler),
        assemble=_copy,
        starter=starter,
    )


def _arm64_compiler(isa: str, tools: Tools, say: Say) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """CMake's options for a compiler of arm64, the NDK's or zig, and what starts its programs on this machine."""
    ndk = os.environ.get("ANDROID_NDK_HOME")
    if ndk:
        toolchain = Path(ndk, "build", "cmake", "android.toolchain.cmake")
        if not toolchain.is_file():
            raise _impossible(
                f"ANDROID_NDK_HOME is {ndk}, where no build/cmake/android.toolchain.cmake is",
                "set it to the NDK's own folder, or unset it to build with ziglang",
            )
        # What the NDK links asks for Android's own loader.
        return ndk_options(toolchain, isa), None
    say("no Android NDK (ANDROID_NDK_HOME): using ziglang")
    scripts = cache_dir() / "zig-scripts" / isa.replace("+", "-")
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    starter = (emulator, "-cpu", "max") if emulator else None
    return (*_MUSL, *cmake_build.zig(tools, scripts, zig_words(isa), say)), starter


def _calibration(target: str, tools: Tools, say: Say) -> Recipe:
    """Static, so that it needs nothing of a phone but its kernel."""
    starter: tuple[str, ...] | None = ()
    if target == "android-arm64":
        abi = _ARM64_ABI
        compiler, starter = _arm64_compiler("armv8-a", tools, say)
    else:
        abi, compiler = _host_abi(), ("-DCMAKE_EXE_LINKER_FLAGS=-static",)
        if not cmake_build.has_compiler():
            words = ("-target", f"{platform.machine()}-linux-musl")
            compiler = cmake_build.zig(tools, cache_dir() / "zig-scripts" / "host-static", words, say)
    return Recipe(
        name=f"farm-runner-{CALIBRATION}-{abi}",
        platform="android",
        abi=abi,
        runtime=CALIBRATION,
        options=_release(f"-DFARM_BACKEND={CALIBRATION}", *compiler),
        assemble=_copy,
        starter=starter,
    )


_MUSL = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64")


def zig_words(isa: str) -> tuple[str, ...]:
    """What zig is told each time it compiles or links for arm64: with musl everything is in the one static file."""
    return ("-target", "aarch64-linux-musl", f"-mcpu={ISA_VARIANTS[isa]}")


def ndk_options(toolchain: Path, isa: str) -> tuple[str, ...]:
    """CMake's options for the NDK: its C++ library in the program, pages of 16 KiB."""
    return (
        f"-DCMAKE_TOOLCHAIN_FILE={toolchain}",
        f"-DANDROID_ABI={_ARM64_ABI}",
        f"-DANDROID_PLATFORM=android-{_ANDROID_API}",
        "-DANDROID_STL=c++_static",
        "-DANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES=ON",
        f"-DGGML_CPU_ARM_ARCH={isa}",
    )


def _executorch_host(say: Say) -> Recipe:
    """Against the wheel's libraries: they run on this host and on a virtual phone alike."""
    host = debian_tools.machine()
    _need_compiler("ExecuTorch")
    package = executorch_package(say)

    def assemble(programs: Sequence[Path], folder: Path) -> None:
        _copy([*programs, *(package / "lib" / name for name in _EXECUTORCH_LIBRARIES)], folder)

    return Recipe(
        name=f"farm-runner-executorch-{host.abi}",
        platform="android",
        abi=host.abi,
        runtime="executorch",
        options=_release("-DFARM_BACKEND=executorch", f"-DCMAKE_PREFIX_PATH={package}"),
        assemble=assemble,
        starter=(),
    )


def executorch_package(say: Say) -> Path:
    """The `executorch` package with headers, libraries and CMake's description: the installed one, else the wheel's.

    Raises:
        Permanent: it cannot be had, or holds no libraries for this system.
    """
    spec = find_spec("executorch")
    for place in spec.submodule_search_locations or () if spec else ():
        if _is_executorch(Path(place)):
            return Path(place)
    name = f"executorch-{EXECUTORCH_VERSION}"
    target = cache_dir() / "sources" / name
    if not _is_executorch(target / "executorch"):
        wheel = cmake_build.downloaded(
            f"executorch=={EXECUTORCH_VERSION}",
            ("--only-binary", ":all:"),
            downloads_dir() / "source" / f"{name}-{platform.machine()}.whl",
            say,
        )
        say("unpacking")
        with new_folder(target) as part:
            unpack(wheel, part)
            if not _is_executorch(part / "executorch"):
                raise cmake_build.failed("unpacking", f"{wheel.name} holds no libraries to link against")
    return target / "executorch"


def _is_executorch(package: Path) -> bool:
    found = [package / "lib" / name for name in _EXECUTORCH_LIBRARIES]
    return all(file.is_file() for file in [*found, package / "share" / "cmake" / "executorch-config.cmake"])


def _need_compiler(runtime: str) -> None:
    """zig links a C++ library of its own, which does not go together with the one the ready libraries use."""
    if not cmake_build.has_compiler():
        raise _impossible(
            f"no C++ compiler on this machine to build against {runtime}'s libraries", "install g++ or clang"
        )


def _host_abi() -> str:
    names = {"aarch64": _ARM64_ABI, "arm64": _ARM64_ABI, "amd64": "x86_64"}
    return names.get(platform.machine().lower(), platform.machine())
