"""The command `farm`: global options, and commands that are imported only when they are used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "devices": ("harness.cli.devices:devices", "Show every attached phone and what to do about it."),
    "init": ("harness.cli.devices:init", "Draft an inventory from the attached phones."),
    "doctor": ("harness.cli.doctor:doctor", "Check host, adb server, phones, runners, models, disk."),
    "plan": ("harness.cli.run:plan", "Show what a run would do; touches nothing."),
    "run": ("harness.cli.run:run", "Measure: push, run, collect, store, report."),
    "resume": ("harness.cli.run:resume", "Go on with an interrupted run."),
    "runs": ("harness.cli.history:runs", "List the runs."),
    "show": ("harness.cli.history:show", "Show one run or one case."),
    "report": ("harness.cli.report:report", "Write the HTML report, one file per tier."),
    "export": ("harness.cli.exporting:export", "Write results as CSV, JSON lines, Parquet or traces."),
    "db": ("harness.cli.db:db", "Check, back up, prune or vacuum the database."),
    "compare": ("harness.cli.history:compare", "Put two runs side by side."),
    "history": ("harness.cli.over_runs:history", "Show one metric over the runs."),
    "ack": ("harness.cli.ack:ack", "Say that a change over the nights is known."),
    "baseline": ("harness.cli.baseline:baseline", "Show or pin what nights compare with."),
    "nightly": ("harness.cli.nightly:nightly", "One night: measure new builds, judge, confirm, report."),
    "bisect": ("harness.cli.bisect:bisect", "Find the first bad build between two."),
    "tune": ("harness.cli.tune:tune", "Find the fastest threads and cores of a phone."),
    "selftest": ("harness.cli.selftest:selftest", "Measure what is known, and compare."),
    "parse": ("harness.cli.parse:parse", "Show what farm reads from a saved phone output."),
    "health": ("harness.cli.health:health", "Show the health of every phone and what to do."),
    "quarantine": ("harness.cli.quarantine:quarantine", "Phones whose results are kept apart."),
    "reserve": ("harness.cli.lease:reserve", "Keep a phone for yourself."),
    "release": ("harness.cli.lease:release", "Give a reserved phone back."),
    "lab": ("harness.cli.lab:lab", "Virtual phones: up, status, down."),
    "models": ("harness.cli.models:models", "Make, fetch and list models."),
    "runners": ("harness.cli.runners:runners", "Build, fetch and list runner binaries."),
    "notify": ("harness.cli.notify:notify", "Post the summary of a night to a webhook."),
    "inventory": ("harness.cli.inventory:inventory", "Check the inventory; print its JSON Schema."),
}
"""Command → (module:attribute, one line of help), so that `farm --help` imports none of them."""


@dataclass(frozen=True, slots=True)
class Context:
    """Global options as every command finds them in `ctx.obj`.

    Args:
        inventory: path of the inventory file (may not exist).
        db: database URL as given, or None for SQLite in `.farm/` beside the inventory.
        json: standard output holds JSON only.
        verbosity: -1 quiet, 0 normal, 1+ verbose.
    """

    inventory: Path
    db: str | None
    json: bool
    verbosity: int

    @property
    def state_dir(self) -> Path:
        """`.farm/` beside the inventory."""
        return self.inventory.resolve().parent / ".farm"

    @property
    def db_url(self) -> str:
        return self.db or f"sqlite:///{self.state_dir / 'farm.db'}"


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, attribute = entry[0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--inventory",
    type=click.Path(path_type=Path),
    envvar="FARM_INVENTORY",
    default=Path("inventory.yaml"),
    show_default=True,
    help="The lab as data.",
)
@click.option("--db", envvar="FARM_DB", help="Database URL.  [default: SQLite in .farm/ beside the inventory]")
@click.option("--json", "as_json", is_flag=True, help="Standard output holds JSON only.")
@click.option("-v", "--verbose", count=True, help="Say more.")
@click.option("-q", "--quiet", is_flag=True, help="Say less.")
@click.version_option(package_name="farm")
@click.pass_context
def cli(ctx: click.Context, inventory: Path, db: str | None, as_json: bool, verbose: int, quiet: bool) -> None:
    """Benchmark language models on real phones."""
    ctx.obj = Context(inventory=inventory, db=db, json=as_json, verbosity=-1 if quiet else verbose)


def _explain(error: BaseException) -> int | None:
    """Print an error of ours and return its exit code; None when it is not one."""
    from harness import errors

    code: int | None = None
    lines: list[str] = [str(error)]
    if isinstance(error, errors.UsageError):
        code = 2
    elif isinstance(error, errors.NoDeviceError):
        code = 3
    elif isinstance(error, errors.FarmError):
        code = 1
        where = f"{error.device}: " if error.device else ""
        lines = [f"{where}{error.message}"]
        if error.advice:
            lines.append(f"  what to do: {error.advice}")
    if code is not None:
        click.echo("\n".join(["farm: " + lines[0], *lines[1:]]), err=True)
    return code


def main(argv: list[str] | None = None) -> None:
    """Entry point: every error of ours becomes a message and an exit code, never a traceback."""
    call: Callable[..., Any] = cli.main
    try:
        call(args=argv, standalone_mode=False, prog_name="farm")
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.exceptions.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        code = _explain(error)
        if code is None:
            raise
        sys.exit(code)
