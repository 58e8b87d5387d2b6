"""What is posted of a night, its signature, the ping, and the command."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main
from harness.errors import UsageError
from harness.leases import identity_of_this_process
from harness.model import BuildFound, ChangeState, NightRecord, RunStatus, Webhook
from harness.nightly import notify
from harness.nightly.delivery import Clock
from harness.store import Store
from tests.unit.nightly.receiver import Receiver
from tests.unit.nightly.summaries import HOSTILE, change, full, series, summary

NOW = 1_795_413_130
AT_ONCE = Clock(now=lambda: 0.0, wait=lambda _seconds: None)
DOCS = Path(__file__).parents[3] / "docs" / "nightly.md"


def body_of(receiver: Receiver) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(receiver.got[-1][3])
    return found


def test_a_post_holds_a_line_for_a_chat_and_the_whole_night(receiver: Receiver) -> None:
    done = notify.post(summary(), receiver.url)
    said = body_of(receiver)
    assert done.attempts == 1
    assert said["text"].splitlines()[0].startswith("Night of 21 Nov, ended ")
    assert "• regression: `flagship/llama-1b/llama.cpp/chat/decode_tps` 10.5 % worse" in said["text"]
    assert "since 12 Nov, build `b9001`" in said["text"]
    assert said["summary"]["measured"] == 412 and said["summary"]["changes"][0]["state"] == "regression"
    headers = receiver.got[-1][2]
    assert headers["Content-Type"] == "application/json" and notify.SIGNATURE not in headers


def test_a_signed_post_is_genuine_by_the_receiver_of_the_documentation(receiver: Receiver) -> None:
    receiver.answers = [(500, {}), (200, {})]
    times = iter((NOW, NOW + 60))
    notify.post(summary(), receiver.url, "s3cret ü", clock=AT_ONCE, wall=lambda: float(next(times)))
    (snippet,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    scope: dict[str, Any] = {}
    exec(snippet, scope)
    for (_, _, headers, body), at in zip(receiver.got, (NOW, NOW + 60), strict=True):
        assert headers[notify.TIMESTAMP] == str(at), "every try has its own time"
        assert scope["is_genuine"]("s3cret ü", str(at), headers[notify.SIGNATURE], body)
        assert not scope["is_genuine"]("other", str(at), headers[notify.SIGNATURE], body)
        assert not scope["is_genuine"]("s3cret ü", str(at + 1), headers[notify.SIGNATURE], body)
        assert not scope["is_genuine"]("s3cret ü", str(at), headers[notify.SIGNATURE], body + b" ")


def test_the_signature_is_what_it_says() -> None:
    expected = hmac.new(b"key", b"7.body", hashlib.sha256).hexdigest()
    assert notify.signed("key", 7, b"body") == {"X-Farm-Timestamp": "7", "X-Farm-Signature": f"sha256={expected}"}


def test_no_name_calls_anybody_in_a_chat(receiver: Receiver) -> None:
    notify.post(full(HOSTILE), receiver.url)
    text = body_of(receiver)["text"]
    assert not re.search(r"[<>]", text) and "&lt;!channel&gt;" in text
    assert not re.search(r"@\w", text) and not re.search(r"\]\(", text)
    assert all(line.count("`") % 2 == 0 for line in text.splitlines())
    assert "\x00" not in text and "\x1b" not in text


def test_many_changes_are_counted_in_a_chat() -> None:
    text = notify.chat_text(summary(changes=tuple(change(series=series(f"m{number}")) for number in range(30))))
    assert "• and 22 more" in text and len(text) < 4000


def test_the_first_bad_build_is_named_once_it_is_known() -> None:
    key = series().key
    found = BuildFound(key, "llama.cpp", "b9001", "b9000", (), 0.93, "")
    open_ = BuildFound(key, "llama.cpp", "", "b9000", (), None, "")
    text = notify.chat_text(summary(bisections=(found, open_)))
    assert text.count("first bad build") == 1 and "`b9001`" in text


def test_the_secret_comes_from_the_environment_alone() -> None:
    assert notify.secret_of(None, {"S": "x"}) == notify.secret_of(Webhook("http://h/"), {"S": "x"}) == ""
    assert notify.secret_of(Webhook("http://h/", "S"), {"S": "x"}) == "x"
    for environment in ({}, {"S": ""}):
        with pytest.raises(UsageError, match="the variable S, which is not set"):
            notify.secret_of(Webhook("http://h/", "S"), environment)


# --- the ping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "ok", "asked"),
    [
        ("/uuid", True, "/uuid"),
        ("/uuid", False, "/uuid/fail"),
        ("/uuid/?rid=1", False, "/uuid/fail?rid=1"),
        ("", False, "/fail"),
    ],
)
def test_the_end_of_a_night_is_pinged(receiver: Receiver, path: str, ok: bool, asked: str) -> None:
    assert notify.ping(f"{receiver.url}{path}", ok) == ""
    assert [(method, got) for method, got, _, _ in receiver.got] == [("GET", asked or "/")]


@pytest.mark.parametrize("url", ["nothing", "http://[x/uuid", "http://127.0.0.1:1/s3cret"])
def test_a_ping_that_does_not_arrive_is_a_note(receiver: Receiver, url: str) -> None:
    ticks = iter(range(0, 10_000, 50))
    said = notify.ping(url, ok=False, clock=Clock(now=lambda: float(next(ticks)), wait=lambda _seconds: None))
    assert said.startswith("the ping at the end of the night did not arrive: ") and "s3cret" not in said


# --- the command ------------------------------------------------------------------------------------------------------


class Lab:
    """An inventory and a database in a folder, and the command over them."""

    def __init__(self, folder: Path) -> None:
        self.inventory = folder / "inventory.yaml"
        self.url = f"sqlite:///{folder / 'farm.db'}"
        self.write("")

    def write(self, nightly: str) -> None:
        self.inventory.write_text(f"version: 1\nlab: {{name: lab}}\n{nightly}", encoding="utf-8")

    def night(self, date: str, status: RunStatus = RunStatus.FINISHED, *, told: bool = True) -> None:
        me = identity_of_this_process()
        record = NightRecord(date, "lab", 1.0, status, host=me.host, pid=me.pid, pid_started=me.pid_started)
        with Store.open(self.url) as store:
            store.nights.begin(record)
            if status is not RunStatus.RUNNING:
                store.nights.end("lab", date, status, 2.0, summary(night=date) if told else None)

    def farm(self, *argv: str) -> int:
        try:
            main(["--inventory", str(self.inventory), "--db", self.url, *argv])
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            return ended.code
        return 0


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.delenv("FARM_WEBHOOK_URL", raising=False)
    monkeypatch.delenv("SECRET_OF_THE_TEST", raising=False)
    return Lab(tmp_path)


def test_the_newest_night_goes_to_the_webhook_of_the_inventory(
    lab: Lab, receiver: Receiver, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.night("2026-11-20")
    lab.night("2026-11-21")
    lab.write(f"nightly: {{webhook: {{url: '{receiver.url}/T0/s3cret', secret_env: SECRET_OF_THE_TEST}}}}\n")
    assert lab.farm("notify") == 2
    assert "SECRET_OF_THE_TEST, which is not set" in capsys.readouterr().err and not receiver.got
    monkeypatch.setenv("SECRET_OF_THE_TEST", "k3y")
    assert lab.farm("notify") == 0
    said = capsys.readouterr()
    assert said.out == f"posted the night of 2026-11-21 to {receiver.url.removeprefix('http://')}\n"
    assert body_of(receiver)["summary"]["night"] == "2026-11-21"
    assert receiver.got[-1][2][notify.SIGNATURE].startswith("sha256=")
    assert lab.farm("--json", "notify", "--night", "2026-11-20") == 0
    assert json.loads(capsys.readouterr().out)["night"] == body_of(receiver)["summary"]["night"] == "2026-11-20"
    assert b"k3y" not in b"".join(body for *_, body in receiver.got)


def test_another_address_wins(lab: Lab, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.night("2026-11-21")
    lab.write("nightly: {webhook: {url: 'http://127.0.0.1:1/'}}\n")
    monkeypatch.setenv("FARM_WEBHOOK_URL", f"{receiver.url}/environment")
    assert lab.farm("notify") == 0
    assert lab.farm("notify", "--url", f"{receiver.url}/option") == 0
    assert [path for _, path, _, _ in receiver.got] == ["/environment", "/option"]


def test_a_refused_post_is_an_error_without_the_address(
    lab: Lab, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.night("2026-11-21")
    receiver.answers = [(404, {})]
    assert lab.farm("notify", "--url", f"{receiver.url}/T0/s3cret") == 1
    said = capsys.readouterr()
    assert "answers 404 Not Found" in said.err and "what to do" in said.err
    assert "s3cret" not in said.out + said.err


def test_what_cannot_be_posted_is_said(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert lab.farm("notify") == 2
    assert "no webhook" in capsys.readouterr().err
    here = ("notify", "--url", "http://127.0.0.1:1/")
    assert lab.farm(*here) == 2
    assert "no results yet" in capsys.readouterr().err
    lab.night("2026-11-19", RunStatus.INTERRUPTED, told=False)
    assert lab.farm(*here) == 2
    assert "2026-11-19 has no summary: it was interrupted" in capsys.readouterr().err
    lab.night("2026-11-20", RunStatus.RUNNING)
    assert lab.farm(*here) == 2
    assert "2026-11-20 has no summary: it is not over yet" in capsys.readouterr().err
    assert lab.farm(*here, "--night", "2026-01-01") == 2
    assert "there is no night '2026-01-01' (newest: 2026-11-20, 2026-11-19)" in capsys.readouterr().err
    assert lab.farm("notify", "--url", "hooks.example.org", "--night", "2026-11-20") == 2


def test_a_lab_without_a_night(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    Store.open(lab.url).close()
    assert lab.farm("notify", "--url", "http://127.0.0.1:1/") == 2
    assert "there was no night of lab yet" in capsys.readouterr().err


def test_states_that_are_no_alarm_are_not_in_the_chat() -> None:
    text = notify.chat_text(summary(changes=(change(ChangeState.CLEARED), change(ChangeState.ACKNOWLEDGED)), hands=()))
    assert len(text.splitlines()) == 1
