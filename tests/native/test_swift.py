"""The runner app's core: its own tests, where a Swift is at hand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.supply.folders import cache_dir

SCRIPT = Path(__file__).parents[2] / "ios_runner" / "linux-test.sh"
SKIPPED = 77
_LIMIT_S = 900


def test_the_core_of_the_runner_app_passes_its_tests() -> None:
    # The script would fetch a gigabyte: not within a test.
    if shutil.which("swift") is None and not (cache_dir() / "swift-root" / "packages").is_file():
        pytest.skip(f"no Swift on this machine; {SCRIPT.name} fetches one")
    done = subprocess.run([SCRIPT], check=False, capture_output=True, text=True, errors="replace", timeout=_LIMIT_S)
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip()[-200:])
    assert done.returncode == 0, (done.stdout[-4000:], done.stderr[-4000:])
    assert " 0 failures" in done.stdout + done.stderr
