"""docs/nightly.md: its units, its workflow and its inventory are what they say they are."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli import exits
from harness.inventory import load
from harness.model import ChangeState

TEXT = (Path(__file__).parents[3] / "docs" / "nightly.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


UNITS = {block.splitlines()[0].rpartition("/")[2]: block for block in blocks("ini")}


def test_there_is_a_service_and_its_timer() -> None:
    assert set(UNITS) == {"farm-nightly.service", "farm-nightly.timer"}
    service, timer = (configparser.ConfigParser(interpolation=None) for _ in UNITS)
    for parser, name in ((service, "farm-nightly.service"), (timer, "farm-nightly.timer")):
        parser.optionxform = str
        parser.read_string(UNITS[name])
    assert service["Service"]["ExecStart"].startswith("/opt/farm/bin/farm nightly")
    assert service["Service"]["EnvironmentFile"], "secrets are in a file of their own"
    assert set(service["Service"]["SuccessExitStatus"].split()) == {str(exits.INCOMPLETE), str(exits.REGRESSION)}
    assert timer["Timer"]["Persistent"] == "yes" and timer["Install"]["WantedBy"] == "timers.target"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for name, text in UNITS.items():
        # What it starts and as whom is the lab's own.
        (tmp_path / name).write_text(text.replace("/opt/farm/bin/farm", "/bin/true").replace("User=farm\n", ""))
    files = [str(tmp_path / name) for name in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "farm-nightly" in line]
    assert not said, "\n".join(said)


def test_the_notice_is_posted_after_a_night_only() -> None:
    """systemd tells the exit code as a word of the environment."""
    (command,) = re.findall(r"^ExecStopPost=/bin/sh -c '(.*)'$", UNITS["farm-nightly.service"], re.MULTILINE)
    told = command.replace("exec /opt/farm/bin/farm notify", "echo posted")
    posted = [
        code
        for code in (0, 1, 2, 3, 4, 5, 130)
        if subprocess.run(
            ["/bin/sh", "-c", told], env={"EXIT_STATUS": str(code)}, capture_output=True, check=True, timeout=10
        ).stdout
    ]
    assert posted == [exits.MEASURED, exits.INCOMPLETE, exits.NO_DEVICE, exits.REGRESSION]


def test_every_yaml_is_read_and_the_inventory_is_good(tmp_path: Path) -> None:
    found: list[dict[str, Any]] = [yaml.safe_load(block) for block in blocks("yaml")]
    (workflow,) = [each for each in found if "jobs" in each]
    steps = workflow["jobs"]["phones"]["steps"]
    assert "self-hosted" in workflow["jobs"]["phones"]["runs-on"]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    assert "$GITHUB_STEP_SUMMARY" in steps[0]["run"]
    kept = next(step for step in steps if "uses" in step)
    assert kept["uses"].startswith("actions/upload-artifact@")
    path = tmp_path / "inventory.yaml"
    path.write_text("version: 1\n" + "".join(block for block in blocks("yaml") if block.startswith("nightly:")))
    assert load(path).inventory.nightly.webhook is not None


def test_no_secret_stands_in_a_unit_or_a_workflow() -> None:
    for block in (*blocks("ini"), *blocks("yaml")):
        for line in block.splitlines():
            if re.search(r"(?i)secret|webhook_url", line) and not line.lstrip().startswith("#"):
                assert "${{ secrets." in line or "secret_env:" in line, line


def test_every_state_is_explained() -> None:
    table = TEXT.split("## What the states mean", 1)[1].split("\n## ", 1)[0]
    assert set(re.findall(r"^\| ([a-z]+) \|", table, re.MULTILINE)) - {"state"} == {
        state.value for state in ChangeState
    }


def test_the_exit_codes_stand_in_their_order() -> None:
    table = TEXT.split("| exit code | means |", 1)[1].split("\n\n", 1)[0]
    codes = [exits.NO_DEVICE, exits.REGRESSION, exits.INCOMPLETE, exits.MEASURED]
    assert re.findall(r"^\| (\d) \|", table, re.MULTILINE) == [str(code) for code in codes]
