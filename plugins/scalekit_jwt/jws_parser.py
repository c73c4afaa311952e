"""Parse the JWS compact serialization of a signed token (RFC 7515, 7519, 8725), more strictly than libraries do.

Parsing verifies nothing: the signature is verified afterwards, over the bytes that were parsed.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, NamedTuple

import orjson

from scalekit_jwt.errors import InvalidToken

MAX_BYTES = 8192


class UnverifiedToken(NamedTuple):
    """The parts of a token whose signature has not been verified."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes


def parse_jws(token: bytes) -> UnverifiedToken:
    """Return the parts of *token*; raises InvalidToken unless it is a strictly formed JWS of a JSON object."""
    if len(token) > MAX_BYTES:
        raise InvalidToken("too_long")
    parts = token.split(b".")
    if len(parts) != 3:
        raise InvalidToken("malformed")
    header = _parse_object(_decode_base64url(parts[0]))
    if "crit" in header:
        raise InvalidToken("crit")
    claims = _parse_object(_decode_base64url(parts[1]))
    return UnverifiedToken(header, claims, token[: -len(parts[2]) - 1], _decode_base64url(parts[2]))


def _decode_base64url(part: bytes) -> bytes:
    """Decode base64url without padding; raises InvalidToken for a non-canonical encoding."""
    try:
        decoded = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        raise InvalidToken("malformed") from None
    if not part or urlsafe_b64encode(decoded).rstrip(b"=") != part:
        raise InvalidToken("malformed")
    return decoded


def _parse_object(text: bytes) -> dict[str, Any]:
    """Return the JSON object in *text*; raises InvalidToken for a duplicate name."""
    try:
        value = orjson.loads(text)
        if not isinstance(value, dict):
            raise InvalidToken("malformed")
        # orjson drops duplicate names, so text that serializes to itself has none. Text in another format differs
        # too and takes the slow path.
        if orjson.dumps(value) != text:
            json.loads(text, object_pairs_hook=_unique_members)
    except (ValueError, TypeError, RecursionError):  # orjson raises TypeError for nesting too deep to serialize
        raise InvalidToken("malformed") from None
    return value


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidToken("duplicate")
    return found
