"""A cookie that a token is bound to, so that a token alone, copied from a page or a log, opens nothing."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from hmac import compare_digest

BYTES = 32
MAX_VALUES = 16
"""Cookies of one name that are tried."""


class FingerprintCookie:
    """How the cookie is made and found again; without *secure* it works over plain http, on a laptop.

    Browsers take ``__Host-`` from this very host over https only (RFC 6265bis, section 4.1.3.2): no other host of the
    domain can set it.
    """

    def __init__(self, secure: bool, lifetime: float) -> None:
        self.name = "__Host-Fgp" if secure else "Fgp"
        self._prefix = f"{self.name}=".encode()
        self._attributes = "; Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")
        self._lifetime = int(lifetime)

    def make(self) -> str:
        """Return a new value."""
        return secrets.token_urlsafe(BYTES)

    def cookie(self, value: str) -> str:
        """Return the Set-Cookie that gives *value* to the client."""
        return f"{self.name}={value}; Max-Age={self._lifetime}{self._attributes}"

    def expired(self) -> str:
        """Return the Set-Cookie that takes it from the client."""
        return f"{self.name}=; Max-Age=0{self._attributes}"

    def find(self, cookies: bytes, digest: bytes) -> bytes:
        """Return the value in the header *cookies* that *digest* is of; empty where there is none.

        Each of several is tried: one that somebody has planted beside the right one locks nobody out.
        """
        if b";" not in cookies:
            value = cookies[len(self._prefix) :] if cookies.startswith(self._prefix) else b""
            return value if matches(value, digest) else b""
        left = MAX_VALUES
        for part in cookies.split(b";"):
            part = part.strip(b" \t")
            if part.startswith(self._prefix):
                value = part[len(self._prefix) :]
                if matches(value, digest):
                    return value
                left -= 1
                if not left:
                    break
        return b""


def fingerprint_digest(value: bytes) -> str:
    """Return what a token has of the cookie's *value*."""
    return urlsafe_b64encode(sha256(value).digest()).rstrip(b"=").decode()


def decode_digest(text: str) -> bytes:
    """Return the digest that a token has as *text*; empty, which matches nothing, where it is none."""
    try:
        return urlsafe_b64decode(text + "=")
    except ValueError:
        return b""


def matches(value: bytes, digest: bytes) -> bool:
    """Tell whether *digest* is of *value*, in a time that does not tell how much of it was right."""
    return bool(value) and compare_digest(sha256(value).digest(), digest)
