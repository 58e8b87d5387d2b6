"""inventory.yaml → `Inventory`: every mistake at once, each with file, line, key and what was expected."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.model import Inventory

MAX_BYTES = 1_000_000
"""Largest file that is read as an inventory; a lab of a thousand phones needs a tenth of it."""

SHOWN = 50
"""Mistakes listed in full; the rest is counted."""

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class LoadedInventory:
    """A checked inventory, the file it came from and the SHA-256 of that file's bytes."""

    inventory: Inventory
    path: Path
    sha256: str


def load(path: Path) -> LoadedInventory:
    """Read and check an inventory.

    Relative paths inside it are kept as written: they are relative to the file's folder. A sha256 is folded to lower
    case.

    Raises:
        UsageError: the file cannot be read, or holds mistakes; the text lists every one of them.
    """
    from harness import inventory_checks, inventory_types, inventory_yaml

    data = _read(path)
    document = inventory_yaml.parse(_decode(path, data))
    problems = list(document.problems)
    if not problems or document.value is not None:
        value = inventory_types.normalised(document.value)
        inventory, wrong = inventory_types.validate(value, document)
        problems += [found for found in wrong if not _covered(found, problems)]
        problems += inventory_checks.cross_check(value, document, folder=path.resolve().parent)
        if inventory is not None and not problems:
            return LoadedInventory(inventory, path, hashlib.sha256(data).hexdigest())
    problems.sort(key=lambda found: (found.line, found.column))
    lines = [found.render(str(path)) for found in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"… and {len(problems) - SHOWN} more")
    raise UsageError("\n".join(lines))


def json_schema() -> dict[str, Any]:
    """JSON Schema of inventory.yaml, for editors; cross references (tiers, workloads) are checked by `load` alone."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(Inventory).json_schema()
    return {"$schema": SCHEMA_DIALECT, **schema, "title": "farm inventory"}


def schema_text() -> str:
    """`json_schema()` as it is published in docs/inventory.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _covered(found: Any, earlier: list[Any]) -> bool:
    """Whether an earlier problem (of the YAML) stands at the same key: one sentence per mistake is enough."""
    return any(other.path == found.path for other in earlier)


def _read(path: Path) -> bytes:
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            size = path.stat().st_size / 1e6
            raise UsageError(f"{path}: {size:.1f} MB is too large for an inventory (at most {MAX_BYTES / 1e6:.0f} MB)")
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such file. `farm init` drafts an inventory from the attached phones, "
            "`farm lab up --inventory-out FILE` writes one for virtual phones, --inventory names another file."
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8 text (byte 0x{data[error.start]:02x}): save it as UTF-8") from None
