"""farm-runner really built with this machine's compiler, against Debian's libraries and the ExecuTorch wheel's."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.errors import FarmError
from harness.supply import cmake_build, debian_tools, native_build, native_recipes
from harness.supply.native_build import PROGRAM, Built


def quiet(_: str) -> None:
    """Progress nobody reads."""


def built(runtime: str) -> Built:
    """The build; a test is skipped where something for it cannot be had, and fails where it does not compile."""
    if not cmake_build.has_compiler():
        pytest.skip("no C++ compiler on this machine")
    try:
        cmake_build.build_tools(quiet)
        if runtime == "llama.cpp":
            debian_tools.unpacked(headers=True)
        else:
            native_recipes.executorch_package(quiet)
    except FarmError as unavailable:
        pytest.skip(f"nothing to build against here: {unavailable}")
    return native_build.build("host", runtime, jobs=2, say=quiet)


def capabilities(build: Built, starter: Sequence[str] = ()) -> dict[str, object]:
    done = subprocess.run(
        [*starter, str(build.folder / PROGRAM), "--capabilities"],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
        cwd=build.folder,
    )
    told: dict[str, object] = json.loads(done.stdout)
    return told


@pytest.mark.long
def test_the_executorch_runner_is_complete_in_its_folder(tmp_path: Path) -> None:
    build = built("executorch")
    told = capabilities(build)
    assert told["runtime"] == "executorch"
    assert told["formats"] == ["pte"]
    assert "XnnpackBackend" in str(told["backends"])
    moved = Built(tmp_path / "elsewhere", build.id, build.platform, build.abi, build.runtime)
    shutil.copytree(build.folder, moved.folder)
    assert capabilities(moved) | {"t": 0} == told | {"t": 0}
    (moved.folder / "libexecutorch_backend_xnnpack.so").unlink()
    with pytest.raises(subprocess.CalledProcessError):
        capabilities(moved)
    said: list[str] = []
    native_build.build("host", "executorch", jobs=2, say=said.append)
    assert not [line for line in said if line.startswith("1/")], "nothing is compiled again"


def test_a_broken_pte_is_refused(tmp_path: Path) -> None:
    build = built("executorch")
    model, request = tmp_path / "model.pte", tmp_path / "request.json"
    events = tmp_path / "events.jsonl"
    workload = {"kind": "stream", "prompt": [1, 2, 3], "gen_tokens": 2}

    def error_of(content: bytes, **more: object) -> str:
        model.write_bytes(content)
        events.unlink(missing_ok=True)
        asked = {"contract": "1.0", "model": {"path": str(model)}, "workload": workload, "output": str(events), **more}
        request.write_text(json.dumps(asked))
        done = subprocess.run([str(build.folder / PROGRAM), str(request)], check=False, capture_output=True)
        assert done.returncode == 1
        last = json.loads(events.read_text().splitlines()[-1])
        assert last["event"] == "error"
        return str(last["class"])

    assert error_of(b"GGUF" + bytes(4000)) == "model_invalid"
    assert error_of(bytes(4) + b"ET12" + bytes(4000)) == "model_invalid"
    assert error_of(b"\x30\0\0\0ET12eh00" + bytes(20)) == "model_invalid"
    assert error_of(b"") == "model_invalid"
    assert error_of(bytes(99), kv_type="q8_0") == "option_unsupported"
    assert error_of(bytes(99), gpu_layers=3) == "option_unsupported"
    assert error_of(bytes(99), flash_attn="on") == "option_unsupported"


@pytest.mark.skipif(
    not (native_build.source() / "src" / "backend_llama.cpp").is_file(), reason="no llama.cpp back end in this source"
)
@pytest.mark.long
def test_the_llama_runner_is_complete_in_its_folder() -> None:
    build = built("llama.cpp")
    told = capabilities(build, debian_tools.loader_command())
    assert told["runtime"] == "llama.cpp"
    versions = json.loads((build.folder / "packages.json").read_text())
    tools = json.loads((debian_tools.runner_folder() / "packages.json").read_text())
    assert versions["libllama0"] == tools["libllama0"], "both of one version"
    assert (build.folder / "libllama.so.0").is_file()
    assert list(build.folder.glob("libggml-cpu-*.so"))
    assert not (build.folder / "libc.so.6").exists(), "that is the phone's"
