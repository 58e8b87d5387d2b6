"""`farm --help` is quick, and mistakes on the command line and in the inventory are told as such."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.cli.main import COMMANDS
from tests.e2e.conftest import MakeFarm
from tests.e2e.support import ANSWER, REPOSITORY, Farm

HEAVY = ("numpy", "pandas", "scipy", "pydantic", "sqlalchemy", "alembic", "rich", "adbutils", "gguf", "jinja2", "yaml")

SEEN = """
import sys
from harness.cli.main import main
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0, end.code
print("imported:", *sorted(name for name in sys.modules if "." not in name), file=sys.stderr)
"""


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SEEN], capture_output=True, text=True, check=True, cwd=REPOSITORY, timeout=60
    )
    imported = set(done.stderr.rsplit("imported:", 1)[1].split())
    assert not imported & set(HEAVY)
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, on_host: Farm) -> None:
    done = on_host(command, "--help").expect(0)
    assert done.out.startswith(f"Usage: farm {command}")


@pytest.fixture
def farm(on_host: Farm) -> Farm:
    on_host.write(models=[on_host.model()], runners=[on_host.runner(ANSWER, platform="local")])
    return on_host


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["run", "--tier", "flagshop"], "did you mean 'flagship'"),
        (["run", "--suite", "standrad"], "did you mean 'standard'"),
        (["run", "--model", "tinny"], "did you mean 'tiny'"),
        (["run", "--runner", "scriptd"], "did you mean 'scripted'"),
        (["run", "--device", "this-hots"], "did you mean 'this-host'"),
        (["run", "--repeats", "0"], "0 is not in the range"),
        (["run", "--max-hours", "-1"], "-1"),
        (["runn"], "No such command 'runn'"),
        (["resume", "20200101-000000-0000"], "there is no run"),
        (["export", "--format", "xls"], "xls"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_on_the_command_line(farm: Farm, argv: list[str], said: str) -> None:
    farm(*argv).expect(2, said)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("vresion: 1", "vresion"),
        ("version: [", "inventory.yaml:"),
        ("tiers: 7", "inventory.yaml:"),
    ],
)
def test_a_mistake_in_the_inventory_runs_nothing(farm: Farm, line: str, said: str) -> None:
    path = farm.folder / "inventory.yaml"
    path.write_text(path.read_text("utf-8") + line + "\n", encoding="utf-8")
    for command in ("plan", "run", "devices"):
        farm(command).expect(2, said)
    assert not (farm.folder / ".farm" / "farm.db").exists()


def test_no_inventory_at_all(on_host: Farm) -> None:
    on_host("run").expect(2, "inventory.yaml", "farm init")
    on_host("plan").expect(2, "inventory.yaml")


def test_no_usable_phone(on_phones: MakeFarm) -> None:
    farm = on_phones("pixel-8-pro")
    farm.write(models=[farm.model()], runners=[farm.runner(ANSWER)])
    done = farm("run", "--tier", "mid-range").expect(3, "no usable device for tier mid-range", "Pixel 8 Pro", "ready")
    assert done.out == ""
    assert not (farm.folder / ".farm" / "farm.db").exists() or farm("--json", "runs").expect(0).json() == []
