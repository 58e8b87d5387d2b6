"""What can be done to the Android phones of a lab on purpose."""

from __future__ import annotations

from typing import Any, Literal, Protocol


class Order(Protocol):
    """Hands an order to the supervisor of a lab; raises LabError."""

    def __call__(self, **order: Any) -> Any: ...


class Faults:
    """Faults and changes of the truth, by a phone's id in the lab."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def unplug(self, phone: str, *, cable: int | None = None) -> None:
        """Pull the cable (one of a twin's two, or all): adb no longer lists the phone; its processes live on."""
        self._order(op="unplug", phone=phone, cable=cable)

    def replug(self, phone: str, *, cable: int | None = None) -> None:
        self._order(op="replug", phone=phone, cable=cable)

    def cut(self, phone: str) -> None:
        """Break every connection once, as a loose plug does; new ones are accepted."""
        self._order(op="cut", phone=phone)

    def stall(self, phone: str, on: bool = True) -> None:
        """Bytes stop, the connection stays; `on=False` lets them flow again."""
        self._order(op="stall", phone=phone, on=on)

    def link_rate(self, phone: str, bytes_per_s: float | None) -> None:
        """Hold the cable to a rate in each direction; None takes the limit away."""
        self._order(op="link_rate", phone=phone, bytes_per_s=bytes_per_s)

    def kill_adbd(self, phone: str) -> None:
        """Kill adbd; the phone's init starts it again."""
        self._order(op="kill_adbd", phone=phone)

    def reboot(self, phone: str, *, reason: str = "reboot,adb") -> None:
        """End every process and boot again. Args: reason: what `sys.boot.reason` says afterwards."""
        self._order(op="reboot", phone=phone, reason=reason)

    def thermal_shutdown(self, phone: str) -> None:
        """The phone switches itself off because of its heat, and is switched on again."""
        self.reboot(phone, reason="shutdown,thermal")

    def update_os(self, phone: str, build: str) -> None:
        """Boot the phone again with another build of its system. Args: build: what `ro.build.id` says then."""
        self._order(op="update_os", phone=phone, build=build)

    def suspend(self, phone: str, seconds: float) -> None:
        """Hold every process still, as a phone that sleeps; uptime goes on, the time its cores account for does not."""
        self._order(op="suspend", phone=phone, seconds=seconds)

    def low_memory_kill(self, phone: str, pid: int) -> None:
        """Kill a process (`pid` as the phone sees it) in the way and with the words of the low memory killer."""
        self._order(op="low_memory_kill", phone=phone, pid=pid)

    def restart_adb(self) -> None:
        """Kill the adb server and start another on the same port."""
        self._order(op="restart_adb")

    def set(
        self,
        phone: str,
        *,
        battery_level: float | None = None,
        temperature_c: float | None = None,
        charger: Literal["none", "usb", "ac"] | None = None,
        charging: bool | None = None,
        ambient_c: float | None = None,
        heat_scale: float | None = None,
        battery_scale: float | None = None,
        other_load: float | None = None,
        memory_available_mb: float | None = None,
    ) -> None:
        """Change the truth of a phone. The truth file says what is set.

        Args:
            battery_level: percent.
            temperature_c: of all its parts.
            charger: what is plugged in.
            charging: whether that fills the battery.
            ambient_c: temperature of the room.
            heat_scale: it warms and cools so many times as fast, between the same temperatures.
            battery_scale: period and charge step of its gauge are so many times smaller: a short measurement sees as
                many steps as one that takes so many times longer.
            other_load: share of all cores that a process of the system, dex2oat64, keeps busy; 0 ends it.
            memory_available_mb: what MemAvailable shows now, since apps that are not there hold the rest; what the
                phone's processes take later is taken from it. More than there is: those apps are gone.
        """
        values = {
            "battery_level": battery_level,
            "temperature_c": temperature_c,
            "charger": charger,
            "charging": charging,
            "ambient_c": ambient_c,
            "heat_scale": heat_scale,
            "battery_scale": battery_scale,
            "other_load": other_load,
            "memory_available_mb": memory_available_mb,
        }
        self._order(op="set", phone=phone, values={key: value for key, value in values.items() if value is not None})
