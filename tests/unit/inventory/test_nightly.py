"""The section `nightly`: what it says, and every mistake in it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.inventory import load
from harness.model import BuildFolder, Charge, Inventory, ModelFolder, Nightly, Webhook

ROOT = Path(__file__).resolve().parents[3]

LAB = """\
version: 1
tiers: {flagship: {title: Flagship}}
models: [{id: m, family: F, quant: Q4_0, format: gguf, path: m.gguf}]
runners:
  - {id: r, runtime: llama.cpp, platform: android, abi: x86_64, path: r}
  - {id: s, runtime: llama.cpp, platform: android, abi: arm64-v8a, path: s}
workloads: {bench: {kind: throughput}}
suites: {standard: {workloads: [bench]}, night: {workloads: [bench]}}
"""


def read(folder: Path, section: str) -> Inventory:
    path = folder / "inventory.yaml"
    path.write_text(f"{LAB}nightly: {section}\n", encoding="utf-8")
    return load(path).inventory


def test_without_it_everything_is_as_the_defaults_say(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text("version: 1\n", encoding="utf-8")
    assert load(path).inventory.nightly == Nightly(), "and a lab without a suite standard has no mistake"


def test_every_key_is_read(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        '{suite: night, tiers: [flagship], until: "23:59", metrics: [ttft_ms], pairs: 8, pairs_minutes: 0.5, '
        "builds: [{folder: builds/r, runner: r}, {folder: builds/s, runner: s}], "
        "models: [{folder: new, owner: us}, {folder: other}], keep_telemetry_days: null, keep_on_phone_days: 7, "
        "drift_limit_pct: 3, charge: {low_pct: 30, high_pct: 70}, ping_url: 'https://watch.example/x', "
        "webhook: {url: 'http://127.0.0.1:8/x', secret_env: FARM_SECRET}}",
    ).nightly
    assert found == Nightly(
        suite="night",
        tiers=("flagship",),
        until="23:59",
        metrics=("ttft_ms",),
        builds=(BuildFolder("builds/r", "r"), BuildFolder("builds/s", "s")),
        models=(ModelFolder("new", "us"), ModelFolder("other")),
        pairs=8,
        pairs_minutes=0.5,
        keep_telemetry_days=None,
        keep_on_phone_days=7,
        drift_limit_pct=3,
        charge=Charge(30, 70),
        ping_url="https://watch.example/x",
        webhook=Webhook("http://127.0.0.1:8/x", "FARM_SECRET"),
    )


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (
            "{suite: nihgt}",
            'nightly.suite: suite "nihgt" is not defined; did you mean "night"? Defined: standard, night.',
        ),
        ("{tiers: [flagshp]}", 'nightly.tiers[0]: tier "flagshp" is not defined; did you mean "flagship"?'),
        ("{tiers: [flagship, flagship]}", 'nightly.tiers[1]: "flagship" is listed twice'),
        ("{metrics: [decode_tp]}", 'nightly.metrics[0]: no metric "decode_tp"; did you mean "decode_tps"?'),
        ("{metrics: [qqq]}", 'nightly.metrics[0]: no metric "qqq". There are: load_ms,'),
        ("{metrics: [ttft_ms, ttft_ms]}", 'nightly.metrics[1]: "ttft_ms" is listed twice'),
        (
            "{metrics: [battery_level_start_pct]}",
            "nightly.metrics[0]: neither direction of battery_level_start_pct is better, so it cannot be judged",
        ),
        ("{metrics: []}", "nightly.metrics: must not be empty"),
        ('{until: "24:00"}', 'nightly.until: expected a time of day like "06:00", found "24:00"'),
        ('{until: "6:00"}', 'found "6:00"'),
        ("{until: six}", 'found "six"'),
        ("{until: 10:30}", "nightly.until: expected text, found the number 10:30: put it in quotes"),
        ("{builds: [{folder: b, runner: rr}]}", 'nightly.builds[0].runner: runner "rr" is not defined'),
        ("{builds: [{folder: '', runner: r}]}", "nightly.builds[0].folder: must not be empty"),
        ("{builds: [{folder: ' ', runner: r}]}", "nightly.builds[0].folder: must not be blank"),
        ('{models: [{folder: "a\\nb"}]}', 'nightly.models[0].folder: "a\\x0ab" holds control or invisible characters'),
        (
            "{builds: [{folder: b, runner: r}, {folder: ./b/, runner: s}]}",
            "nightly.builds[1].folder: the same folder as nightly.builds[0]",
        ),
        (
            "{builds: [{folder: b, runner: r}], models: [{folder: b}]}",
            "nightly.models[0].folder: the same folder as nightly.builds[0]",
        ),
        (
            "{builds: [{folder: b, runner: r}, {folder: c, runner: r}]}",
            'nightly.builds[1].runner: builds of "r" are taken from nightly.builds[0] already',
        ),
        ("{charge: {low_pct: 80}}", "nightly.charge: expected low_pct below high_pct, found 80 and 80"),
        ("{charge: {low_pct: 1}}", "nightly.charge.low_pct: expected a number at least 5, found the number 1"),
        ("{pairs: 5}", "nightly.pairs: expected a number at least 6, found the number 5"),
        (
            "{ping_url: watch.example}",
            'nightly.ping_url: expected an https:// or http:// address, found "watch.example"',
        ),
        ("{webhook: {url: 'ftp://x'}}", "nightly.webhook.url: expected an https:// or http:// address"),
        ("{webhook: {secret_env: S}}", 'nightly.webhook: the key "url" is missing'),
        ("{sute: night}", 'nightly.sute: unknown key; did you mean "suite"?'),
        ("[night]", "nightly: expected a mapping (key: value), found a list"),
    ],
)
def test_a_mistake_is_explained(tmp_path: Path, section: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, section)
    assert expected in str(caught.value)
    assert "inventory.yaml:9: nightly" in str(caught.value)


def test_a_lab_that_tells_a_webhook_only_needs_no_suite(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text("version: 1\nnightly: {webhook: {url: https://chat.example.org/hook}}\n")
    assert load(path).inventory.nightly.suite == "standard"


def test_a_secret_that_stands_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, "{webhook: {url: 'https://x.example/y', secret_env: 'hunter2!'}}")
    assert "nightly.webhook.secret_env: expected the name of a variable of the environment" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_page_explains_every_key() -> None:
    page = (ROOT / "docs" / "inventory.md").read_text(encoding="utf-8")
    section = page.partition("\n## nightly\n")[2].partition("\n## ")[0]
    nested = {"builds[]": BuildFolder, "models[]": ModelFolder, "charge": Charge, "webhook": Webhook}
    plain = [field.name for field in fields(Nightly) if field.name not in {"builds", "models", "charge", "webhook"}]
    inner = [f"{name}.{field.name}" for name, kind in nested.items() for field in fields(kind)]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in row.replace("`", "").replace(",", " ").split()} == {*plain, *inner}
