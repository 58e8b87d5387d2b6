"""The hosts that a phone trusts, and the certificates that both sides show each other."""

from __future__ import annotations

import hashlib
import os
import plistlib
import ssl
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_REQUIRED = ("DeviceCertificate", "HostCertificate", "RootCertificate", "HostID")


class BadPairRecord(Exception):
    """A host sent a pair record that is none, or one for another phone."""


class TrustedHosts:
    """The phone's key and its trusted hosts, kept in a folder of the phone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key_file = folder / "device.key"
        if not self._key_file.exists():
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            self._key_file.write_bytes(pem)
        loaded = serialization.load_pem_private_key(self._key_file.read_bytes(), None)
        self.public_key = loaded.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)
        self._contexts: dict[str, ssl.SSLContext] = {}

    def _file(self, host_id: str) -> Path:
        return self._folder / f"{hashlib.sha256(host_id.encode('utf-8', 'replace')).hexdigest()[:32]}.plist"

    def add(self, record: dict[str, Any]) -> bytes:
        """Trust the host of that record; returns its escrow bag.

        Raises:
            BadPairRecord: a part is missing, or its device certificate is not of this phone's key.
        """
        if any(name not in record for name in _REQUIRED):
            raise BadPairRecord(f"a pair record needs {', '.join(_REQUIRED)}")
        host_id, bag = str(record["HostID"]), os.urandom(32)
        file = self._file(host_id)
        self._contexts.pop(host_id, None)
        file.write_bytes(plistlib.dumps({**{name: record[name] for name in _REQUIRED}, "EscrowBag": bag}))
        try:
            self.context(host_id)
        except (ssl.SSLError, ValueError, TypeError) as wrong:
            file.unlink()
            raise BadPairRecord(f"its certificates cannot be used: {wrong}") from wrong
        return bag

    def knows(self, host_id: object) -> bool:
        return isinstance(host_id, str) and self._file(host_id).exists()

    def forget(self, host_id: str | None = None) -> None:
        """Trust a host no longer; every host when none is named."""
        files = self._folder.glob("*.plist") if host_id is None else [self._file(host_id)]
        for file in files:
            file.unlink(missing_ok=True)
        self._contexts.clear()

    def context(self, host_id: str) -> ssl.SSLContext:
        """TLS as this phone speaks it with a trusted host: it shows its certificate, and takes no other host.

        Raises:
            OSError: the host is not known.
        """
        known = self._contexts.get(host_id)
        if known is not None:
            return known
        record = plistlib.loads(self._file(host_id).read_bytes())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ALL:!aNULL:!eNULL:@SECLEVEL=0")
        chain = self._folder / f".{os.getpid()}.pem"
        try:
            chain.write_bytes(record["DeviceCertificate"].rstrip(b"\n\0") + b"\n" + self._key_file.read_bytes())
            context.load_cert_chain(chain)
        finally:
            chain.unlink(missing_ok=True)
        # The names in these certificates are empty, so that no chain can be told from them: what counts is that the
        # host shows one of the two certificates that it gave when it was trusted.
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        for name in ("HostCertificate", "RootCertificate"):
            context.load_verify_locations(cadata=record[name].rstrip(b"\n\0").decode("ascii"))
        self._contexts[host_id] = context
        return context
