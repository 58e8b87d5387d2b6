"""One HTTP request that has to arrive: tried again where that may help, within a time in all.

An address may be a secret itself (whoever knows that of a chat's webhook can post there), and so may what a server
answers about it: errors name the host only.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from harness.errors import ErrorClass, Permanent, Transient, UsageError

ATTEMPT_S = 10.0
"""Limit of one try, from the connection to the answer's head."""
TOTAL_S = 120.0
FIRST_WAIT_S, MOST_WAIT_S = 1.0, 30.0
"""Pauses between tries double from the first to the longest, each up to half shorter by chance."""
RETRY_AFTER_MAX_S = 60.0
"""A server that asks for a longer pause is not waited for."""

_REDIRECTS = 3
_AGENT = "farm"


@dataclass(frozen=True, slots=True)
class Request:
    """Args: headers: made anew for each try, since a signature may hold a time."""

    method: Literal["GET", "POST"]
    url: str
    body: bytes = b""
    headers: Callable[[], Mapping[str, str]] = dict


@dataclass(frozen=True, slots=True)
class Delivered:
    """Args: host: that took it. status: of its answer. attempts: that it took, from 1."""

    host: str
    status: int
    attempts: int


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as a delivery sees it. Args: now: seconds. wait: let so many pass. chance: a number from 0 to 1."""

    now: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = _pause
    chance: Callable[[], float] = random.random


REAL = Clock()


class _AgainError(Exception):
    """It did not arrive, and may when it is tried again. Args: after_s: the pause that the server asks for, 0: none."""

    def __init__(self, text: str, after_s: float = 0.0) -> None:
        super().__init__(text)
        self.after_s = after_s


def deliver(
    request: Request, *, total_s: float = TOTAL_S, attempt_s: float = ATTEMPT_S, clock: Clock = REAL
) -> Delivered:
    """Send a request until it is answered with success.

    Tried again after a broken connection, 429 (with the pause it asks for) and 5xx. Proxies and certificates of the
    environment are used (HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE).

    Args:
        total_s: of all tries and pauses. attempt_s: of one try.

    Raises:
        UsageError: the address is none. Transient: tried in vain. Permanent: refused; trying again does not help.
    """
    host = host_of(request.url)
    deadline = clock.now() + total_s
    attempt = 0
    while True:
        attempt += 1
        try:
            return Delivered(host, _bounded(request, min(attempt_s, deadline - clock.now())), attempt)
        except _AgainError as again:
            pause = max(_pause_s(attempt, clock), again.after_s)
            if pause > RETRY_AFTER_MAX_S or clock.now() + pause >= deadline:
                raise _given_up(host, again, attempt) from None
        clock.wait(pause)


def host_of(url: str) -> str:
    """Host and port of an http or https address: what may be told of it. Raises UsageError when it is none."""
    parts = _parts(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("the address to send to is none: expected https://HOST/… or http://HOST/…")
    return parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"


def _parts(url: str) -> SplitResult | None:
    """None where the text cannot be an address; its port is checked as well."""
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port else None
    except ValueError:
        return None


def _pause_s(attempt: int, clock: Clock) -> float:
    whole = min(FIRST_WAIT_S * 2.0 ** (attempt - 1), MOST_WAIT_S)
    return whole / 2 * (1 + clock.chance())


def _given_up(host: str, last: _AgainError, attempts: int) -> Transient:
    tries = "1 try" if attempts == 1 else f"{attempts} tries"
    asked = f", and asks to wait {last.after_s:.0f} s" if last.after_s else ""
    return Transient(
        f"{host}: {last}{asked}; given up after {tries}",
        error_class=ErrorClass.DELIVERY_FAILED,
        advice="check the address and the network; `farm notify` posts a night again",
    )


def _refused(text: str, advice: str) -> Permanent:
    return Permanent(text, error_class=ErrorClass.DELIVERY_FAILED, advice=advice)


# --- one try ----------------------------------------------------------------------------------------------------------


def _bounded(request: Request, limit_s: float) -> int:
    """Status of a success. In a thread: the library's own time-out begins anew with every byte of a slow answer.

    Raises:
        _AgainError, Permanent: see `_sent`.
    """
    ended: list[int | _AgainError | Permanent] = []

    def act() -> None:
        try:
            ended.append(_sent(request, limit_s))
        except (_AgainError, Permanent) as error:
            ended.append(error)

    thread = threading.Thread(target=act, name="delivery", daemon=True)
    thread.start()
    thread.join(limit_s)
    if not ended:
        raise _AgainError(f"no answer within {limit_s:.3g} s")
    if isinstance(ended[0], int):
        return ended[0]
    raise ended[0]


def _sent(request: Request, limit_s: float) -> int:
    """One try, with the redirects that stay on the host.

    Raises:
        _AgainError: it may work later. Permanent: it will not.
    """
    url = request.url
    try:
        with requests.Session() as session:
            for _ in range(_REDIRECTS + 1):
                with session.request(
                    request.method,
                    url,
                    data=request.body or None,
                    headers={"User-Agent": _AGENT, **request.headers()},
                    timeout=limit_s,
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    if not answer.is_redirect:
                        return _accepted(answer, host_of(url))
                    url = _next(request.method, url, answer)
    except requests.RequestException as error:
        # Without the cause: its text holds the whole address.
        raise _explained(error, host_of(url), limit_s) from None
    except ValueError:
        raise _refused(f"{host_of(url)} redirects to what is no address", "correct the address") from None
    raise _refused(f"{host_of(url)} redirects again and again", "correct the address")


def _accepted(answer: requests.Response, host: str) -> int:
    status = answer.status_code
    if 200 <= status < 300:
        return status
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
        raise _AgainError(f"it answers {_named(status)}", _retry_after(answer))
    raise _refused(f"{host} answers {_named(status)}", "is the address right, and still in use?")


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _retry_after(answer: requests.Response) -> float:
    """Seconds that the answer asks to wait, 0 where it does not say."""
    said = answer.headers.get("Retry-After")
    if said is None:
        return 0.0
    try:
        return float(Retry().parse_retry_after(said))
    except InvalidHeader:
        return 0.0


def _next(method: str, url: str, answer: requests.Response) -> str:
    """Where a redirect leads. Raises Permanent when it is another host, or would make a GET of a POST."""
    host, advice = host_of(url), "name the address that it leads to"
    if method == "POST" and answer.status_code not in (307, 308):
        raise _refused(f"{host} redirects with {answer.status_code}, by which what is posted would be lost", advice)
    target = urljoin(url, answer.headers["Location"])
    old, new = urlsplit(url), _parts(target)
    if new is None or old.hostname != new.hostname or not _is_same_way(old, new):
        raise _refused(f"{host} redirects to another host, which is not followed", advice)
    return target


def _is_same_way(old: SplitResult, new: SplitResult) -> bool:
    """Whether both are one service of a host, or the second is the safe way to the first."""
    return (old.scheme, old.port) == (new.scheme, new.port) or (old.scheme, new.scheme) == ("http", "https")


def _explained(error: requests.RequestException, host: str, limit_s: float) -> _AgainError | Permanent:
    """What the library says, without the address that its own text holds."""
    if isinstance(error, requests.exceptions.SSLError) and "certificate" in str(error).lower():
        return _refused(
            f"{host}: its certificate is not trusted",
            "check the address; REQUESTS_CA_BUNDLE names a file with a certificate authority of your own",
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return _AgainError(f"the proxy of the environment failed{_cause(error)}")
    if isinstance(error, requests.Timeout):
        return _AgainError(f"no answer within {limit_s:.3g} s")
    if isinstance(error, requests.ConnectionError):
        return _AgainError(f"the connection failed{_cause(error)}")
    return _refused(f"{host}: the request cannot be sent ({type(error).__name__})", "correct the address")


def _cause(error: BaseException | None) -> str:
    """The system's own word on a failed connection, ": Connection refused"; "" where there is none."""
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return f": {error.strerror}"
        error = error.__cause__ or error.__context__
    return ""
