"""A virtual iPhone with a small app that speaks the runner contract, for the tests of its agent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from device_agents.base import JobSpec, Sampling
from harness.artifacts.hashing import sha256_of
from harness.model import Artifact, ArtifactFile
from tests.lab.iphone_lab import package

BUNDLE = "org.farmbench.runner"

# Does what "steps" of its request say, in order, each told as an event; checks files as the contract has it; tells how
# the device is; ends when it is sent to the background.
_APP = """#!{python} -S
import hashlib, json, os, signal, sys, threading, time
lock = threading.Lock()
request = json.load(open(sys.argv[1]))
out = open(request["output"], "ab", 0)
def emit(event, **more):
    with lock:
        line = dict(event=event, t=time.clock_gettime_ns(time.CLOCK_BOOTTIME), **more)
        out.write(json.dumps(line).encode() + b"\\n")
def fail(name, message):
    print("farm-runner: %s: %s" % (name, message), file=sys.stderr, flush=True)
    emit("error", message=message, **dict([("class", name)]))
    os._exit(1)
def state():
    with open(os.environ["FARM_DEVICE_STATE"]) as file:
        return json.load(file)
def watch():
    while True:
        if state().get("frontmost") is False:
            fail("not_frontmost", "the app was sent to the background")
        time.sleep(0.05)
emit("start", contract="1.1", pid=os.getpid())
emit("device", **state())
threading.Thread(target=watch, daemon=True).start()
check = request.get("check")
if check:
    digest, size = hashlib.sha256(), 0
    with open(check["path"], "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    if (size, digest.hexdigest()) != (check["bytes"], check["sha256"]):
        fail("model_invalid", "%s has %d bytes and sha256 %s" % (check["path"], size, digest.hexdigest()))
    emit("checked", bytes=size, sha256=digest.hexdigest())
for step in request.get("steps", ()):
    if "print" in step:
        print(step["print"], flush=True)
    if "sleep" in step:
        time.sleep(step["sleep"])
    if "error" in step:
        fail(*step["error"])
    if "signal" in step:
        os.kill(os.getpid(), step["signal"])
    if "exit" in step:
        os._exit(step["exit"])
    if "hold" in step:
        held = bytearray(os.urandom(1 << 20) * (step["hold"] >> 20))
    if "print_environment" in step:
        print(os.environ.get(step["print_environment"]), flush=True)
    emit("step", of=step)
emit("end")
"""

_OTHER_APP = "#!{python} -S\nimport time\ntime.sleep(60)\n"


def app(path: Path, *, version: str = "1", bundle: str = BUNDLE, other: bool = False, **info: Any) -> Artifact:
    """A runner artifact: an .ipa with that app, or with one that is none of farm's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    package(path, bundle=bundle, version=version, program=_OTHER_APP if other else _APP, **info)
    digest = sha256_of(path, path.parent / "hashes")
    return Artifact("runner", digest, (ArtifactFile(path.name, str(path), path.stat().st_size, digest),))


def spec(key: str, *steps: dict[str, Any], limit_s: float = 20.0, **more: object) -> JobSpec:
    """A job whose app does these steps."""
    request = {"contract": "1.1", "model": {"path": "farm/models/none.gguf"}, "output": "-", "steps": list(steps)}
    job = JobSpec(
        key=key,
        argv=(f"{BUNDLE}/FarmRunner", "request.json"),
        env={"LD_LIBRARY_PATH": BUNDLE},
        cwd=None,
        limit_s=limit_s,
        sampling=None,
        files={"request.json": json.dumps(request).encode()},
    )
    return replace(job, **more)  # type: ignore[arg-type]


SAMPLED = Sampling()
