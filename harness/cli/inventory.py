"""farm inventory check | schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.cli.main import Context


@click.group()
def inventory() -> None:
    """Check the inventory; print its JSON Schema."""


@inventory.command()
@click.pass_obj
def check(context: Context) -> None:
    """Read the inventory and list every mistake in it (exit code 2)."""
    from harness.cli import words
    from harness.inventory import load

    loaded = load(context.inventory)
    counts = {
        name: len(getattr(loaded.inventory, name))
        for name in ("tiers", "devices", "models", "runners", "workloads", "suites", "published")
    }
    if context.json:
        words.print_json({"file": str(loaded.path), "sha256": loaded.sha256, **counts})
    else:
        names = {"published": "published figures"}
        said = ", ".join(f"{count} {names.get(name, name)}" for name, count in counts.items())
        click.echo(f"{loaded.path}: no mistakes: {said}")


@inventory.command()
def schema() -> None:
    """Print the JSON Schema of inventory.yaml, for editors."""
    from harness.inventory import schema_text

    click.echo(schema_text(), nl=False)
