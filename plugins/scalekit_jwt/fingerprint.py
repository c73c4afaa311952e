"""Bind tokens to a random cookie, so that a token copied from a page or a log is useless alone.

This is the "user context" (fingerprint) of the OWASP JWT cheat sheet.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address

from scalekit import Finding, Server, Severity

BYTES = 32
MAX_VALUES = 16
"""Maximum number of cookies of the same name that are compared per request."""


class FingerprintCookie:
    """Generates, sets and matches the cookie; *secure* = false allows plain HTTP for local development.

    Browsers accept a ``__Host-`` cookie from this exact host over HTTPS only (RFC 6265bis, section 4.1.3.2), so no
    other host of the domain can set it. *lifetime* is its Max-Age in seconds.
    """

    def __init__(self, secure: bool, lifetime: float) -> None:
        self.name = "__Host-Fgp" if secure else "Fgp"
        self._prefix = f"{self.name}=".encode()
        self._attributes = "; Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")
        self._lifetime = int(lifetime)

    def generate(self) -> str:
        """Return a new random value."""
        return secrets.token_urlsafe(BYTES)

    def set_cookie(self, value: str) -> str:
        """Return the Set-Cookie header that stores *value*."""
        return f"{self.name}={value}; Max-Age={self._lifetime}{self._attributes}"

    def delete_cookie(self) -> str:
        """Return the Set-Cookie header that deletes the cookie."""
        return f"{self.name}=; Max-Age=0{self._attributes}"

    def find_match(self, cookies: bytes, digest: bytes) -> bytes:
        """Return the value in the header *cookies* whose SHA-256 is *digest*, empty without a match.

        All values of the name are compared, so that an attacker who plants a second cookie locks no user out.
        """
        if b";" not in cookies:
            value = cookies[len(self._prefix) :] if cookies.startswith(self._prefix) else b""
            return value if matches(value, digest) else b""
        remaining = MAX_VALUES
        for part in cookies.split(b";"):
            part = part.strip(b" \t")
            if part.startswith(self._prefix):
                value = part[len(self._prefix) :]
                if matches(value, digest):
                    return value
                remaining -= 1
                if not remaining:
                    break
        return b""


def fingerprint_digest(value: bytes) -> str:
    """Return the ``fgp`` claim for the cookie *value*: its SHA-256 in base64url."""
    return urlsafe_b64encode(sha256(value).digest()).rstrip(b"=").decode()


def decode_digest(text: str) -> bytes:
    """Return the digest in an ``fgp`` claim; empty, which matches nothing, when it is not base64url."""
    try:
        return urlsafe_b64decode(text + "=")
    except ValueError:
        return b""


def matches(value: bytes, digest: bytes) -> bool:
    """Return whether *digest* is the SHA-256 of *value*, compared in constant time."""
    return bool(value) and compare_digest(sha256(value).digest(), digest)


def insecure_cookie_findings(server: Server) -> Iterator[Finding]:
    """Yield whether clients of other machines get the cookie without ``Secure``, over TLS or not."""
    if server.tls is None and not server.trusted_proxies and _is_local(server.host):
        return
    yield Finding(
        "insecure-cookie",
        Severity.WARNING,
        "browsers send the cookie to which tokens are bound over plain HTTP, and other machines reach the service",
        "remove insecure_cookie from [plugins.jwt] where clients use HTTPS",
        "plugins.jwt.insecure_cookie",
        "true",
    )


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith("unix:")
