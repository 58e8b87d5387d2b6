"""Files of a report: names that are safe anywhere, and writes that are whole or not there."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

INDEX = "index.html"
FLEET = "fleet.html"


def file_name(tier: str) -> str:
    """A file name for a tier of any name; two tiers never share one."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", tier.lower()).strip(".-")[:80]
    # Upper case gets a tag too: some file systems do not tell "A" from "a".
    if plain and plain == tier and f"{plain}.html" not in (INDEX, FLEET):
        return f"{plain}.html"
    tag = hashlib.sha256(tier.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain or 'tier'}-{tag}.html"


def write_atomically(path: Path, text: str) -> None:
    """Write beside the target and rename, so that a reader sees the old file or the new one.

    Raises OSError.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes it readable by the owner alone; a report is for others too.
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
