"""Models that appear in watched folders, described by what their own files say."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.artifacts import check_model, gguf_header, pte_header
from harness.artifacts.gguf_header import GgufHeader
from harness.artifacts.locate import local_path
from harness.cache import cache_dir
from harness.errors import FarmError
from harness.model import Inventory, Model, ModelFolder
from harness.nightly.folders import SETTLE_S, Entry, left_out, listing

_LONGEST = 100
"""Characters of a family's name; what is longer is a description."""

_GGUF_QUANT = re.compile(r"[-._ ]((?:i?q|tq)[0-9]+(?:_[a-z0-9]+)*|bf16|f16|f32|mxfp4)$", re.IGNORECASE)
"""A quantisation as llama-quantize names it, at the end of a name."""

_PTE_FORM = re.compile(
    rf"[-._ ]((?:(?:fp|bf)[0-9]+|[0-9]+da[0-9]+w)(?:-g[0-9]+)?-(?:{'|'.join(pte_header.RECIPES)}))(?:-c[0-9]+)?$",
    re.IGNORECASE,
)
"""A form as `farm models make` names it, at the end of a name; the context may follow."""

Format = Literal["gguf", "pte"]


@dataclass(frozen=True, slots=True)
class ModelsFound:
    """Args: models: that the inventory does not have. notes: what was left out and why, a sentence each."""

    models: tuple[Model, ...]
    notes: tuple[str, ...]


def models_in(
    inventory: Inventory,
    base: Path,
    *,
    now: float | None = None,
    settle_s: float = SETTLE_S,
    cache: Path | None = None,
) -> ModelsFound:
    """The models in the folders of `nightly.models`, the oldest of each folder first.

    A model's id is its file's name without the ending; one whose id or file the inventory has is left out without a
    note. Family and form are those of its header, where it tells them, else of its name; a family that the inventory
    has in other letters is written as there. A file that is broken, or whose name cannot be an id, gives a note.

    Args:
        base: folder of the inventory. now: Unix seconds; None: the present.
        settle_s: what changed within this time is still being written.
        cache: cache folder; None: the user's.
    """
    at = time.time() if now is None else now
    known = {model.id for model in inventory.models}
    files = {(base / Path(model.path).expanduser()).resolve() for model in inventory.models if model.path}
    families = {model.family.casefold(): model.family for model in inventory.models}
    taken: dict[str, str] = {}
    models: list[Model] = []
    notes: list[str] = []
    for watched in inventory.nightly.models:
        found = listing(base / Path(watched.folder).expanduser(), watched.folder, now=at, settle_s=settle_s)
        notes += found.notes
        for entry in found.entries:
            stem, kind = _parts(entry)
            if stem in known or entry.path.resolve() in files:
                continue
            told = _described(watched, entry, stem, kind, base, cache) if kind else "it is neither a .gguf nor a .pte"
            if isinstance(told, Model) and stem in taken:
                told = f"{taken[stem]} gives a model of the same id: rename one of them"
            if isinstance(told, str):
                notes.append(left_out(watched.folder, entry.name, told))
                continue
            taken[stem] = entry.name
            models.append(replace(told, family=families.setdefault(told.family.casefold(), told.family)))
    return ModelsFound(tuple(models), tuple(notes))


def with_models(inventory: Inventory, models: Iterable[Model]) -> Inventory:
    """The inventory with these models; the suite of its nights measures them, whatever it is limited to."""
    added = tuple(models)
    suites = dict(inventory.suites)
    suite = suites.get(inventory.nightly.suite)
    if suite is not None and suite.models:
        suites[inventory.nightly.suite] = replace(suite, models=(*suite.models, *(model.id for model in added)))
    return replace(inventory, models=(*inventory.models, *added), suites=suites)


def _parts(entry: Entry) -> tuple[str, Format | None]:
    """Name without its ending, and the format; None for what is no model."""
    stem, _, ending = entry.name.rpartition(".")
    kinds: dict[str, Format] = {"gguf": "gguf", "pte": "pte"}
    kind = kinds.get(ending.lower())
    return (stem, kind) if stem and kind and entry.path.is_file() else (entry.name, None)


def _described(
    watched: ModelFolder, entry: Entry, stem: str, kind: Format, base: Path, cache: Path | None
) -> Model | str:
    """The model, or why it is left out."""
    if not stem.isprintable() or stem != stem.strip():
        return "its name holds control characters, or spaces at an end: rename it"
    if any(character in stem for character in "*?"):
        return "its name holds * or ?, which stand for other names in a suite: rename it"
    model = Model(stem, stem, kind, kind, path=str(Path(watched.folder, entry.name)), owner=watched.owner)
    try:
        check_model(model, base, cache, fetch=False)
        told = _of_gguf(entry.path, stem) if kind == "gguf" else _of_pte(entry.path, stem)
    except FarmError as error:
        # The message begins with id and path, which the note has said.
        said = f"model {stem}: {local_path(model, base, cache or cache_dir())} "
        return f"it {error.message.removeprefix(said)}"
    except (OSError, gguf_header.HeaderCut, gguf_header.HeaderBroken) as changed:
        return f"it changed while it was read: {changed}"
    family, quant = told
    return replace(model, family=family, quant=quant)


def _of_gguf(file: Path, stem: str) -> tuple[str, str]:
    """Family and quantisation."""
    header = gguf_header.read_header(file)
    named = _GGUF_QUANT.search(stem)
    quant = _file_type(header) or (named[1].upper() if named else "") or _largest_type(header)
    return next(_families(header), (stem[: named.start()] if named else "") or stem), quant


def _families(header: GgufHeader) -> Iterator[str]:
    """What the header calls the model without its compression, the most certain first."""
    parts = [header.values.get(f"general.{name}") for name in ("basename", "size_label", "finetune")]
    base = "-".join(part for part in parts if isinstance(part, str)) if isinstance(parts[0], str) else ""
    for name in (base, header.values.get("general.name")):
        if isinstance(name, str):
            # "SmolLM2-135M (random weights)", "SmolLM2-135M Q4_K_M": neither is part of the family.
            plain = _GGUF_QUANT.sub("", re.sub(r"\([^)]*\)\s*$", "", name).strip()).strip()
            if plain and plain.isprintable() and len(plain) <= _LONGEST:
                yield plain


def _file_type(header: GgufHeader) -> str:
    """Name of the header's `general.file_type`, "" where it has none that is known."""
    from gguf.constants import LlamaFileType

    value = header.values.get("general.file_type")
    known = next((kind for kind in LlamaFileType if kind == value and kind is not LlamaFileType.GUESSED), None)
    return "" if known is None else str(known.name).removeprefix("MOSTLY_").removeprefix("ALL_")


def _largest_type(header: GgufHeader) -> str:
    """Type of the most bytes of weights."""
    sizes: dict[str, int] = {}
    for tensor in header.tensors:
        sizes[tensor.quant] = sizes.get(tensor.quant, 0) + tensor.size
    return max(sizes, key=lambda quant: sizes[quant])


def _of_pte(file: Path, stem: str) -> tuple[str, str]:
    """Family and form: a program tells its back ends, and neither its model nor how weights are stored."""
    named = _PTE_FORM.search(stem)
    if named:
        return stem[: named.start()] or stem, named[1].lower()
    return stem, "+".join(pte_header.recipes(pte_header.read_header(file).backends)) or "portable"
