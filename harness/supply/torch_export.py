"""Quantise a decoder and write it as a program of ExecuTorch for XNNPACK. Needs the extra `executorch`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge_transform_and_lower
from executorch.exir.passes import MemoryPlanningPass
from torch import nn
from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
from torchao.quantization.granularity import PerGroup

from harness.supply.pte_forms import MAX_TOKENS
from harness.supply.pte_shape import DecoderShape, Weights
from harness.supply.torch_decoder import Decoder, load

_SMALLEST_GROUP = 32
"""XNNPACK's groups are multiples of it."""


def export(shape: DecoderShape, weights: Weights, group: int | None, context: int, to: Path) -> None:
    """Write a PTE with one method `forward` and the constants that ExecuTorch's own language model runner asks for.

    Args:
        group: weights that share a scale (8da4w); None: float32.
        context: tokens of the KV cache.
        to: file to write (not atomic: the caller names a temporary one).
    """
    # What the packages print is no output of ours.
    with contextlib.redirect_stdout(sys.stderr), torch.no_grad():
        decoder = load(shape, weights, context)
        if group is not None:
            quantise(decoder, group)
        lower(decoder, shape, context, to)


def quantise(decoder: Decoder, group: int) -> None:
    """8 bit activations, chosen at run time, and 4 bit weights in groups (8da4w); the embedding as float16.

    A matrix whose rows cannot be cut into groups of that size gets the next smaller one, as llama-quantize falls back;
    one that cannot be cut into 32 stays float32.
    """
    size = group
    done: set[nn.Module] = set()
    while size >= _SMALLEST_GROUP:
        fits = {
            module
            for module in decoder.modules()
            if isinstance(module, nn.Linear) and module not in done and module.in_features % size == 0
        }
        config = Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=PerGroup(size))
        quantize_(decoder, config, filter_fn=lambda module, _, fits=fits: module in fits)
        done |= fits
        size //= 2
    # A parameter of its own: a tied output layer that stayed float32 keeps its numbers.
    halves = decoder.embedding.weight.to(torch.float16)
    decoder.embedding.weight = nn.Parameter(halves, requires_grad=False)


def lower(decoder: nn.Module, shape: DecoderShape, context: int, to: Path) -> None:
    """Export for XNNPACK; what it does not take runs in ExecuTorch's own kernels, the cache being written in place."""
    most = min(MAX_TOKENS, context)
    example = (torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    exported = torch.export.export(
        decoder, example, dynamic_shapes=({1: torch.export.Dim("tokens", min=1, max=most)}, None)
    )
    edge = to_edge_transform_and_lower(
        exported,
        partitioner=[XnnpackPartitioner()],
        compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
        constant_methods=constants(shape, context, most),
    )
    program = edge.to_executorch(
        ExecutorchBackendConfig(
            extract_delegate_segments=True,
            run_reinplace_pass=True,
            memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
        )
    )
    with to.open("wb") as file:
        program.write_to_file(file)


def constants(shape: DecoderShape, context: int, most: int) -> dict[str, object]:
    """Methods that return a constant: ExecuTorch's names, and `get_n_weights`."""
    return {
        "get_vocab_size": shape.vocabulary,
        "get_max_seq_len": most,
        "get_max_context_len": context,
        "get_n_layers": shape.layers,
        "get_n_weights": shape.weight_count(),
        "get_bos_id": shape.bos,
        "get_eos_ids": list(shape.eos),
        "use_kv_cache": True,
        "enable_dynamic_shape": True,
    }
