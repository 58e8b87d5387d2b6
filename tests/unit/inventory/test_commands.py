"""farm inventory check and schema, and the published schema."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.inventory import json_schema, load, schema_text

ROOT = Path(__file__).resolve().parents[3]


def test_the_published_schema_is_current() -> None:
    published = (ROOT / "docs" / "inventory.schema.json").read_text(encoding="utf-8")
    assert published == schema_text(), "run: farm inventory schema > docs/inventory.schema.json"


def test_the_schema_knows_every_section_and_forbids_others() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["version"]
    assert {"lab", "tiers", "devices", "models", "runners", "workloads", "suites"} < set(schema["properties"])


def test_check_says_what_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--inventory", str(ROOT / "inventory.yaml"), "--json", "inventory", "check"])
    said = json.loads(capsys.readouterr().out)
    assert (said["tiers"], said["models"]) == (3, 10)
    main(["--inventory", str(ROOT / "inventory.yaml"), "inventory", "check"])
    assert "no mistakes" in capsys.readouterr().out


def test_check_of_a_broken_one_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("version: 1\ntires: {}\n")
    with pytest.raises(SystemExit) as ended:
        main(["--inventory", str(path), "inventory", "check"])
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert captured.out == ""
    assert f'{path}:2: tires: unknown key; did you mean "tiers"?' in captured.err


def test_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["inventory", "schema"])
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_the_examples_of_the_documentation_are_a_good_inventory(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "inventory.md").read_text(encoding="utf-8")
    path = tmp_path / "inventory.yaml"
    path.write_text("version: 1\n" + "".join(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)), encoding="utf-8")
    inventory = load(path).inventory
    assert inventory.devices and inventory.models and inventory.runners and inventory.suites
