"""Hugging Face folders: what is read from a good one, and every way in which one is refused. Needs no PyTorch."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import ErrorClass, Permanent
from harness.supply.families import HIDDEN
from harness.supply.pte_checkpoint import open_folder
from harness.supply.pte_shape import family_weights, of_family

from . import hf_folder

TINY = dataclasses.replace(HIDDEN["farm-tiny"], tied=True)
FUSED = dataclasses.replace(TINY, architecture="phi3", tied=False, kv_heads=4)


@pytest.mark.parametrize("family", [TINY, FUSED], ids=["llama", "phi3"])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_good_folder(tmp_path: Path, family: Any, parts: int) -> None:
    found = open_folder(hf_folder.write(tmp_path / "model", family, parts=parts))
    assert found.shape == dataclasses.replace(of_family(family), name="model", interleaved=False, bos=1, eos=(2, 3))
    held = dict(found.weights())
    expected = dict(hf_folder.rounded(family_weights(family)))
    assert set(held) == set(expected) == set(found.shape.shapes())
    assert all((held[name] == expected[name]).all() for name in expected)


def test_llama_3_scaling_leaves_short_waves_and_stretches_long_ones(tmp_path: Path) -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    }
    plain = of_family(TINY).frequencies
    found = open_folder(hf_folder.write(tmp_path / "m", TINY, rope_scaling=scaling)).shape.frequencies
    for before, after in zip(plain, found, strict=True):
        wave = 2 * math.pi / before
        if wave < 256 / 4:
            assert after == before
        elif wave > 256:
            assert after == pytest.approx(before / 8)
        else:
            assert before / 8 < after < before
    newer = {"rope_theta": TINY.rope_base} | scaling
    other = hf_folder.write(tmp_path / "n", TINY, rope_parameters=newer, rope_theta=None)
    assert open_folder(other).shape.frequencies == found


def test_a_sliding_window_ends_the_context(tmp_path: Path) -> None:
    assert open_folder(hf_folder.write(tmp_path / "m", TINY, sliding_window=100)).shape.context == 100


@pytest.mark.parametrize(
    ("changes", "error_class", "said"),
    [
        ({"architectures": ["Qwen3ForCausalLM"]}, ErrorClass.MODEL_UNSUPPORTED, "Qwen3ForCausalLM"),
        ({"architectures": None}, ErrorClass.MODEL_UNSUPPORTED, "architecture"),
        ({"hidden_act": "gelu"}, ErrorClass.MODEL_UNSUPPORTED, "hidden_act"),
        ({"attention_bias": True}, ErrorClass.MODEL_UNSUPPORTED, "attention_bias"),
        ({"quantization_config": {"bits": 4}}, ErrorClass.MODEL_UNSUPPORTED, "quantised"),
        ({"rope_scaling": {"type": "longrope"}}, ErrorClass.MODEL_UNSUPPORTED, "longrope"),
        ({"rope_scaling": [1]}, ErrorClass.MODEL_UNSUPPORTED, "rope_scaling"),
        ({"rope_scaling": {"type": "llama3"}}, ErrorClass.MODEL_INVALID, "factor"),
        ({"partial_rotary_factor": 0.5}, ErrorClass.MODEL_UNSUPPORTED, "part of each head"),
        ({"num_key_value_heads": 3}, ErrorClass.MODEL_UNSUPPORTED, "key/value heads"),
        ({"hidden_size": "many"}, ErrorClass.MODEL_INVALID, "hidden_size"),
        ({"num_hidden_layers": -1}, ErrorClass.MODEL_INVALID, "num_hidden_layers"),
        ({"num_hidden_layers": 10**9}, ErrorClass.MODEL_UNSUPPORTED, "num_hidden_layers"),
        ({"num_hidden_layers": 3}, ErrorClass.MODEL_INVALID, "lacks 9 weights"),
        ({"num_hidden_layers": 1}, ErrorClass.MODEL_UNSUPPORTED, "says nothing of"),
        ({"intermediate_size": 128}, ErrorClass.MODEL_INVALID, "has shape"),
        ({"tie_word_embeddings": False}, ErrorClass.MODEL_INVALID, "output"),
    ],
)
def test_what_cannot_be_exported(tmp_path: Path, changes: dict[str, Any], error_class: ErrorClass, said: str) -> None:
    assert_refused(hf_folder.write(tmp_path / "m", TINY, **changes), error_class, said)


def assert_refused(folder: Path, error_class: ErrorClass, said: str) -> None:
    with pytest.raises(Permanent, match=said) as caught:
        open_folder(folder)
    assert caught.value.error_class is error_class
    assert caught.value.advice


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("name", "damage", "error_class", "said"),
    [
        ("config.json", Path.unlink, ErrorClass.MODEL_MISSING, "config.json"),
        ("config.json", _cut, ErrorClass.MODEL_INVALID, "no JSON"),
        ("config.json", lambda file: file.write_text("[1]"), ErrorClass.MODEL_INVALID, "no JSON object"),
        ("config.json", lambda file: file.write_bytes(b"\xff\xfe{"), ErrorClass.MODEL_INVALID, "no JSON"),
        ("model.safetensors", Path.unlink, ErrorClass.MODEL_MISSING, "neither"),
        ("model.safetensors", _cut, ErrorClass.MODEL_TRUNCATED, "truncated"),
        ("model.safetensors", lambda file: file.write_bytes(b"\1"), ErrorClass.MODEL_TRUNCATED, "truncated"),
        (
            "model.safetensors",
            lambda file: file.write_bytes(b"<html>404 not found"),
            ErrorClass.MODEL_TRUNCATED,
            "truncated",
        ),
        ("model.safetensors", lambda file: file.write_bytes(bytes(7) + b"\0{}"), ErrorClass.MODEL_INVALID, "no JSON"),
    ],
)
def test_a_damaged_folder(
    tmp_path: Path, name: str, damage: Callable[[Path], object], error_class: ErrorClass, said: str
) -> None:
    folder = hf_folder.write(tmp_path / "m", TINY)
    damage(folder / name)
    assert_refused(folder, error_class, said)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({}, "weight_map"),
        ({"weight_map": {"a": 1}}, "weight_map"),
        ({"weight_map": {"a": "../b"}}, "out of the folder"),
    ],
)
def test_a_bad_index(tmp_path: Path, index: dict[str, Any], said: str) -> None:
    folder = hf_folder.write(tmp_path / "m", TINY, parts=2)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_refused(folder, ErrorClass.MODEL_INVALID, said)


def test_a_missing_part_and_no_folder(tmp_path: Path) -> None:
    folder = hf_folder.write(tmp_path / "m", TINY, parts=2)
    (folder / "model-1.safetensors").unlink()
    assert_refused(folder, ErrorClass.MODEL_MISSING, "model-1.safetensors")
    assert_refused(tmp_path / "none", ErrorClass.MODEL_MISSING, "no folder")


def test_integers_and_missing_fields_of_a_tensor(tmp_path: Path) -> None:
    folder = hf_folder.write(tmp_path / "m", TINY)
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"dtype": "BF16"', b'"dtype": "I16" '))
    assert_refused(folder, ErrorClass.MODEL_UNSUPPORTED, "I16")
    file.write_bytes(whole.replace(b'"shape"', b'"shapo"', 1))
    assert_refused(folder, ErrorClass.MODEL_INVALID, "no dtype, shape")
    file.write_bytes(whole.replace(b"[512, 128]", b"[512, 129]", 1))
    assert_refused(folder, ErrorClass.MODEL_INVALID, "of shape")


SAFETENSORS = hf_folder.safetensors({"model.norm.weight": np.ones(128, dtype=np.float32)})


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(SAFETENSORS) - 1), st.integers(0, 255)), max_size=5))
def test_mutated_safetensors_are_read_or_refused(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAFETENSORS)
    for at, byte in changes:
        data[at] = byte
    folder = tmp_path / "m"
    if not folder.is_dir():
        hf_folder.write(folder, TINY)
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(Permanent) as caught:
        open_folder(folder)
    assert caught.value.advice
