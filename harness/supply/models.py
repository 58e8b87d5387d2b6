"""Make test models: true shapes, random weights, real quantisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ErrorClass, Permanent, UsageError
from harness.supply import debian_tools, host_build
from harness.supply.families import FAMILIES, QUANTS, Family
from harness.supply.folders import cache_dir, locked, models_dir, new_file, place, told
from harness.supply.gguf_maker import SEED, write_f16

RECIPE = 1
"""Raised when the same family and quantisation would give other bytes, so that cached files of before are not taken."""

Progress = Callable[[str, int, int], None]
"""Called with (what is being made, done, total); total 0 where it is not known."""


@dataclass(frozen=True, slots=True)
class Made:
    """A model file: where it is, and whether it had to be made now."""

    family: str
    quant: str
    path: Path
    size: int
    made: bool


def file_name(family: str, quant: str) -> str:
    """The name of a model's file, and with `.gguf` taken off its id in inventories: "smollm2-135m-q4_k_m.gguf"."""
    return f"{family.lower()}-{quant.lower()}.gguf"


def find_family(name: str) -> Family:
    """The family of that name, in any case.

    Raises:
        UsageError: there is none.
    """
    found = next((family for family in FAMILIES.values() if family.name.lower() == name.lower()), None)
    if found is None:
        raise UsageError(f"no model family {name!r} can be made; there are: {', '.join(FAMILIES)}")
    return found


def find_quant(name: str) -> str:
    """llama-quantize's name of a quantisation, from any case.

    Raises:
        UsageError: it cannot be made.
    """
    if name.upper() not in QUANTS:
        raise UsageError(f"no quantisation {name!r} can be made; there are: {', '.join(QUANTS)}")
    return name.upper()


def make(family_name: str, quant_name: str, out: Path | None = None, *, progress: Progress | None = None) -> Made:
    """Make one model, or take it from the cache.

    Args:
        out: folder to copy the file to; None leaves it in the cache.

    Raises:
        UsageError: unknown family or quantisation.
        Permanent: no llama-quantize can be had, or it failed; no room.
    """
    family, quant = find_family(family_name), find_quant(quant_name)
    cached = models_dir() / f"recipe-{RECIPE}" / file_name(family.name, quant)
    made = False
    with told(cached.name), locked(cache_dir() / "models.lock"):
        if not cached.is_file():
            _make_cached(family, quant, cached, progress)
            made = True
    path = place(cached, out / cached.name) if out else cached
    return Made(family.name, quant, path, path.stat().st_size, made)


def _make_cached(family: Family, quant: str, target: Path, progress: Progress | None) -> None:
    if quant == "F16":
        with new_file(target) as part:
            write_f16(family, part, seed=SEED, progress=_named(progress, target.name))
        return
    plain = target.with_name(file_name(family.name, "F16"))
    if not plain.is_file():
        _make_cached(family, "F16", plain, progress)
    if progress:
        progress(target.name, 0, 0)
    with new_file(target) as part:
        debian_tools.run_tool([*quantize_command(), str(plain), str(part), quant])


def _named(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    return (lambda done, total: progress(name, done, total)) if progress else None


def quantize_command() -> tuple[str, ...]:
    """The words that start a llama-quantize on this host: one built here if there is one, else Debian's.

    Raises:
        Permanent: there is neither.
    """
    built = host_build.folder() / "llama-quantize"
    if built.is_file():
        return (str(built),)
    reason = debian_tools.why_unavailable()
    if reason:
        raise Permanent(
            f"no llama-quantize here: {reason}",
            error_class=ErrorClass.RUNNER_MISSING,
            advice="build it with `farm runners build --stock`, or make F16 only (--quant F16)",
        )
    return debian_tools.host_command("llama-quantize")
