"""`farm models`: make, fetch and list model files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.main import Context
from harness.cli.supply_view import COLUMNS, Row, beside, chosen, examine, progress_line

if TYPE_CHECKING:
    from harness.model import Model, ModelFile

DEFAULT_FAMILY = "SmolLM2-135M"


@click.group()
def models() -> None:
    """Make, fetch and list models."""


@models.command()
@click.option(
    "--family", "families", multiple=True, help="A published shape; repeatable.  [default: those of the inventory]"
)
@click.option("--quant", "quants", multiple=True, help="A quantisation; repeatable.  [default: all]")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder.  [default: models/ beside the inventory]"
)
@click.pass_obj
def make(context: Context, families: tuple[str, ...], quants: tuple[str, ...], out: Path | None) -> None:
    """Make test models: the true shape and size of a published model, random weights."""
    from harness.supply import models as supply

    pairs = _asked(families, quants) if families or quants else _of_inventory(context) or _asked((), ())
    folder = out or beside(context, "models")
    made = []
    with progress_line(context) as show:
        for family, quant in pairs:
            made.append(supply.make(family, quant, folder, progress=show))
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
    """Shape and quantisation of every file that the inventory expects in models/ under the name it would be made by."""
    from harness.cli.compose import inventory_if_any
    from harness.supply.families import FAMILIES, QUANTS
    from harness.supply.models import file_name

    loaded = inventory_if_any(context)
    expected = {model.path for model in loaded.inventory.models} if loaded else set()
    return [
        (family, quant) for family in FAMILIES for quant in QUANTS if f"models/{file_name(family, quant)}" in expected
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
    from harness.cli.output import print_table
    from harness.inventory import load

    loaded = load(context.inventory)
    base_dir = loaded.path.resolve().parent
    rows = [_row(model, base_dir) for model in loaded.inventory.models]
    if context.json:
        click.echo(json.dumps({"models": [row.as_json() for row in rows]}, ensure_ascii=False))
    else:
        print_table("Models", COLUMNS, (row.as_cells() for row in rows))


def _row(model: Model, base_dir: Path) -> Row:
    from harness.artifacts import check_model

    def check() -> tuple[int, str, str]:
        found = check_model(model, base_dir, fetch=False)
        return found.artifact.size, found.artifact.sha256, _details(found)

    return examine(model, check, model.path or model.url or "")


def _details(found: ModelFile) -> str:
    parts = [found.architecture or ""]
    if found.parameter_count:
        parts.append(f"{found.parameter_count / 1e6:.0f} M weights")
    if found.context_length:
        parts.append(f"context {found.context_length}")
    return ", ".join(part for part in parts if part)
