"""A Hugging Face folder on disk (config.json and safetensors) as a decoder that can be exported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ErrorClass, Permanent
from harness.supply.pte_safetensors import Tensor, check_dtype, read_json, tensors_of
from harness.supply.pte_shape import DecoderShape, Weights, rope_frequencies, split_fused

_ARCHITECTURES = ("LlamaForCausalLM", "Phi3ForCausalLM")

_NAMES = {
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "feed_forward_norm",
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.qkv_proj": "qkv_proj",
    "self_attn.o_proj": "o",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.gate_up_proj": "gate_up_proj",
    "mlp.down_proj": "down",
}
_OUTER = {"model.embed_tokens": "embedding", "model.norm": "norm", "lm_head": "output"}
_IGNORED = "rotary_emb.inv_freq"
"""A table that old exports carry along."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that was looked through: what it holds, and where each weight is (by the names of the file)."""

    shape: DecoderShape
    tensors: dict[str, Tensor]

    def weights(self) -> Weights:
        """The weights, one after another; float16 as they are, float32 else."""
        for name, tensor in self.tensors.items():
            stem, prefix = _name_of(name)
            for part, rows in split_fused(stem, tensor.read(), self.shape):
                yield prefix + part, rows


def open_folder(folder: Path) -> Checkpoint:
    """Look through a folder: everything that an export needs is there and is of the kind that can be exported.

    Raises:
        Permanent: MODEL_MISSING, MODEL_INVALID, MODEL_TRUNCATED or MODEL_UNSUPPORTED, with what to do.
    """
    if not folder.is_dir():
        raise Permanent(
            f"{folder} is no folder",
            error_class=ErrorClass.MODEL_MISSING,
            advice="name a Hugging Face folder on disk: config.json with safetensors files",
        )
    config = _Config(folder / "config.json", read_json(folder / "config.json"))
    shape = _shape(folder, config)
    tensors = {name: tensor for name, tensor in tensors_of(folder).items() if not name.endswith(_IGNORED)}
    if shape.tied:
        tensors.pop("lm_head.weight", None)
    _check(shape, tensors, folder)
    return Checkpoint(shape, tensors)


class _Config:
    """config.json, read key by key."""

    def __init__(self, file: Path, values: dict[str, Any]) -> None:
        self.file = file
        self.values = values

    def refuse(self, what: str) -> Permanent:
        return Permanent(
            f"{self.file}: {what}",
            error_class=ErrorClass.MODEL_UNSUPPORTED,
            advice="a plain Llama or Phi-3 decoder can be exported; use another model, or its GGUF",
        )

    def number(self, key: str, default: float | None = None, within: dict[str, Any] | None = None) -> float:
        values = self.values if within is None else within
        value = values.get(key)
        value = default if value is None else value
        usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
        if value is None or not usable:
            raise Permanent(
                f"{self.file}: {key} is {str(value)[:60]}, expected a positive number",
                error_class=ErrorClass.MODEL_INVALID,
                advice="download the folder again",
            )
        return value

    def count(self, key: str, default: int | None = None, most: int = 1 << 24) -> int:
        value = self.number(key, default)
        if value != int(value) or value > most:
            raise self.refuse(f"{key} is {value}")
        return int(value)


def _shape(folder: Path, config: _Config) -> DecoderShape:
    values = config.values
    architectures = values.get("architectures")
    name = architectures[0] if isinstance(architectures, list) and architectures else architectures
    if name not in _ARCHITECTURES:
        raise config.refuse(f"architecture {str(name)[:60]!r} is none of {', '.join(_ARCHITECTURES)}")
    for key, wanted in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
        if values.get(key, wanted) != wanted:
            raise config.refuse(f"{key} is {str(values[key])[:60]!r}, not {wanted!r}")
    if values.get("quantization_config"):
        raise config.refuse("the weights are quantised")
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    kv_heads, head_dim = config.count("num_key_value_heads", heads), config.count("head_dim", hidden // heads or 1)
    if heads % kv_heads or head_dim % 2:
        raise config.refuse(f"{heads} heads of {head_dim} numbers do not go with {kv_heads} key/value heads")
    if config.number("partial_rotary_factor", 1.0) != 1.0:
        raise config.refuse("the rotary embedding covers a part of each head only")
    eos = _ids(values.get("eos_token_id")) or (0,)
    return DecoderShape(
        name=folder.resolve().name,
        hidden=hidden,
        layers=config.count("num_hidden_layers", most=1000),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        feed_forward=config.count("intermediate_size"),
        vocabulary=config.count("vocab_size"),
        context=_context(config),
        tied=bool(values.get("tie_word_embeddings", False)),
        interleaved=False,
        frequencies=_frequencies(config, head_dim),
        epsilon=config.number("rms_norm_eps", 1e-6 if name == "LlamaForCausalLM" else 1e-5),
        bos=next(iter(_ids(values.get("bos_token_id"))), 0),
        eos=eos,
    )


def _context(config: _Config) -> int:
    """Trained context; a sliding window, which is not exported, ends it."""
    trained = config.count("max_position_embeddings")
    window = config.values.get("sliding_window")
    return min(trained, config.count("sliding_window")) if window is not None else trained


def _ids(value: object) -> tuple[int, ...]:
    """Token ids that are given as one number or a list."""
    several = value if isinstance(value, list) else [value]
    return tuple(each for each in several if isinstance(each, int) and not isinstance(each, bool) and each >= 0)


def _frequencies(config: _Config, head_dim: int) -> tuple[float, ...]:
    """Of the rotary embedding: plain, or stretched as Llama 3.1 does it."""
    parameters = config.values.get("rope_parameters") or config.values.get("rope_scaling") or {}
    if not isinstance(parameters, dict):
        raise config.refuse("rope_scaling is no object")
    base = config.number("rope_theta", config.number("rope_theta", 10_000.0), parameters)
    plain = rope_frequencies(base, head_dim)
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind == "default":
        return plain
    if kind != "llama3":
        raise config.refuse(f"rope scaling {str(kind)[:60]!r} is not known")
    factor = config.number("factor", within=parameters)
    low, high = (config.number(f"{end}_freq_factor", within=parameters) for end in ("low", "high"))
    original = config.number("original_max_position_embeddings", within=parameters)
    if high <= low:
        raise config.refuse("high_freq_factor is not above low_freq_factor")
    return tuple(_llama3(frequency, factor, low, high, original) for frequency in plain)


def _llama3(frequency: float, factor: float, low: float, high: float, original: float) -> float:
    """Llama 3.1's scaling: long waves are stretched by `factor`, short ones left, those between are mixed."""
    turns = original * frequency / (2 * math.pi)
    share = min(1.0, max(0.0, (turns - low) / (high - low)))
    return share * frequency + (1 - share) * frequency / factor


def _name_of(name: str) -> tuple[str, str]:
    """Our name of a tensor, and the layer before it; an unknown one keeps its own."""
    stem = name.removesuffix(".weight")
    if stem.startswith("model.layers."):
        _, _, layer, rest = stem.split(".", 3) if stem.count(".") >= 3 else ("", "", "", stem)
        return _NAMES.get(rest, stem), f"layers.{layer}."
    return _OUTER.get(stem, stem), ""


def _check(shape: DecoderShape, tensors: dict[str, Tensor], folder: Path) -> None:
    """Each weight that the shape needs is there once, in its shape and a plain float."""
    wanted = shape.shapes()
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    fused = {
        "qkv_proj": (("q", "k", "v"), (query + 2 * key, shape.hidden)),
        "gate_up_proj": (("gate", "up"), (2 * shape.feed_forward, shape.hidden)),
    }
    for name, tensor in tensors.items():
        check_dtype(name, tensor)
        stem, prefix = _name_of(name)
        parts, expected = fused.get(stem, ((stem,), wanted.get(prefix + stem)))
        if expected is None or any(wanted.pop(prefix + part, None) is None for part in parts):
            raise Permanent(
                f"{tensor.file} has a weight {name[:80]!r} that config.json says nothing of",
                error_class=ErrorClass.MODEL_UNSUPPORTED,
                advice="export it from the whole, unmodified model",
            )
        if tensor.shape != expected:
            raise Permanent(
                f"{tensor.file}: {name} has shape {tensor.shape}, config.json says {expected}",
                error_class=ErrorClass.MODEL_INVALID,
                advice="download the folder again",
            )
    if wanted:
        raise Permanent(
            f"{folder} lacks {len(wanted)} weights, the first: {next(iter(wanted))}",
            error_class=ErrorClass.MODEL_INVALID,
            advice="download the folder again",
        )
