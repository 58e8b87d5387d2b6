"""A job as text for a shell, and its end read back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from device_agents.base import JobSpec
from device_agents.posix.spec import Tools, by_hand, check, ending, request_bytes, spec_text, stamps_of, suspended
from harness.errors import ErrorClass, Permanent
from harness.model import HttpRequest, Measured, Unavailable

ODD = "a 'b' \"c\" $(d) `e` ;f\n\\g ü"


def job(**more: object) -> JobSpec:
    values: dict[str, object] = {"key": "k", "argv": ("printf", "%s|", ODD, ""), "env": {}, "cwd": "/", "limit_s": 9.0}
    values.update(more)
    return JobSpec(**values)  # type: ignore[arg-type]


def test_spec_is_data_for_the_shell() -> None:
    text = spec_text(job(env={"V": ODD}, argv=("sh", "-c", 'printf "%s|%s" "$V" "$1"', "x", ODD)), Tools(), "")
    done = subprocess.run(["sh", "-c", text + "runner"], capture_output=True, check=True)
    assert done.stdout.decode() == f"{ODD}|{ODD}"


def test_pinning_uses_a_hexadecimal_mask() -> None:
    assert "exec taskset c1 printf" in spec_text(job(cpus=(0, 6, 7)), Tools(), "")


@pytest.mark.parametrize(
    "bad",
    [
        {"key": "a/b"},
        {"env": {"A-B": "1"}},
        {"env": {"A;id": "1"}},
        {"argv": ()},
        {"argv": ("a\0b",)},
        {"http": HttpRequest(1, "/", 1.0, "/", b"", b"a\nb")},
        {"files": {"../x": b""}, "cwd": None},
        {"files": {".x": b""}, "cwd": None},
        {"files": {"": b""}, "cwd": None},
        {"files": {"x": b""}},
        {"cwd": None},
    ],
)
def test_what_cannot_be_run_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(Permanent):
        check(job(**bad), Tools())


def test_pinning_where_it_is_impossible_is_refused() -> None:
    with pytest.raises(Permanent) as raised:
        check(job(cpus=(0,)), Tools(taskset=()))
    assert raised.value.error_class is ErrorClass.WORKLOAD_UNSUPPORTED


def test_request_counts_bytes() -> None:
    body = '{"prompt":"ü"}'.encode()
    head, _, rest = request_bytes(HttpRequest(8080, "/h", 1.0, "/completion", body, b"x")).partition(b"\r\n\r\n")
    assert rest == body
    assert f"Content-Length: {len(body)}".encode() in head
    assert head.startswith(b"POST /completion HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n")


@pytest.mark.parametrize(
    ("code", "expected"),
    [("0", (0, None)), ("128", (128, None)), ("137", (None, 9)), ("143", (None, 15)), ("255", (255, None))],
)
def test_signal_of_an_exit_code(code: str, expected: tuple[int | None, int | None]) -> None:
    assert ending({"code": code, "ended_by": "exit"}) == (*expected, "exit")


def test_stamps_and_clocks() -> None:
    assert stamps_of("started=1.50\nended=x\nready=2\n") == {"started": 1.5, "ready": 2.0}
    begun = "started=100.00 cpu0,1000,0,500,8000,0,10,5,0 cpu1,900,0,0,9100,0,0,0,0\n"
    slept = suspended(begun + "ended=130.00 cpu0,2000,0,700,8100,0,10,5,0 cpu1,1000,0,0,9500,0,0,0,0\n")
    assert isinstance(slept, Measured)
    assert slept.value == pytest.approx(17.0), "the core that accounts for most was awake all the while"
    awake = suspended(begun + "ended=130.00 cpu0,3000,0,500,9000,0,10,5,0 cpu2,1,0,0,1,0,0,0,0\n")
    assert isinstance(awake, Measured)
    assert awake.value == 0.0, "a core may go, another may come"
    assert isinstance(suspended(begun + begun.replace("started=100", "ended=130")), Unavailable), "it does not count"
    assert isinstance(suspended("started=1.0 cpu0,x\nended=2.0 cpu0,1\n"), Unavailable)
    assert isinstance(suspended(""), Unavailable)


def test_by_hand_runs_as_it_is_printed() -> None:
    (command,) = by_hand(job(env={"V": ODD}, argv=("sh", "-c", 'printf %s "$V$1"', "x", ODD)), (), "taskset", "/f")
    assert subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout.decode() == ODD + ODD


def test_by_hand_over_adb_is_quoted_twice() -> None:
    echo = ("sh", "-c", 'shift 3; sh -c "$1"', "adb")
    (command,) = by_hand(job(), (*echo, "-s", "S 1", "shell"), "taskset", "/f")
    assert subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout.decode() == f"{ODD}||"
    server = job(http=HttpRequest(8080, "/h", 1.0, "/completion", b'{"a":"\'"}', b"x"))
    commands = by_hand(server, ("adb", "-s", "S", "shell"), "taskset", "/f")
    assert commands[1] == "adb -s S forward tcp:8080 tcp:8080"
    assert commands[2].startswith("curl -N ")


BYTES = bytes(range(256)) + b"-%s %d\\n 'q' \"$(x)\" `y` !! \xff"


@pytest.mark.parametrize("content", [BYTES, b"", b"-e", b"%", b'{"a":"\'"}', b"\\0101"])
def test_by_hand_writes_the_files_first(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "by 'hand' $(x)"
    read = job(argv=("cat", "a.json"), cwd=None, files={"a.json": content})
    device = ("sh", "-c", 'shift 3; sh -c "$1"', "adb", "-s", "S 1", "shell")
    for prefix in ((), device):
        commands = by_hand(read, prefix, "taskset", str(folder / str(len(prefix))))
        assert len(commands) == 2 and not any("\n" in command for command in commands)
        done = subprocess.run(["sh", "-c", "\n".join(commands)], capture_output=True, check=True)
        assert done.stdout == content


def test_a_command_that_was_never_started_has_no_exit_code() -> None:
    assert ending({"code": "", "ended_by": "stayed_powered"}) == (None, None, "stayed_powered")
