"""`farm` from an installed wheel, with no checkout in sight."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from device_agents.virtual.preflight import preflight
from tests.e2e.support import ANSWER, HOST, REPOSITORY, Farm, base_inventory

PACKAGES = ("harness", "device_agents", "android_runner", "reports")
NOT_DATA = {".py", ".pyc"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout stays clean."""
    pytest.importorskip("build", reason="the package build is not installed")
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("farm-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program `farm` of an environment that holds the wheel; what it needs comes from the environment of the
    tests."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    done = subprocess.run([*pip, str(wheel)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "borrowed.pth").write_text("\n".join(sorted(paths)) + "\n", encoding="utf-8")
    return home / "bin" / "farm"


class Installed(Farm):
    """`farm` as the shell finds it, far from the checkout."""

    farm: Path

    def command(self, argv: Sequence[str]) -> list[str]:
        return [str(self.farm), *argv]

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in self.env.items() if name != "PYTHONPATH"}


@pytest.fixture
def farm(installed: Path, tmp_path: Path) -> Installed:
    made = Installed(tmp_path, inventory=base_inventory([HOST]))
    made.farm = installed
    return made


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    wanted = {
        str(file.relative_to(REPOSITORY))
        for package in PACKAGES
        for file in (REPOSITORY / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert wanted - inside == set()
    assert {Path(name).suffix for name in wanted} - NOT_DATA, "there are data files to look for"


def test_it_is_the_wheel_that_answers(farm: Installed) -> None:
    done = subprocess.run(
        [str(farm.farm.with_name("python")), "-c", "import harness, reports; print(harness.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=farm.folder,
        env=farm.environment(),
    )
    assert Path(done.stdout.strip()).is_relative_to(farm.farm.parents[1])
    assert farm("--help").expect(0).out.startswith("Usage: farm")
    assert "0." in farm("--version").expect(0).out


def test_a_run_and_its_report_on_the_host(farm: Installed) -> None:
    farm.env["FARM_CACHE"] = str(farm.folder / "cache")
    farm.write(models=[farm.model()], runners=[farm.runner(ANSWER, platform="local")])
    planned = farm("--json", "plan").expect(0).json()
    assert [case["status"] for case in planned["cases"]] == ["planned"]
    farm("run").expect(0)
    farm("report", "-o", "html").expect(0)
    assert (farm.folder / "html" / "index.html").stat().st_size > 1000
    json.loads(farm("inventory", "schema").expect(0).out)


def test_virtual_phones(farm: Installed) -> None:
    reason = preflight()
    if reason:
        pytest.skip(reason)
    name = f"wheel-{os.getpid()}"
    up = farm("--json", "lab", "up", "--name", name, "--phones", "1")
    try:
        environment = up.expect(0).json()["env"]
        drafted = farm("--json", "--inventory", "drafted.yaml", "init", env=environment).expect(0).json()
        assert len(drafted["devices"]) == 1
        assert farm("--json", "devices", env=environment).expect(0).json()["devices"][0]["kind"] == "virtual"
    finally:
        farm("lab", "down", "--name", name).expect(0)
