"""The samples of any device as traces: by whom they were made stands in their first line."""

from __future__ import annotations

from device_agents.android.telemetry.samples import parse_samples as parse_of_sampler
from device_agents.ios import samples as ios
from harness.model import Trace


def parse_samples(data: bytes) -> tuple[Trace, ...]:
    """The channels of a samples file, ordered by name."""
    return ios.parse_samples(data) if ios.is_ios(data) else parse_of_sampler(data)
