"""Who gets the lease of an iPhone: the decision on the file's text, made while its lock is held. Pure."""

from __future__ import annotations


def decide(verb: str, token: str, dead: str, seconds: int, text: str, *, now: float, found: str) -> str:
    """The text of the lease file after `verb` (see `device_agents.device_lease`).

    Args:
        now: seconds of the phone's clock.
        found: the file's text, "" where there is none: expiry, token and lease as JSON, a line each.
    """
    lines = found.splitlines()
    holder = lines[1] if len(lines) >= 3 else ""
    mine = f"{int(now) + seconds}\n{token}\n{text}\n"
    if verb == "acquire" and (holder in ("", token, dead) or _expiry(lines) <= int(now)):
        return mine
    if verb == "renew" and holder == token:
        return mine
    if verb == "release" and holder == token:
        return ""
    return found


def _expiry(lines: list[str]) -> int:
    """0 for what is no number: an unreadable lease is nobody's."""
    return int(lines[0]) if lines[0].isascii() and lines[0].isdigit() and len(lines[0]) < 15 else 0
