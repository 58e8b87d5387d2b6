"""Read weights from safetensors files: a length, a JSON header, then the numbers.

Format: https://huggingface.co/docs/safetensors (8 bytes little-endian length, header, data; offsets start after it).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import ErrorClass, Permanent

_MAX_HEADER = 100_000_000
"""The format's own limit."""

_DTYPES: Mapping[str, str] = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where one tensor is: its file, type as the format names it, shape, first byte."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int

    def read(self) -> npt.NDArray[Any]:
        """Its numbers: float16 as they are, float32 else.

        Raises:
            OSError: the file cannot be read.
        """
        flat = np.fromfile(self.file, dtype=_DTYPES[self.dtype], count=math.prod(self.shape), offset=self.begin)
        if self.dtype == "BF16":
            flat = (flat.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return flat.reshape(self.shape)


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder's `model.safetensors`, or of the files its index names.

    Raises:
        Permanent: MODEL_MISSING, MODEL_TRUNCATED or MODEL_INVALID.
    """
    found: dict[str, Tensor] = {}
    for file in _files(folder):
        try:
            found |= _tensors(file)
        except OSError as wrong:
            raise Permanent(
                f"{file} cannot be read: {wrong.strerror}",
                error_class=ErrorClass.MODEL_MISSING,
                advice="download the folder again",
            ) from wrong
    return found


def _files(folder: Path) -> list[Path]:
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    index = folder / _INDEX
    if not index.is_file():
        raise Permanent(
            f"{folder} has neither {_SINGLE} nor {_INDEX}",
            error_class=ErrorClass.MODEL_MISSING,
            advice="name a folder of a model in safetensors format, with its config.json",
        )
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise _invalid(index, "no weight_map of file names")
    files = sorted(set(names.values()))
    if any(Path(name).name != name for name in files):
        raise _invalid(index, "a file name that leads out of the folder")
    return [folder / name for name in files]


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        Permanent: MODEL_MISSING or MODEL_INVALID.
    """
    try:
        found = json.loads(file.read_bytes())
    except OSError as wrong:
        raise Permanent(
            f"{file} cannot be read: {wrong.strerror}",
            error_class=ErrorClass.MODEL_MISSING,
            advice="download the folder again",
        ) from wrong
    except (ValueError, RecursionError) as wrong:
        raise _invalid(file, f"it is no JSON ({str(wrong)[:100]})") from wrong
    if not isinstance(found, dict):
        raise _invalid(file, "it is no JSON object")
    return found


def _tensors(file: Path) -> dict[str, Tensor]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER):
            raise _truncated(file, f"its header has {length} bytes, the file {size}")
        try:
            header = json.loads(stream.read(length))
        except (ValueError, RecursionError) as wrong:
            raise _invalid(file, "its header is no JSON") from wrong
    if not isinstance(header, dict):
        raise _invalid(file, "its header is no JSON object")
    header.pop("__metadata__", None)
    return {str(name): _tensor(file, str(name), entry, 8 + length, size) for name, entry in header.items()}


def _tensor(file: Path, name: str, entry: object, start: int, size: int) -> Tensor:
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), _counts(fields.get("shape")), _counts(fields.get("data_offsets"))
    if not isinstance(dtype, str) or shape is None or offsets is None or len(offsets) != 2:
        raise _invalid(file, f"tensor {name[:60]!r} has no dtype, shape and data_offsets")
    begin, end = offsets
    if start + end > size:
        raise _truncated(file, f"tensor {name[:60]!r} ends at byte {start + end}, the file has {size}")
    if dtype in _DTYPES and end - begin != math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize:
        raise _invalid(file, f"tensor {name[:60]!r} of shape {shape} has {end - begin} bytes")
    return Tensor(file, dtype, tuple(shape), start + begin)


def check_dtype(name: str, tensor: Tensor) -> None:
    """Refuse a type that is no plain float.

    Raises:
        Permanent: MODEL_UNSUPPORTED.
    """
    if tensor.dtype not in _DTYPES:
        raise Permanent(
            f"{tensor.file}: {name} is {tensor.dtype[:20]}, not {', '.join(_DTYPES)}",
            error_class=ErrorClass.MODEL_UNSUPPORTED,
            advice="export the model before it was quantised",
        )


def _counts(value: object) -> list[int] | None:
    """A list of whole numbers, or None where it is something else."""
    if not isinstance(value, list):
        return None
    return value if all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in value) else None


def _invalid(file: Path, what: str) -> Permanent:
    return Permanent(f"{file}: {what}", error_class=ErrorClass.MODEL_INVALID, advice="download the folder again")


def _truncated(file: Path, what: str) -> Permanent:
    return Permanent(
        f"{file} is truncated: {what}", error_class=ErrorClass.MODEL_TRUNCATED, advice="download the folder again"
    )
