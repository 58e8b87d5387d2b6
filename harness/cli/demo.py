"""`python -m harness.cli.demo`: the main job from nothing, on virtual phones, or on this host where they cannot start.

Behind `make run`. Each part is the command an operator would type, so that what is shown is what works.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import click

TIER = "flagship"
SUITE = "demo"
PHONES = ("pixel-8-pro", "galaxy-s24-ultra", "oneplus-12")
IPHONES = ("iphone-15-pro",)
"""The flagship tier on both platforms."""

FAMILY, QUANT = "SmolLM2-135M", "Q4_K_M"

HOST_INVENTORY = Path("demo-host.yaml")
LAB_INVENTORY = Path("demo-lab.yaml")


def main() -> int:
    """Returns the exit code of `farm run`."""
    from device_agents.virtual.preflight import prepare

    began = time.monotonic()
    folder = Path(".farm") / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    why_not = prepare()
    code = _on_host(folder, why_not) if why_not else _on_virtual_phones(folder)
    click.echo(f"done in {time.monotonic() - began:.0f} s", err=True)
    return code


def _farm(*argv: str, env: Mapping[str, str] | None = None) -> int:
    click.echo(f"$ farm {' '.join(argv)}", err=True)
    return subprocess.run(
        [sys.executable, "-m", "harness", *argv], check=False, env={**os.environ, **(env or {})}
    ).returncode


def _must(*argv: str) -> None:
    code = _farm(*argv)
    if code:
        sys.exit(code)


def _models(folder: Path) -> None:
    _must("models", "make", "--family", FAMILY, "--quant", QUANT, "--out", str(folder / "models"))


def _on_virtual_phones(folder: Path) -> int:
    lab = f"demo-{os.getpid()}"
    inventory = folder / LAB_INVENTORY
    runners = str(folder / "runners")
    _must("runners", "fetch", "--virtual", "--out", runners)
    iphones: tuple[str, ...] = IPHONES
    if _farm("runners", "build", "--target", "virtual-iphone", "--out", runners):
        click.echo("their app cannot be built here, so this run goes without iPhones", err=True)
        iphones = ()
    _models(folder)
    wishes = [part for profile in (*PHONES, *iphones) for part in ("--phone", profile)]
    up = ("lab", "up", "--name", lab, *wishes, "--inventory-out", str(inventory))
    try:
        _must(*up)
        return _run(inventory)
    finally:
        _farm("lab", "down", "--name", lab)


def _on_host(folder: Path, why_not: str) -> int:
    from device_agents.local.agent import discover_local
    from harness.drafting import Drafted, render
    from harness.model import Platform

    click.echo(f"virtual phones cannot start here ({why_not}): measuring this host instead, not a phone", err=True)
    inventory = folder / HOST_INVENTORY
    _must("runners", "build", "--target", "host", "--out", str(folder / "runners"))
    _models(folder)
    facts = discover_local().facts
    here = Drafted("this-host", "", TIER, "the demo runs here", Platform.LOCAL, facts.model if facts else "this host")
    abi = facts.abis[0] if facts and facts.abis else None
    inventory.write_text(render((here,), host_abi=abi), encoding="utf-8")
    return _run(inventory)


def _run(inventory: Path) -> int:
    return _farm("--inventory", str(inventory), "run", "--tier", TIER, "--suite", SUITE, "--gates", "off")


if __name__ == "__main__":
    sys.exit(main())
