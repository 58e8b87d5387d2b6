"""Errors of the harness: two trees (Transient, Permanent) and one list of classes.

Every error tells what happened, to which device, in which step, and what to do. Transient ones may pass when tried
again; Permanent ones will not.
"""

from __future__ import annotations

from enum import StrEnum

from harness.model import ErrorInfo, Step


class ErrorClass(StrEnum):
    """The one list of failure classes; stored, exported, grouped by in reports."""

    # the way to the device
    DEVICE_LOST = "device_lost"
    DEVICE_UNAUTHORIZED = "device_unauthorized"
    DEVICE_OFFLINE = "device_offline"
    DEVICE_LEASED = "device_leased"
    DEVICE_REBOOTED = "device_rebooted"
    DEVICE_SUSPENDED = "device_suspended"
    TRANSPORT_STALLED = "transport_stalled"
    SERVER_LOST = "adb_server_lost"
    SERVER_VERSION = "adb_server_version"
    ADBD_RESTART = "adbd_restart"
    SETTING_DENIED = "setting_denied"
    # the way to an iPhone
    MUXER_LOST = "muxer_lost"
    CLIENT_LOST = "client_lost"
    PAIRING = "pairing"
    DEVICE_LOCKED = "device_locked"
    DEVELOPER_MODE = "developer_mode"
    IMAGE_MISSING = "image_missing"
    TUNNEL_MISSING = "tunnel_missing"
    OS_UNSUPPORTED = "os_unsupported"
    APP_MISSING = "app_missing"
    APP_INSTALL = "app_install"
    SIGNATURE_EXPIRED = "signature_expired"
    THERMAL_SHUTDOWN = "thermal_shutdown"
    # before a measurement
    GATE_REFUSED = "gate_refused"
    OVERRIDE_SET = "override_set"
    # deploy
    PUSH_FAILED = "push_failed"
    HASH_MISMATCH = "hash_mismatch"
    STORAGE_FULL = "storage_full"
    MEMORY_SHORT = "memory_short"
    # model and runner files
    MODEL_MISSING = "model_missing"
    MODEL_INVALID = "model_invalid"
    MODEL_TRUNCATED = "model_truncated"
    MODEL_UNSUPPORTED = "model_unsupported"
    RUNNER_MISSING = "runner_missing"
    RUNNER_INVALID = "runner_invalid"
    RUNNER_ABI = "runner_abi"
    RUNNER_NOT_EXECUTABLE = "runner_not_executable"
    SHA256_MISMATCH = "sha256_mismatch"
    OPTION_UNKNOWN = "option_unknown"
    WORKLOAD_UNSUPPORTED = "workload_unsupported"
    # the runner's end
    ILLEGAL_INSTRUCTION = "illegal_instruction"
    LIBRARY_MISSING = "library_missing"
    ALLOCATION_FAILED = "allocation_failed"
    CONFIGURATION_UNSUPPORTED = "configuration_unsupported"
    OUT_OF_MEMORY = "out_of_memory"
    MEMORY_FLOOR = "memory_floor"
    PLACEMENT_MISMATCH = "placement_mismatch"
    KILLED = "killed"
    USER_KILLED = "user_killed"
    WATCHDOG = "watchdog"
    NOT_FRONTMOST = "not_frontmost"
    CRASHED = "crashed"
    RUNNER_FAILED = "runner_failed"
    TIMED_OUT = "timed_out"
    OUTPUT_GARBAGE = "output_garbage"
    PORT_IN_USE = "port_in_use"
    # around it
    NOT_APPLICABLE = "not_applicable"
    STORE_UNAVAILABLE = "store_unavailable"
    LAB_UNAVAILABLE = "lab_unavailable"
    DELIVERY_FAILED = "delivery_failed"
    INTERRUPTED = "interrupted"
    INTERNAL = "internal"


class FarmError(Exception):
    """Base of all errors a lab operator may see.

    Args:
        message: what happened, to what.
        error_class: its class.
        advice: what to do next; "" where the message says it all.
        device: device id or serial, "" when none is concerned.
        step: step of a case, None outside one.
    """

    def __init__(
        self, message: str, *, error_class: ErrorClass, advice: str = "", device: str = "", step: Step | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_class = error_class
        self.advice = advice
        self.device = device
        self.step = step

    def info(self, step: Step) -> ErrorInfo:
        """This error as it is stored; `step` is used where the error does not name its own."""
        return ErrorInfo(self.error_class.value, self.step or step, self.message, self.advice)


class Transient(FarmError):
    """May pass when tried again (a cable, a server, a busy phone)."""


class Permanent(FarmError):
    """Stays until something is changed (a broken model, a wrong ABI)."""


class UsageError(Exception):
    """The command line or the inventory is wrong; nothing ran. Text is complete: where, what was expected."""


class NoDeviceError(Exception):
    """No usable device for the selection; the text lists what is attached and in which state."""


class StoreError(Permanent):
    """The database cannot be used: read-only, locked, corrupt, of a newer schema."""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message, error_class=ErrorClass.STORE_UNAVAILABLE, advice=advice)
