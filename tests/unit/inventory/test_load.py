"""Every mistake in an inventory is told at once: where, what, and what was expected."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_agents.ios.discovery import facts_of
from device_agents.virtual.iphone import profiles
from harness.errors import UsageError
from harness.inventory import MAX_BYTES, LoadedInventory, load
from harness.model import (
    AdbEndpoint,
    Attached,
    DeviceKind,
    DeviceState,
    Match,
    Platform,
    Targets,
    UsbPort,
    WorkloadKind,
)
from harness.plan import models_of, resolve_devices
from harness.supply.models import file_name
from harness.supply.pte_forms import FORMS

Load = Callable[[str | bytes], LoadedInventory]
Complain = Callable[[str | bytes], list[str]]

GOOD = """\
version: 1
lab: {name: example-lab, adb: {host: 127.0.0.1, port: 5038}}
tiers:
  flagship: {title: Flagship, targets: {ms_per_token_max: 50, peak_memory_mb_max: 1000, quality_retention_min: 0.95}}
devices:
  - {id: pixel, platform: android, tier: flagship, match: {model: Pixel 8 Pro}}
  - {id: "odd $(id) 'name'", platform: android, tier: flagship, match: {serial: R5CX0000000}, usb: {hub: 1-1, port: 2}}
models:
  - {id: m, family: F, quant: Q4_0, format: gguf, path: models/m.gguf}
runners:
  - {id: r, runtime: llama.cpp, platform: android, abi: x86_64, path: runners/r}
workloads:
  bench: {kind: throughput, threads: auto}
  chat: {kind: stream, threads: 4, context: 2048, env: {A: b}, args: [--x], load_mode: mmap, flash_attn: true}
suites:
  standard: {workloads: [bench, chat], repeats: 5, models: [m]}
"""


@pytest.fixture
def read(tmp_path: Path) -> Load:
    def reader(text: str | bytes) -> LoadedInventory:
        path = tmp_path / "inventory.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path)

    return reader


@pytest.fixture
def complaints(read: Load, tmp_path: Path) -> Complain:
    """The lines of the error, without the folder."""

    def complain(text: str | bytes) -> list[str]:
        with pytest.raises(UsageError) as caught:
            read(text)
        return [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]

    return complain


def test_a_good_inventory_is_read(read: Load) -> None:
    loaded = read(GOOD)
    inventory = loaded.inventory
    assert loaded.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
    assert inventory.lab.adb == AdbEndpoint("127.0.0.1", 5038)
    assert inventory.tiers["flagship"].targets == Targets(50.0, 1000.0, 0.95)
    assert inventory.devices[0].match == Match(model="Pixel 8 Pro")
    assert inventory.devices[1].id == "odd $(id) 'name'"
    assert inventory.devices[1].usb == UsbPort("1-1", 2)
    assert inventory.devices[0].platform is Platform.ANDROID
    assert inventory.workloads["bench"].kind is WorkloadKind.THROUGHPUT
    chat = inventory.workloads["chat"]
    assert (chat.threads, chat.args, chat.env, chat.flash_attn) == (4, ("--x",), {"A": "b"}, True)
    assert inventory.suites["standard"].models == ("m",)


def test_the_shipped_inventory_is_good() -> None:
    inventory = load(Path(__file__).resolve().parents[3] / "inventory.yaml").inventory
    assert set(inventory.tiers) == {"flagship", "mid-range", "budget"}
    assert inventory.tiers["mid-range"].targets == Targets(100, 500, 0.90)
    assert inventory.suites["standard"].repeats == "auto"
    demo = inventory.suites["demo"]
    assert (demo.repeats, demo.models) == (3, ("smollm2-135m-q4_k_m",))
    assert {inventory.workloads[name].kind for name in demo.workloads} == {
        WorkloadKind.THROUGHPUT,
        WorkloadKind.STREAM,
    }
    families = ("SmolLM2-135M", "SmolLM2-360M", "SmolLM-1.7B", "Phi-3-mini", "Llama-3.2-3B")
    forms = ("F16", "Q8_0", "Q5_K_M", "Q4_K_M", "Q4_0", *FORMS)
    assert [(model.family, model.quant) for model in inventory.models] == [*itertools.product(families, forms)]
    for model in inventory.models:
        assert model.path == f"models/{file_name(model.family, model.quant)}"
    assert {(entry.platform.value, entry.tier) for entry in inventory.devices} == {
        *itertools.product(("android", "ios"), inventory.tiers)
    }
    assert [(figure.device, figure.metric) for figure in inventory.published] == [
        ("iPhone 15 Pro", "decode_tps"),
        ("iPhone 15 Pro", "peak_memory_mb"),
        ("iPhone 15 Pro", "load_ms"),
        ("iPhone 13", "decode_tps"),
    ]
    known = {(model.family, model.quant) for model in inventory.models}
    assert {(figure.family, figure.quant) for figure in inventory.published} < known
    standard = models_of(inventory, (), inventory.suites["standard"])
    assert [(model.family, model.quant) for model in standard] == [*itertools.product(families[:2], forms[:5])]


@pytest.mark.parametrize("profile", ["iphone-15-pro", "iphone-14@16", "iphone-14@26", "iphone-se-3"])
def test_each_virtual_iphone_is_one_entry_of_the_shipped_inventory(profile: str) -> None:
    inventory = load(Path(__file__).resolve().parents[3] / "inventory.yaml").inventory
    phone = profiles.load(profile)
    values = {
        "ProductType": phone.product_type,
        "HardwareModel": phone.hardware_model,
        "ProductVersion": phone.ios_version,
        "CPUArchitecture": "arm64",
    }
    facts = facts_of(values, None, "UDID")
    attached = Attached(Platform.IOS, "UDID", ("UDID",), DeviceState.READY, "", facts)
    (found,) = resolve_devices(inventory, [attached])
    assert (found.id, found.entry.tier) == (profile.partition("@")[0], phone.tier)
    assert [runner.id for runner in inventory.runners if runner.platform is Platform.IOS] == ["llama.cpp-ios"]
    assert {runner.abi for runner in inventory.runners if runner.platform is Platform.IOS} <= set(facts.abis)


def test_all_mistakes_are_told_at_once_by_line(complaints: Complain) -> None:
    text = """\
version: 1
tiers:
  flagship: {title: Flagship}
devices:
  - {id: a, platform: andriod, tier: flagshp, match: {serial: 123}}
  - {id: a, platform: android, tier: flagship, match: {modle: x, model: y}}
workloads:
  bench: {kind: throughput, threads: atuo, gen_tokens: "5", prompt_tokens: true}
suites:
  s: {workloads: [bnech], repeats: 1.5}
labb: 3
"""
    assert complaints(text) == [
        'inventory.yaml:5: devices[0].platform: expected "android", "ios" or "local", found the text "andriod"; '
        'did you mean "android"?',
        "inventory.yaml:5: devices[0].match.serial: expected text, found the number 123: put it in quotes",
        'inventory.yaml:5: devices[0].tier: tier "flagshp" is not defined; did you mean "flagship"? Defined: flagship.',
        'inventory.yaml:6: devices[1].match.modle: unknown key; did you mean "model"?',
        'inventory.yaml:6: devices[1].id: "a" is already the id of devices[0]',
        "inventory.yaml:8: workloads.bench.prompt_tokens: expected a whole number, found the truth value true",
        'inventory.yaml:8: workloads.bench.gen_tokens: expected a whole number, found the text "5"',
        'inventory.yaml:8: workloads.bench.threads: expected a count above 0, "auto" or "tuned", found the text "atuo"',
        'inventory.yaml:10: suites.s.repeats: expected a whole number from 1 on, or "auto", found the number 1.5',
        'inventory.yaml:10: suites.s.workloads[0]: workload "bnech" is not defined; did you mean "bench"? '
        "Defined: bench.",
        'inventory.yaml:11: labb: unknown key; did you mean "lab"?',
    ]


MODEL = "version: 1\nmodels:\n  - {id: m, family: F, quant: Q, format: gguf, %s}\n"
DEVICE = (
    "version: 1\ntiers: {t: {title: T}}\ndevices:\n  - {id: d, platform: android, tier: t, match: {model: M}, %s}\n"
)
FIGURE = (
    "version: 1\npublished:\n"
    "  - {device: iPhone 13, family: F, quant: Q, metric: decode_tps, unit: tok/s, source: S, %s}\n"
)
WORKLOAD = "version: 1\nworkloads: {w: {kind: stream, %s}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD.replace("version: 1\n", ""), ':1: the key "version" is missing'),
        (GOOD.replace("version: 1", "version: 2"), ":1: version: expected 1, found the number 2"),
        (GOOD.replace("tier: flagship, match: {model", "match: {model"), ':6: devices[0]: the key "tier" is missing'),
        (GOOD.replace("id: m,", 'id: "m\\x07",'), ':9: models[0].id: "m\\x07" holds control or invisible characters'),
        (GOOD.replace("id: m,", 'id: "",'), ":9: models[0].id: must not be empty"),
        (GOOD.replace("id: m,", 'id: " ",'), ":9: models[0].id: must not be blank"),
        (GOOD.replace("id: m,", "id: 'm ',"), ':9: models[0].id: "m " begins or ends with a space'),
        (
            GOOD.replace("  chat: ", "  chat:\n  bench: "),
            ":15: workloads.bench: the key stands twice, first on line 13",
        ),
        (GOOD.replace("[bench, chat]", "[bench, bench]"), ':16: suites.standard.workloads[1]: "bench" is listed twice'),
        (GOOD.replace("models: [m]", "models: [n]"), ':16: suites.standard.models[0]: model "n" is not defined'),
        (GOOD.replace("ms_per_token_max: 50", "ms_per_token_max: .inf"), ".inf is no number that can be used here"),
        (GOOD.replace("ms_per_token_max: 50", "ms_per_token_max: 0"), "expected a number above 0, found the number 0"),
        (GOOD.replace("quality_retention_min: 0.95", "quality_retention_min: 95"), "expected a number at most 1"),
        (GOOD.replace("port: 5038", "port: 99999"), ":2: lab.adb.port: expected a number at most 65535"),
        (MODEL % "path: a, url: 'https://x/y'", ":3: models[0]: expected exactly one of path (a file here) and url"),
        (MODEL % "owner: me", "found neither"),
        (MODEL % "url: 'ftp://x/y', sha256: ''", "models[0].url: expected an https:// or http:// address"),
        (MODEL % "url: 'https://x/y'", "url needs sha256"),
        (MODEL % "path: a, sha256: abc", "models[0].sha256: expected 64 hexadecimal digits, found 3 characters"),
        (MODEL % "path: ''", "models[0].path: must not be empty"),
        (DEVICE.replace("match: {model: M}, ", "") % "labels: []", "match is missing: expected at least one of serial"),
        (DEVICE % "usb: {hub: '', port: 0}", "devices[0].usb.hub: must not be empty"),
        (FIGURE % "note: n", ":3: published[0]: expected either value, or low and high, found neither"),
        (FIGURE % "low: 1", "found low"),
        (FIGURE % "value: 1, low: 1, high: 2", "found low and high and value"),
        (FIGURE % "low: 3, high: 2", ":3: published[0].low: expected a number at most 2 (high), found 3"),
        (FIGURE % "value: -1", "published[0].value: expected a number at least 0, found the number -1"),
        (FIGURE % "value: 15 to 20", 'published[0].value: expected a number, found the text "15 to 20"'),
        (FIGURE % "value: 1, unti: x", 'published[0].unti: unknown key; did you mean "unit"?'),
        (FIGURE.replace("decode_tps", "decode_tp") % "value: 1", 'no metric "decode_tp"; did you mean "decode_tps"?'),
        (FIGURE.replace("decode_tps", "qqq") % "value: 1", 'published[0].metric: no metric "qqq". There are: load_ms,'),
        (FIGURE.replace("tok/s", "s") % "value: 1", 'expected "tok/s", the unit of decode_tps, found "s"'),
        (FIGURE.replace("source: S, ", "") % "value: 1", 'published[0]: the key "source" is missing'),
        (FIGURE.replace("iPhone 13", '" "') % "value: 1", "published[0].device: must not be blank"),
        (
            (FIGURE + FIGURE.splitlines()[-1]) % ("value: 1", "value: 2"),
            ":4: published[1]: the same figure as published[0]",
        ),
        ("version: 1\npublished: {a: 1}\n", ":2: published: expected a list, found a mapping"),
        (WORKLOAD % "prompt_file: none.txt", 'workloads.w.prompt_file: no such file beside the inventory: "none.txt"'),
        (WORKLOAD.replace("stream", "throughput") % "prompt_file: x", "a throughput workload takes no prompt"),
        (WORKLOAD % "prompt_tokens: 8, gen_tokens: 8, context: 15", "expected at least 16"),
        (
            WORKLOAD % "load_mode: mmpa",
            'expected "mmap", "read" or "mlock", found the text "mmpa"; did you mean "mmap"',
        ),
        (WORKLOAD % "page_cache: evit", 'expected "keep" or "evict", found the text "evit"; did you mean "evict"'),
        (WORKLOAD % "page_cache: true", 'expected "keep" or "evict", found the truth value true'),
        (WORKLOAD % "env: [a]", "workloads.w.env: expected a mapping (key: value), found a list"),
        (WORKLOAD % "args: x", 'workloads.w.args: expected a list, found the text "x"'),
        (WORKLOAD % "flash_attn: maybe", "workloads.w.flash_attn: expected true or false"),
        ("version: 1\ndevices:\n", ":2: devices: expected a list, found nothing"),
        ("version: 1\ntiers: {1: {title: a}}\n", 'tiers: a key must be text, found the key "1": put it in quotes'),
        ("version: 1\n? [a, b]\n: c\n", "a key must be text, found the key of several parts"),
        ("version: 1\nlab: {name: !!binary aGk=}\n", "the tag"),
        ("version: 1\nx: !!python/object/apply:os.system [ls]\n", "is not supported"),
        ("", ":1: is empty, expected a mapping that starts with version: 1"),
        ("# nothing yet\n", "is empty"),
        ("- a\n", ":1: holds a list at the top"),
        ("just words", 'holds the text "just words" at the top'),
        ("version: 1\nlab: {name: a", ":2:14: not valid YAML"),
        ("version: 1\nlab:\n\tname: a\n", "indent with spaces, not with tabs"),
        ("version: 1\n---\nversion: 1\n", ":2:1: not valid YAML"),
        ("version: 1\nlab: {name: a\0b}\n", "character"),
        (b"version: 1\nlab: {name: \xe9}\n", ":2: not UTF-8 text (byte 0xe9)"),
        ("version: 1".encode("utf-16"), ":1: not UTF-8 text"),
        ("a: &a [*a]\n", "nested more than 50 deep"),
        ("a: &a {<<: *a}\n", "inventory"),
        ("a: " + "[" * 3000, "nested too deeply"),
        ("a: 1\n" + "".join(f"x{n}: {n}\n" for n in range(60)), "… and"),
    ],
)
def test_a_mistake_is_explained(complaints: Complain, text: str | bytes, expected: str) -> None:
    assert expected in "\n".join(complaints(text))


@pytest.mark.parametrize("value", ["0", "-1", "atuo", "1.5", "[1]", "true", "null"])
def test_threads_gets_one_sentence_whatever_is_wrong(complaints: Complain, value: str) -> None:
    said = complaints(WORKLOAD % f"threads: {value}")
    assert len(said) == 1
    assert 'workloads.w.threads: expected a count above 0, "auto" or "tuned", found' in said[0]


def test_two_entries_cannot_mean_the_same_phones_or_port(complaints: Complain) -> None:
    twice = GOOD.replace("serial: R5CX0000000", "model: Pixel 8 Pro")
    assert complaints(twice) == ["inventory.yaml:7: devices[1].match: matches the same phones as devices[0]"]
    port = GOOD.replace("{model: Pixel 8 Pro}", "{model: Pixel 8 Pro}, usb: {port: 2, hub: 1-1}")
    assert complaints(port) == ["inventory.yaml:7: devices[1].usb: the same hub port as devices[0]"]


def test_aliases_and_merge_keys_work_and_own_keys_win(read: Load) -> None:
    loaded = read("""\
version: 1
tiers: {t: {title: T}}
devices:
  - &base {id: a, platform: android, tier: t, match: {model: A}, labels: &l [x]}
  - {<<: *base, id: b, match: {model: B}, labels: *l}
""")
    assert [(device.id, device.match.model, device.labels) for device in loaded.inventory.devices] == [
        ("a", "A", ("x",)),
        ("b", "B", ("x",)),
    ]


def test_aliases_that_explode_are_refused(complaints: Complain) -> None:
    lines = ["version: 1", "a: &a [" + ",".join("x" * 10) + "]"]
    lines += [
        f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]" for before, name in zip("abcdefg", "bcdefgh", strict=True)
    ]
    assert "more than 100000 values" in complaints("\n".join(lines))[0]


def test_a_byte_order_mark_windows_lines_and_dates_do_no_harm(read: Load) -> None:
    text = GOOD.replace("R5CX0000000", "2024-01-01").replace("\n", "\r\n")
    loaded = read(b"\xef\xbb\xbf" + text.encode())
    assert loaded.inventory.devices[1].match.serial == "2024-01-01"


def test_a_sha256_is_folded_to_lower_case(read: Load) -> None:
    loaded = read(MODEL % f"url: 'https://x/y', sha256: {'AB' * 32}")
    assert loaded.inventory.models[0].sha256 == "ab" * 32


def test_a_prompt_file_beside_the_inventory_is_found(read: Load, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("hello")
    assert read(WORKLOAD % "prompt_file: prompt.txt").inventory.workloads["w"].prompt_file == "prompt.txt"


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file.*farm init.*farm lab up --inventory-out"):
        load(tmp_path / "none.yaml")


def test_a_folder_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path)
    huge = tmp_path / "huge.yaml"
    with huge.open("wb") as file:
        file.truncate(10 * MAX_BYTES)
    with pytest.raises(UsageError, match=r"10\.0 MB is too large for an inventory"):
        load(huge)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_is_cut_or_changed_gives_an_inventory_or_a_message(read: Load, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    length = data.draw(st.integers(0, 40))
    patch = data.draw(st.text("{}[]:,-&*!|>'\"%@` \n\t#<0a\0é", max_size=12))
    try:
        read(GOOD[:start] + patch + GOOD[start + length :])
    except UsageError as error:
        assert str(error).strip()


def test_marks_exist_for_everything_that_is_no_phone() -> None:
    from harness.cli.output import device_name

    assert device_name("a", DeviceKind.PHONE) == "a"
    assert device_name("a", DeviceKind.VIRTUAL) == "a (virtual phone)"
    assert device_name("a", DeviceKind.HOST) == "a (not a phone)"
