"""mobile_image_mounter: the developer image, and what mounting it needs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from device_agents.virtual.iphone.services import Incoming, Service
from device_agents.virtual.iphone.values import chip_unique_id
from device_agents.virtual.iphone.wire import BadMessage, Talk, talk

if TYPE_CHECKING:
    from device_agents.virtual.iphone.phone import Iphone

_PERSONAL_FROM = 17
_LIMIT_BYTES = 512 * 1024 * 1024
_CHUNK = 1 << 20


def _kind(phone: Iphone) -> str:
    return "Personalized" if phone.profile.major >= _PERSONAL_FROM else "Developer"


def _mount_path(phone: Iphone) -> str:
    return "/System/Developer" if _kind(phone) == "Personalized" else "/Developer"


def _manifest(phone: Iphone) -> bytes:
    """What stands for the ticket by which Apple allows the image on this phone."""
    return hashlib.sha384(b"IM4M" + phone.udid.encode("utf-8", "replace")).digest()


async def serve(phone: Iphone, incoming: Incoming) -> None:
    """com.apple.mobile.mobile_image_mounter."""
    async with talk(phone, incoming, "images") as conversation:
        received: str = ""
        while (request := await conversation.receive()) is not None:
            verb = request.get("Command")
            if verb == "ReceiveBytes":
                received = await _receive(conversation, request)
                continue
            answer, stays = _answer(phone, verb, request, received)
            await conversation.send(answer)
            if not stays:
                return


async def _receive(conversation: Talk, request: dict[str, Any]) -> str:
    """Take the bytes of an image; returns its kind."""
    size = request.get("ImageSize")
    if not isinstance(size, int) or not 0 < size <= _LIMIT_BYTES:
        raise BadMessage("no size of an image")
    await conversation.send({"Status": "ReceiveBytesAck"})
    while size:
        part = await conversation.reader.read(min(size, _CHUNK))
        if not part:
            raise EOFError
        size -= len(part)
    await conversation.send({"Status": "Complete"})
    return str(request.get("ImageType", ""))


def _answer(phone: Iphone, verb: object, request: dict[str, Any], received: str) -> tuple[dict[str, Any], bool]:
    """The answer, and whether the service goes on after it."""
    profile = phone.profile
    mounted = phone.image_mounted
    match verb:
        case "LookupImage":
            present = mounted and request.get("ImageType") == _kind(phone)
            return {"ImagePresent": present, "ImageSignature": [_manifest(phone)] if present else []}, True
        case "CopyDevices":
            entry = {
                "DiskImageType": _kind(phone),
                "IsMounted": True,
                "MountPath": _mount_path(phone),
                "ImageSignature": _manifest(phone),
            }
            return {"EntryList": [entry] if mounted else []}, True
        case "MountImage":
            return _mount(phone, request, received), True
        case "UnmountImage":
            if not mounted or request.get("MountPath") != _mount_path(phone):
                return {"Error": "InternalError", "DetailedError": "There is no matching entry in the device map"}, True
            phone.faults.add("no_image")
            return {"Status": "Complete"}, True
        case "QueryDeveloperModeStatus" if profile.major >= 16:
            return {"DeveloperModeStatus": phone.developer_mode}, True
        case "QueryNonce" if profile.major >= _PERSONAL_FROM:
            return {"PersonalizationNonce": hashlib.sha256(phone.boot_id.encode()).digest()}, True
        case "QueryPersonalizationIdentifiers" if profile.major >= _PERSONAL_FROM:
            found = {
                "BoardId": profile.board_id,
                "ChipID": profile.chip_id,
                "SecurityDomain": 1,
                "UniqueChipID": chip_unique_id(phone),
            }
            return {"PersonalizationIdentifiers": found}, True
        case "QueryPersonalizationManifest" if profile.major >= _PERSONAL_FROM:
            if "image_needs_network" in phone.faults:
                return {"Error": "InternalError", "DetailedError": "There is no personalization manifest"}, False
            return {"ImageSignature": _manifest(phone)}, True
        case "Hangup":
            return {"Goodbye": True}, False
        case _:
            return {"Error": "UnknownCommand"}, False


def _mount(phone: Iphone, request: dict[str, Any], received: str) -> dict[str, Any]:
    kind = request.get("ImageType")
    if not phone.developer_mode:
        return {"Error": "InternalError", "DetailedError": "Developer mode is not enabled."}
    if phone.locked:
        return {"Error": "DeviceLocked"}
    if phone.image_mounted:
        return {"Error": "InternalError", "DetailedError": f"The {kind} image is already mounted."}
    if kind != _kind(phone) or received != kind or not request.get("ImageSignature"):
        return {"Error": "InternalError", "DetailedError": f"No image of type {_kind(phone)} was received."}
    phone.faults -= {"no_image", "image_needs_network"}
    phone.log.write("mobile_storage_proxy", f"mounted the {kind} image at {_mount_path(phone)}")
    return {"Status": "Complete"}


SERVICES = (Service("com.apple.mobile.mobile_image_mounter", serve),)
