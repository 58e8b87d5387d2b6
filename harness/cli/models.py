"""`farm models`: make, fetch and list model files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.main import Context
from harness.cli.supply_view import Row, beside, chosen, examine, progress_line, show

if TYPE_CHECKING:
    from harness.model import Model, ModelFile
    from harness.supply.models import Made

DEFAULT_FAMILY = "SmolLM2-135M"

_CONTEXT_HELP = "Tokens of a PTE's KV cache, which it has for good.  [default: 1024, or all the model has]"


@click.group()
def models() -> None:
    """Make, fetch and list models."""


@models.command()
@click.option(
    "--family", "families", multiple=True, help="A published shape; repeatable.  [default: those of the inventory]"
)
@click.option(
    "--quant",
    "quants",
    multiple=True,
    help="A form: of GGUF F16 … Q4_0, or F32; of PTE fp32-xnnpack, 8da4w-g32-xnnpack, 8da4w-g128-xnnpack; "
    "repeatable.  [default: all of GGUF but F32]",
)
@click.option("--context", "tokens", type=int, help=_CONTEXT_HELP)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder.  [default: models/ beside the inventory]"
)
@click.pass_obj
def make(
    context: Context, families: tuple[str, ...], quants: tuple[str, ...], tokens: int | None, out: Path | None
) -> None:
    """Make test models: the true shape and size of a published model, random weights.

    A PTE needs the extra packages of farm[executorch]; without them the command says what to install.
    """
    from harness.supply import models as supply

    pairs = _asked(families, quants) if families or quants else _of_inventory(context) or _asked((), ())
    for family, quant in pairs:
        supply.check_possible(family, quant, context=tokens)
    folder = out or beside(context, "models")
    made = []
    with progress_line(context) as show:
        for family, quant in pairs:
            made.append(supply.make(family, quant, folder, context=tokens, progress=show))
    _show_made(context, made)


@models.command(name="export-pte")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--quant", "quants", multiple=True, help="A form of PTE; repeatable.  [default: fp32-xnnpack]")
@click.option("--context", "tokens", type=int, help=_CONTEXT_HELP)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder.  [default: models/ beside the inventory]"
)
@click.pass_obj
def export_pte(context: Context, folder: Path, quants: tuple[str, ...], tokens: int | None, out: Path | None) -> None:
    """Export a Hugging Face folder on disk (config.json, safetensors; Llama or Phi-3) for ExecuTorch.

    Needs the extra packages of farm[executorch]; without them the command says what to install.
    """
    from harness.supply import models as supply

    target = out or beside(context, "models")
    made = []
    with progress_line(context) as show:
        for quant in quants or ("fp32-xnnpack",):
            made.append(supply.export_folder(folder, quant, target, context=tokens, progress=show))
    _show_made(context, made)


def _show_made(context: Context, made: list[Made]) -> None:
    if context.json:
        rows = [
            {"family": each.family, "quant": each.quant, "path": str(each.path), "size": each.size, "made": each.made}
            for each in made
        ]
        click.echo(json.dumps({"models": rows}, ensure_ascii=False))
        return
    for each in made:
        click.echo(f"{each.path}  {each.size / 1e6:.1f} MB{'' if each.made else '  (was there)'}")


def _asked(families: tuple[str, ...], quants: tuple[str, ...]) -> list[tuple[str, str]]:
    from harness.supply import models as supply
    from harness.supply.families import QUANTS

    return [
        (supply.find_family(family).name, supply.find_quant(quant))
        for family in families or (DEFAULT_FAMILY,)
        for quant in quants or QUANTS
    ]


def _of_inventory(context: Context) -> list[tuple[str, str]]:
    """Shape and quantisation of every file in models/ that the inventory's suite `standard` (all models, where there is
    none) expects under the name it would be made by."""
    from harness.cli.compose import inventory_if_any
    from harness.plan import models_of
    from harness.supply.families import ASKED_QUANTS, FAMILIES, HIDDEN, QUANTS
    from harness.supply.models import file_name
    from harness.supply.pte_forms import FORMS

    loaded = inventory_if_any(context)
    if loaded is None:
        return []
    suite = loaded.inventory.suites.get("standard")
    models = models_of(loaded.inventory, (), suite) if suite else loaded.inventory.models
    expected = {model.path for model in models}
    return [
        (family, quant)
        for family in (*FAMILIES, *HIDDEN)
        for quant in (*QUANTS, *ASKED_QUANTS, *FORMS)
        if f"models/{file_name(family, quant)}" in expected
    ]


@models.command()
@click.argument("ids", nargs=-1, metavar="[ID]…")
@click.pass_obj
def fetch(context: Context, ids: tuple[str, ...]) -> None:
    """Download the models that the inventory gives by URL; resumed where it was cut, checked, kept in the cache."""
    from harness.cli.fetching import fetch_entries
    from harness.inventory import load

    entries = chosen(load(context.inventory).inventory.models, ids, "model")
    sys.exit(fetch_entries(context, entries))


@models.command(name="list")
@click.pass_obj
def list_(context: Context) -> None:
    """Show each model of the inventory: whether it is here, its size, SHA-256 and what its header says."""
    from harness.inventory import load

    loaded = load(context.inventory)
    base_dir = loaded.path.resolve().parent
    show(context, "Models", "models", [_row(model, base_dir) for model in loaded.inventory.models])


def _row(model: Model, base_dir: Path) -> Row:
    from harness.artifacts import check_model

    def check() -> tuple[int, str, str]:
        found = check_model(model, base_dir, fetch=False)
        return found.artifact.size, found.artifact.sha256, _details(found)

    return examine(model, check, model.path or model.url or "")


def _details(found: ModelFile) -> str:
    from harness.artifacts.pte_header import recipes

    parts = [found.architecture or ""]
    if found.parameter_count:
        parts.append(f"{found.parameter_count / 1e6:.3g} M weights")
    if found.context_length:
        parts.append(f"context {found.context_length}")
    if found.methods:
        parts.append(f"PTE for {', '.join(recipes(found.backends)) or 'no back end'}")
    return ", ".join(part for part in parts if part)
