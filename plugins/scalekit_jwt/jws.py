"""Parse, verify and sign the JWS compact serialization of tokens (RFC 7515, 7519, 8725).

Parsing is stricter than that of libraries. The signature is verified over the bytes that were parsed.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from scalekit import encode_json
from scalekit_jwt.errors import InvalidToken, UnknownKey
from scalekit_jwt.keys.key_set import KeySource, SigningKey

MAX_BYTES = 8192


class UnverifiedToken(NamedTuple):
    """The parts of a token whose signature has not been verified."""

    header: dict[str, object]
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


def verify_signature(token: UnverifiedToken, keys: KeySource, now: float) -> None:
    """Raise InvalidToken unless a key of *keys* that is valid at *now* signed *token*.

    Raises UnknownKey when no key has the ``kid`` of the token, also after changed local keys have been loaded.
    """
    try:
        key = keys.current.find(token.header, now)
    except UnknownKey:
        if not keys.reload_for_unknown_key():
            raise UnknownKey(keys.wait_for_keys) from None
        key = keys.current.find(token.header, now)
    if not key.verify(token.signing_input, token.signature):
        raise InvalidToken("signature")


def encode_jws(key: SigningKey, token_type: str, claims: Mapping[str, object]) -> str:
    """Return *claims* as a JWT with the ``typ`` *token_type*, signed with *key*."""
    header = orjson.dumps({"alg": key.algorithm, "typ": token_type, "kid": key.kid})
    signing_input = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in (header, encode_json(claims)))
    return (signing_input + b"." + urlsafe_b64encode(key.sign(signing_input)).rstrip(b"=")).decode()


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


def _unique_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidToken("duplicate")
    return found
