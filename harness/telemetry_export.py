"""Telemetry in long format: a row for every sample of every channel, and one for every channel that is absent.

docs/export.md describes the columns. Samples go from the database to the file one channel at a time, as arrays, so
that a night of millions of them needs little memory.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.export import WITHOUT_PYARROW, finished, safe_cell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.store import MeasurementRow, Samples, Store

COLUMNS: Mapping[str, str] = {
    "run": "text",
    "case": "text",
    "repeat": "whole",
    "device": "text",
    "device_kind": "text",
    "channel": "text",
    "unit": "text",
    "source": "text",
    "resolution": "number",
    "uptime_s": "number",
    "value": "number",
    "absent": "text",
}
"""Column name → "text", "whole" or "number", in order. Names are only ever added, at the end."""

_SAME = ("run", "case", "repeat", "device", "device_kind", "channel", "unit", "source", "resolution")
"""Columns that are the same for all samples of a channel."""

_ROW_GROUP = 500_000


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One channel of one measurement.

    Args:
        same: the columns of _SAME. absent: why there are no samples, "" where there are some.
        uptime_s, values: arrays of equal length; every number is finite.
    """

    same: Mapping[str, Any]
    absent: str
    uptime_s: NDArray[np.float64]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        """Rows of it."""
        return len(self.values) or 1


def blocks(store: Store, run: str | None = None, case: str | None = None, key: str | None = None) -> Iterator[Block]:
    """The telemetry of every measurement with an outcome, by start, each channel in the order it was stored."""
    for row in finished(store, run, case, key):
        for found in store.samples(row.planned.key):
            yield _block(row, found)


def _block(row: MeasurementRow, found: Samples) -> Block:
    import numpy as np

    planned, channel = row.planned, found.channel
    finite = np.isfinite(found.values)
    absent = ""
    if not finite.any():
        absent = channel.absent or ("no sample was a number" if len(finite) else "no sample arrived")
    facts = (planned.run, planned.case, planned.repeat, planned.device_id, planned.kind.value)
    same = dict(zip(_SAME, (*facts, channel.name, channel.unit, channel.source, channel.resolution), strict=True))
    return Block(same, absent, found.micros[finite] / 1e6, found.values[finite])


def _texts(values: NDArray[np.float32]) -> list[str]:
    """The shortest text that gives the same float32 again: 36.6, not 36.599998474121094."""
    found: list[str] = values.astype("U").tolist()
    return found


def write_csv(found: Iterable[Block], file: IO[bytes]) -> int:
    """A header, and a line for each row; returns how many rows."""
    file.write((",".join(COLUMNS) + "\n").encode())
    count = 0
    for block in found:
        cells = io.StringIO()
        csv.writer(cells, lineterminator="").writerow(safe_cell(value) for value in block.same.values())
        begin = cells.getvalue()
        if block.absent:
            cells = io.StringIO()
            csv.writer(cells, lineterminator="\n").writerow(["", "", safe_cell(block.absent)])
            file.write(f"{begin},{cells.getvalue()}".encode())
        else:
            samples = zip(block.uptime_s.tolist(), _texts(block.values), strict=True)
            file.write("".join(f"{begin},{at},{value},\n" for at, value in samples).encode())
        count += len(block)
    return count


def write_jsonl(found: Iterable[Block], file: IO[bytes]) -> int:
    """An object with every column on each line; returns how many."""
    count = 0
    for block in found:
        begin = json.dumps(block.same, ensure_ascii=False, allow_nan=False)[:-1]
        if block.absent:
            absent = json.dumps(block.absent, ensure_ascii=False)
            lines = f'{begin}, "uptime_s": null, "value": null, "absent": {absent}}}\n'
        else:
            samples = zip(block.uptime_s.tolist(), _texts(block.values), strict=True)
            lines = "".join(f'{begin}, "uptime_s": {at}, "value": {value}, "absent": null}}\n' for at, value in samples)
        file.write(lines.encode())
        count += len(block)
    return count


def write_parquet(found: Iterable[Block], file: IO[bytes]) -> int:
    """Texts as dictionaries (pandas reads them as categories), `value` as 32-bit floats; returns how many rows.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(WITHOUT_PYARROW) from None
    types = {"text": pa.dictionary(pa.int32(), pa.string()), "whole": pa.int64(), "number": pa.float64()}
    schema = pa.schema([(name, pa.float32() if name == "value" else types[kind]) for name, kind in COLUMNS.items()])
    count, waiting = 0, list[Any]()
    with pq.ParquetWriter(file, schema) as writer:
        for block in found:
            waiting.append(_table(block, schema))
            count += len(block)
            if sum(len(table) for table in waiting) >= _ROW_GROUP:
                writer.write_table(pa.concat_tables(waiting).unify_dictionaries())
                waiting.clear()
        if waiting:
            writer.write_table(pa.concat_tables(waiting).unify_dictionaries())
    return count


def _table(block: Block, schema: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    length = len(block)

    def column(name: str, value: Any) -> Any:
        kind = schema.field(name).type
        if value is None:
            return pa.nulls(length, kind)
        if pa.types.is_dictionary(kind):
            return pa.DictionaryArray.from_arrays(pa.array(np.zeros(length, np.int32)), pa.array([value]))
        return pa.array(np.full(length, value), kind)

    arrays = [column(name, value) for name, value in block.same.items()]
    if block.absent:
        rest = [column("uptime_s", None), column("value", None), column("absent", block.absent)]
    else:
        rest = [pa.array(block.uptime_s), pa.array(block.values), column("absent", None)]
    return pa.Table.from_arrays([*arrays, *rest], schema=schema)


Writer = Callable[[Iterable[Block], IO[bytes]], int]

WRITERS: Mapping[str, Writer] = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}
