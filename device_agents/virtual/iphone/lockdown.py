"""lockdownd: who the phone is, which hosts it trusts, and the door to its services."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from device_agents.virtual.iphone import values
from device_agents.virtual.iphone.pairing import BadPairRecord, TrustedHosts
from device_agents.virtual.iphone.ports import Ports
from device_agents.virtual.iphone.services import Incoming, Registry, why_not
from device_agents.virtual.iphone.wire import Talk, talk

if TYPE_CHECKING:
    from device_agents.virtual.iphone.phone import Iphone

PORT = 62078


class Lockdown:
    """One phone's lockdownd."""

    def __init__(self, phone: Iphone, registry: Registry, ports: Ports) -> None:
        self._phone = phone
        self._registry = registry
        self._ports = ports
        self.hosts = TrustedHosts(phone.folder / "hosts")
        self._overrides: dict[tuple[str, str], Any] = {}

    async def serve(self, phone: Iphone, incoming: Incoming) -> None:
        """Speak with one client until it is gone."""
        async with talk(phone, incoming, "lockdown") as conversation:
            # Over a tunnel the host was trusted before the tunnel was opened.
            session = _Session(self, conversation, trusted=incoming.checkin)
            while (request := await conversation.receive()) is not None:
                await session.answer(request)

    # --- what a session asks of the phone -----------------------------------------------------------------------------

    def get(self, request: dict[str, Any], *, trusted: bool) -> dict[str, Any]:
        name, key = str(request.get("Domain") or ""), request.get("Key")
        found = values.domain(self._phone, name, self.hosts.public_key, trusted=trusted)
        if found is None:
            if not trusted:
                return {"Error": "GetProhibited"}
            found = {}
        found |= {at: value for (where, at), value in self._overrides.items() if where == name}
        if key is None:
            return {"Value": found}
        return {"Key": key, "Value": found[key]} if key in found else {"Error": "MissingValue"}

    def set(self, request: dict[str, Any], *, trusted: bool) -> dict[str, Any]:
        key = request.get("Key")
        if not trusted or not isinstance(key, str) or "Value" not in request:
            return {"Error": "SetProhibited"}
        self._overrides[str(request.get("Domain") or ""), key] = request["Value"]
        return {"Key": key, "Value": request["Value"]}

    def remove(self, request: dict[str, Any], *, trusted: bool) -> dict[str, Any]:
        if not trusted:
            return {"Error": "RemoveProhibited"}
        self._overrides.pop((str(request.get("Domain") or ""), str(request.get("Key"))), None)
        return {}

    def pair(self, request: dict[str, Any]) -> dict[str, Any]:
        """The trust dialog, as its user answers it."""
        faults = self._phone.faults
        if self._phone.locked:
            return {"Error": "PasswordProtected"}
        if "trust_pending" in faults:
            return {"Error": "PairingDialogResponsePending"}
        if "trust_refused" in faults:
            return {"Error": "UserDeniedPairing"}
        record = request.get("PairRecord")
        try:
            bag = self.hosts.add(record if isinstance(record, dict) else {})
        except BadPairRecord as wrong:
            self._phone.log.write("lockdownd", f"pairing failed: {wrong}", level="Error")
            return {"Error": "InvalidPairRecord"}
        return {"EscrowBag": bag}

    def start_service(self, request: dict[str, Any], host_id: str | None) -> dict[str, Any]:
        """Open a port for a service that may be started now."""
        name = str(request.get("Service", ""))
        service = self._registry.find(self._phone, name)
        if service is None:
            return {"Service": name, "Error": "InvalidService"}
        refusal = why_not(self._phone, service)
        if refusal:
            return {"Service": name, "Error": refusal}
        secured = service.tls != "none" and host_id is not None
        context = self.hosts.context(host_id) if secured and host_id is not None else None
        port = self._ports.open(service, context)
        answer: dict[str, Any] = {"Service": name, "Port": port}
        return answer | ({"EnableServiceSSL": True} if secured else {})


class _Session:
    """One connection to lockdownd."""

    def __init__(self, lockdown: Lockdown, conversation: Talk, *, trusted: bool) -> None:
        self._lockdown = lockdown
        self._talk = conversation
        self._host_id: str | None = None
        self._trusted = trusted

    async def answer(self, request: dict[str, Any]) -> None:
        verb = request.get("Request")
        if verb == "StartSession":
            await self._start_session(request)
            return
        answer = self._answer(verb, request)
        await self._talk.send({"Request": verb if isinstance(verb, str) else "", **answer})

    def _answer(self, verb: object, request: dict[str, Any]) -> dict[str, Any]:
        lockdown, trusted = self._lockdown, self._trusted
        match verb:
            case "QueryType":
                return {"Type": "com.apple.mobile.lockdown"}
            case "GetValue":
                return lockdown.get(request, trusted=trusted)
            case "SetValue":
                return lockdown.set(request, trusted=trusted)
            case "RemoveValue":
                return lockdown.remove(request, trusted=trusted)
            case "Pair":
                return lockdown.pair(request)
            case "ValidatePair" | "Unpair":
                record = request.get("PairRecord")
                host_id = record.get("HostID") if isinstance(record, dict) else None
                if not lockdown.hosts.knows(host_id):
                    return {"Error": "InvalidHostID"}
                if verb == "Unpair":
                    lockdown.hosts.forget(str(host_id))
                return {}
            case "StopSession":
                self._trusted = False
                return {"Result": "Success"}
            case "StartService":
                if not trusted:
                    return {"Service": str(request.get("Service", "")), "Error": "SessionInactive"}
                return lockdown.start_service(request, self._host_id)
            case _:
                return {"Error": "InvalidRequest"}

    async def _start_session(self, request: dict[str, Any]) -> None:
        host_id = request.get("HostID")
        if self._trusted:
            await self._talk.send({"Request": "StartSession", "Error": "SessionActive"})
            return
        if not isinstance(host_id, str) or not self._lockdown.hosts.knows(host_id):
            await self._talk.send({"Request": "StartSession", "Error": "InvalidHostID"})
            return
        context = self._lockdown.hosts.context(host_id)
        await self._talk.send(
            {"Request": "StartSession", "SessionID": str(uuid.uuid4()).upper(), "EnableSessionSSL": True}
        )
        await self._talk.writer.start_tls(context)
        self._host_id, self._trusted = host_id, True
