"""A cookie that a token is bound to, so that a token alone, copied from a page or a log, opens nothing."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from hmac import compare_digest

BYTES = 32


class Fingerprint:
    """How the cookie is made and found again; without *secure* it works over plain http, on a laptop."""

    def __init__(self, secure: bool, lifetime: float) -> None:
        self.name = "__Secure-Fgp" if secure else "Fgp"
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

    def find(self, cookies: bytes) -> bytes:
        """Return the value in the header *cookies*; empty where there is none, or several: one may be planted."""
        if b";" not in cookies:
            return cookies[len(self._prefix) :] if cookies.startswith(self._prefix) else b""
        if cookies.count(self._prefix) != 1:
            return b""
        for part in cookies.split(b";"):
            part = part.strip()
            if part.startswith(self._prefix):
                return part[len(self._prefix) :]
        return b""


def digest_of(value: bytes) -> str:
    """Return what a token has of the cookie's *value*."""
    return urlsafe_b64encode(sha256(value).digest()).rstrip(b"=").decode()


def raw_digest(text: str) -> bytes:
    """Return the digest that a token has as *text*; empty, which matches nothing, where it is none."""
    try:
        return urlsafe_b64decode(text + "=")
    except ValueError:
        return b""


def matches(value: bytes, digest: bytes) -> bool:
    """Tell whether *digest* is of *value*, in a time that does not tell how much of it was right."""
    return compare_digest(sha256(value).digest(), digest)
