"""Load the certificate and private key of ``[server.tls]``, with errors that name key, path and remedy."""

from __future__ import annotations

import ssl
from pathlib import Path

CERTIFICATE = b"CERTIFICATE-----"
PRIVATE_KEY = b"PRIVATE KEY-----"
PROTOCOL = "http/1.1"
"""The only protocol that the server selects by ALPN (RFC 7301)."""
MAX_PASSWORD = 1024
"""Bytes of a password, the maximum of OpenSSL."""


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
