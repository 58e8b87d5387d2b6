"""The programs whose truth is known: the calibration runner, `native/calibrate.c` compiled for a phone and kept in the
cache under the hash of its source, and farm-runner with a runtime that follows a script.

They are static, so that they need nothing of the phone but its kernel. For this machine's own type any C compiler
will do; for another one the Android NDK (`ANDROID_NDK_HOME`) or `ziglang` is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from android_runner.calibration import PROGRAM
from harness.errors import ErrorClass, Permanent
from harness.model import Artifact, ArtifactFile, ModelFile, Platform, RunnerBuild
from harness.supply import native_build, native_recipes, virtual_ipa
from harness.supply.folders import cache_dir, locked, new_file, runners_dir, told

MODEL_BYTES = 32_000_000
"""Size of the file that stands for a model: enough to be seen in RssFile, quick to push."""

_MACHINES: Mapping[str, str] = {"arm64-v8a": "aarch64", "x86_64": "x86_64"}
"""Android's name of an ABI → the machine in a compiler's target."""

_HOST_NAMES: Mapping[str, str] = {"amd64": "x86_64", "arm64": "aarch64"}
_ANDROID_API = 26
_OPTIONS = ("-O2", "-std=gnu11", "-static", "-pthread")
_LIMIT_S = 300.0


def source() -> bytes:
    """The C source."""
    return resources.files("harness.supply").joinpath("native/calibrate.c").read_bytes()


def build(abi: str) -> RunnerBuild:
    """The calibration runner for an ABI, compiled now when it is not in the cache.

    Args:
        abi: Android's name of it.

    Raises:
        Permanent: no compiler for it is here, or it failed.
    """
    content = source()
    target = runners_dir() / f"{PROGRAM}-{abi}-{hashlib.sha256(content).hexdigest()[:16]}" / PROGRAM
    with told(str(target)), locked(cache_dir() / "calibration.lock"):
        if not target.is_file():
            with new_file(target) as part:
                _compile(content, abi, part)
        target.chmod(0o755)
    return _build_of(target, abi)


def build_native(on: Platform, abi: str) -> RunnerBuild:
    """farm-runner with the runtime whose truth is known, for an ABI; compiled now where it is not in the cache.

    Args:
        on: of the phone; for a virtual iPhone the program is packed as an app.
        abi: Android's name of it.

    Raises:
        Permanent: no compiler for it is here, or it failed.
    """
    if on is Platform.IOS:
        return _build_app(abi)
    if abi not in _MACHINES or platform.system() != "Linux":
        raise _failed(abi, "farm-runner is built for it on Linux only, for arm64-v8a and x86_64")
    host = _HOST_NAMES.get(platform.machine().lower(), platform.machine())
    if _MACHINES[abi] != host and abi != "arm64-v8a":
        raise _failed(abi, f"farm-runner is not built for it on a machine of type {host}")
    target = "host" if _MACHINES[abi] == host else "android-arm64"
    built = native_build.build(target, native_recipes.CALIBRATION, jobs=os.cpu_count() or 1, say=lambda _stage: None)
    return _build_of(built.folder / native_build.PROGRAM, abi)


def _build_app(abi: str) -> RunnerBuild:
    """The app of a virtual iPhone, whose programs run on this machine."""
    app = virtual_ipa.build(native_recipes.CALIBRATION, jobs=os.cpu_count() or 1, say=lambda _stage: None)
    if app.abi != abi:
        raise _failed(abi, f"virtual iPhones of this machine run {app.abi}")
    digest = hashlib.sha256(app.file.read_bytes()).hexdigest()
    package = ArtifactFile(app.file.name, str(app.file), app.file.stat().st_size, digest)
    return RunnerBuild(
        Artifact("runner", digest, (package,)), abi, {native_build.PROGRAM: virtual_ipa.EXECUTABLE}, None
    )


def _build_of(program: Path, abi: str) -> RunnerBuild:
    """A build that is one program."""
    name = program.name
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    entry = ArtifactFile(name, str(program), program.stat().st_size, digest, executable=True)
    listed = json.dumps([[entry.name, entry.sha256, entry.executable]])
    artifact = Artifact("runner", hashlib.sha256(listed.encode()).hexdigest(), (entry,))
    return RunnerBuild(artifact, abi, {name: name}, None)


def _compile(content: bytes, abi: str, target: Path) -> None:
    compiler = compiler_for(abi)
    if compiler is None:
        raise Permanent(
            f"the calibration runner cannot be built for {abi}: no compiler for it is on this machine",
            error_class=ErrorClass.RUNNER_MISSING,
            advice="set ANDROID_NDK_HOME to an Android NDK, or `pip install ziglang`",
        )
    cache = str(cache_dir() / "zig")
    try:
        done = subprocess.run(
            [*compiler, *_OPTIONS, "-o", str(target), "-x", "c", "-"],
            check=False,
            capture_output=True,
            input=content,
            timeout=_LIMIT_S,
            env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache},
        )
    except (OSError, subprocess.TimeoutExpired) as wrong:
        raise _failed(abi, str(wrong)) from wrong
    if done.returncode != 0 or target.stat().st_size == 0:
        raise _failed(abi, " | ".join(done.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]))


def _failed(abi: str, why: str) -> Permanent:
    return Permanent(
        f"the calibration runner could not be built for {abi}: {why}",
        error_class=ErrorClass.RUNNER_MISSING,
        advice="check the compiler; `pip install ziglang` brings one for every phone",
    )


def compiler_for(abi: str) -> Sequence[str] | None:
    """Words that start a C compiler for an ABI, or None: the machine's own, the NDK's, or zig."""
    machine = _MACHINES.get(abi)
    if machine is None:
        return None
    host = platform.machine().lower()
    if platform.system() == "Linux" and _HOST_NAMES.get(host, host) == machine:
        own = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
        if own is not None:
            return (own,)
    ndk = os.environ.get("ANDROID_NDK_HOME")
    if ndk:
        name = f"{machine}-linux-android{_ANDROID_API}-clang"
        found = sorted(Path(ndk).glob(f"toolchains/llvm/prebuilt/*/bin/{name}"))
        if found:
            return (str(found[0]),)
    if find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "cc", "-target", f"{machine}-linux-musl")
    return None


def model() -> ModelFile:
    """The file that stands for a model: the runner maps it and reads every page. Always the same bytes."""
    target = cache_dir() / "models" / "farm-calibration.bin"
    with told(str(target)), locked(cache_dir() / "calibration.lock"):
        if not target.is_file() or target.stat().st_size != MODEL_BYTES:
            with new_file(target) as part:
                part.write_bytes(hashlib.shake_256(b"farm calibration").digest(MODEL_BYTES))
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    artifact = Artifact("model", digest, (ArtifactFile("model.bin", str(target), MODEL_BYTES, digest),))
    return ModelFile(
        artifact,
        architecture=None,
        parameter_count=None,
        vocabulary_size=None,
        context_length=None,
        layer_count=None,
    )
