"""Read the compact form of a signed token more strictly than libraries do (RFC 7515, 7519, 8725).

Nothing here trusts what it reads: the signature is checked afterwards, over the very bytes that were read.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, NamedTuple

import orjson

from scalekit_jwt.errors import InvalidToken

MAX_BYTES = 8192


class UnverifiedToken(NamedTuple):
    """A token that has been read and not been checked."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def read(token: bytes) -> UnverifiedToken:
    """Return the parts of *token*; raises InvalidToken when it is not exactly what a signed JWT is."""
    if len(token) > MAX_BYTES:
        raise InvalidToken("too_long")
    parts = token.split(b".")
    if len(parts) != 3:
        raise InvalidToken("malformed")
    header = _object(_decoded(parts[0]))
    if "crit" in header:
        raise InvalidToken("crit")
    claims = _object(_decoded(parts[1]))
    return UnverifiedToken(header, claims, token[: -len(parts[2]) - 1], _decoded(parts[2]))


def _decoded(part: bytes) -> bytes:
    """Decode base64url without padding; what does not come out the same again had more than one spelling."""
    try:
        decoded = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        raise InvalidToken("malformed") from None
    if not part or urlsafe_b64encode(decoded).rstrip(b"=") != part:
        raise InvalidToken("malformed")
    return decoded


def _object(text: bytes) -> dict[str, Any]:
    """Return the JSON object in *text*, in which no name occurs twice."""
    try:
        value = orjson.loads(text)
        if not isinstance(value, dict):
            raise InvalidToken("malformed")
        # A name that occurs twice is lost, so the same text again shows that none was. Other spellings of the same
        # object differ too, and get the slow look.
        if orjson.dumps(value) != text:
            json.loads(text, object_pairs_hook=_unique)
    except (ValueError, TypeError, RecursionError):  # orjson raises a TypeError for what nests too deep to be written
        raise InvalidToken("malformed") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidToken("duplicate")
    return found
