"""A Hugging Face folder written by hand: config.json and safetensors with the names Transformers gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from harness.supply.families import Family
from harness.supply.pte_shape import Weights, family_weights

_INNER = {
    "attention_norm": "input_layernorm",
    "feed_forward_norm": "post_attention_layernorm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
_OUTER = {"embedding": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}


def config(family: Family) -> dict[str, Any]:
    return {
        "architectures": ["Phi3ForCausalLM" if family.architecture == "phi3" else "LlamaForCausalLM"],
        "hidden_size": family.hidden,
        "num_hidden_layers": family.layers,
        "num_attention_heads": family.heads,
        "num_key_value_heads": family.kv_heads,
        "intermediate_size": family.feed_forward,
        "vocab_size": family.vocabulary,
        "max_position_embeddings": family.context,
        "rope_theta": family.rope_base,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": family.tied,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": [2, 3],
    }


def tensors(family: Family) -> dict[str, np.ndarray[Any, Any]]:
    """Weights by the names of Transformers, for Phi-3 with its fused matrices."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    for name, array in family_weights(family):
        if name.startswith("layers."):
            _, layer, part = name.split(".")
            found[f"model.layers.{layer}.{_INNER[part]}.weight"] = array
        else:
            found[f"{_OUTER[name]}.weight"] = array
    if family.architecture == "phi3":
        for layer in range(family.layers):
            at = f"model.layers.{layer}."
            q, k, v = (found.pop(f"{at}self_attn.{part}_proj.weight") for part in "qkv")
            found[f"{at}self_attn.qkv_proj.weight"] = np.concatenate([q, k, v])
            gate, up = (found.pop(f"{at}mlp.{part}_proj.weight") for part in ("gate", "up"))
            found[f"{at}mlp.gate_up_proj.weight"] = np.concatenate([gate, up])
    return found


def rounded(weights: Weights) -> Weights:
    """What is left of the weights in BF16 (cut, not rounded, to keep it simple)."""
    for name, array in weights:
        yield name, (_bf16(array).astype(np.uint32) << np.uint32(16)).view(np.float32)


def _bf16(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (array.astype(np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def safetensors(arrays: dict[str, np.ndarray[Any, Any]]) -> bytes:
    """A safetensors file of BF16 tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in arrays.items():
        raw = _bf16(array).tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + data


def write(folder: Path, family: Family, *, parts: int = 1, **changes: Any) -> Path:
    """Write the folder; `changes` go into config.json. With several `parts`, an index names them."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config(family) | changes))
    arrays = tensors(family)
    if parts == 1:
        (folder / "model.safetensors").write_bytes(safetensors(arrays))
        return folder
    names = list(arrays)
    placed = {}
    for number in range(parts):
        file = f"model-{number}.safetensors"
        chosen = names[number::parts]
        (folder / file).write_bytes(safetensors({name: arrays[name] for name in chosen}))
        placed |= dict.fromkeys(chosen, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    return folder
