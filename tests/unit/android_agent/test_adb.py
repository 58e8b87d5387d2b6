"""Reading what adb says, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agents.android.adb import AdbServer, DeviceLine, endpoint_from, is_tcp_serial, parse_devices
from device_agents.android.discovery import _Seen, merge
from device_agents.android.explain import explain
from harness.errors import ErrorClass, Permanent, Transient, UsageError
from harness.model import AdbEndpoint, DeviceFacts, DeviceKind, DeviceState


def test_devices_of_captures(captures: Path) -> None:
    text = (captures / "adb_devices" / "adb_devices_l_daemon_start_tcp_unauthorized.txt").read_text("utf-8")
    lines = parse_devices(text)
    assert [(line.serial, line.state) for line in lines] == [
        ("R5CT31ABCDE", "device"),
        ("192.168.0.23:5555", "device"),
        ("ZY22H7KQ9P", "unauthorized"),
        ("adb-3A241FDJH000GR-vWgJpq._adb-tls-connect._tcp", "device"),
    ]
    assert lines[0].details == {
        "usb": "1-1",
        "product": "dm3qksx",
        "model": "SM_S918N",
        "device": "dm3q",
        "transport_id": "1",
    }
    for name in ("adb_devices_l_mi8.txt", "adb_devices_l_pixel9_tokay.txt"):
        (line,) = parse_devices((captures / "adb_devices" / name).read_text("utf-8"))
        assert line.state == "device"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "adb-R58-abc123 (2)._adb-tls-connect._tcp device product:x transport_id:3",
            "adb-R58-abc123 (2)._adb-tls-connect._tcp",
        ),
        ("$(touch x);'\" device", "$(touch x);'\""),
        ("<script> offline", "<script>"),
        ("emulator-5554\tdevice", "emulator-5554"),
    ],
)
def test_odd_serials(text: str, expected: str) -> None:
    (line,) = parse_devices(text)
    assert line.serial == expected


def test_no_permissions_keeps_its_serial() -> None:
    text = (
        "0123456789ABCDEF       no permissions (missing udev rules? user is in the plugdev group); "
        "see [http://developer.android.com/tools/device.html] usb:3-1 transport_id:1"
    )
    (line,) = parse_devices(text)
    assert line.serial == "0123456789ABCDEF"
    assert line.state.startswith("no permissions")
    assert line.details["usb"] == "3-1"


def test_bare_bus_path() -> None:
    (line,) = parse_devices("0123456789ABCDEF device 1-4.2 product:sdk transport_id:1")
    assert line.details["usb"] == "1-4.2"


def test_foreign_lines_are_left_out() -> None:
    assert parse_devices("List of devices attached\n\nUsbFfs tcp:3000 tcp:3000\n* daemon started\n") == ()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, AdbEndpoint("10.0.0.9", 6000)),
        ({"ANDROID_ADB_SERVER_PORT": "7007"}, AdbEndpoint("10.0.0.9", 7007)),
        ({"ANDROID_ADB_SERVER_ADDRESS": "localhost"}, AdbEndpoint("localhost", 6000)),
        ({"ADB_SERVER_SOCKET": "tcp:7008"}, AdbEndpoint("127.0.0.1", 7008)),
        ({"ADB_SERVER_SOCKET": "tcp:bench:7008", "ANDROID_ADB_SERVER_PORT": "1"}, AdbEndpoint("bench", 7008)),
    ],
)
def test_environment_wins_over_the_inventory(environment: dict[str, str], expected: AdbEndpoint) -> None:
    assert endpoint_from(AdbEndpoint("10.0.0.9", 6000), environment) == expected


@pytest.mark.parametrize(
    "environment",
    [
        {"ADB_SERVER_SOCKET": "localfilesystem:/x"},
        {"ADB_SERVER_SOCKET": "tcp:h:99999"},
        {"ANDROID_ADB_SERVER_PORT": "x"},
    ],
)
def test_environment_that_makes_no_sense_is_said(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        endpoint_from(AdbEndpoint(), environment)


@pytest.mark.parametrize(
    ("serial", "tcp"), [("127.0.0.1:5555", True), ("[::1]:5555", True), ("R5CT31", False), ("adb-x._adb._tcp", False)]
)
def test_tcp_serial(serial: str, tcp: bool) -> None:
    assert is_tcp_serial(serial) is tcp


class StateServer(AdbServer):
    """A server whose list says one thing."""

    def __init__(self, state: str) -> None:
        super().__init__(AdbEndpoint("127.0.0.1", 1))
        self._state = state

    def state(self, serial: str) -> str:
        return self._state


@pytest.mark.parametrize(
    ("said", "state", "error_class", "kind"),
    [
        ("adb: device 'X' not found", "absent", ErrorClass.DEVICE_LOST, Transient),
        ("", "device", ErrorClass.DEVICE_LOST, Transient),
        ("error: device offline", "offline", ErrorClass.DEVICE_OFFLINE, Transient),
        ("error: device unauthorized.", "unauthorized", ErrorClass.DEVICE_UNAUTHORIZED, Transient),
        ("error: insufficient permissions for device", "no permissions", ErrorClass.DEVICE_OFFLINE, Permanent),
        ("error: more than one device/emulator", "device", ErrorClass.INTERNAL, Permanent),
        ("", "recovery", ErrorClass.DEVICE_OFFLINE, Permanent),
        ("cannot connect to daemon", "no server", ErrorClass.SERVER_LOST, Transient),
    ],
)
def test_what_adb_says_becomes_a_typed_error(said: str, state: str, error_class: ErrorClass, kind: type) -> None:
    error = explain(StateServer(state), "X", said, "testing")
    assert (error.error_class, type(error), error.device) == (error_class, kind, "X")
    assert error.advice


def test_real_unauthorized_text(captures: Path) -> None:
    text = (captures / "adb_devices" / "adb_unauthorized_error.txt").read_text("utf-8")
    error = explain(StateServer("unauthorized"), "X", text, "testing")
    assert error.error_class is ErrorClass.DEVICE_UNAUTHORIZED
    assert "Allow" in error.advice


def facts(identity: str) -> DeviceFacts:
    return DeviceFacts(identity, DeviceKind.PHONE, "", "", "", "", "", "", "", (), None, None, None)


def seen(serial: str, identity: str | None, state: DeviceState = DeviceState.READY) -> _Seen:
    return _Seen(DeviceLine(serial, "device", {}), state, facts(identity) if identity else None)


def test_one_phone_over_several_transports_is_one_and_usb_comes_first() -> None:
    lines = [
        seen("192.168.0.5:5555", "ABC"),
        seen("OTHER", "OTHER"),
        seen("adb-ABC-x1Y2z3._adb-tls-connect._tcp", "ABC"),
        seen("ABC", "ABC"),
    ]
    first, second = merge(lines)
    assert first.serial == "ABC"
    assert first.transports == ("ABC", "192.168.0.5:5555", "adb-ABC-x1Y2z3._adb-tls-connect._tcp")
    assert second.serial == "OTHER"


def test_unauthorized_cable_of_a_phone_that_answers_over_wifi_is_the_same_phone() -> None:
    (only,) = merge([seen("ABC", None, DeviceState.UNAUTHORIZED), seen("192.168.0.5:5555", "ABC")])
    assert (only.serial, only.state, only.advice) == ("192.168.0.5:5555", DeviceState.READY, "")
    (silent,) = merge(
        [
            seen("adb-ABC-x1Y2z3._adb-tls-connect._tcp", None, DeviceState.OFFLINE),
            seen("ABC", None, DeviceState.OFFLINE),
        ]
    )
    assert len(silent.transports) == 2
    assert silent.advice


def test_every_state_but_ready_has_advice() -> None:
    for state in DeviceState:
        (attached,) = merge([seen("X", None, state)])
        assert bool(attached.advice) is (state is not DeviceState.READY), state
