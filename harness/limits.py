"""How long each step of a case may take: limits that end a hang, far above what honest work needs."""

from __future__ import annotations

from android_runner.base import length_s
from harness.model import MEGABYTE, Artifact, Workload

SHELL_S = 20.0
"""One small command on a device; a healthy phone answers in milliseconds, a waking one in seconds."""

COLLECT_S = 120.0
"""Fetching the output of a job: a few MB of samples over USB 2."""

SLOWEST_LINK = 4 * MEGABYTE
"""Bytes/s below which a push is hopeless (USB 2 on a phone that also hashes gives 30 MB/s)."""

SLOWEST_FLASH = 20 * MEGABYTE
"""Bytes/s of a model load from the slowest flash worth measuring."""

SLOWEST_PREFILL_TPS = 2.0
SLOWEST_DECODE_TPS = 0.5
"""Tokens/s below which a phone is hung for our purpose: ten times slower than any tier's target."""


def deploy_limit_s(artifact: Artifact) -> float:
    """Seconds for the deploy of an artifact, hash check included."""
    return 60.0 + artifact.size / SLOWEST_LINK


def run_limit_s(workload: Workload, model: Artifact) -> float:
    """Seconds for one run of a workload, load included. What lasts for a time may end late by one request."""
    return (
        60.0
        + length_s(workload)
        + model.size / SLOWEST_FLASH
        + workload.prompt_tokens / SLOWEST_PREFILL_TPS
        + workload.gen_tokens / SLOWEST_DECODE_TPS
    )


BOOT_TOLERANCE_S = 60.0
"""Two readings of the moment of a boot differ by the host clock's corrections; no phone boots twice in a minute."""

RECOVERY_S = 120.0
"""One rung of the recovery ladder; a reboot is the slowest."""
