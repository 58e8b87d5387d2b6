"""`farm health`: what is known of every phone of the lab, and what to do about it; `--hold` holds their charge."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from harness.cli.main import Context
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.model import Attached, Inventory, NightFailures, PhoneHealth, Reading
    from harness.nightly.charge import HeldCharge
    from harness.nightly.looks import Look
    from harness.store import Store

_TITLES = (
    "phone",
    "state",
    "battery",
    "level",
    "capacity",
    "cycles",
    "at rest",
    "free",
    "failed lately",
    "own reference",
    "self-test",
    "last seen",
)


@click.command()
@click.option("--device", "devices", multiple=True, help="Device id; may be repeated.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Standard output holds JSON only.")
@click.option("--stored", is_flag=True, help="No new look at the phones: what earlier ones have shown.")
@click.option("--hold", is_flag=True, help="Hold the charge of phones at switched hub ports, and say what was done.")
@click.pass_obj
def health(context: Context, devices: tuple[str, ...], as_json: bool, stored: bool, hold: bool) -> None:
    """Show the health of every phone, the worst first, and what to do; keeps what it sees.

    Exit code: 0, 1 when a phone needs a hand, 3 when nothing is attached and nothing is known.
    """
    from harness.cli import compose
    from harness.model import Inventory

    if hold and (devices or stored):
        raise UsageError("--hold takes every phone that has a hub port; leave --device and --stored out")
    loaded = compose.inventory_if_any(context)
    inventory = loaded.inventory if loaded else Inventory(version=1)
    as_json = as_json or context.json
    sys.exit(_hold(context, inventory, as_json) if hold else _show(context, inventory, devices, as_json, stored))


# --- what is known ----------------------------------------------------------------------------------------------------


def _show(context: Context, inventory: Inventory, names: Sequence[str], as_json: bool, stored: bool) -> int:
    from device_agents.ports_off import held_ports
    from harness.cli import compose, exits, words
    from harness.model import NEVER_SEEN
    from harness.nightly.hands import hands_needed
    from harness.nightly.health import fleet
    from harness.nightly.looks import known_phones
    from harness.store import Store

    attached = compose.discover(inventory)
    if not attached and not Store.exists(context.db_url):
        click.echo("farm: no phone is attached, and nothing is known of any (`farm devices` helps)", err=True)
        if as_json:
            words.print_json({"phones": [], "hands": []})
        return exits.NO_DEVICE
    held, now = held_ports(), time.time()
    with Store.open(context.db_url) as store:
        looks = () if stored else _looks(store, inventory, _chosen(inventory, attached, names))
        phones = fleet(store, inventory, attached, now, held=held)
        hands = hands_needed(inventory, attached, known_phones(store), now=now, held=held)
    phones = _selected(phones, names)
    hands = tuple(each for each in hands if not names or any(_means(names, device) for device in each.devices))
    if as_json:
        from dataclasses import asdict

        words.print_json({"phones": [phone.to_json() for phone in phones], "hands": [asdict(each) for each in hands]})
    else:
        _print(phones, in_full=bool(names) and len(phones) == 1)
    for look in looks:
        if look.reason:
            click.echo(words.visible(f"{look.device_id}: not looked at now: {look.reason}"), err=True)
    if not attached and all(phone.state == NEVER_SEEN for phone in phones):
        return exits.NO_DEVICE
    return exits.INCOMPLETE if hands else exits.MEASURED


def _looks(store: Store, inventory: Inventory, attached: Iterable[Attached]) -> tuple[Look, ...]:
    from harness.cli import compose
    from harness.nightly.looks import look_at_all

    return look_at_all(store, inventory, attached, compose.opener(inventory))


def _chosen(inventory: Inventory, attached: Iterable[Attached], names: Sequence[str]) -> list[Attached]:
    """The attached phones that `--device` names, else all."""
    from harness.nightly.looks import phones_of

    return [device.attached for device in phones_of(inventory, attached) if not names or _means(names, device.id)]


def _selected(phones: Sequence[PhoneHealth], names: Sequence[str]) -> tuple[PhoneHealth, ...]:
    """The phones that `--device` names; UsageError for a name of none."""
    import difflib

    known = [phone.device_id for phone in phones]
    for name in names:
        if not any(_means((name,), device_id) for device_id in known):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"--device: no phone {name!r}{hint} (there are: {', '.join(known) or 'none'})")
    return tuple(phone for phone in phones if not names or _means(names, phone.device_id))


def _means(names: Sequence[str], device_id: str) -> bool:
    """Whether one of `names` is the id, or that of an entry with several phones, which are told apart by a tag."""
    return any(re.fullmatch(rf"{re.escape(name)}(-[0-9a-f]{{4}})?", device_id) for name in names)


def _print(phones: Sequence[PhoneHealth], *, in_full: bool) -> None:
    from harness.cli import output, words

    output.print_table("Health", _TITLES, [_row(phone) for phone in phones])
    named: dict[tuple[str, str], list[str]] = {}
    for phone in phones:
        for problem in phone.problems:
            named.setdefault((problem.text, problem.advice), []).append(phone.device_id)
    for (text, advice), ids in named.items():
        click.echo(words.visible(f"{', '.join(ids)}: {text}"))
        if advice:
            click.echo(words.visible(f"  what to do: {advice}"))
    if in_full:
        _print_readings(phones[0])


def _print_readings(phone: PhoneHealth) -> None:
    from harness.cli import output, words
    from harness.model import HEALTH_READINGS, Measured

    def told(reading: Reading) -> str:
        return reading.source if isinstance(reading, Measured) else reading.reason

    readings = {name: phone.reading(name) for name in HEALTH_READINGS}
    output.print_table(
        f"{phone.device_id}, looked at {words.moment(phone.looked_at)}",
        ("what", "value", "source, or why it is absent"),
        [(name, words.number(reading), told(reading)) for name, reading in readings.items()],
    )


def _row(phone: PhoneHealth) -> tuple[str, ...]:
    from harness.cli import output, words
    from harness.model import DeviceKind, Measured, battery_word

    def shown(name: str) -> str:
        return words.number(phone.reading(name))

    free, rest = phone.reading("storage_free_mb"), phone.reading("temperature_rest_c")
    capacity = phone.reading("capacity_pct")
    return (
        output.device_name(phone.device_id, phone.kind or DeviceKind.PHONE),
        phone.state.replace("_", " ") + (", quarantined" if phone.quarantine else ""),
        battery_word(phone.reading("battery_health")) or "-",
        shown("battery_level_pct"),
        f"{capacity.value:.0f} %" if isinstance(capacity, Measured) else "-",
        shown("cycle_count"),
        f"{rest.value:.1f} °C" if isinstance(rest, Measured) else "-",
        f"{free.value / 1000:.1f} GB" if isinstance(free, Measured) else "-",
        _failed(phone.failures),
        _drift(phone),
        _self_test(phone),
        words.moment(phone.last_seen),
    )


def _failed(nights: Iterable[NightFailures]) -> str:
    """Failures over the last nights: how many of how many repetitions, by class."""
    from collections import Counter

    told = tuple(nights)
    classes: Counter[str] = Counter()
    for night in told:
        classes.update(night.failed)
    if not told:
        return "-"
    named = ", ".join(f"{name} {count}" for name, count in classes.most_common())
    return f"{classes.total()} of {sum(night.ended for night in told)}" + (f" ({named})" if named else "")


def _drift(phone: PhoneHealth) -> str:
    import math

    if phone.drift is None:
        return "-"
    moved = 100 * math.expm1(phone.drift.delta)
    return f"{phone.drift.metric} {abs(moved):.1f} % {'worse' if moved > 0 else 'better'}"


def _self_test(phone: PhoneHealth) -> str:
    from harness.cli import words

    if phone.qualification is None:
        return "never"
    said = "passed" if phone.qualification.ok else "failed"
    return f"{said} {words.moment(phone.qualification.at)[:10]}"


# --- holding the charge -----------------------------------------------------------------------------------------------


def _hold(context: Context, inventory: Inventory, as_json: bool) -> int:
    from dataclasses import asdict

    from harness.cli import compose, exits, words
    from harness.nightly.charge import hold_once
    from harness.store import Store

    if inventory.nightly.charge is None:
        raise UsageError(
            "the inventory holds no charge: add it, for example\n  nightly: {charge: {low_pct: 40, high_pct: 80}}"
        )
    if not any(entry.usb for entry in inventory.devices):
        raise UsageError("no device of the inventory has a hub port: name it as `usb` of each phone")
    with Store.open(context.db_url) as store:
        held = hold_once(store, inventory, lambda: compose.discover(inventory), compose.opener(inventory))
    if as_json:
        words.print_json({"held": [asdict(each) for each in held]})
    else:
        _print_held(held)
    if any(each.action == "failed" for each in held):
        return exits.INCOMPLETE
    return exits.MEASURED


def _print_held(held: Sequence[HeldCharge]) -> None:
    from harness.cli import output, words

    def level(each: HeldCharge) -> str:
        if each.level_pct is None:
            return "-"
        return f"about {each.level_pct:.0f} %" if each.estimated else f"{each.level_pct:.0f} %"

    rows = [(each.device_id, each.action, level(each), each.text) for each in held]
    output.print_table("Charge", ("phone", "port", "level", "why"), rows)
    for each in held:
        if each.advice:
            click.echo(words.visible(f"{each.device_id}: what to do: {each.advice}"))
