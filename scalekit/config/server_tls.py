"""The table ``[server.tls]``, and its certificate, whose errors name key, path and remedy."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from scalekit.config.field_types import PositiveDuration
from scalekit.config.table import Table
from scalekit.config.types import Duration, Secret

CERTIFICATE = b"CERTIFICATE-----"
PRIVATE_KEY = b"PRIVATE KEY-----"
PROTOCOL = "http/1.1"
"""The only protocol that the server selects by ALPN (RFC 7301)."""
MAX_PASSWORD = 1024
"""Bytes of a password, the maximum of OpenSSL."""


class ServerTls(Table):
    """The table ``[server.tls]``: TLS 1.2 and newer on the public address; SIGHUP reads the files again."""

    cert_file: str
    """PEM file of the certificate, followed by its intermediate certificates."""
    key_file: str | None = None
    """PEM file of the private key; unset takes it from ``cert_file``."""
    key_password: Secret | None = None
    """Password of an encrypted private key."""
    client_certificates: Literal["none", "optional", "required"] = "none"
    """Whether clients may or must present a certificate that an authority in ``client_ca_file`` has signed."""
    client_ca_file: str | None = None
    """PEM file of the authorities that sign client certificates."""
    handshake_timeout: PositiveDuration = Duration("10s")
    """Timeout for a client to complete the TLS handshake, after which ``header_timeout`` begins."""

    @model_validator(mode="after")
    def _check_files(self) -> ServerTls:
        if (self.client_certificates == "none") != (self.client_ca_file is None):
            raise ValueError("client_certificates needs client_ca_file, and the other way round; write both or none")
        self.ssl_context()
        return self

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context of the files as they are now; raises ValueError with key, path and remedy."""
        password = None if self.key_password is None else self.key_password.get_secret_value()
        context = load(self.cert_file, self.key_file, password)
        if self.client_ca_file is not None:
            load_certificates(context, "client_ca_file", self.client_ca_file)
            required = self.client_certificates == "required"
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        return context


def load(cert_file: str, key_file: str | None, password: str | None) -> ssl.SSLContext:
    """Return the context of a server with this certificate; raises ValueError when it cannot serve."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([PROTOCOL])
    load_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "cert_file", cert_file)  # only to find what is wrong
    key, path = ("cert_file", cert_file) if key_file is None else ("key_file", key_file)
    remedy = "name its file in key_file" if key_file is None else "convert it to PEM"
    _require(key, path, PRIVATE_KEY, "a private key", remedy)
    encrypted: list[str] = []
    try:
        context.load_cert_chain(cert_file, path, lambda: _password(key, path, password, encrypted))
    except OSError as error:
        raise ValueError(_explain(error, cert_file, f"{key}: {path!r}", bool(encrypted))) from None
    return context


def load_certificates(context: ssl.SSLContext, key: str, path: str) -> None:
    """Let *context* trust the certificates in the file *path*; raises ValueError when one cannot be loaded."""
    _require(key, path, CERTIFICATE, "a certificate", "convert it to PEM")
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise ValueError(f"{key}: {path!r} has a damaged certificate: {_reason(error)}; write it again") from None


def _require(key: str, path: str, marker: bytes, content: str, remedy: str) -> None:
    """Raise ValueError unless the file at *path* can be read and has *marker*."""
    try:
        if Path(path).exists() and not Path(path).is_file():  # a pipe would block
            raise ValueError("it is not a file")
        found = marker in Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{key}: cannot read {path!r}: {reason}; name a file that this user can read") from None
    if not found:
        raise ValueError(f"{key}: {path!r} has no PEM block of {content}; {remedy}")


def _password(key: str, path: str, password: str | None, encrypted: list[str]) -> str:
    """Return the password; without this function OpenSSL would ask for it at the terminal."""
    if password is None:
        raise ValueError(f"{key}: the private key in {path!r} is encrypted; set key_password")
    if len(password.encode()) > MAX_PASSWORD:
        raise ValueError(f"key_password: longer than {MAX_PASSWORD} bytes, the maximum of OpenSSL")
    encrypted.append(path)
    return password


def _explain(error: OSError, cert_file: str, key: str, encrypted: bool) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return f"{key} is not the private key of the certificate in {cert_file!r}; name the two that belong together"
    if reason is None and encrypted:
        return f"{key} cannot be decrypted; check key_password"
    if reason is None:
        return f"{key} has a damaged private key; write it again"
    return f"cert_file: {cert_file!r} with {key} cannot be used: {_reason(error)}"


def _reason(error: OSError) -> str:
    return (getattr(error, "reason", None) or "unreadable").replace("_", " ").lower()
