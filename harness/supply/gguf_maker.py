"""Write a GGUF of random weights in the shape of a published model: same bytes, same speed, no meaning.

Memory stays bounded by one block of weights, whatever the model's size, and the same seed gives the same file. Factors
that stretch the rotary embedding to long contexts are left out: they cost a runtime nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from harness.supply import vocabulary
from harness.supply.families import Family

if TYPE_CHECKING:
    import numpy.typing as npt

SEED = 20_240_613
_SPREAD = 0.02
"""Standard deviation of the weights: what trained models of this size start from (GPT-2's initialisation)."""

_BLOCK = 4_000_000
"""Weights generated at a time."""

RMS_EPSILON = 1e-5
"""`rms_norm_eps` of all families here."""

_ALIGNMENT = 32
"""GGUF's default alignment of tensor data."""

Progress = Callable[[int, int], None]


Matrices = Literal["F16", "F32"]
"""How matrices are stored. The numbers are the same: F16 ones, widened for F32."""


def write(
    family: Family, to: Path, *, matrices: Matrices = "F16", seed: int = SEED, progress: Progress | None = None
) -> None:
    """Write `family` as GGUF with F16 or F32 matrices and F32 norms.

    Args:
        to: file to write (not atomic: the caller names a temporary one).
        progress: called with (bytes of weights written, bytes of weights in all).
    """
    _write_header(family, to, matrices)
    shapes = [shape for _, shape in family.tensors()]
    total = sum(math.prod(shape) * _width(shape, matrices) for shape in shapes)
    done = 0
    with to.open("ab") as file:
        _pad(file)
        for index, shape in enumerate(shapes):
            done += _write_tensor(file, shape, matrices, seed, index)
            _pad(file)
            if progress:
                progress(done, total)


def _width(shape: tuple[int, ...], matrices: Matrices) -> int:
    """Bytes of one weight."""
    return 2 if len(shape) > 1 and matrices == "F16" else 4


def _write_header(family: Family, to: Path, matrices: Matrices) -> None:
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(to, family.architecture)
    writer.add_name(f"{family.name} (random weights)")
    writer.add_description(
        f"Random weights in the shape of {family.source}: for speed and memory only, it says nothing."
    )
    writer.add_string("farm.weights", "random")
    half = matrices == "F16"
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(family.context)
    writer.add_embedding_length(family.hidden)
    writer.add_block_count(family.layers)
    writer.add_feed_forward_length(family.feed_forward)
    writer.add_head_count(family.heads)
    writer.add_head_count_kv(family.kv_heads)
    writer.add_key_length(family.head_dim)
    writer.add_value_length(family.head_dim)
    writer.add_rope_dimension_count(family.head_dim)
    writer.add_rope_freq_base(family.rope_base)
    writer.add_layer_norm_rms_eps(RMS_EPSILON)
    writer.add_vocab_size(family.vocabulary)
    words = vocabulary.build(family.vocabulary, family.special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(family.pre_tokenizer)
    writer.add_token_list(list(words.tokens))
    writer.add_token_types(list(words.types))
    writer.add_token_merges(list(words.merges))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)
    for name, shape in family.tensors():
        dtype = np.dtype(np.float16 if _width(shape, matrices) == 2 else np.float32)
        writer.add_tensor_info(name, shape, dtype, math.prod(shape) * dtype.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


def blocks(shape: tuple[int, ...], index: int, *, seed: int = SEED) -> Iterator[npt.NDArray[Any]]:
    """The weights of tensor number `index` of a family, block after block: norms F32 and 1, matrices F16 and random."""
    import numpy as np

    count = math.prod(shape)
    if len(shape) == 1:
        yield np.ones(count, dtype=np.float32)
        return
    random = np.random.Generator(np.random.Philox(key=[seed, index]))
    for start in range(0, count, _BLOCK):
        block = random.standard_normal(min(_BLOCK, count - start), dtype=np.float32) * np.float32(_SPREAD)
        yield block.astype(np.float16)


def _write_tensor(file: BinaryIO, shape: tuple[int, ...], matrices: Matrices, seed: int, index: int) -> int:
    import numpy as np

    dtype = np.float16 if _width(shape, matrices) == 2 else np.float32
    return sum(file.write(block.astype(dtype).tobytes()) for block in blocks(shape, index, seed=seed))


def _pad(file: BinaryIO) -> None:
    file.write(bytes(-file.tell() % _ALIGNMENT))
