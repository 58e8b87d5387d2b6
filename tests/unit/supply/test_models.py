"""Made models: the true shape, the same bytes every time, read by the same check as any model."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from pathlib import Path

import pytest

from harness.artifacts import check_model
from harness.errors import ErrorClass, Permanent, UsageError
from harness.model import Model
from harness.supply import debian_tools, host_build, models, vocabulary
from harness.supply.families import FAMILIES, QUANTS, Family
from harness.supply.folders import place
from harness.supply.gguf_maker import write

SMALL = dataclasses.replace(
    FAMILIES["SmolLM2-135M"], name="Small", hidden=64, layers=2, heads=4, kv_heads=2, head_dim=16, feed_forward=96,
    vocabulary=600,
)  # fmt: skip
SMALL_PHI = dataclasses.replace(SMALL, architecture="phi3", tied=False, kv_heads=4)

PUBLISHED_WEIGHTS = {
    "SmolLM2-135M": 134_515_008,
    "SmolLM2-360M": 361_821_120,
    "SmolLM-1.7B": 1_711_376_384,
    "Phi-3-mini": 3_821_079_552,
    "Llama-3.2-3B": 3_212_749_824,
}
"""`model.safetensors` parameter counts on the Hugging Face hub."""


@pytest.mark.parametrize("name", FAMILIES)
def test_the_shape_has_the_published_number_of_weights(name: str) -> None:
    assert sum(math.prod(shape) for _, shape in FAMILIES[name].tensors()) == PUBLISHED_WEIGHTS[name]


@pytest.mark.parametrize("family", [SMALL, SMALL_PHI], ids=["llama", "phi3"])
def test_a_written_model_is_whole_and_says_what_it_is(family: Family, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    seen: list[tuple[int, int]] = []
    write(family, file, progress=lambda done, total: seen.append((done, total)))
    found = check_model(Model("m", "Small", "F16", "gguf", path=str(file)), tmp_path, tmp_path / "cache")
    assert found.architecture == family.architecture
    assert found.parameter_count == sum(math.prod(shape) for _, shape in family.tensors())
    assert (found.vocabulary_size, found.context_length, found.layer_count) == (600, 8192, 2)
    assert seen[-1][0] == seen[-1][1]
    assert b"random weights" in file.read_bytes()[:2000]


def test_the_gguf_package_reads_the_same_tensors(tmp_path: Path) -> None:
    from gguf import GGUFReader

    file = tmp_path / "m.gguf"
    write(SMALL, file)
    tensors = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    assert set(tensors) == {name for name, _ in SMALL.tensors()}
    embedding = tensors["token_embd.weight"].data
    assert embedding.shape == (600, 64)
    assert 0.015 < float(embedding.astype("float32").std()) < 0.025
    assert (tensors["output_norm.weight"].data == 1).all()


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(SMALL, tmp_path / name, seed=seed)
        digests.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("size", [600, 49_152])
def test_a_vocabulary_has_every_byte_and_no_token_twice(size: int) -> None:
    words = vocabulary.build(size)
    assert len(words.tokens) == len(words.types) == len(set(words.tokens)) == size
    for merge in words.merges:
        left, right = merge.split(" ")
        assert {left, right, left + right} <= set(words.tokens)
    with pytest.raises(ValueError, match="cannot hold"):
        vocabulary.build(100)


def test_names_are_found_in_any_case_and_mistakes_list_what_there_is() -> None:
    assert models.find_family("smollm2-135m").name == "SmolLM2-135M"
    assert models.find_quant("q4_k_m") == "Q4_K_M"
    for call, name in ((models.find_family, "SmolLM3"), (models.find_quant, "Q3")):
        with pytest.raises(UsageError, match=name):
            call(name)


@pytest.fixture
def small_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FARM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "FAMILIES", {"Small": SMALL})
    return tmp_path


def test_a_model_is_made_once_and_placed_where_it_is_wanted(small_cache: Path) -> None:
    first = models.make("small", "f16", small_cache / "a b")
    again = models.make("Small", "F16", small_cache / "other")
    assert (first.made, again.made) == (True, False)
    assert first.path == small_cache / "a b" / "small-f16.gguf"
    assert first.path.read_bytes() == again.path.read_bytes()
    assert not list(small_cache.rglob("*.part"))


def test_an_interrupted_make_leaves_nothing(small_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(family: Family, to: Path, **_: object) -> None:
        to.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(to))

    monkeypatch.setattr(models, "write", broken)
    with pytest.raises(Permanent) as caught:
        models.make("Small", "F16")
    assert caught.value.error_class is ErrorClass.STORAGE_FULL
    assert "FARM_CACHE" in caught.value.advice
    assert not list(small_cache.rglob("small-f16*"))


def test_no_quantiser_is_told_with_the_way_out(small_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian_tools, "why_unavailable", lambda: "no Debian here")
    with pytest.raises(Permanent) as caught:
        models.make("Small", "Q8_0")
    assert "no Debian here" in caught.value.message
    assert "farm runners build" in caught.value.advice


def test_the_real_quantiser_makes_every_quantisation(small_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FARM_CACHE")
    if not (host_build.folder() / "llama-quantize").is_file() and (
        debian_tools.why_unavailable() or not debian_tools.is_unpacked()
    ):
        pytest.skip("no llama-quantize in the cache: farm runners fetch --virtual")
    command = models.quantize_command()
    monkeypatch.setenv("FARM_CACHE", str(small_cache / "cache"))
    monkeypatch.setattr(models, "quantize_command", lambda: command)
    wide = dataclasses.replace(SMALL, hidden=256, heads=4, kv_heads=4, head_dim=64, feed_forward=256)
    monkeypatch.setattr(models, "FAMILIES", {"Small": wide})
    sizes = [models.make("Small", quant, small_cache).size for quant in QUANTS]
    assert sizes == sorted(sizes, reverse=True)
    for quant in QUANTS:
        name = models.file_name("Small", quant)
        found = check_model(Model("m", "Small", quant, "gguf", path=name), small_cache, small_cache / "cache")
        assert found.parameter_count == sum(math.prod(shape) for _, shape in wide.tensors())


def test_a_tool_that_fails_or_hangs_is_told(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="ended with 3: oh no"):
        debian_tools.run_tool(("sh", "-c", "echo oh no >&2; exit 3"))
    with pytest.raises(Permanent) as hung:
        debian_tools.run_tool(("tail", "-f", "/dev/null"), limit_s=0.2)
    assert hung.value.error_class is ErrorClass.TIMED_OUT
    with pytest.raises(Permanent, match="cannot start"):
        debian_tools.run_tool((str(tmp_path / "none"),))


def test_a_folder_is_placed_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("1")
    target = place(source, tmp_path / "runners" / "x")
    (target / "old").write_text("stale")
    (source / "b").write_text("2")
    assert sorted(file.name for file in place(source, target).iterdir()) == ["a", "b"]
    assert [file.name for file in target.parent.iterdir()] == ["x"]


def test_what_is_done_to_a_placed_file_does_not_reach_the_cache(tmp_path: Path) -> None:
    source = tmp_path / "source.gguf"
    source.write_text("whole")
    target = place(source, tmp_path / "out" / "m.gguf")
    inode = target.stat().st_ino
    assert place(source, target).stat().st_ino == inode, "the same already: left as it is"
    target.write_text("")
    assert source.read_text() == "whole"
    assert place(source, target).read_text() == "whole"


def test_what_is_in_the_way_is_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "source.gguf"
    source.write_text("1")
    (tmp_path / "taken").mkdir()
    with pytest.raises(Permanent, match="is a folder"):
        place(source, tmp_path / "taken")
    with pytest.raises(Permanent, match="in the way"):
        place(tmp_path / "taken", source)
    assert source.read_text() == "1"
