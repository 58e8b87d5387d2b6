"""`python -m reports.picture OUT.png [REPORT.html]`: the top of a report as a picture, for the README.

Taken by headless Chromium from the file itself; the report of `make run` unless another is named.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DEMO_REPORT = Path(".farm/demo/.farm/reports/flagship.html")
WIDTH, HEIGHT = 1280, 1180
LIMIT_S = 120.0


def take(report: Path, out: Path) -> None:
    """Write a PNG of the first HEIGHT pixels of `report`.

    Raises RuntimeError saying what is missing or what Chromium said.
    """
    browser = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
    )
    if not browser:
        raise RuntimeError("there is no Chromium on this machine (Debian: apt-get install chromium)")
    if not report.is_file():
        raise RuntimeError(f"there is no report {report}: `make run` or `farm report` writes one")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        argv = [
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            f"--window-size={WIDTH},{HEIGHT}",
            f"--screenshot={out.resolve()}",
            report.resolve().as_uri(),
        ]
        try:
            ended = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"Chromium did not finish within {LIMIT_S:.0f} s") from error
    if ended.returncode or not out.is_file():
        raise RuntimeError(f"Chromium ended with {ended.returncode}: {ended.stderr.strip()[-500:]}")


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m reports.picture OUT.png [REPORT.html]")
    try:
        take(Path(sys.argv[2]) if len(sys.argv) == 3 else DEMO_REPORT, Path(sys.argv[1]))
    except (RuntimeError, OSError) as error:
        sys.exit(f"no picture: {error}")


if __name__ == "__main__":
    main()
