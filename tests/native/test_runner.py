"""What the runner does with a request, whatever the runtime behind it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from android_runner.runner_events import read

VOCABULARY = 97
PROMPT = [5, 9, 2]


class Runner:
    """The sanitized program with one script for its runtime."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.model = folder / "script.json"
        self.model.write_text(json.dumps({"vocabulary": VOCABULARY, "context": 64}))

    def request(self, workload: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        stream = {"kind": "stream", "prompt": PROMPT, "gen_tokens": 8}
        return {"contract": "1.0", "model": {"path": str(self.model)}, "workload": workload or stream, **more}

    def start(self, request: object) -> subprocess.Popen[bytes]:
        path = self.folder / "request.json"
        path.write_bytes(request if isinstance(request, bytes) else json.dumps(request).encode())
        # A leak at a sudden end is none; the sanitizers' own exit code must not look like ours.
        env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:exitcode=99", "UBSAN_OPTIONS": "exitcode=98"}
        return subprocess.Popen([self.program, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)

    def run(self, request: object, code: int = 0) -> list[dict[str, Any]]:
        process = self.start(request)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, (out.decode(), err.decode("utf-8", "replace"))
        return events_of(out)

    def failure(self, request: object) -> tuple[str, str]:
        """Class and message of the last event of a run that ends with exit code 1."""
        last = self.run(request, code=1)[-1]
        assert last["event"] == "error" and last["message"]
        return last["class"], last["message"]


def events_of(out: bytes) -> list[dict[str, Any]]:
    assert not out or out.endswith(b"\n")
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def runner(sanitized: Path, tmp_path: Path) -> Runner:
    return Runner(sanitized / "farm-runner", tmp_path)


def expected(prompts: Sequence[Sequence[int]], count: int) -> list[int]:
    """The tokens that the scripted runtime must choose when each token was taken once, in order."""
    state, found = 1, []
    for prompt in prompts:
        given = list(prompt)
        for _ in range(count):
            for token in given:
                state = (state * 6364136223846793005 + token) % 2**64
            found.append((state >> 33) % VOCABULARY)
            given = [found[-1]]
    return found


def ids(events: Sequence[Mapping[str, Any]]) -> list[int]:
    return [event["id"] for event in events if event["event"] == "token"]


def names(events: Sequence[Mapping[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


def test_a_stream_tells_everything_in_order(runner: Runner) -> None:
    events = runner.run(runner.request())
    assert names(events) == [
        *("start", "load_begin", "load_end", "memory", "turn", "prefill_begin", "prefill_end"),
        *["token"] * 8,
        *("own_times", "memory", "end"),
    ]
    times = [event["t"] for event in events]
    assert times == sorted(times)
    assert ids(events) == expected([PROMPT], 8)
    assert [event["index"] for event in events if event["event"] == "token"] == list(range(8))
    start = events[0]
    assert (start["contract"], start["runtime"], start["build"], start["pid"] > 1) == ("1.1", "scripted", "test", True)
    assert start["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert events[3]["vm_hwm_bytes"] >= events[3]["rss_anon_bytes"] > 0


def test_times_are_the_uptime_of_the_device(runner: Runner) -> None:
    before = float(Path("/proc/uptime").read_text().split()[0])
    events = runner.run(runner.request())
    after = float(Path("/proc/uptime").read_text().split()[0])
    assert before - 0.011 <= events[0]["t"] / 1e9 <= events[-1]["t"] / 1e9 <= after + 0.011


def test_a_conversation_keeps_what_was_said(runner: Runner) -> None:
    turns = [[5, 9], [7], [1, 2, 3]]
    events = runner.run(runner.request({"kind": "stream", "turns": turns, "gen_tokens": 4}))
    assert [event["index"] for event in events if event["event"] == "turn"] == [0, 1, 2]
    # The last token of a turn was chosen and never taken, so the next turn does not see it.
    assert ids(events) == expected(turns, 4)


def test_forced_tokens_are_the_prefix_of_each_step(runner: Runner) -> None:
    forced = [11, 12, 13]
    workload = {"kind": "stream", "prompt": PROMPT, "gen_tokens": 4, "forced": forced}
    events = runner.run(runner.request(workload))
    alone = [
        ids(runner.run(runner.request({"kind": "stream", "prompt": PROMPT + forced[:taken], "gen_tokens": 1})))[0]
        for taken in range(4)
    ]
    assert ids(events) == alone


def test_throughput_takes_prompt_and_tokens_apart(runner: Runner) -> None:
    workload = {"kind": "throughput", "prompt": PROMPT, "gen_tokens": 3, "repeats": 2}
    events = runner.run(runner.request(workload))
    turns = [event["what"] for event in events if event["event"] == "turn"]
    assert turns == ["prefill", "decode"] * 2
    assert ids(events) == expected([PROMPT[:1]], 3) * 2
    sizes = [event["tokens"] for event in events if event["event"] == "prefill_end"]
    assert sizes == [3, 1] * 2


@pytest.mark.parametrize("kind", ["sustained", "battery"])
def test_a_lasting_workload_repeats_its_request_until_its_time_is_over(runner: Runner, kind: str) -> None:
    workload = {"kind": kind, "prompt": PROMPT, "gen_tokens": 5, "seconds": 0.05}
    events = runner.run(runner.request(workload))
    turns = [event["t"] for event in events if event["event"] == "turn"]
    assert len(turns) >= 2 and turns[-1] - turns[0] <= 0.05e9
    assert ids(events)[:5] == ids(events)[5:10] == expected([PROMPT], 5)
    assert events[-1]["turns"] == len(turns) and events[-1]["t"] - turns[0] >= 0.05e9


def test_a_load_ends_with_the_model_ready(runner: Runner) -> None:
    events = runner.run(runner.request({"kind": "load"}))
    assert names(events) == ["start", "load_begin", "load_end", "memory", "memory", "end"]
    assert events[2]["vocabulary"] == VOCABULARY


def test_an_evicted_model_is_shown_to_be_out_of_the_page_cache(runner: Runner) -> None:
    runner.model.write_bytes(runner.model.read_bytes() + b" " * 1_000_000)
    kept = runner.run(runner.request())[1]
    assert (kept["cached_bytes"], kept["evicted"]) == (kept["model_bytes"], False)
    evicted = runner.run(runner.request(model={"path": str(runner.model), "page_cache": "evict"}))
    assert evicted[1]["cached_found_bytes"] == evicted[1]["model_bytes"] == runner.model.stat().st_size
    # A file system in memory has nowhere to put its pages.
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(runner.model)], capture_output=True, text=True, check=True)
    if kind.stdout.strip() not in ("tmpfs", "ramfs"):
        assert evicted[1]["cached_bytes"] == 0 < evicted[2]["cached_bytes"]


def test_the_end_token_ends_only_where_it_is_asked_for(runner: Runner) -> None:
    # The first prompt whose fourth token is the end token.
    prompt = next([n] for n in range(VOCABULARY) if 0 in expected([[n]], 12)[1:] and expected([[n]], 12)[0] != 0)
    chosen = expected([prompt], 12)
    workload = {"kind": "stream", "prompt": prompt, "gen_tokens": 12}
    assert ids(runner.run(runner.request(workload))) == chosen
    ended = ids(runner.run(runner.request({**workload, "ignore_eos": False})))
    assert ended == chosen[: chosen.index(0) + 1]


def test_a_drawn_token_is_the_same_for_the_same_seed(runner: Runner) -> None:
    def drawn(seed: int) -> list[int]:
        return ids(runner.run(runner.request(sampling={"temperature": 50.0, "seed": seed})))

    assert drawn(7) == drawn(7) != drawn(8)
    cold = ids(runner.run(runner.request(sampling={"temperature": 1e-3, "seed": 7})))
    assert cold == expected([PROMPT], 8)


def test_a_text_is_taken_where_the_runtime_has_a_tokenizer(runner: Runner) -> None:
    events = runner.run(runner.request({"kind": "stream", "text": "abc", "gen_tokens": 2}))
    assert ids(events) == expected([[each % VOCABULARY for each in b"abc"]], 2)


def test_unknown_fields_are_ignored_and_another_minor_version_is_taken(runner: Runner) -> None:
    request = runner.request() | {"contract": "1.93", "later": {"deep": [1]}}
    request["workload"] = {**request["workload"], "also": None}
    assert ids(runner.run(request)) == expected([PROMPT], 8)


STREAM = {"kind": "stream", "prompt": PROMPT, "gen_tokens": 8}
BAD_REQUESTS: list[tuple[str, object, str, str]] = [
    ("no JSON", b"{", "bad_request", "not JSON"),
    ("empty", b"", "bad_request", "not JSON"),
    ("no object", [], "bad_request", "object"),
    ("no version", {"contract": None}, "bad_request", "contract"),
    ("odd version", {"contract": "one"}, "bad_request", "contract"),
    ("another major version", {"contract": "2.0"}, "contract_unsupported", "2.0"),
    ("no model", {"model": {}}, "bad_request", "model.path"),
    ("zero byte", {"model": {"path": "a\0b"}}, "bad_request", "zero byte"),
    ("missing model", {"model": {"path": "/nowhere/model"}}, "model_missing", "/nowhere/model"),
    ("a folder", {"model": {"path": "/"}}, "model_invalid", "not a file"),
    ("broken model", {"model": {"path": "/proc/version"}}, "model_invalid", "script"),
    ("load mode", {"model": {"path": "m", "load_mode": "magic"}}, "bad_request", "mmap, read, mlock"),
    ("no kind", {"workload": {"prompt": [1]}}, "bad_request", "workload.kind"),
    ("kind", {"workload": {**STREAM, "kind": "dance"}}, "bad_request", "dance"),
    ("no prompt", {"workload": {"kind": "stream", "gen_tokens": 1}}, "bad_request", "prompt"),
    ("empty prompt", {"workload": {**STREAM, "prompt": []}}, "bad_request", "empty"),
    ("two prompts", {"workload": {**STREAM, "turns": [[1]]}}, "bad_request", "turns"),
    ("text and prompt", {"workload": {**STREAM, "text": "a"}}, "bad_request", "exactly one"),
    ("no number", {"workload": {**STREAM, "prompt": [1, "2"]}}, "bad_request", "token ids"),
    ("negative", {"workload": {**STREAM, "prompt": [-1]}}, "bad_request", "token ids"),
    ("other tokenizer", {"workload": {**STREAM, "prompt": [VOCABULARY]}}, "tokenizer_mismatch", "97"),
    ("no tokens", {"workload": {**STREAM, "gen_tokens": 0}}, "bad_request", "gen_tokens"),
    ("too many", {"workload": {**STREAM, "gen_tokens": 10**9}}, "bad_request", "gen_tokens"),
    ("forced too short", {"workload": {**STREAM, "forced": [1]}}, "bad_request", "forced"),
    ("no seconds", {"workload": {**STREAM, "kind": "sustained"}}, "bad_request", "seconds"),
    ("small context", {"context": 10}, "context_too_small", "11 tokens"),
    ("threads", {"threads": 0}, "bad_request", "threads"),
    ("half a thread", {"threads": 1.5}, "bad_request", "threads"),
    (
        "time",
        {"workload": {**STREAM, "kind": "battery", "seconds": 60}, "limits": {"seconds": 1e-6}},
        "timed_out",
        "limit",
    ),
    ("output", {"output": "/nowhere/events"}, "output_unwritable", "/nowhere/events"),
]


@pytest.mark.parametrize(
    ("change", "klass", "says"), [row[1:] for row in BAD_REQUESTS], ids=[r[0] for r in BAD_REQUESTS]
)
def test_bad_input_is_an_error_of_its_class(runner: Runner, change: object, klass: str, says: str) -> None:
    request = runner.request() | change if isinstance(change, dict) else change
    found, message = runner.failure(request)
    assert found == klass and says in message


@pytest.mark.parametrize(
    ("how", "klass"),
    [
        ("model_unsupported", "model_unsupported"),
        ("nan", "runtime_failed"),
        ("throw", "runtime_failed"),
        ("bad_alloc", "memory_refused"),
        ("fatal", "runtime_failed"),
    ],
)
@pytest.mark.parametrize("at", ["load", "take"])
def test_a_runtime_that_fails_gives_an_error_too(runner: Runner, how: str, klass: str, at: str) -> None:
    if (how, at) == ("nan", "load"):
        pytest.skip("a load gives no logits")
    runner.model.write_text(json.dumps({"vocabulary": VOCABULARY, "fail": {"at": at, "after": 3, "as": how}}))
    assert runner.failure(runner.request())[0] == klass


def test_a_request_that_cannot_be_read(runner: Runner) -> None:
    done = subprocess.run([runner.program, "/nowhere/request"], capture_output=True, check=False, timeout=60)
    assert done.returncode == 1 and events_of(done.stdout)[-1]["class"] == "bad_request"
    done = subprocess.run([runner.program], capture_output=True, check=False, timeout=60)
    assert done.returncode == 2 and b"usage" in done.stderr


def test_a_full_disk_ends_the_run_with_a_word(runner: Runner) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    process = runner.start(runner.request(output="/dev/full"))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b"") and b"output_unwritable" in err


def test_events_are_appended_to_a_file(runner: Runner) -> None:
    to = runner.folder / "events ü.jsonl"
    for _ in range(2):
        assert runner.run(runner.request(output=str(to))) == []
    assert names(events_of(to.read_bytes())).count("end") == 2


def test_capabilities_are_told_without_a_request(runner: Runner) -> None:
    done = subprocess.run([runner.program, "--capabilities"], capture_output=True, check=True, timeout=60)
    (event,) = events_of(done.stdout)
    assert (event["event"], event["contract"], event["runtime"]) == ("capabilities", "1.1", "scripted")


def test_standard_output_that_is_a_file_holds_the_events_alone(runner: Runner) -> None:
    path = runner.folder / "request.json"
    path.write_text(
        json.dumps(runner.request({"kind": "sustained", "prompt": PROMPT, "gen_tokens": 40, "seconds": 0.2}))
    )
    to = runner.folder / "stdout"
    with to.open("wb") as out:
        subprocess.run([runner.program, str(path)], stdout=out, stderr=subprocess.PIPE, check=True, timeout=60)
    written = to.read_bytes()
    events = events_of(written)
    assert (events[0]["event"], events[-1]["event"]) == ("start", "end")
    # More than is mapped at a time, and nothing after the last event.
    assert len(written) > 3 * 16384 and written.endswith(b"}\n")
    assert events[-1]["tokens"] == names(events).count("token")


def test_an_event_that_is_larger_than_what_is_mapped(runner: Runner) -> None:
    to = runner.folder / "events"
    name = "x" * 40_000
    runner.model.write_text(json.dumps({"vocabulary": VOCABULARY, "context": 64, "name": name}))
    runner.run(runner.request(output=str(to)))
    events = events_of(to.read_bytes())
    assert [event["model"] for event in events if event["event"] == "load_end"] == [name]
    assert events[-1]["event"] == "end"


@pytest.mark.parametrize("after", [1, 2, 3, 5, 7, 11, 30, 100, 300, 1000])
def test_what_a_killed_runner_leaves_in_a_file_is_whole(runner: Runner, after: int) -> None:
    to = runner.folder / "events"
    workload = {"kind": "sustained", "prompt": PROMPT, "gen_tokens": 20, "seconds": 60}
    process = runner.start(runner.request(workload, output=str(to)))
    until = time.monotonic() + 60
    while time.monotonic() < until and (not to.exists() or to.read_bytes().count(b"}\n") < after):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    *lines, rest = to.read_bytes().split(b"\n")
    # Only the last line may be torn; nothing but spaces follows it.
    assert len(lines) >= after and (not rest.strip() or rest.startswith(b'{"event"'))
    whole = [json.loads(line) for line in lines]
    assert whole[0]["event"] == "start"
    record = read(to.read_bytes())
    assert record.generated >= names(whole).count("token") and record.end is None and not record.wrong


@pytest.mark.parametrize("after", [1, 2, 3, 5, 7, 11, 30, 100, 300, 1000])
def test_what_a_killed_runner_leaves_is_whole(runner: Runner, after: int) -> None:
    to = runner.folder / "events"
    os.mkfifo(to)
    workload = {"kind": "sustained", "prompt": PROMPT, "gen_tokens": 20, "seconds": 60}
    process = runner.start(runner.request(workload, output=str(to)))
    with to.open("rb") as events:
        seen = [events.readline() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        seen += events.readlines()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert names(events_of(b"".join(seen)))[0] == "start" and len(seen) >= after
