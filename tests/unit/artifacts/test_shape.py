"""What a header says of memory: weights by type, heads per layer, what is shared."""

from __future__ import annotations

import struct
from pathlib import Path

from harness.artifacts import check_model
from harness.model.devices import ModelShape, WeightGroup

from . import files

LLAMA: dict[str, int | str] = {
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 128,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
}
TENSORS = (
    ("token_embd.weight", (64, 100)),
    ("blk.0.attn_q.weight", (64, 64)),
    ("blk.0.odd.weight", (64, 5)),
    ("output_norm.weight", (64,)),
)


def shape(tmp_path: Path, content: bytes) -> ModelShape:
    file = tmp_path / "m.gguf"
    file.write_bytes(content)
    found = check_model(files.model(file), tmp_path, tmp_path / "cache").shape
    assert found is not None
    return found


def test_weights_by_type_and_use(tmp_path: Path) -> None:
    found = shape(tmp_path, files.gguf(LLAMA, TENSORS))
    assert found.weights == (
        WeightGroup("F16", "embedding", 2 * 64 * 100),
        WeightGroup("F16", "matrix", 2 * 64 * 64),
        WeightGroup("F16", "other", 2 * (64 * 5 + 64)),
    )
    assert found.tied_output
    assert (found.embedding_length, found.feed_forward_length, found.head_count) == (64, 128, 4)
    assert (found.kv_head_layers, found.key_length, found.value_length) == (4, 16, 16)


def test_an_output_layer_of_its_own(tmp_path: Path) -> None:
    own = shape(tmp_path, files.gguf(LLAMA, (*TENSORS, ("output.weight", (64, 96)))))
    assert not own.tied_output
    assert WeightGroup("F16", "matrix", 2 * (64 * 64 + 64 * 96)) in own.weights


def test_heads_that_differ_between_layers(tmp_path: Path) -> None:
    content = files.gguf({key: value for key, value in LLAMA.items() if not key.endswith("_kv")}, TENSORS)
    heads = files.text("llama.attention.head_count_kv") + struct.pack("<IIQ2I", files.ARRAY, files.UINT32, 2, 3, 5)
    marker = files.text("tokenizer.ggml.tokens")
    count = struct.unpack_from("<Q", content, 16)[0]
    changed = content[:16] + struct.pack("<Q", count + 1) + content[24:].replace(marker, heads + marker, 1)
    start = changed.rindex(b"output_norm.weight") + len(b"output_norm.weight") + 4 + 8 + 4 + 8
    data = 2 * (64 * 100 + 64 * 64 + 64 * 5 + 64)
    assert shape(tmp_path, changed[:start] + bytes(-start % 32) + bytes(data)).kv_head_layers == 8


def test_a_header_without_sizes_and_a_state_of_another_kind(tmp_path: Path) -> None:
    bare = shape(tmp_path, files.gguf())
    assert (bare.embedding_length, bare.kv_head_layers, bare.key_length) == (None, None, None)
    assert bare.other_state == ""
    assert shape(tmp_path, files.gguf({"llama.ssm.state_size": 16})).other_state == "llama.ssm.state_size"
