"""Small model and program files made by hand, so that every byte of a header is the test's own."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.model import Model, Platform, Runner

STRING, ARRAY, UINT32 = 8, 9, 4
F16 = 1


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def gguf(
    values: Mapping[str, int | str] | None = None,
    tensors: Sequence[tuple[str, tuple[int, ...]]] = (("token_embd.weight", (64, 100)), ("output_norm.weight", (64,))),
    *,
    tokens: int = 100,
    version: int = 3,
    with_data: bool = True,
) -> bytes:
    """A GGUF with F16 tensors; shapes are in GGUF's order (columns first)."""
    entries = {"general.architecture": "llama", "llama.context_length": 2048, "llama.block_count": 2} | dict(
        values or {}
    )
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries) + 1)
    for key, value in entries.items():
        if isinstance(value, str):
            head += text(key) + struct.pack("<I", STRING) + text(value)
        else:
            head += text(key) + struct.pack("<II", UINT32, value)
    head += text("tokenizer.ggml.tokens") + struct.pack("<IIQ", ARRAY, STRING, tokens) + text("t") * tokens
    offset = 0
    for name, shape in tensors:
        head += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", side) for side in shape)
        head += struct.pack("<IQ", F16, offset)
        size = 2
        for side in shape:
            size *= side
        offset += -(-size // 32) * 32
    head += bytes(-len(head) % 32)
    return head + bytes(offset if with_data else 0)


def model(path: Path | str, **changes: object) -> Model:
    given: dict[str, object] = {"id": "m", "family": "F", "quant": "F16", "format": "gguf", "path": str(path)}
    return Model(**(given | changes))  # type: ignore[arg-type]


MACHINES = {"x86_64": (62, 2), "arm64-v8a": (183, 2), "armeabi-v7a": (40, 1), "x86": (3, 1)}


def elf(abi: str = "x86_64", *, content: bytes = b"", kind: int = 3) -> bytes:
    """The start of an ELF file for that ABI, and some content."""
    machine, bits = MACHINES[abi]
    head = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9) + struct.pack("<HH", kind, machine)
    return head.ljust(64, b"\0") + content


def runner(path: Path | str, **changes: object) -> Runner:
    given: dict[str, object] = {
        "id": "r",
        "runtime": "llama.cpp",
        "platform": Platform.ANDROID,
        "abi": "x86_64",
        "path": str(path),
    }
    return Runner(**(given | changes))  # type: ignore[arg-type]
