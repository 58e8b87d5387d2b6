"""`farm models` and `farm runners` as typed."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli.main import cli
from harness.errors import Permanent, UsageError
from harness.supply import pte_forms
from tests.unit.artifacts import files

GOOD = files.gguf()
TINY_PTE = Path(__file__).parents[2] / "data" / "farm-tiny-fp32-xnnpack.pte"
INVENTORY = """\
version: 1
models:
  - {{id: here, family: F, quant: F16, format: gguf, path: models/here.gguf}}
  - {{id: cut, family: F, quant: F16, format: gguf, path: models/cut.gguf}}
  - {{id: gone, family: F, quant: F16, format: gguf, path: models/gone.gguf}}
  - {{id: far, family: F, quant: F16, format: gguf, url: "{url}/far.gguf", sha256: {sha256}}}
runners:
  - {{id: good, runtime: llama.cpp, platform: android, abi: x86_64, path: runners/good}}
  - {{id: other, runtime: llama.cpp, platform: android, abi: arm64-v8a, path: runners/good}}
  - {{id: far, runtime: llama.cpp, platform: android, abi: x86_64, url: "{url}/none.zip", sha256: {sha256}}}
"""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "far.gguf").write_bytes(GOOD)
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join(timeout=10)


@pytest.fixture
def inventory(tmp_path: Path, own_cache: Path, served: str) -> Path:
    lab = tmp_path / "lab"
    (lab / "models").mkdir(parents=True)
    (lab / "runners" / "good").mkdir(parents=True)
    (lab / "models" / "here.gguf").write_bytes(GOOD)
    (lab / "models" / "cut.gguf").write_bytes(GOOD[:-100])
    (lab / "runners" / "good" / "llama-bench").write_bytes(files.elf())
    file = lab / "inventory.yaml"
    file.write_text(INVENTORY.format(url=served, sha256=hashlib.sha256(GOOD).hexdigest()))
    return file


def farm(inventory: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--inventory", str(inventory), *words])


def rows(result: Result, key: str) -> dict[str, dict[str, object]]:
    assert result.exit_code in (0, 1), result.output
    return {row["id"]: row for row in json.loads(result.stdout)[key]}


def test_models_list_says_what_is_here_and_what_is_wrong(inventory: Path) -> None:
    found = rows(farm(inventory, "--json", "models", "list"), "models")
    assert {name: row["present"] for name, row in found.items()} == {
        "here": True,
        "cut": True,
        "gone": False,
        "far": False,
    }
    assert found["here"]["finding"] == "ok"
    assert found["here"]["size"] == len(GOOD)
    assert "llama" in str(found["here"]["details"])
    assert f"has {len(GOOD) - 100}" in str(found["cut"]["finding"])
    assert found["gone"]["advice"]
    assert found["far"]["advice"] == "farm models fetch"
    text = farm(inventory, "models", "list").output
    assert "here" in text
    assert "truncated" in text


def test_runners_list_names_programs_and_another_abi(inventory: Path) -> None:
    found = rows(farm(inventory, "--json", "runners", "list"), "runners")
    assert found["good"]["finding"] == "ok"
    assert found["good"]["details"] == "llama.cpp, x86_64: llama-bench"
    assert "built for x86_64" in str(found["other"]["finding"])


def test_fetch_brings_what_has_a_url_and_list_then_finds_it(inventory: Path) -> None:
    result = farm(inventory, "--json", "models", "fetch")
    assert result.exit_code == 0
    fetched = rows(result, "fetched")
    assert list(fetched) == ["far"]
    assert Path(str(fetched["far"]["path"])).read_bytes() == GOOD
    assert rows(farm(inventory, "--json", "models", "list"), "models")["far"]["finding"] == "ok"


def test_a_failed_fetch_is_exit_code_1_and_says_what_to_do(inventory: Path) -> None:
    result = farm(inventory, "runners", "fetch")
    assert result.exit_code == 1
    assert "404" in result.stderr
    assert "what to do:" in result.stderr


def test_an_unknown_id_lists_the_known_ones(inventory: Path) -> None:
    result = farm(inventory, "models", "fetch", "farr")
    assert isinstance(result.exception, UsageError)
    assert "far" in str(result.exception)


def test_make_tells_a_mistake_before_it_makes_anything(inventory: Path, own_cache: Path) -> None:
    result = farm(inventory, "models", "make", "--quant", "F16", "--quant", "Q9")
    assert isinstance(result.exception, UsageError)
    assert "Q4_K_M" in str(result.exception)
    assert not (own_cache / "models").exists()


def test_the_exact_form_of_a_hidden_shape_is_made_where_it_is_named(inventory: Path, own_cache: Path) -> None:
    out = inventory.parent / "out"
    result = farm(
        inventory, "--json", "models", "make", "--family", "farm-tiny", "--quant", "f32", "--quant", "F16",
        "--out", str(out),
    )  # fmt: skip
    sizes = {row["quant"]: row["size"] for row in json.loads(result.stdout)["models"]}
    assert 1.7 < sizes["F32"] / sizes["F16"] < 2
    assert sorted(file.name for file in out.iterdir()) == ["farm-tiny-f16.gguf", "farm-tiny-f32.gguf"]


@pytest.mark.skipif(pte_forms.why_unavailable() is None, reason="farm[executorch] is here")
def test_make_tells_what_to_install_before_it_makes_anything(inventory: Path, own_cache: Path) -> None:
    result = farm(
        inventory, "models", "make", "--family", "farm-tiny", "--quant", "F16", "--quant", "fp32-xnnpack",
    )  # fmt: skip
    assert isinstance(result.exception, Permanent)
    assert "torch 2.13.0 is not installed" in result.exception.message
    assert "3 GB" in result.exception.advice
    assert not (own_cache / "models").exists()


def test_export_pte_looks_at_the_folder_first(inventory: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, said in ((tmp_path / "none", "no folder"), (empty, "config.json")):
        result = farm(inventory, "models", "export-pte", str(folder))
        assert isinstance(result.exception, Permanent)
        assert said in result.exception.message
    wrong = farm(inventory, "models", "export-pte", str(empty), "--quant", "Q4_0")
    assert isinstance(wrong.exception, UsageError)


def test_models_list_tells_the_back_end_of_a_program(inventory: Path) -> None:
    entry = f"  - {{id: tiny, family: T, quant: fp32-xnnpack, format: pte, path: {TINY_PTE}}}\nrunners:"
    inventory.write_text(inventory.read_text().replace("runners:", entry))
    found = rows(farm(inventory, "--json", "models", "list"), "models")["tiny"]
    assert found["finding"] == "ok"
    assert "PTE for xnnpack" in str(found["details"])
