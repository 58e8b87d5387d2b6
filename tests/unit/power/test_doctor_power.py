"""`farm doctor` on a virtual phone behind a hub port that really takes its power and its link."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import FarmError
from harness.supply import debian_tools, models
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


@pytest.mark.long
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


@pytest.mark.long
def test_a_port_that_a_killed_run_left_off_is_switched_on_and_its_phone_found(lab: RunningLab, tmp_path: Path) -> None:
    try:
        build = debian_tools.runner_folder()
        model = models.make("SmolLM2-135M", "Q4_K_M", out=tmp_path / "models").path
    except FarmError as unavailable:
        pytest.skip(f"no llama.cpp or no model here: {unavailable}")
    farm = farm_with_hub(lab, tmp_path)
    tokens = {"prompt_tokens": 8, "gen_tokens": 16, "context": 256, "threads": 1}
    farm.write(
        models=[{"id": "tiny", "family": "SmolLM2-135M", "quant": "Q4_K_M", "format": "gguf", "path": str(model)}],
        runners=[
            {"id": "llama.cpp", "runtime": "llama.cpp", "platform": "android", "abi": "x86_64", "path": str(build)}
        ],
        workloads={"drain": {"kind": "battery", "minutes": 0.2, **tokens}},
        suites={"battery": {"workloads": ["drain"], "repeats": 1}},
    )
    going = farm.start("-v", "run", "--suite", "battery")
    going.until("off its power, back in about 1 min")
    going.kill()
    going.end()
    assert (tmp_path / "port").read_text() == "off"
    assert lab.info.phone(PHONE).adb_serial not in lab.states() or lab.shell(PHONE, "true").returncode != 0
    found = findings(farm)
    assert "left off by a farm that was killed: it is on again" in found["USB power"]["text"]
    assert (tmp_path / "port").read_text() == "on"
    assert f"device {PHONE}" not in found, "it is attached again"
    assert "can be measured" in found[f"energy on {PHONE}"]["text"]
    assert "USB power" not in findings(farm), "there is nothing more to put back"
