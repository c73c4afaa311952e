"""Certificates for tests, each signed by itself or by another one."""

from __future__ import annotations

import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.processes import HOST


@dataclass(frozen=True)
class CertificateFiles:
    """The PEM files of a certificate and its private key."""

    certificate: Path
    key: Path

    @property
    def toml(self) -> str:
        """The keys of ``[server.tls]`` for these files."""
        return f'cert_file = "{self.certificate}"\nkey_file = "{self.key}"\n'

    def replace_with(self, other: CertificateFiles) -> None:
        """Replace the content of both files, each atomically, as a renewal does."""
        for old, new in ((self.certificate, other.certificate), (self.key, other.key)):
            copy = old.with_suffix(".new")
            copy.write_bytes(new.read_bytes())
            os.replace(copy, old)


class Authority:
    """A certificate authority that issues certificates into *folder*; its own is in ``ca.pem``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority of tests")])
        certificate = self._sign(self._name, self._key.public_key(), x509.BasicConstraints(True, None))
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, password: str | None = None) -> CertificateFiles:
        """Write ``NAME.pem`` and ``NAME.key``, for localhost, the key encrypted with *password*."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))])
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key.public_key(), names)
        encryption = (
            serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        )
        files = CertificateFiles(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return files

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=2))
        return builder.add_extension(extension, critical=False).sign(self._key, hashes.SHA256())
