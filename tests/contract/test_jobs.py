"""Jobs run detached, end by themselves or by the device's own limit, and leave nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from device_agents.android.telemetry import parse_sampled_meminfo
from device_agents.base import DeviceAgent, JobSpec, Sampling
from device_agents.local.agent import LocalAgent
from device_agents.virtual.adbserver import adb_binary
from harness.errors import Permanent
from harness.model import HttpRequest, Measured
from tests.contract.helpers import is_alive, marked_processes, run_job, spec, wait_done, wait_until

SERVERS = {
    # Listens after 0.3 s, refuses once with 503, then streams three events and keeps the connection open.
    "local": (
        "python3",
        "-c",
        """
import socket, sys, threading, time
time.sleep(0.3)
server = socket.socket(); server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(sys.argv[1]))); server.listen()
asked = 0
def serve(peer):
    global asked
    request = b""
    while b"\\r\\n\\r\\n" not in request: request += peer.recv(65536)
    if request.startswith(b"GET"):
        asked += 1
        status = b"503 Loading" if asked == 1 else b"200 OK"
        peer.sendall(b"HTTP/1.1 " + status + b"\\r\\n\\r\\n"); peer.close(); return
    head, _, body = request.partition(b"\\r\\n\\r\\n")
    length = int(head.lower().split(b"content-length:")[1].split()[0])
    while len(body) < length: body += peer.recv(65536)
    peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n\\r\\n")
    for index in range(3):
        time.sleep(0.05)
        peer.sendall(b'data: {"n":%d,"echo":%d}\\n\\n' % (index, len(body)))
    peer.sendall(b'data: {"stop":tr'); time.sleep(0.1); peer.sendall(b'ue}\\n\\n')
    time.sleep(60)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
""",
    ),
    # The same with toybox: one connection after the other, by a script that reads the request line.
    "android": (
        "sh",
        "-c",
        """
sleep 0.3
cat > answer.sh <<'END'
read -r line
length=0
while IFS= read -r head; do
  head=${head%?}
  case $head in '') break ;; [Cc]ontent-[Ll]ength:*) length=${head#*: } ;; esac
done
case $line in
GET*)
  status='503 Loading'
  [ -e asked ] && status='200 OK'
  : > asked
  printf 'HTTP/1.1 %s\\r\\n\\r\\n' "$status" ;;
*)
  got=$(head -c "$length" | wc -c)
  printf 'HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n\\r\\n'
  for n in 0 1 2; do sleep 0.05; printf 'data: {"n":%s,"echo":%s}\\n\\n' $n "$got"; done
  printf 'data: {"stop":tr'; sleep 0.1; printf 'ue}\\n\\n'
  sleep 60 ;;
esac
END
exec nc -L -s 127.0.0.1 -p "$1" sh answer.sh
""",
        "server",
    ),
}


def platform_of(agent: DeviceAgent) -> str:
    return "local" if isinstance(agent, LocalAgent) else "android"


def work_folder(agent: DeviceAgent, tmp_path: Path) -> str:
    if isinstance(agent, LocalAgent):
        return str(tmp_path)
    folder = "/data/local/tmp/farm/work"
    agent.shell.run(("mkdir", "-p", folder), limit_s=10)
    return folder


def server_spec(agent: DeviceAgent, tmp_path: Path, port: int, **more: object) -> JobSpec:
    body = json.dumps({"prompt": [1] * 2000, "note": "ü '\"$(x)"}).encode()
    http = HttpRequest(port, "/health", 10.0, "/completion", body, b'"stop":true')
    values: dict[str, object] = {"http": http, "limit_s": 30.0, "sampling": None}
    values.update(more)
    argv = (*SERVERS[platform_of(agent)], str(port))
    return JobSpec(key="server", argv=argv, env={}, cwd=work_folder(agent, tmp_path), **values)  # type: ignore[arg-type]


def free_port(agent: DeviceAgent) -> int:
    return 21000 + (id(agent) // 16) % 8000


def test_output_code_and_stamps_come_back(agent: DeviceAgent, tmp_path: Path) -> None:
    job = spec(
        "case.1_a-b", 'echo "$1"; echo err >&2; echo "$ODD"; pwd; exit 3', "a 'b' $(c)\nd", env={"ODD": "x;y $(z)\n'"}
    )
    output = run_job(agent, job, tmp_path / "out")
    assert output.files["stdout"].read_bytes() == b"a 'b' $(c)\nd\nx;y $(z)\n'\n/\n"
    assert output.files["stderr"].read_bytes() == b"err\n"
    assert (output.exit_code, output.signal, output.ended_by) == (3, None, "exit")
    assert 0 < output.stamps["started"] <= output.stamps["ended"]
    assert output.boot_id


def test_program_that_is_absent(agent: DeviceAgent, tmp_path: Path) -> None:
    job = JobSpec("absent", ("/no/such program",), {}, "/", 10.0, sampling=None)
    output = run_job(agent, job, tmp_path / "out")
    assert output.exit_code == 127
    assert b"/no/such program" in output.files["stderr"].read_bytes()


def test_folder_that_is_absent(agent: DeviceAgent, tmp_path: Path) -> None:
    assert run_job(agent, spec("nocwd", "true", cwd="/no/such/folder"), tmp_path / "out").exit_code == 126


def test_limit_ends_the_whole_group_on_the_device(agent: DeviceAgent, tmp_path: Path) -> None:
    job = spec("limit", "sleep 300 & echo $!; sleep 300", limit_s=1.0)
    output = run_job(agent, job, tmp_path / "out")
    assert output.ended_by == "limit"
    assert output.signal == signal.SIGTERM
    assert 0.8 < output.stamps["ended"] - output.stamps["started"] < 4
    assert not is_alive(agent, int(output.files["stdout"].read_bytes()))


def test_limit_ends_what_ignores_the_first_signal(agent: DeviceAgent, tmp_path: Path) -> None:
    job = spec("stubborn", "trap '' TERM; while :; do sleep 0.2; done", limit_s=0.6)
    output = run_job(agent, job, tmp_path / "out")
    assert (output.ended_by, output.signal) == ("limit", signal.SIGKILL)


def test_job_in_another_session_and_group_is_ended(agent: DeviceAgent) -> None:
    handle = agent.jobs.start(spec("escape", "setsid sh -c 'setsid sleep 301 & sleep 302' & sleep 303"), limit_s=20)
    assert wait_until(lambda: len(marked_processes(agent, handle.folder)) >= 6)
    agent.jobs.end(handle, limit_s=20)
    assert not marked_processes(agent, handle.folder)


def test_ending_one_job_leaves_the_one_whose_name_begins_alike(agent: DeviceAgent) -> None:
    short = agent.jobs.start(spec("job1", "sleep 300"), limit_s=20)
    long = agent.jobs.start(spec("job12", "sleep 300"), limit_s=20)
    agent.jobs.end(short, limit_s=20)
    assert agent.jobs.poll(long, limit_s=10).phase == "running"
    agent.jobs.end(long, limit_s=20)


def test_child_that_outlives_the_runner_is_ended(agent: DeviceAgent, tmp_path: Path) -> None:
    output = run_job(agent, spec("orphan", "sleep 300 & echo $!"), tmp_path / "out")
    assert not is_alive(agent, int(output.files["stdout"].read_bytes()))


def test_reap_ends_everything_of_farm_and_nothing_else(agent: DeviceAgent) -> None:
    first = agent.jobs.start(spec("one", "sleep 300"), limit_s=20)
    second = agent.jobs.start(spec("two", "setsid sleep 300 & sleep 300"), limit_s=20)
    agent.shell.script('rm -rf "$1"', second.folder, limit_s=10)
    other = agent.shell.script("sleep 300 > /dev/null 2>&1 < /dev/null & echo $!", limit_s=10).stdout.decode().strip()
    assert agent.jobs.reap(limit_s=20) == ("one", "two")
    assert not marked_processes(agent, first.folder)
    assert not marked_processes(agent, second.folder)
    assert is_alive(agent, int(other))
    assert agent.jobs.reap(limit_s=20) == ()
    agent.shell.run(("kill", other), limit_s=10)


def test_supervisor_that_dies_is_a_lost_job(agent: DeviceAgent) -> None:
    handle = agent.jobs.start(spec("lost", "sleep 300"), limit_s=20)
    pids = agent.shell.run(("cat", f"{handle.folder}/pid"), limit_s=10).stdout.split()
    agent.shell.run(("kill", "-KILL", pids[0].decode()), limit_s=10)
    state = wait_done(agent, handle)
    assert (state.phase, state.error_class is None) == ("lost", False)
    agent.jobs.end(handle, limit_s=20)
    assert not is_alive(agent, int(pids[2]))


def test_term_of_the_supervisor_is_a_cancel(agent: DeviceAgent, tmp_path: Path) -> None:
    handle = agent.jobs.start(spec("cancel", "sleep 300"), limit_s=20)
    pids = agent.shell.run(("cat", f"{handle.folder}/pid"), limit_s=10).stdout.split()
    agent.shell.run(("kill", "-TERM", pids[0].decode()), limit_s=10)
    assert wait_done(agent, handle).phase == "done"
    assert agent.jobs.collect(handle, tmp_path / "out", limit_s=10).ended_by == "cancel"


def test_cores_are_set_from_outside_and_seen(agent: DeviceAgent, tmp_path: Path) -> None:
    allowed = agent.facts(limit_s=20).cpus_allowed
    core = allowed[-1]
    output = run_job(agent, spec("cores", "sleep 1.5", cpus=(core,)), tmp_path / "out")
    assert output.placement["cpus_allowed"] == str(core)
    assert "cpuset" in output.placement
    assert output.exit_code == 0


def test_suspension_is_told(agent: DeviceAgent, tmp_path: Path) -> None:
    output = run_job(agent, spec("clocks", "sleep 0.3"), tmp_path / "out")
    assert isinstance(output.suspended_s, Measured)
    assert output.suspended_s.value == 0.0


def test_sampler_runs_beside_and_ends_with_the_job(agent: DeviceAgent, tmp_path: Path) -> None:
    job = spec("sampled", "sleep 1.5", sampling=Sampling())
    handle = agent.jobs.start(job, limit_s=20)
    live: list[object] = []

    def seen() -> bool:
        state = agent.jobs.poll(handle, limit_s=10)
        live.append(state.live)
        return state.phase == "done"

    assert wait_until(seen)
    assert any(live)
    output = agent.jobs.collect(handle, tmp_path / "out", limit_s=20)
    assert output.files["samples"].read_bytes().startswith(b"farm-samples")
    assert not marked_processes(agent, handle.folder)
    agent.jobs.end(handle, limit_s=20)


def test_driven_server_streams_on_the_device(agent: DeviceAgent, tmp_path: Path) -> None:
    job = server_spec(agent, tmp_path, free_port(agent))
    output = run_job(agent, job, tmp_path / "out")
    assert output.ended_by == "server_done", output.files["stderr"].read_bytes()
    assert job.http is not None
    stream = output.files["stream"].read_bytes()
    assert stream.count(b'"echo":%d' % len(job.http.body)) == 3
    assert b'{"stop":true}' in stream
    stamps = output.stamps
    assert stamps["started"] <= stamps["ready"] <= stamps["requested"] <= stamps["answered"] <= stamps["ended"]
    assert stamps["ended"] - stamps["answered"] < 5


def test_the_sampler_takes_its_last_look_while_a_server_lives(agent: DeviceAgent, tmp_path: Path) -> None:
    job = server_spec(agent, tmp_path, free_port(agent), sampling=Sampling())
    output = run_job(agent, job, tmp_path / "out")
    assert output.ended_by == "server_done", output.files["stderr"].read_bytes()
    stamps = output.stamps
    assert stamps["answered"] <= stamps["closing"] <= stamps["ended"]
    samples = output.files["samples"].read_bytes()
    assert samples.endswith(b" asked\n"), samples[-200:]
    memory = parse_sampled_meminfo(samples)["pss_mb"]
    # Only Android has dumpsys.
    assert isinstance(memory, Measured) is (platform_of(agent) == "android"), memory


def test_a_job_that_ends_by_itself_has_no_last_look(agent: DeviceAgent, tmp_path: Path) -> None:
    output = run_job(agent, spec("alone", "sleep 0.3", sampling=Sampling()), tmp_path / "out")
    assert "closing" not in output.stamps
    assert output.files["samples"].read_bytes().endswith(b" gone\n")


def repeated(job: JobSpec, **changes: object) -> JobSpec:
    assert job.http is not None
    return replace(job, http=replace(job.http, **changes))  # type: ignore[arg-type]


def test_request_is_repeated_until_its_time_is_over(agent: DeviceAgent, tmp_path: Path) -> None:
    """Though the server keeps every connection open."""
    job = repeated(server_spec(agent, tmp_path, free_port(agent)), repeat_for_s=1.2, shorten=r's/"echo":[0-9]+/"e":1/')
    output = run_job(agent, job, tmp_path / "out")
    assert output.ended_by == "server_done", output.files["stderr"].read_bytes()
    stream = output.files["stream"].read_bytes()
    asked = [float(at) for at in re.findall(rb"(?m)^: requested=(\S+)$", stream)]
    answered = [float(at) for at in re.findall(rb"(?m)^: answered=(\S+)$", stream)]
    assert len(asked) == len(answered) == stream.count(b'{"stop":true}') == stream.count(b"HTTP/1.1 200 OK") >= 2
    assert stream.count(b'"e":1') == 3 * len(asked) and b"echo" not in stream, "each answer was shortened"
    assert all(first < last for first, last in zip(asked, answered, strict=True))
    assert all(last <= first for last, first in zip(answered, asked[1:], strict=False))
    assert asked[-1] - asked[0] < 3.1, "no request begins when the time is over"
    assert answered[-1] - asked[0] >= 1.2
    stamps = output.stamps
    assert stamps["ready"] <= stamps["requested"] <= asked[0]
    assert stamps["answered"] == answered[-1] <= stamps["ended"]


def test_repeating_ends_with_an_answer_that_is_not_whole(agent: DeviceAgent, tmp_path: Path) -> None:
    job = repeated(server_spec(agent, tmp_path, free_port(agent), limit_s=6), repeat_for_s=20.0, stop_marker=b"never")
    output = run_job(agent, job, tmp_path / "out")
    assert output.ended_by == "limit"
    stream = output.files["stream"].read_bytes()
    assert stream.count(b": requested=") == 1 and b": answered=" not in stream
    assert b'{"stop":true}' in stream, "what came is kept"
    assert "answered" not in output.stamps


def test_server_that_never_gets_ready(agent: DeviceAgent, tmp_path: Path) -> None:
    job = spec("deaf", "sleep 300", http=HttpRequest(free_port(agent), "/health", 1.0, "/x", b"{}", b"stop"))
    output = run_job(agent, job, tmp_path / "out")
    assert output.ended_by == "not_ready"
    assert "ready" not in output.stamps


def test_server_that_dies_while_loading(agent: DeviceAgent, tmp_path: Path) -> None:
    job = spec(
        "dies", "sleep 0.2; echo bad >&2; exit 9", http=HttpRequest(free_port(agent), "/h", 9.0, "/x", b"{}", b"stop")
    )
    output = run_job(agent, job, tmp_path / "out")
    assert (output.exit_code, output.ended_by) == (9, "exit")


def test_server_stopped_by_its_limit(agent: DeviceAgent, tmp_path: Path) -> None:
    job = server_spec(agent, tmp_path, free_port(agent), limit_s=2.5)
    never = HttpRequest(job.http.port, "/health", 9.0, "/x", b"{}", b"never comes")  # type: ignore[union-attr]
    job = JobSpec("server", job.argv, {}, job.cwd, 2.5, http=never, sampling=None)
    assert run_job(agent, job, tmp_path / "out").ended_by == "limit"


ODD_BYTES = bytes(range(256)) + b"-%s %d\\n 'q' \"$(x)\" `y`\r\n\xff"
FILES = {"request.json": ODD_BYTES, "empty": b"", "a-b_c.1": b"x" * 200_000}


def test_files_of_a_job_are_where_it_starts(agent: DeviceAgent, tmp_path: Path) -> None:
    job = spec("files", 'cat "$1" && wc -c < a-b_c.1 && wc -c < empty && ls', "request.json", cwd=None, files=FILES)
    output = run_job(agent, job, tmp_path / "out")
    assert output.exit_code == 0
    said = output.files["stdout"].read_bytes()
    assert said.startswith(ODD_BYTES)
    assert said.removeprefix(ODD_BYTES).split() == [b"200000", b"0", b"a-b_c.1", b"empty", b"request.json"]
    handle = agent.jobs.find("files", limit_s=10)
    assert handle is None, "the files go with the job"


def test_a_job_that_is_there_keeps_its_files(agent: DeviceAgent, tmp_path: Path) -> None:
    first = spec("twice", "cat request.json", cwd=None, files={"request.json": b"first"})
    handle = agent.jobs.start(first, limit_s=20)
    with pytest.raises(Permanent, match="is there already"):
        agent.jobs.start(replace(first, files={"request.json": b"second"}), limit_s=20)
    assert wait_done(agent, handle).phase == "done"
    left = agent.shell.run(("cat", f"{handle.folder}/files/request.json"), limit_s=10).stdout
    assert left == agent.jobs.collect(handle, tmp_path / "out", limit_s=20).files["stdout"].read_bytes() == b"first"
    agent.jobs.end(handle, limit_s=20)
    assert agent.shell.run(("ls", handle.folder), limit_s=10).exit_code != 0


def test_files_and_a_driven_server_together(agent: DeviceAgent, tmp_path: Path) -> None:
    job = server_spec(agent, tmp_path, free_port(agent))
    given = replace(job, argv=("sh", "-c", 'cat request >&2; exec "$@"', "x", *job.argv), cwd=None)
    output = run_job(agent, replace(given, files={"request": b"of the command"}), tmp_path / "out")
    assert output.ended_by == "server_done"
    assert output.files["stderr"].read_bytes().startswith(b"of the command")
    assert b'"stop":true' in output.files["stream"].read_bytes()


def test_by_hand_repeats_a_command_with_files(
    agent: DeviceAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(adb_binary()).parent}:{os.environ['PATH']}")
    commands = agent.by_hand(spec("hand", 'cat "$1"', "request.json", cwd=None, files=FILES))
    script = tmp_path / "commands.sh"
    script.write_text("\n".join(commands))
    done = subprocess.run(["sh", script], capture_output=True, check=True, timeout=60)
    assert done.stdout == ODD_BYTES


def test_by_hand_repeats_the_command(agent: DeviceAgent) -> None:
    (command,) = agent.by_hand(spec("hand", 'echo "$1"', "a 'b' $(c)", env={"X": "y z"}))
    assert "echo" in command
    assert "X=" in command
