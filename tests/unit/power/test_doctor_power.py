"""`farm doctor` on a virtual phone behind a hub port that really takes its power and its link."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support import Farm, base_inventory, phones_of
from tests.lab.conftest import RunningLab, start

PHONE = "galaxy-a34"

HUB = """#!{python}
import sys
from pathlib import Path
sys.path.insert(0, {repository!r})
from device_agents.virtual.lab import Lab
state = Path({state!r})
show = lambda: f"  Port 2: 0503 {{'power enable connect' if state.read_text() == 'on' else 'off'}}"
print("Current status for hub 1-1 [hub]", show(), sep="\\n")
if "-a" in sys.argv:
    state.write_text(sys.argv[sys.argv.index("-a") + 1])
    lab, on = Lab({lab!r}), state.read_text() == "on"
    lab.set({phone!r}, charger="usb" if on else "none")
    state.with_name("switched").touch()
    (lab.replug if on else lab.unplug)({phone!r})
    print("New status for hub 1-1 [hub]", show(), sep="\\n")
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    running = start([PHONE])
    yield running
    running.lab.down()


def farm_with_hub(lab: RunningLab, folder: Path) -> Farm:
    tools = folder / "bin"
    tools.mkdir()
    (folder / "port").write_text("on")
    program = tools / "uhubctl"
    program.write_text(
        HUB.format(
            python=sys.executable,
            repository=str(Path(__file__).parents[3]),
            state=str(folder / "port"),
            lab=lab.lab.name,
            phone=PHONE,
        )
    )
    program.chmod(0o755)
    phones = [dict(phone, usb={"hub": "1-1", "port": 2}) for phone in phones_of(lab, PHONE)]
    farm = Farm(folder, dict(lab.env), base_inventory(phones))
    farm.env["PATH"] = f"{tools}:{farm.env['PATH']}"
    farm.write()
    lab.lab.set(PHONE, charger="usb")
    return farm


def findings(farm: Farm, *options: str) -> dict[str, dict[str, str]]:
    return {row["subject"]: row for row in farm("--json", "doctor", *options).json()["findings"]}


def test_the_port_is_proven_only_when_asked_and_remembered(lab: RunningLab, tmp_path: Path) -> None:
    farm = farm_with_hub(lab, tmp_path)
    before = findings(farm)
    assert f"USB power of {PHONE}" not in before
    assert "not proven yet" in before[f"energy on {PHONE}"]["text"]
    assert not (tmp_path / "switched").exists()
    proven = findings(farm, "--prove-power")
    assert proven[f"USB power of {PHONE}"]["level"] == "ok", proven
    assert "its own record" in proven[f"USB power of {PHONE}"]["text"]
    assert (tmp_path / "switched").exists()
    after = findings(farm)[f"energy on {PHONE}"]
    assert after["level"] == "ok"
    assert "not proven" not in after["text"]
