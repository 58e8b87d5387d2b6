"""The runner built with runtimes that only follow a script, under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.supply.folders import cache_dir, locked, new_folder

NATIVE = Path(__file__).parents[2] / "android_runner" / "native"
_OPTIONS = (
    "-std=c++17",
    "-O1",
    "-g",
    *("-Wall", "-Wextra", "-Wpedantic", "-Werror"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
    '-DFARM_BUILD="test"',
)
_OTHER_BACKENDS = ("backend_llama", "backend_executorch", "executorch_")
_RUNNERS = {
    "farm-runner": ("main.cpp", "backend_scripted.cpp"),
    "calibration-runner": ("main.cpp", "backend_calibration.cpp", "calibration_script.cpp"),
}
"""Program → what it has beyond the core."""

_LIMIT_S = 300


def _compile(compiler: str, to: Path) -> None:
    sources = [each for each in sorted((NATIVE / "src").glob("*.cpp")) if not each.name.startswith(_OTHER_BACKENDS)]
    core = [each for each in sources if not any(each.name in own for own in _RUNNERS.values())]
    objects: dict[Path, Path] = {}
    for source in sources:
        objects[source] = to / f"{source.stem}.o"
        _run([compiler, *_OPTIONS, "-c", str(source), "-o", str(objects[source])])
    for program, own in _RUNNERS.items():
        parts = [str(objects[each]) for each in sources if each in core or each.name in own]
        _run([compiler, *_OPTIONS, *parts, "-pthread", "-o", str(to / program)])
    for name in ("json_check", "fuzz_json"):
        _run(
            [
                *(compiler, *_OPTIONS, f"-I{NATIVE / 'src'}", str(NATIVE / "tests" / f"{name}.cpp")),
                *(*(str(objects[each]) for each in core), "-o", str(to / name.replace("_", "-"))),
            ]
        )


def _run(words: list[str]) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True, errors="replace", timeout=_LIMIT_S)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def sanitized() -> Path:
    """Folder with farm-runner, calibration-runner, json-check and fuzz-json; compiled once per state of the sources."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler on this machine")
    digest = hashlib.sha256("\0".join((compiler, *_OPTIONS)).encode())
    for file in sorted(NATIVE.glob("*/*.[ch]*")):
        digest.update(file.name.encode() + file.read_bytes())
    folder = cache_dir() / "tests" / f"native-{digest.hexdigest()[:16]}"
    with locked(cache_dir() / "tests-native.lock"):
        if not folder.is_dir():
            for old in folder.parent.glob("native-*"):
                shutil.rmtree(old, ignore_errors=True)
            with new_folder(folder) as part:
                _compile(compiler, part)
    return folder
