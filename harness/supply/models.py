"""Make test models: true shapes, random weights, real quantisation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ErrorClass, Permanent, UsageError
from harness.supply import debian_tools, host_build, pte_forms
from harness.supply.families import ASKED_QUANTS, FAMILIES, HIDDEN, QUANTS, Family
from harness.supply.folders import cache_dir, locked, models_dir, new_file, place, told
from harness.supply.gguf_maker import SEED, Matrices, write

RECIPE = 1
PTE_RECIPE = 1
"""Raised when the same family and form would give other bytes, so that cached files of before are not taken."""

Progress = Callable[[str, int, int], None]
"""Called with (what is being made, done, total); total 0 where it is not known."""


@dataclass(frozen=True, slots=True)
class Made:
    """A model file: where it is, and whether it had to be made now. `quant` is its form, GGUF or PTE."""

    family: str
    quant: str
    path: Path
    size: int
    made: bool


def file_name(family: str, quant: str, context: int = pte_forms.DEFAULT_CONTEXT) -> str:
    """The name of a model's file, and with its suffix taken off its id in inventories.

    "smollm2-135m-q4_k_m.gguf", "smollm2-135m-fp32-xnnpack.pte"; `context` is that of a PTE.
    """
    if quant in pte_forms.FORMS:
        return pte_forms.file_name(family, quant, context)
    return f"{family.lower()}-{quant.lower()}.gguf"


def find_family(name: str) -> Family:
    """The family of that name, in any case.

    Raises:
        UsageError: there is none.
    """
    known = (*FAMILIES.values(), *HIDDEN.values())
    found = next((family for family in known if family.name.lower() == name.lower()), None)
    if found is None:
        raise UsageError(f"no model family {name!r} can be made; there are: {', '.join(FAMILIES)}")
    return found


def find_quant(name: str) -> str:
    """The form of that name, from any case: llama-quantize's name of a quantisation, or the name of a PTE form.

    Raises:
        UsageError: it cannot be made.
    """
    known = {form.lower(): form for form in (*QUANTS, *ASKED_QUANTS, *pte_forms.FORMS)}
    if name.lower() not in known:
        raise UsageError(f"no quantisation {name!r} can be made; there are: {', '.join(known.values())}")
    return known[name.lower()]


def make(
    family_name: str,
    quant_name: str,
    out: Path | None = None,
    *,
    context: int | None = None,
    progress: Progress | None = None,
) -> Made:
    """Make one model, or take it from the cache.

    Args:
        out: folder to copy the file to; None leaves it in the cache.
        context: tokens of the KV cache of a PTE; None: `pte_forms.DEFAULT_CONTEXT`, or all that the family has.

    Raises:
        UsageError: unknown family or quantisation; a context that the family has not.
        Permanent: no llama-quantize can be had, or it failed; PTE: the packages are not here; no room.
    """
    family, quant = find_family(family_name), find_quant(quant_name)
    tokens = _tokens(family.name, family.context, context) if quant in pte_forms.FORMS else 0
    cached = _cached(family, quant, context)
    made = False
    with told(cached.name), locked(cache_dir() / "models.lock"):
        if not cached.is_file():
            if tokens:
                _make_program(family, quant, tokens, cached, progress)
            else:
                _make_cached(family, quant, cached, progress)
            made = True
    path = place(cached, out / cached.name) if out else cached
    return Made(family.name, quant, path, path.stat().st_size, made)


def check_possible(family_name: str, quant_name: str, *, context: int | None = None) -> None:
    """Check, before anything is made, that `make` can make this model here; llama-quantize is not looked for.

    Raises:
        UsageError, Permanent: as `make`.
    """
    family, quant = find_family(family_name), find_quant(quant_name)
    if quant in pte_forms.FORMS:
        _tokens(family.name, family.context, context)
        if not _cached(family, quant, context).is_file():
            pte_forms.require()


def _cached(family: Family, quant: str, context: int | None) -> Path:
    """Where the cache has this model, made or not."""
    recipe = f"pte-{PTE_RECIPE}" if quant in pte_forms.FORMS else f"recipe-{RECIPE}"
    return models_dir() / recipe / file_name(family.name, quant, context or pte_forms.DEFAULT_CONTEXT)


def _tokens(name: str, most: int, context: int | None) -> int:
    """Tokens of the KV cache of a PTE: as asked for, or the default as far as the model goes."""
    tokens = min(pte_forms.DEFAULT_CONTEXT, most) if context is None else context
    if not 2 <= tokens <= most:
        raise UsageError(f"a context of {tokens} tokens: {name} has 2 to {most}")
    return tokens


def _make_program(family: Family, quant: str, context: int, target: Path, progress: Progress | None) -> None:
    pte_forms.require()
    from harness.supply import pte_shape, torch_export

    if progress:
        progress(target.name, 0, 0)
    weights = pte_shape.family_weights(family, seed=SEED)
    with new_file(target) as part:
        torch_export.export(pte_shape.of_family(family), weights, pte_forms.FORMS[quant].group, context, part)


def export_folder(
    folder: Path, quant_name: str, out: Path, *, context: int | None = None, progress: Progress | None = None
) -> Made:
    """Export a Hugging Face folder on disk as PTE, named after the folder; it is always made anew.

    Args:
        quant_name: a PTE form. out: folder for the file.
        context: tokens of the KV cache; None: `pte_forms.DEFAULT_CONTEXT`, or all that the model has.

    Raises:
        UsageError: unknown form; a context that the model has not.
        Permanent: the folder holds no model that can be exported; the packages are not here; no room.
    """
    quant = find_quant(quant_name)
    if quant not in pte_forms.FORMS:
        raise UsageError(f"{quant} is no form of a PTE model; there are: {', '.join(pte_forms.FORMS)}")
    from harness.supply import pte_checkpoint

    found = pte_checkpoint.open_folder(folder)
    tokens = _tokens(found.shape.name, found.shape.context, context)
    pte_forms.require()
    from harness.supply import torch_export

    target = out / file_name(found.shape.name, quant, context or pte_forms.DEFAULT_CONTEXT)
    if progress:
        progress(target.name, 0, 0)
    with told(str(target)), new_file(target) as part:
        torch_export.export(found.shape, found.weights(), pte_forms.FORMS[quant].group, tokens, part)
    return Made(found.shape.name, quant, target, target.stat().st_size, True)


_WRITTEN: Mapping[str, Matrices] = {"F16": "F16", "F32": "F32"}
"""Forms that are written here; the others llama-quantize makes of F16."""


def _make_cached(family: Family, quant: str, target: Path, progress: Progress | None) -> None:
    matrices = _WRITTEN.get(quant)
    if matrices:
        with new_file(target) as part:
            write(family, part, matrices=matrices, seed=SEED, progress=_named(progress, target.name))
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
