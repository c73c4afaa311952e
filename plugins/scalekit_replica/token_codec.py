"""Signed tokens: what a client has written, in 50 characters that every instance with the same secret believes.

A token is a version, three numbers and half of an HMAC-SHA256 over them, in base64 for addresses. It holds nothing
secret. It is signed so that nobody can send all reads to the primary.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from struct import Struct
from typing import NamedTuple

VERSION = 1

_BODY = Struct(">BQQI")  # version, position, milliseconds since the epoch, seconds since the epoch
_SIGNATURE = 16
_PADDING = b"=="


class Contents(NamedTuple):
    """What a token says: how far its client has written, until when it reads from the primary, when the token ends.

    *until* and *expires* are in seconds since the epoch.
    """

    position: int
    until: float
    expires: int


class Signer:
    """Writes and reads tokens that are signed with *secret*."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), b"scalekit-consistency", "sha256")

    def sign(self, contents: Contents) -> str:
        """Return the token that says *contents*."""
        body = _BODY.pack(VERSION, contents.position, round(contents.until * 1000), contents.expires)
        return self._signed(body).decode()

    def read(self, token: str) -> Contents | None:
        """Return what *token* says, or None when it was not signed with this secret."""
        try:
            given = token.encode("ascii")
            body = urlsafe_b64decode(given + _PADDING)[: _BODY.size]
        except (UnicodeEncodeError, Base64Error):
            return None
        # The whole text is compared, so that there is one spelling of each token.
        if len(body) != _BODY.size or not hmac.compare_digest(given, self._signed(body)):
            return None
        version, position, until, expires = _BODY.unpack(body)
        return Contents(position, until / 1000, expires) if version == VERSION else None

    def _signed(self, body: bytes) -> bytes:
        signature = hmac.digest(self._key, body, "sha256")[:_SIGNATURE]
        return urlsafe_b64encode(body + signature).rstrip(b"=")
