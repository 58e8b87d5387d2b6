"""`python -m device_agents.virtual.iphone.serve FOLDER`: the process behind a lab's iPhones."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from device_agents.virtual.iphone.server import run


def main() -> int:
    folder = Path(sys.argv[1])
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return asyncio.run(run(folder, config))


if __name__ == "__main__":
    sys.exit(main())
