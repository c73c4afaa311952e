"""A request with the header Idempotency-Key: its key, who sent it, and what it asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from starlette.types import Scope

from scalekit.contracts import subject_in

MAX_LENGTH = 255
"""Characters of the longest key."""

_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)" *(?:;.*)?')
_BARE = re.compile(r"[!#-+\--:<-~]+")
"""Visible ASCII without quotes, commas, semicolons: the draft wants a string, but clients of Stripe quote none."""
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request with *key* of *subject*; *fingerprint* is a digest of its method, path, query and body.

    *subject* is empty for requests without one, which share one scope of keys.
    """

    key: str
    subject: str
    method: str
    path: str
    fingerprint: str

    @property
    def id(self) -> str:
        """Digest of subject and key."""
        return request_id(self.subject, self.key)


def parse_key(values: Sequence[bytes]) -> str:
    """Return the key in *values* of Idempotency-Key, an RFC 8941 string or bare; raise ValueError if it is invalid."""
    if len(values) != 1:
        raise ValueError(f"{len(values)} headers Idempotency-Key; send one")
    text = values[0].decode("latin-1").strip(" \t")
    if found := _STRING.fullmatch(text):
        key = _ESCAPE.sub(r"\1", found[1])
    elif _BARE.fullmatch(text):
        key = text
    else:
        raise ValueError('Idempotency-Key is not a string such as "8e03978e-40d5-43e8-bc93-6894a57f9324"')
    if not 1 <= len(key) <= MAX_LENGTH:
        raise ValueError(f"Idempotency-Key has {len(key)} characters; send 1 to {MAX_LENGTH}")
    return key


def request_id(subject: str, key: str) -> str:
    """Return the id of the requests with *key* of *subject*."""
    return _digest(subject.encode("utf-8", "surrogatepass"), key.encode())


def fingerprint_of(scope: Scope, body: bytes) -> str:
    """Return the digest of method, path, query and *body*."""
    path = scope["path"].encode("utf-8", "surrogatepass")
    return _digest(scope["method"].encode(), path, scope.get("query_string", b""), body)


def subject_of_request(scope: Scope, header: bytes | None, value: bytes | None) -> str:
    """Return the authenticated user, else the digest of *value* of *header*, else an empty text."""
    user = subject_in(scope)
    if user is not None:
        return user.text
    return "" if header is None or value is None else f"{header.decode()}:{_digest(value)}"


def _digest(*parts: bytes) -> str:
    """Return the digest of *parts* with their lengths, so that no two lists of parts have the same."""
    digest = sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()
