"""What of a GGUF header decides a model's memory."""

from __future__ import annotations

from typing import Literal

from harness.artifacts.gguf_header import TOKEN_EMBEDDING, GgufHeader, TensorInfo
from harness.model.devices import ModelShape, WeightGroup

_OUTPUT = "output.weight"
_LOOKED_UP = frozenset({TOKEN_EMBEDDING, "per_layer_token_embd.weight", "position_embd.weight", "token_types.weight"})
"""Tensors that are read row by row; all others of two and more dimensions are multiplied."""

_OTHER_STATE = (".ssm.", ".wkv.", ".kv_lora_rank", ".recurrent", ".shortconv.")
"""Parts of keys of architectures that keep something else than keys and values of every token."""


def integer(header: GgufHeader, key: str) -> int | None:
    """A positive whole number of the metadata, or None."""
    value = header.values.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def shape_of(header: GgufHeader) -> ModelShape:
    """The shape; a field that the header lacks, or gives in an odd way, is None."""
    name = header.values.get("general.architecture")
    layers = integer(header, f"{name}.block_count")
    width = _each(header, f"{name}.embedding_length")
    heads = _each(header, f"{name}.attention.head_count")
    head = max(width) // max(heads) if width and heads else None
    state = next((key for key in header.values if any(part in key for part in _OTHER_STATE)), "")
    return ModelShape(
        weights=_groups(header.tensors),
        tied_output=not any(tensor.name == _OUTPUT for tensor in header.tensors),
        embedding_length=max(width, default=None),
        feed_forward_length=max(_each(header, f"{name}.feed_forward_length"), default=None),
        head_count=max(heads, default=None),
        kv_head_layers=_over_layers(_each(header, f"{name}.attention.head_count_kv") or heads, layers),
        key_length=integer(header, f"{name}.attention.key_length") or head,
        value_length=integer(header, f"{name}.attention.value_length") or head,
        other_state=state,
    )


def _each(header: GgufHeader, key: str) -> tuple[int, ...]:
    """A value that is given once, or once per layer; negative ones make it unknown."""
    single = integer(header, key)
    if single is not None:
        return (single,)
    several = header.numbers.get(key, ())
    return several if any(several) and min(several) >= 0 else ()


def _over_layers(values: tuple[int, ...], layers: int | None) -> int | None:
    if len(values) > 1:
        return sum(values)
    return values[0] * layers if values and layers is not None else None


def _groups(tensors: tuple[TensorInfo, ...]) -> tuple[WeightGroup, ...]:
    sizes: dict[tuple[str, Literal["embedding", "matrix", "other"]], int] = {}
    for tensor in tensors:
        key = (tensor.quant, _role(tensor))
        sizes[key] = sizes.get(key, 0) + tensor.size
    return tuple(WeightGroup(quant, role, size) for (quant, role), size in sorted(sizes.items()))


def _role(tensor: TensorInfo) -> Literal["embedding", "matrix", "other"]:
    if tensor.name in _LOOKED_UP:
        return "embedding"
    return "matrix" if len(tensor.shape) > 1 and tensor.shape[1] % 8 == 0 else "other"
