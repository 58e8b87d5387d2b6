"""setsid for hosts that have none: `python detach.py COMMAND…` becomes COMMAND in a session of its own."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.setsid()
    os.execvp(sys.argv[1], sys.argv[1:])
