"""The word of a night to the outside: its summary to a webhook, and the ping by which a watcher knows that it ended."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import urlsplit, urlunsplit

from harness.analysis.nights_words import day, headline, plain, told
from harness.errors import FarmError, UsageError
from harness.model import Change, ChangeState, NightSummary, Webhook
from harness.nightly.delivery import REAL, Clock, Delivered, Request, deliver
from harness.nightly.outputs import to_json

SIGNATURE, TIMESTAMP = "X-Farm-Signature", "X-Farm-Timestamp"

PING_TOTAL_S = 60.0

_LINES = 8
"""Series that are named of each kind; the others are counted: a chat is no report."""
_KEY = 120

_CHAT = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "@\u200b", "`": "\u2019", "]": "]\u200b"}
"""Slack takes &, < and > for itself; the others would call people, link or format in Slack or Mattermost."""


def post(
    summary: NightSummary,
    url: str,
    secret: str = "",
    *,
    clock: Clock = REAL,
    wall: Callable[[], float] = time.time,
) -> Delivered:
    """Post a night to a webhook, as JSON with a "text" as Slack and Mattermost take it, and the whole "summary".

    With a secret every try is signed: X-Farm-Signature is "sha256=" and the HMAC-SHA256, in hexadecimal, of
    X-Farm-Timestamp (Unix seconds), "." and the body.

    Raises:
        UsageError: the address is none. Transient, Permanent: see `deliver`.
    """
    body = json.dumps({"text": chat_text(summary), "summary": to_json(summary)}, allow_nan=False).encode()

    def headers() -> Mapping[str, str]:
        return {"Content-Type": "application/json", **(signed(secret, int(wall()), body) if secret else {})}

    return deliver(Request("POST", url, body, headers), clock=clock)


def signed(secret: str, at: int, body: bytes) -> Mapping[str, str]:
    """The headers that let a receiver verify a post. Args: at: Unix seconds."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {TIMESTAMP: str(at), SIGNATURE: f"sha256={digest}"}


def secret_of(webhook: Webhook | None, environment: Mapping[str, str]) -> str:
    """What posts are signed with, "" where the inventory names none. Raises UsageError when its variable is not set."""
    if webhook is None or webhook.secret_env is None:
        return ""
    secret = environment.get(webhook.secret_env, "")
    if not secret:
        raise UsageError(
            f"nightly.webhook.secret_env names the variable {webhook.secret_env}, which is not set; nothing was posted"
        )
    return secret


def ping(url: str, ok: bool, *, clock: Clock = REAL) -> str:
    """Tell the watcher that a night has ended: GET of its address, with "/fail" behind it when the night failed.

    That is the convention of healthchecks.io. Returns why it did not arrive, "" when it did: a note of the night.
    """
    try:
        address = url if ok else _failing(url)
        deliver(Request("GET", address), total_s=PING_TOTAL_S, clock=clock)
    except (FarmError, UsageError, ValueError) as error:
        return f"the ping at the end of the night did not arrive: {error}"
    return ""


def _failing(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/fail"))


# --- the text ---------------------------------------------------------------------------------------------------------


def chat_text(summary: NightSummary) -> str:
    """The night in a few lines for a chat, in which no name can call anybody."""
    lines = [_chat(headline(summary), 1000)]
    lines += _listed("regression", summary, summary.regressions)
    lines += _listed("suspect", summary, summary.of(ChangeState.SUSPECT))
    found = [one for one in summary.bisections if one.first_bad]
    lines += [f"• first bad build of {_code(one.series)}: {_code(one.first_bad)}" for one in found[:_LINES]]
    return "\n".join(lines)


def _listed(word: str, summary: NightSummary, changes: Sequence[Change]) -> Iterable[str]:
    for change in changes[:_LINES]:
        since = f", since {day(change.since)}" if change.since else ""
        build = f", build {_code(summary.build_name(change.bad_build))}" if change.bad_build else ""
        yield f"• {word}: {_code(change.series.key)} {told(change)}{since}{build}"
    if len(changes) > _LINES:
        yield f"• and {len(changes) - _LINES} more"


def _code(name: str) -> str:
    return f"`{_chat(name, _KEY)}`"


def _chat(text: str, most: int) -> str:
    return "".join(_CHAT.get(letter, letter) for letter in plain(text, most))
