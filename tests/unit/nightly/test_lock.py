"""One nightly at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.nightly.lock import held

_HOLD = """
import sys
from pathlib import Path
from harness.nightly.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_one_is_told_who_holds_it(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(UsageError, match=f"process {os.getpid()}"), held(tmp_path):
        pass
    with held(tmp_path):
        assert (tmp_path / "nightly.lock").read_text() == f"{os.getpid()}\n"


def test_a_killed_process_gives_it_back(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"process {holder.pid}"), held(tmp_path):
            pass
        holder.kill()
        holder.wait(30)
    with held(tmp_path):
        pass


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"), held(tmp_path / "file"):
        pass
