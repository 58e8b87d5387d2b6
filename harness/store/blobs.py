"""Samples as blobs: compact, exact enough, and readable for as long as this page is kept.

A trace is a version byte followed by chunks of at most CHUNK_S seconds, each

    int64 base (µs since boot) · uint32 samples · uint32 bytes · zlib of (int32 time deltas in µs, float32 values)

where both arrays are byte-shuffled (all first bytes, then all second bytes, …), little endian. A chunk has its own
base, so no delta overflows however long the phone was silent; how long chunks are is the writer's choice. float32 keeps
7 digits, which is beyond the resolution of every sensor of a phone; inter-token latencies are kept as float64.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK_S = 600
"""Longer ones pack no better, and a delta inside one has to fit into 32 bits of µs (2147 s)."""

VERSION = 1
_LEVEL = 4
"""Of zlib: 6 takes nearly twice the time and saves 4 %."""

_LOOK = 4096
_HEAD = struct.Struct("<qII")


def pack_trace(uptime_s: Sequence[float], values: Sequence[float]) -> bytes:
    """Samples → blob; b"" when there are none. Times are rounded to µs.

    Raises:
        ValueError: the two sequences differ in length, or a time is not finite.
    """
    import numpy as np

    if len(uptime_s) != len(values):
        raise ValueError(f"{len(uptime_s)} times for {len(values)} values")
    if not len(values):
        return b""
    seconds = np.asarray(uptime_s, dtype=np.float64)
    if not np.isfinite(seconds).all():
        raise ValueError("a time is not finite")
    micros = np.rint(seconds * 1e6).astype(np.int64)
    numbers = np.asarray(values, dtype=np.float64).astype("<f4")
    parts = [bytes([VERSION])]
    start = 0
    while start < len(micros):
        end = _chunk_end(micros, start)
        parts.append(_chunk(micros[start:end], numbers[start:end]))
        start = end
    return b"".join(parts)


def _chunk_end(micros: NDArray[np.int64], start: int) -> int:
    """Index behind the last sample of the chunk that begins at `start`. A few thousand samples at a time are looked
    at: a chunk is seldom longer, and a trace may be."""
    import numpy as np

    for begin in range(start, len(micros), _LOOK):
        outside = np.abs(micros[begin : begin + _LOOK] - micros[start]) >= CHUNK_S * 1_000_000
        if outside.any():
            return begin + int(outside.argmax())
    return len(micros)


def unpack_trace(blob: bytes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Blob → (uptime in s, values).

    Raises:
        ValueError: the blob is damaged or of an unknown version.
    """
    import numpy as np

    micros, values = unpack_arrays(blob)
    return tuple((micros / 1e6).tolist()), tuple(values.astype(np.float64).tolist())


def unpack_arrays(blob: bytes) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Blob → (uptime in whole µs, values), as arrays: a sixth of the memory of numbers of Python.

    Raises:
        ValueError: the blob is damaged or of an unknown version.
    """
    import numpy as np

    times: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    values: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
    if blob and blob[0] != VERSION:
        raise ValueError(f"samples of unknown version {blob[0]}")
    offset = 1
    while offset < len(blob):
        try:
            base, count, size = _HEAD.unpack_from(blob, offset)
            offset += _HEAD.size
            raw = zlib.decompress(blob[offset : offset + size])
        except (struct.error, zlib.error) as error:
            raise ValueError(f"damaged samples: {error}") from error
        offset += size
        if len(raw) != 8 * count:
            raise ValueError("damaged samples: length of a chunk")
        times.append(base + np.cumsum(_unshuffled(raw[: 4 * count], "<i4"), dtype=np.int64))
        values.append(_unshuffled(raw[4 * count :], "<f4"))
    return np.concatenate(times), np.concatenate(values)


def pack_floats(values: Sequence[float]) -> bytes:
    """Numbers → blob, exactly."""
    import numpy as np

    return zlib.compress(_shuffled(np.asarray(values, dtype="<f8")), _LEVEL)


def unpack_floats(blob: bytes) -> tuple[float, ...]:
    """Blob → numbers.

    Raises:
        ValueError: the blob is damaged.
    """
    try:
        return tuple(_unshuffled(zlib.decompress(blob), "<f8").tolist())
    except zlib.error as error:
        raise ValueError(f"damaged numbers: {error}") from error


def _chunk(micros: NDArray[np.int64], numbers: NDArray[Any]) -> bytes:
    import numpy as np

    deltas = np.diff(micros, prepend=micros[0]).astype("<i4")
    packed = zlib.compress(_shuffled(deltas) + _shuffled(numbers), _LEVEL)
    return _HEAD.pack(int(micros[0]), len(micros), len(packed)) + packed


def _shuffled(numbers: NDArray[Any]) -> bytes:
    import numpy as np

    return np.ascontiguousarray(numbers).view(np.uint8).reshape(-1, numbers.itemsize).T.tobytes()


def _unshuffled(raw: bytes, kind: str) -> NDArray[Any]:
    import numpy as np

    width = np.dtype(kind).itemsize
    if len(raw) % width:
        raise ValueError("damaged numbers: odd length")
    return np.frombuffer(raw, dtype=np.uint8).reshape(width, -1).T.copy().view(kind).ravel()
