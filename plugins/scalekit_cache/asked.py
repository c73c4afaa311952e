"""What a request asks of a cache."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scalekit_cache.directives import Directives, parse_cache_control
from scalekit_cache.entry import AUTHORIZATION, COOKIE, NAMELESS, USER
from scalekit_cache.keys import digest
from scalekit_cache.storing import fields_of
from scalekit_cache.vary import IDENTITY, IDENTITY_WITHOUT_COOKIES

CONDITIONS = frozenset({b"if-none-match", b"if-modified-since", b"if-range", b"range"})
"""Fields that a cache answers by itself, so that they do not reach the application where it validates."""
NOT_FOR_CACHES = frozenset({b"if-match", b"if-unmodified-since", b"upgrade", b"transfer-encoding"})
NOTHING: Directives = {}


class Asked:
    """One GET or HEAD: its *fields* by name, its *directives*, and who asks.

    ``credentials`` are what tells who asks. All of them together stand in ``fields`` as the identity, which is empty
    for all who show none.
    """

    __slots__ = ("credentials", "directives", "fields", "method")

    def __init__(self, method: str, headers: Iterable[tuple[bytes, bytes]], user: Any, scopes: Iterable[str]) -> None:
        self.method = method
        fields = self.fields = fields_of(headers)
        control = fields.get(b"cache-control")
        self.directives = NOTHING if control is None else parse_cache_control(control)
        self.credentials = 0
        fields[IDENTITY] = fields[IDENTITY_WITHOUT_COOKIES] = b""
        if user is not None or b"authorization" in fields or b"cookie" in fields:
            self._identify(fields, user, scopes)

    def _identify(self, fields: dict[bytes, bytes], user: Any, scopes: Iterable[str]) -> None:
        shown: list[bytes] = []
        if user is not None and getattr(user, "is_authenticated", True):
            name = _name(user)
            self.credentials = USER if name else NAMELESS
            shown += [b"user", name, *(each.encode() for each in sorted(scopes))]
        if b"authorization" in fields:
            self.credentials |= AUTHORIZATION
            shown += [b"authorization", fields[b"authorization"]]
        fields[IDENTITY_WITHOUT_COOKIES] = _standing_for(shown)
        if b"cookie" in fields:
            self.credentials |= COOKIE
            shown += [b"cookie", fields[b"cookie"]]
        fields[IDENTITY] = _standing_for(shown)

    @property
    def passes(self) -> bool:
        """Whether the request is for the application alone."""
        fields = self.fields
        if "no-store" in self.directives or not NOT_FOR_CACHES.isdisjoint(fields):
            return True
        return fields.get(b"content-length", b"0") != b"0"


def _name(user: Any) -> bytes:
    for attribute in ("identity", "display_name"):
        try:
            name = str(getattr(user, attribute))
        except (AttributeError, NotImplementedError):
            continue
        if name:
            return name.encode("utf-8", "surrogatepass")
    return b""


def _standing_for(shown: Iterable[bytes]) -> bytes:
    """Return a digest of what was *shown*: a credential is not for memory that others may look at."""
    parts = tuple(shown)
    return digest(parts).hex().encode() if parts else b""
