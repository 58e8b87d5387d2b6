"""The instruments server of a virtual iPhone: its services over DTX.

Up to iOS 16 lockdown starts it, after that it stands behind the tunnel (`rsd.py`). The connections are links of kind
"dvt": whoever cuts those drops the server's clients while the apps live on.
"""

from __future__ import annotations

from collections.abc import Callable

from device_agents.virtual.iphone import dvt_energy, dvt_info, dvt_processes, dvt_sysmon
from device_agents.virtual.iphone.dtx import Channel, ChannelService, DtxConnection
from device_agents.virtual.iphone.phone import Iphone
from device_agents.virtual.iphone.services import Incoming, Service
from device_agents.virtual.iphone.wire import talk

SECURE = "com.apple.instruments.remoteserver.DVTSecureSocketProxy"
OVER_TUNNEL = "com.apple.instruments.dtservicehub"
LINK = "dvt"
_LAST_OVER_LOCKDOWN = 16

_SERVICES: dict[str, Callable[[Iphone, Channel], ChannelService]] = {
    dvt_processes.IDENTIFIER: dvt_processes.ProcessControl,
    dvt_sysmon.IDENTIFIER: dvt_sysmon.Sysmontap,
    dvt_info.IDENTIFIER: dvt_info.DeviceInfo,
    dvt_energy.IDENTIFIER: dvt_energy.EnergyGauge,
}


def capabilities(phone: Iphone) -> dict[str, int]:
    """What the server tells a client that it can do, with versions."""
    major, minor, patch = (*phone.profile.version, 0, 0)[:3]
    return {
        "com.apple.private.DTXBlockCompression": 0,
        "com.apple.private.DTXConnection": 1,
        "com.apple.instruments.target.ios": major * 10_000 + minor * 100 + patch,
        "com.apple.instruments.target.logical-cpus": phone.profile.cores,
        "com.apple.instruments.target.physical-cpus": phone.profile.cores,
        **dvt_processes.CAPABILITIES,
        **dvt_sysmon.CAPABILITIES,
        **dvt_info.CAPABILITIES,
        **dvt_energy.CAPABILITIES,
    }


async def serve(phone: Iphone, incoming: Incoming) -> None:
    """Speak with one client until it is gone."""
    async with talk(phone, incoming, LINK) as conversation:
        if "dvt_refused" in phone.faults:
            return

        def opened(identifier: str, channel: Channel) -> ChannelService | None:
            made = _SERVICES.get(identifier)
            return None if made is None else made(phone, channel)

        connection = DtxConnection(
            conversation.reader,
            conversation.writer,
            opened,
            capabilities=capabilities(phone),
            answers=lambda: "dvt_hang" not in phone.faults,
        )
        await connection.serve()


def services() -> tuple[Service, ...]:
    """For lockdown."""
    return (Service(SECURE, serve, developer=True, majors=(14, _LAST_OVER_LOCKDOWN)),)


def tunnel_services() -> tuple[Service, ...]:
    """For the tunnel."""
    return (Service(OVER_TUNNEL, serve, tls="none", developer=True, majors=(_LAST_OVER_LOCKDOWN + 1, 99)),)
