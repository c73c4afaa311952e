"""Encode and decode signed consistency tokens of 50 characters.

A token is a version, three numbers and half of an HMAC-SHA256 over them, in URL-safe base64. It contains nothing
secret. The signature prevents clients from directing all reads to the primary.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from struct import Struct
from typing import NamedTuple

VERSION = 1

_BODY = Struct(">BQQI")  # version, position, until in ms and expires in s since the epoch
_SIGNATURE_LENGTH = 16
_PADDING = b"=="


class TokenContents(NamedTuple):
    """The LSN of the client's last write, until when it reads from the primary, and when the token expires.

    *until* and *expires* are in seconds since the epoch.
    """

    position: int
    until: float
    expires: int


class TokenCodec:
    """Encodes and decodes tokens signed with *secret*."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), b"scalekit-consistency", "sha256")

    def encode(self, contents: TokenContents) -> str:
        """Return the signed token of *contents*."""
        body = _BODY.pack(VERSION, contents.position, round(contents.until * 1000), contents.expires)
        return self._with_signature(body).decode()

    def decode(self, token: str) -> TokenContents | None:
        """Return the contents of *token*, or None if it is not signed with this secret."""
        try:
            encoded = token.encode("ascii")
            body = urlsafe_b64decode(encoded + _PADDING)[: _BODY.size]
        except (UnicodeEncodeError, Base64Error):
            return None
        # Compare the whole text, so that each token has exactly one encoding.
        if len(body) != _BODY.size or not hmac.compare_digest(encoded, self._with_signature(body)):
            return None
        version, position, until, expires = _BODY.unpack(body)
        return TokenContents(position, until / 1000, expires) if version == VERSION else None

    def _with_signature(self, body: bytes) -> bytes:
        signature = hmac.digest(self._key, body, "sha256")[:_SIGNATURE_LENGTH]
        return urlsafe_b64encode(body + signature).rstrip(b"=")
