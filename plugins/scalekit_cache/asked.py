"""What a request asks of a cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scalekit.caching.items import digest
from scalekit_cache.directives import Directives, parse_cache_control
from scalekit_cache.entry import AUTHORIZATION, COOKIE, NAMELESS, USER, Headers
from scalekit_cache.keys import REWRITING
from scalekit_cache.storing import fields_of
from scalekit_cache.vary import IDENTITY, IDENTITY_WITHOUT_COOKIES

CONDITIONS = frozenset({b"if-none-match", b"if-modified-since", b"if-range", b"range"})
"""Fields that a cache answers by itself, so that they do not reach the application where it validates."""
NOT_FOR_CACHES = frozenset({b"if-match", b"if-unmodified-since", b"transfer-encoding", b"upgrade"})
NOTED = (
    REWRITING
    | CONDITIONS
    | NOT_FOR_CACHES
    | {b"authorization", b"cache-control", b"content-length", b"cookie", b"host"}
)
"""Headers that say more than which form of an answer is wanted."""
NOTHING: Directives = {}


class Asked:
    """One GET or HEAD: its headers, its *directives*, and the *credentials* that tell who asks.

    ``noted`` are the headers that say something to a cache, ``fields`` all of them, both by name. All credentials
    together stand in ``fields`` as the identity, which is empty for all who show none.
    """

    # On the class, so that a request that asks for nothing special sets next to nothing.
    method = "GET"
    noted: Mapping[bytes, bytes] = {}
    directives = NOTHING
    credentials = 0
    _user: Any = None
    _scopes: Sequence[str] = ()
    _fields: dict[bytes, bytes] | None = None

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def read(self, method: str, user: Any, scopes: Sequence[str]) -> None:
        """Look for what is special."""
        self.method = method
        noted = self.noted = fields_of([field for field in self._headers if field[0] in NOTED])
        control = noted.get(b"cache-control")
        if control is not None:
            self.directives = parse_cache_control(control)
        if user is not None and getattr(user, "is_authenticated", True):
            self.credentials = USER if _name(user) else NAMELESS
            self._user = user
            self._scopes = scopes
        if b"authorization" in noted:
            self.credentials |= AUTHORIZATION
        if b"cookie" in noted:
            self.credentials |= COOKIE

    @property
    def passes(self) -> bool:
        """Whether the request is for the application alone."""
        noted = self.noted
        if "no-store" in self.directives or not NOT_FOR_CACHES.isdisjoint(noted):
            return True
        return noted.get(b"content-length", b"0") != b"0"

    @property
    def fields(self) -> dict[bytes, bytes]:
        """All headers by name, and who asks."""
        if self._fields is None:
            self._fields = fields_of(self._headers)
            self._identify(self._fields)
        return self._fields

    def _identify(self, fields: dict[bytes, bytes]) -> None:
        shown: list[bytes] = []
        if self.credentials & USER:
            shown += [b"user", _name(self._user), *(each.encode() for each in sorted(self._scopes))]
        if b"authorization" in fields:
            shown += [b"authorization", fields[b"authorization"]]
        fields[IDENTITY_WITHOUT_COOKIES] = _standing_for(shown)
        if b"cookie" in fields:
            shown += [b"cookie", fields[b"cookie"]]
        fields[IDENTITY] = _standing_for(shown)


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
    return digest(parts) if parts else b""
