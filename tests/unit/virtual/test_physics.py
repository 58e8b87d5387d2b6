"""A frequency cap follows the temperature as a governor lets it."""

from __future__ import annotations

from device_agents.virtual.physics import HYSTERESIS_C, cap_for, next_cap
from device_agents.virtual.profiles import load


def test_a_cap_falls_at_once_and_rises_only_below_the_hysteresis() -> None:
    physics = load("pixel-8-pro").physics
    warm = physics.trip_c + physics.span_c / 2
    capped = next_cap(1.0, warm, physics)
    assert capped == cap_for(warm, physics) < 1.0
    assert next_cap(capped, warm - 0.9 * HYSTERESIS_C, physics) == capped
    assert capped < next_cap(capped, warm - 2 * HYSTERESIS_C, physics) < 1.0
    assert next_cap(capped, physics.trip_c - HYSTERESIS_C - 0.1, physics) == 1.0
