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
from tests.unit.artifacts import files

GOOD = files.gguf()
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
    from harness.errors import UsageError

    result = farm(inventory, "models", "fetch", "farr")
    assert isinstance(result.exception, UsageError)
    assert "far" in str(result.exception)


def test_make_tells_a_mistake_before_it_makes_anything(inventory: Path, own_cache: Path) -> None:
    from harness.errors import UsageError

    result = farm(inventory, "models", "make", "--quant", "F16", "--quant", "Q9")
    assert isinstance(result.exception, UsageError)
    assert "Q4_K_M" in str(result.exception)
    assert not (own_cache / "models").exists()
