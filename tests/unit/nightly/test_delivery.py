"""A request that has to arrive, against a real server on loopback; nobody waits: time is the test's own."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.errors import ErrorClass, FarmError, Permanent, Transient, UsageError
from harness.nightly import delivery
from harness.nightly.delivery import Clock, Delivered, Request, deliver
from tests.unit.nightly.receiver import Receiver, receiving

SECRET = "T0/B0/s3cret"


@dataclass
class Time:
    """A clock that only its waits move."""

    at: float = 0.0
    waits: list[float] = field(default_factory=list)
    chance: float = 1.0

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.at += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.at, self.wait, lambda: self.chance)


def post(url: str, time: Time | None = None, **limits: float) -> Delivered:
    return deliver(Request("POST", url, b"{}"), clock=(time or Time()).clock, **limits)


def error_of(url: str, time: Time | None = None, **limits: float) -> FarmError:
    with pytest.raises(FarmError) as raised:
        post(url, time, **limits)
    error = raised.value
    assert error.error_class is ErrorClass.DELIVERY_FAILED and error.advice
    assert SECRET not in f"{error.message}{error.advice}" and error.__cause__ is None
    return error


def test_it_arrives(receiver: Receiver) -> None:
    done = post(f"{receiver.url}/{SECRET}?x=1")
    assert done == Delivered(receiver.url.removeprefix("http://"), 200, 1)
    ((method, path, headers, body),) = receiver.got
    assert (method, path, body, headers["User-Agent"]) == ("POST", f"/{SECRET}?x=1", b"{}", "farm")


def test_a_server_that_stumbles_is_asked_again(receiver: Receiver) -> None:
    receiver.answers = [(500, {}), (503, {}), (204, {})]
    time = Time()
    done = post(receiver.url, time)
    assert (done.status, done.attempts, time.waits) == (204, 3, [1.0, 2.0])


def test_pauses_double_up_to_a_limit_and_differ_by_chance(receiver: Receiver) -> None:
    receiver.answers = [(500, {})]
    time = Time(chance=0.0)
    error = error_of(f"{receiver.url}/{SECRET}", time)
    assert isinstance(error, Transient)
    assert time.waits == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0, 15.0, 15.0]
    assert "500 Internal Server Error; given up after 12 tries" in error.message
    assert sum(time.waits) < delivery.TOTAL_S


def test_a_server_that_asks_for_a_pause_gets_it(receiver: Receiver) -> None:
    receiver.answers = [
        (429, {"Retry-After": "7"}),
        (429, {"Retry-After": "0"}),
        (429, {"Retry-After": "soon"}),
        (200, {}),
    ]
    time = Time()
    assert post(receiver.url, time).attempts == 4
    assert time.waits == [7.0, 2.0, 4.0], "never sooner than by itself"


def test_a_pause_may_be_a_date(receiver: Receiver) -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    receiver.answers = [(429, {"Retry-After": f"{later:%a, %d %b %Y %H:%M:%S} GMT"}), (200, {})]
    time = Time()
    post(receiver.url, time)
    assert 20 < time.waits[0] <= 30


def test_too_long_a_pause_is_not_waited_for(receiver: Receiver) -> None:
    receiver.answers = [(429, {"Retry-After": "3600"})]
    time = Time()
    assert (
        "429 Too Many Requests, and asks to wait 3600 s; given up after 1 try" in error_of(receiver.url, time).message
    )
    assert not time.waits


@pytest.mark.parametrize("status", [400, 401, 404, 410, 304, 499])
def test_a_refusal_is_final(receiver: Receiver, status: int) -> None:
    receiver.answers = [(status, {})]
    error = error_of(f"{receiver.url}/{SECRET}")
    assert isinstance(error, Permanent) and f"answers {status}" in error.message
    assert len(receiver.got) == 1


@pytest.mark.parametrize("how", ["silent", "drips"])
def test_a_server_that_does_not_come_to_an_end(receiver: Receiver, how: str) -> None:
    setattr(receiver, how, True)
    error = error_of(f"{receiver.url}/{SECRET}", attempt_s=0.3, total_s=0.9)
    assert isinstance(error, Transient) and "no answer within 0.3 s; given up after 1 try" in error.message


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = error_of(f"http://127.0.0.1:{taken.getsockname()[1]}/{SECRET}", total_s=2.0)
    assert isinstance(error, Transient)
    assert "the connection failed: Connection refused; given up after 2 tries" in error.message


def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = error_of(f"http://hooks.invalid/{SECRET}", total_s=0.5)
    assert "hooks.invalid: the connection failed: Name or service not known" in error.message


@pytest.mark.parametrize(
    "url", ["", "hooks.example.org/x", "ftp://h/x", "http://", "http://h:99999/", "http://[x/", "file:///x"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match="expected https://HOST"):
        post(url)


# --- redirects --------------------------------------------------------------------------------------------------------


def test_a_redirect_on_the_host_is_followed_with_what_is_posted(receiver: Receiver) -> None:
    receiver.answers = [(307, {"Location": "/there"}), (308, {"Location": f"{receiver.url}/at-last"}), (200, {})]
    post(f"{receiver.url}/here")
    assert [(method, path, body) for method, path, _, body in receiver.got] == [
        ("POST", "/here", b"{}"),
        ("POST", "/there", b"{}"),
        ("POST", "/at-last", b"{}"),
    ]


def test_a_redirect_to_another_host_is_not(receiver: Receiver) -> None:
    with receiving(Receiver()) as other:
        for target in (f"{other.url}/x", "//elsewhere.example/x", "ftp://127.0.0.1/x"):
            receiver.answers = [(307, {"Location": target})]
            error = error_of(f"{receiver.url}/{SECRET}")
            assert isinstance(error, Permanent) and "another host" in error.message
        assert not other.got


def test_a_redirect_to_nowhere(receiver: Receiver) -> None:
    receiver.answers = [(307, {"Location": "http://["})]
    assert "redirects to what is no address" in error_of(f"{receiver.url}/{SECRET}").message


def test_a_redirect_that_would_lose_what_is_posted_is_not(receiver: Receiver) -> None:
    receiver.answers = [(302, {"Location": "/login"})]
    assert "would be lost" in error_of(receiver.url).message
    receiver.answers = [(302, {"Location": "/there"}), (200, {})]
    assert deliver(Request("GET", receiver.url), clock=Time().clock).status == 200


def test_redirects_in_a_circle_end(receiver: Receiver) -> None:
    receiver.answers = [(307, {"Location": "/again"})]
    assert "again and again" in error_of(receiver.url).message
    assert len(receiver.got) == 4


# --- proxies and certificates -----------------------------------------------------------------------------------------


def test_the_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", receiver.url)
    post(f"http://hooks.invalid/{SECRET}")
    assert receiver.got[0][1] == f"http://hooks.invalid/{SECRET}"
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert (
        "the proxy of the environment failed: Connection refused"
        in error_of(f"http://hooks.invalid/{SECRET}", total_s=0.5).message
    )


def test_a_certificate_that_nobody_vouches_for(receiver: Receiver, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path / "own.pem"))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        error = error_of(f"https://127.0.0.1:{server.getsockname()[1]}/{SECRET}")
        thread.join(timeout=10)
    assert isinstance(error, Permanent) and "its certificate is not trusted" in error.message
    assert "REQUESTS_CA_BUNDLE" in error.advice


def _certificate(path: Path) -> Path:
    """A key and a certificate that signs itself, for 127.0.0.1."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "own")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path
