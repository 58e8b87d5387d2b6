"""farm inventory check and schema, and the published schema."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.cli.doctor import model_files
from harness.cli.main import main
from harness.errors import UsageError
from harness.inventory import json_schema, load, schema_text
from harness.model import Attached, DeviceState, Platform
from harness.plan import Selection, check_selection, models_of

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
    assert (said["tiers"], said["devices"], said["models"], said["published"]) == (3, 12, 40, 4)
    main(["--inventory", str(ROOT / "inventory.yaml"), "inventory", "check"])
    text = capsys.readouterr().out
    assert "no mistakes" in text
    assert "4 published figures" in text


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


def test_models_that_only_other_suites_need_are_one_finding_of_the_doctor() -> None:
    loaded = load(ROOT / "inventory.yaml")
    standard = {model.id for model in models_of(loaded.inventory, (), loaded.inventory.suites["standard"])}
    found = {finding.subject: finding for finding in model_files(loaded)}
    named = {subject.removeprefix("model ") for subject in found if subject.startswith("model ")}
    missing = [model for model in loaded.inventory.models if not (ROOT / (model.path or "")).is_file()]
    others = [model.id for model in missing if model.id not in standard]
    assert named >= standard
    assert not named & set(others)
    assert found["other models"].text.startswith(f"{len(others)} that only other suites than standard need")
    assert found["other models"].level == "warning"


def test_an_app_that_is_not_here_is_missed_where_there_is_an_iphone(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(
        "version: 1\nrunners:\n"
        "  - {id: app, runtime: llama.cpp, platform: ios, abi: arm64-v8a, path: runners/none.ipa}\n"
        "  - {id: tools, runtime: llama.cpp, platform: android, abi: arm64-v8a, path: runners/none}\n"
    )
    loaded = load(path)
    iphone = Attached(Platform.IOS, "UDID", ("UDID",), DeviceState.READY, "", None)
    for attached, level in (((), "warning"), ((iphone,), "problem")):
        found = {finding.subject: finding for finding in model_files(loaded, attached)}
        assert found["runner app"].level == level
        assert found["runner app"].text.endswith("none.ipa (needed for iPhones only)")
        assert "make ipa" in found["runner app"].advice
        assert found["runner tools"].level == "problem"
        assert "iPhones" not in found["runner tools"].text + found["runner tools"].advice


def test_a_pattern_of_model_ids_means_all_that_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inventory = load(ROOT / "inventory.yaml").inventory
    large = models_of(inventory, ("llama-*-q4_?",), inventory.suites["standard"])
    assert [model.id for model in large] == ["llama-3.2-3b-q4_0"]
    check_selection(inventory, Selection("standard", models=("llama-*",)))
    with pytest.raises(UsageError, match=r"no model 'lama-\*'"):
        check_selection(inventory, Selection("standard", models=("lama-*",)))
    path = tmp_path / "lab.yaml"
    path.write_text("version: 1\nworkloads: {w: {kind: stream}}\nsuites: {s: {workloads: [w], models: ['x[*']}}\n")
    with pytest.raises(SystemExit):
        main(["--inventory", str(path), "inventory", "check"])
    assert 'model "x[*" is not defined' in capsys.readouterr().err
