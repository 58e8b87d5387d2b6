"""The adb server: which one, whether it may be talked to, and what it has attached.

Requests to the server go through adbutils' framing; transfers, and commands on phones without the shell protocol,
through the adb binary that adbutils ships. That binary kills a server of another version without asking, so
`AdbServer.ready` asks for the version before it runs.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from adbutils import adb_path
from adbutils._adb import AdbConnection
from adbutils.errors import AdbError, AdbTimeout

from harness.errors import ErrorClass, Permanent, Transient, UsageError
from harness.model import AdbEndpoint

CLIENT_PROTOCOL = 41
"""Version of the server protocol that the adb binary of adbutils speaks (ADB_SERVER_VERSION, "1.0.41")."""

_SERVER_S = 5.0
"""Limit of one request to the server; it answers from memory within milliseconds."""

_HANG_UP_S = 0.2
"""Between two questions to a server that hung up."""

_START_S = 20.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", ""})
_TCP_SERIAL = re.compile(r"[^\s:]+:\d+|\[[0-9a-fA-F:]+\]:\d+")


def endpoint_from(configured: AdbEndpoint, environment: Mapping[str, str] | None = None) -> AdbEndpoint:
    """The endpoint to use: adb's own environment variables win over the inventory.

    Raises:
        UsageError: a variable cannot be understood.
    """
    values = os.environ if environment is None else environment
    if spec := values.get("ADB_SERVER_SOCKET", ""):
        match = re.fullmatch(r"tcp:(?:(?P<host>.+):)?(?P<port>\d+)", spec)
        if match is None or not 0 < int(match["port"]) <= 65535:
            raise UsageError(f"ADB_SERVER_SOCKET={spec}: expected tcp:HOST:PORT or tcp:PORT")
        return AdbEndpoint(match["host"] or "127.0.0.1", int(match["port"]))
    host = values.get("ANDROID_ADB_SERVER_ADDRESS") or configured.host
    port_text = values.get("ANDROID_ADB_SERVER_PORT", "")
    if not port_text:
        return AdbEndpoint(host, configured.port)
    if not port_text.isdigit() or not 0 < int(port_text) <= 65535:
        raise UsageError(f"ANDROID_ADB_SERVER_PORT={port_text}: expected a port number")
    return AdbEndpoint(host, int(port_text))


def is_tcp_serial(serial: str) -> bool:
    """Whether a serial is an address that `adb connect` takes."""
    return _TCP_SERIAL.fullmatch(serial) is not None


class _Connection(AdbConnection):  # type: ignore[misc]
    """adbutils' connection, without its habit to start a server by itself when none answers."""

    def _safe_connect(self) -> socket.socket:
        connection: socket.socket = self._create_socket()
        return connection


@dataclass(frozen=True, slots=True)
class DeviceLine:
    """One line of `adb devices -l`: `details` holds product, model, device, usb, transport_id where shown."""

    serial: str
    state: str
    details: Mapping[str, str]


_STATES = (
    "device|offline|unauthorized|authorizing|connecting|recovery|sideload|bootloader|rescue|host|detached|unknown"
    r"|no permissions(?:\s*\([^)]*\))?(?:[^\[]*\[http[^\]]*\])?"
)
_LINE = re.compile(rf"(?P<serial>\S.*?)\s+(?P<state>{_STATES})(?:\s+(?P<rest>\S.*))?")


def parse_devices(text: str) -> tuple[DeviceLine, ...]:
    """The devices in the output of `adb devices -l`, or in the server's own answer.

    Serials may hold spaces (mDNS names); messages of the daemon and other lines are left out.
    """
    found = []
    for line in text.splitlines():
        if line.startswith(("*", "List of devices", "#", "adb server")):
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            continue
        details = dict(re.findall(r"(\w+):(\S+)", match["rest"] or ""))
        bare = re.match(r"(\d+-[\d.]+)(?:\s|$)", match["rest"] or "")
        if bare and "usb" not in details:
            details["usb"] = bare[1]
        found.append(DeviceLine(match["serial"], match["state"], details))
    return tuple(found)


@functools.cache
def _binary() -> str:
    """Path of adb. Asked once: adbutils runs `adb version` each time to find out whether it can be run."""
    return str(adb_path())


class AdbServer:
    """One adb server, by its endpoint. Safe for use by several threads."""

    def __init__(self, endpoint: AdbEndpoint) -> None:
        self.endpoint = endpoint
        self._starting = threading.Lock()
        self._connected: set[str] = set()

    # --- the server itself ---

    def ready(self) -> bool:
        """Make sure that a server of our version answers; starts one on loopback when none does.

        Returns: whether one had to be started.

        Raises:
            Permanent: SERVER_VERSION, another version answers. LAB_UNAVAILABLE, none answers and none can be started.
            Transient: SERVER_LOST, it does not answer in time.
        """
        version = self.version()
        if version is None:
            with self._starting:
                version = self.version()
                if version is None:
                    self._start()
                    self._connect_known()
                    return True
        if version != CLIENT_PROTOCOL:
            raise Permanent(
                f"the adb server at {self._where()} speaks protocol {version}, farm's adb speaks {CLIENT_PROTOCOL}; "
                "to use it would kill it",
                error_class=ErrorClass.SERVER_VERSION,
                advice="stop that server (adb kill-server of the tool that runs it), update its platform tools, "
                "or give farm a port of its own with ANDROID_ADB_SERVER_PORT",
            )
        return False

    def version(self) -> int | None:
        """Protocol version of the server, None when nothing listens there.

        Raises:
            Permanent: what listens is no adb server.
            Transient: it does not answer in time.
        """
        for try_again in (True, True, False):
            try:
                return self._ask_version()
            except ConnectionRefusedError:
                return None
            except (OSError, AdbError, ValueError) as error:
                # A server that is being killed hangs up; a moment later it refuses, or its successor answers.
                if try_again:
                    threading.Event().wait(_HANG_UP_S)
                    continue
                if isinstance(error, OSError):
                    raise self.lost(str(error)) from None
                raise Permanent(
                    f"what listens at {self._where()} does not answer as an adb server ({error or 'no answer'})",
                    error_class=ErrorClass.SERVER_VERSION,
                    advice="free that port, or give farm another one with ANDROID_ADB_SERVER_PORT",
                ) from None
        return None

    def _ask_version(self) -> int:
        with self.connection(_SERVER_S) as server:
            server.send_command("host:version")
            server.check_okay()
            return int(server.read_string_block(), 16)

    def devices(self) -> tuple[DeviceLine, ...]:
        """What the server has attached now; the server must be `ready`."""
        return parse_devices(self.ask("host:devices-l"))

    def state(self, serial: str) -> str:
        """State of one device as the server sees it; "absent" when it does not, "no server" when none answers."""
        try:
            lines = self.devices()
        except (Transient, Permanent):
            return "no server"
        return next((line.state for line in lines if line.serial == serial), "absent")

    def ask(self, request: str, *, limit_s: float = _SERVER_S) -> str:
        """Send one request to the server and return its answer, "FAIL …" for a refusal.

        Raises:
            Transient: SERVER_LOST.
        """
        try:
            with self.connection(limit_s) as server:
                server.send_command(request)
                if server.read(4) == b"FAIL":
                    return f"FAIL {server.read_string_block()}"
                return str(server.read_string_block())
        except (OSError, AdbError, ValueError) as error:
            raise self.lost(f"{error or 'no answer'}") from None

    def features(self, serial: str) -> frozenset[str]:
        """What the phone's daemon can do, as it said when it was connected; empty when the server does not know."""
        self.ready()
        answer = self.ask(f"host-serial:{serial}:features")
        return frozenset() if answer.startswith("FAIL") else frozenset(answer.split(","))

    def connect(self, serial: str, *, limit_s: float = _SERVER_S) -> bool:
        """`adb connect` for a serial that is an address; True when it is connected afterwards."""
        if not is_tcp_serial(serial):
            return False
        self._connected.add(serial)
        answer = self.ask(f"host:connect:{serial}", limit_s=limit_s)
        return answer.startswith(("connected to", "already connected"))

    def remember(self, serial: str) -> None:
        """Connect this address again whenever a server has to be started."""
        if is_tcp_serial(serial):
            self._connected.add(serial)

    def restart(self) -> None:
        """Kill the server and start another one; every device loses its connection for a moment."""
        with contextlib.suppress(Transient):
            self.ask("host:kill")
        deadline = time.monotonic() + _START_S
        pause = threading.Event()
        while time.monotonic() < deadline:
            with contextlib.suppress(Transient):
                if self.version() is None:
                    break
            pause.wait(0.05)
        self.ready()

    def lost(self, what: str) -> Transient:
        """The error of a server that went away."""
        return Transient(
            f"the adb server at {self._where()} does not answer: {what}",
            error_class=ErrorClass.SERVER_LOST,
            advice="farm starts it again; see who stops it (adb kill-server, another version of adb)",
        )

    # --- the binary ---

    def arguments(self, *words: str) -> list[str]:
        """Command line of the adb binary for this server."""
        host = [] if self.endpoint.host in _LOOPBACK else ["-H", self.endpoint.host]
        return [_binary(), *host, "-P", str(self.endpoint.port), *words]

    def environment(self) -> dict[str, str]:
        """Environment of the adb binary: ours, without what would choose another server or phone."""
        dropped = {
            "ADB_SERVER_SOCKET",
            "ANDROID_ADB_SERVER_ADDRESS",
            "ANDROID_ADB_SERVER_PORT",
            "ANDROID_SERIAL",
            "ADB_TRACE",
        }
        return {name: value for name, value in os.environ.items() if name not in dropped}

    def dial(self, limit_s: float) -> AdbConnection:
        """A connection to the server with `limit_s` on each read; the caller closes its socket.

        Raises:
            ConnectionRefusedError: nothing listens. Transient: SERVER_LOST.
        """
        try:
            connection = _Connection(self.endpoint.host, self.endpoint.port)
        except AdbTimeout:
            raise self.lost("no connection in time") from None
        except AdbError as error:
            raise ConnectionRefusedError(str(error)) from None
        connection.conn.settimeout(limit_s)
        return connection

    @contextlib.contextmanager
    def connection(self, limit_s: float) -> Iterator[AdbConnection]:
        """As `dial`, for the time of a block."""
        connection = self.dial(limit_s)
        try:
            yield connection
        except TimeoutError:
            raise self.lost(f"no answer within {limit_s:g} s") from None
        finally:
            # Not connection.close(): it sleeps.
            connection.conn.close()

    def _start(self) -> None:
        if self.endpoint.host not in _LOOPBACK:
            raise Permanent(
                f"no adb server answers at {self._where()}, and one on another host cannot be started from here",
                error_class=ErrorClass.LAB_UNAVAILABLE,
                advice="start it there (adb -a nodaemon server), or use a local one",
            )
        try:
            # Not captured: the daemon keeps the pipes open.
            done = subprocess.run(
                self.arguments("start-server"),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_START_S,
                check=False,
            )
            code: int | str = done.returncode
        except subprocess.TimeoutExpired:
            code = "no end in time"
        except OSError as error:
            code = str(error)
        if self.version() is None:
            raise Permanent(
                f"no adb server answers at {self._where()}, and none could be started (adb start-server: {code})",
                error_class=ErrorClass.LAB_UNAVAILABLE,
                advice="start it by hand with `adb start-server` and read what it says",
            )

    def _connect_known(self) -> None:
        for serial in sorted(self._connected):
            with contextlib.suppress(Transient):
                self.connect(serial)

    def _where(self) -> str:
        return f"{self.endpoint.host}:{self.endpoint.port}"
