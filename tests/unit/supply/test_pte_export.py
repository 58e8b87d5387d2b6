"""A decoder computes what it should, in PyTorch and as a program of ExecuTorch. Runs where farm[executorch] is."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.artifacts import check_model
from harness.artifacts.pte_header import recipes
from harness.errors import ErrorClass, Permanent, UsageError
from harness.model import Model
from harness.supply import models, pte_forms, pte_shape
from harness.supply.families import HIDDEN, Family

from . import hf_folder, reference

TINY = HIDDEN["farm-tiny"]
FUSED = dataclasses.replace(TINY, name="fused", architecture="phi3", tied=False, kv_heads=4)
TOKENS = [int(token) for token in np.random.default_rng(7).integers(0, TINY.vocabulary, 40)]

needs_torch = pytest.mark.skipif(
    pte_forms.why_unavailable() is not None, reason=f"no farm[executorch] here: {pte_forms.why_unavailable()}"
)


@pytest.mark.skipif(pte_forms.why_unavailable() is None, reason="farm[executorch] is here")
def test_what_is_missing_is_told_before_anything_is_installed(own_cache: Path) -> None:
    with pytest.raises(Permanent) as caught:
        models.make("farm-tiny", "fp32-xnnpack")
    assert caught.value.error_class is ErrorClass.CONFIGURATION_UNSUPPORTED
    assert "torch" in caught.value.message
    assert "3 GB" in caught.value.advice
    assert "farm[executorch]" in caught.value.advice
    assert not list(own_cache.rglob("*.pte*"))


def test_forms_are_named_like_quantisations_and_hidden_shapes_are_found() -> None:
    assert models.find_quant("FP32-xnnpack") == "fp32-xnnpack"
    assert models.file_name("SmolLM2-135M", "8da4w-g32-xnnpack") == "smollm2-135m-8da4w-g32-xnnpack.pte"
    assert models.file_name("SmolLM2-135M", "fp32-xnnpack", 2048) == "smollm2-135m-fp32-xnnpack-c2048.pte"
    assert models.find_family("FARM-tiny") is TINY
    with pytest.raises(UsageError, match="2 to 256"):
        models.make("farm-tiny", "fp32-xnnpack", context=257)


def test_the_weights_are_those_of_the_gguf(tmp_path: Path) -> None:
    from gguf import GGUFReader

    from harness.supply.gguf_maker import write

    write(FUSED, tmp_path / "m.gguf", matrices="F32")
    held = {tensor.name: tensor.data for tensor in GGUFReader(tmp_path / "m.gguf").tensors}
    mine = dict(pte_shape.family_weights(FUSED))
    assert {name: array.shape for name, array in mine.items()} == pte_shape.of_family(FUSED).shapes()
    fused = np.concatenate([mine[f"layers.1.{name}"] for name in "qkv"])
    assert (held["blk.1.attn_qkv.weight"] == fused).all()
    assert (held["blk.0.ffn_up.weight"][: FUSED.feed_forward] == mine["layers.0.gate"]).all()
    assert (held["output.weight"] == mine["output"]).all()


def decoder(family: Family) -> Any:
    from harness.supply import torch_decoder

    return torch_decoder.load(pte_shape.of_family(family), pte_shape.family_weights(family), 64)


def call(module: Any, tokens: list[int], position: int) -> Any:
    import torch

    with torch.no_grad():
        return module(torch.tensor([tokens]), torch.tensor([position])).numpy()[0]


@needs_torch
@pytest.mark.parametrize("family", [TINY, FUSED], ids=["norm rope", "neox rope"])
def test_the_decoder_computes_the_reference_whole_and_in_pieces(family: Family) -> None:
    module = decoder(family)
    expected = reference.logits(pte_shape.of_family(family), pte_shape.family_weights(family), TOKENS)
    assert np.abs(call(module, TOKENS, 0) - expected[-1]).max() < 1e-4
    position = 0
    for length in (17, 1, 8, *[1] * 14):
        found = call(module, TOKENS[position : position + length], position)
        position += length
        assert np.abs(found - expected[position - 1]).max() < 1e-4, position
    assert position == len(TOKENS)
    again = call(module, TOKENS[:5], 0)
    assert np.abs(again - expected[4]).max() < 1e-4, "what the cache held before is not seen"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pte")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FARM_CACHE", str(folder / "cache"))
        return {form: models.make("farm-tiny", form, folder).path for form in pte_forms.FORMS}


def forward(file: Path) -> Any:
    from executorch.runtime import Runtime

    return Runtime.get().load_program(file).load_method("forward")


def run(method: Any, tokens: list[int], position: int) -> Any:
    import torch

    return method.execute([torch.tensor([tokens]), torch.tensor([position])])[0].numpy()[0].copy()


@needs_torch
def test_a_program_says_what_it_is(exported: dict[str, Path]) -> None:
    for form, file in exported.items():
        found = check_model(Model("m", "tiny", form, "pte", path=str(file)), file.parent, file.parent / "cache")
        assert recipes(found.backends) == ("xnnpack",)
        assert (found.vocabulary_size, found.context_length, found.layer_count) == (512, 256, 2)
        assert found.parameter_count == pte_shape.of_family(TINY).weight_count()
        assert {"forward", "get_max_seq_len", "get_eos_ids", "use_kv_cache"} <= set(found.methods)
    sizes = [exported[form].stat().st_size for form in pte_forms.FORMS]
    assert sizes[0] > 3 * sizes[1] > 3 * sizes[2]


@needs_torch
def test_the_program_computes_the_reference(exported: dict[str, Path]) -> None:
    expected = reference.logits(pte_shape.of_family(TINY), pte_shape.family_weights(TINY), TOKENS)
    method = forward(exported["fp32-xnnpack"])
    for tokens, position in ((TOKENS[:23], 0), *(([token], 23 + n) for n, token in enumerate(TOKENS[23:]))):
        found = run(method, tokens, position)
        assert np.abs(found - expected[position + len(tokens) - 1]).max() < 1e-4


@needs_torch
@pytest.mark.parametrize("form", ["8da4w-g32-xnnpack", "8da4w-g128-xnnpack"])
def test_a_quantised_program_is_near_the_reference(exported: dict[str, Path], form: str) -> None:
    expected = reference.logits(pte_shape.of_family(TINY), pte_shape.family_weights(TINY), TOKENS)[-1]
    found = run(forward(exported[form]), TOKENS, 0)
    assert 0.9 < np.corrcoef(found, expected)[0, 1] < 0.99999


@needs_torch
@pytest.mark.parametrize("family", [TINY, FUSED], ids=["llama", "phi3"])
def test_a_folder_is_exported_with_its_own_weights(family: Family, tmp_path: Path) -> None:
    folder = hf_folder.write(tmp_path / "Some Model", family)
    made = models.export_folder(folder, "fp32-xnnpack", tmp_path / "out", context=64)
    assert made.path == tmp_path / "out" / "some model-fp32-xnnpack-c64.pte"
    shape = dataclasses.replace(pte_shape.of_family(family), interleaved=False)
    expected = reference.logits(shape, hf_folder.rounded(pte_shape.family_weights(family)), TOKENS)
    assert np.abs(run(forward(made.path), TOKENS, 0) - expected[-1]).max() < 1e-4


@needs_torch
def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_CACHE", str(tmp_path / "cache"))
    folder = hf_folder.write(tmp_path / "model", TINY)
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(folder / "config.json", out / "keep")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-10])
    with pytest.raises(Permanent) as caught:
        models.export_folder(folder, "fp32-xnnpack", out)
    assert caught.value.error_class is ErrorClass.MODEL_TRUNCATED
    assert [file.name for file in out.iterdir()] == ["keep"]
