"""Commands reach the device as data, and their ends come back."""

from __future__ import annotations

import time

import pytest

from device_agents.base import DeviceAgent
from harness.errors import FarmError

ODD = [
    "plain",
    "two words",
    "single ' quote",
    'double " quote',
    "$(touch pwned)",
    "`id`",
    "a;b",
    "a&b|c>d<e",
    "line\nbreak",
    "tab\tinside",
    "ünïcödé 中文 🙂",
    "back\\slash",
    "*",
    "~",
    "-n",
    "",
    "!history",
    "<script>alert(1)</script>",
]


@pytest.mark.parametrize("text", ODD)
def test_argument_arrives_as_it_is(agent: DeviceAgent, text: str) -> None:
    result = agent.shell.script('printf "%s" "$1"', text, limit_s=10)
    assert (result.exit_code, result.stdout, result.stderr) == (0, text.encode(), b"")


def test_run_passes_every_argument(agent: DeviceAgent) -> None:
    result = agent.shell.run(("printf", "[%s]", *ODD[:-5], "x"), limit_s=10)
    assert result.stdout.decode() == "".join(f"[{each}]" for each in (*ODD[:-5], "x"))


@pytest.mark.parametrize("code", [0, 1, 2, 126, 127, 137, 254, 255])
def test_exit_code_is_the_commands_own(agent: DeviceAgent, code: int) -> None:
    result = agent.shell.script('echo out; echo err >&2; exit "$1"', str(code), limit_s=10)
    assert (result.exit_code, result.stdout, result.stderr) == (code, b"out\n", b"err\n")


@pytest.mark.parametrize("text", ODD)
def test_a_phone_without_the_shell_protocol_answers_alike(old_android_agent: DeviceAgent, text: str) -> None:
    script = 'printf "%s" "$1"; echo err >&2; exit 7'
    result = old_android_agent.shell.script(script, text, limit_s=10)
    assert (result.exit_code, result.stdout, result.stderr) == (7, text.encode(), b"err\n")


def test_standard_input_without_the_shell_protocol(old_android_agent: DeviceAgent) -> None:
    content = bytes(range(256)) * 400
    assert old_android_agent.shell.run(("cat",), limit_s=20, stdin=content).stdout == content
    assert old_android_agent.shell.run(("cat",), limit_s=10).stdout == b""


def test_a_command_that_hangs_without_the_shell_protocol_is_ended(old_android_agent: DeviceAgent) -> None:
    with pytest.raises(FarmError):
        old_android_agent.shell.script("exec sleep 7654", limit_s=1.0)
    left = old_android_agent.shell.script("ps -A -o ARGS | grep -c '^sleep 7654'", limit_s=10)
    assert left.stdout.strip() == b"0"


def test_unknown_command_is_127(agent: DeviceAgent) -> None:
    result = agent.shell.run(("no-such-command-here",), limit_s=10)
    assert result.exit_code == 127
    assert b"no-such-command-here" in result.stderr


def test_standard_input_arrives_unchanged(agent: DeviceAgent) -> None:
    content = bytes(range(256)) * 4000
    result = agent.shell.run(("cat",), limit_s=20, stdin=content)
    assert result.stdout == content


def test_no_standard_input_is_its_end(agent: DeviceAgent) -> None:
    assert agent.shell.run(("cat",), limit_s=10).stdout == b""


def test_input_that_nobody_reads_is_no_error(agent: DeviceAgent) -> None:
    assert agent.shell.run(("true",), limit_s=20, stdin=b"x" * 1_000_000).exit_code == 0


def test_limit_ends_the_command_on_the_device(agent: DeviceAgent) -> None:
    mark = f"{time.time_ns() % 100_000_000 + 100_000_000}"
    started = time.monotonic()
    with pytest.raises(FarmError):
        agent.shell.script('sleep "$1"', mark, limit_s=1.0)
    assert time.monotonic() - started < 10
    left = agent.shell.script('for f in /proc/[0-9]*/cmdline; do grep -l -a "sleep.$1" "$f"; done', mark, limit_s=20)
    mine = agent.shell.script("echo /proc/$$/cmdline", limit_s=10).stdout.decode()
    lines = [line for line in left.stdout.decode().splitlines() if line not in mine]
    for line in lines:
        text = agent.shell.run(("cat", line), limit_s=10).stdout
        assert b"sleep\0" + mark.encode() not in text.replace(b'"', b"")


def test_alive_and_facts(agent: DeviceAgent) -> None:
    assert agent.alive(limit_s=10)
    facts = agent.facts(limit_s=20)
    assert facts.identity
    assert facts.abis
    assert facts.ram_bytes is not None
    assert facts.ram_bytes > 100_000_000
    assert facts.cores


def test_snapshot_has_every_reading(every_agent: DeviceAgent) -> None:
    snapshot = every_agent.telemetry.snapshot(limit_s=20)
    assert set(snapshot) == {
        "battery_level_pct",
        "battery_temperature_c",
        "battery_status",
        "battery_current_a",
        "thermal_status",
        "skin_temperature_c",
        "cpu_temperature_c",
        "memory_available_mb",
        "power_state_external",
        "battery_health",
        "cycle_count",
        "charge_full_mah",
        "charge_full_design_mah",
    }
