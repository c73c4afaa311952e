"""What a request asks of a cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scalekit.contracts import subject_of
from scalekit_cache.credentials import HeaderRole, HeaderRoles
from scalekit_cache.directives import Directives, parse_cache_control
from scalekit_cache.keys import REWRITING
from scalekit_cache.requester import ANONYMOUS, RequestCredentials
from scalekit_cache.stored_response import OTHER, Headers, StoragePolicy
from scalekit_cache.storing import fields_of
from scalekit_cache.vary import IDENTITY, IDENTITY_WITHOUT_COOKIES, selecting

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
BY_IDENTITY = (IDENTITY,)


class CacheRequest:
    """One GET or HEAD: its headers, its *directives*, and the *credentials* that tell who asks.

    ``noted`` are the headers that say something to a cache, ``fields`` all of them, both by name. All credentials
    together stand in ``fields`` as the identity, which is empty for all who show none. ``has_body`` tells that there is
    a body which no header has announced.
    """

    # On the class, so that a request that asks for nothing special sets next to nothing.
    method = "GET"
    noted: Mapping[bytes, bytes] = {}
    directives = NOTHING
    has_body = False
    _others: tuple[bytes, ...] = ()
    _fields: dict[bytes, bytes] | None = None

    def __init__(self, headers: Headers, requester: RequestCredentials = ANONYMOUS) -> None:
        self._headers = headers
        self.identify(requester)

    def read(self, method: str, meanings: HeaderRoles) -> None:
        """Look for headers with one of *meanings* in a request with *method*."""
        self.method = method
        noted = self.noted = fields_of([field for field in self._headers if meanings[field[0]] is not None])
        control = noted.get(b"cache-control")
        if control is not None:
            self.directives = parse_cache_control(control)
        self._others = tuple(sorted([name for name in noted if meanings[name] is HeaderRole.CREDENTIAL]))

    def identify(self, requester: RequestCredentials) -> None:
        """Set the client that sends the request."""
        self._requester = requester
        self.credentials = requester.credentials | (OTHER if self._others else 0)

    @property
    def bypass(self) -> bytes:
        """Why the request is for the application alone; empty where it is not."""
        noted = self.noted
        if "no-store" in self.directives:
            return b"request-no-store"
        if b"transfer-encoding" in noted or noted.get(b"content-length", b"0") != b"0":
            return b"request-body"
        special = NOT_FOR_CACHES & noted.keys()
        return min(special) if special else b""

    @property
    def fields(self) -> dict[bytes, bytes]:
        """All headers by name, and who asks."""
        if self._fields is None:
            self._fields = fields_of(self._headers)
            self._fields[IDENTITY] = self._identity(self._requester.cookie)
            self._fields[IDENTITY_WITHOUT_COOKIES] = self._identity(None)
        return self._fields

    def lacks(self, ruling: StoragePolicy) -> int:
        """Return the credentials for which an answer under *ruling* is not meant; 0 when this request may have it."""
        missing = self.credentials & ~ruling.covers
        if missing & OTHER and all(name in ruling.names for name in self._others):
            missing &= ~OTHER
        return missing

    def shows(self, names: tuple[bytes, ...]) -> bool:
        """Tell whether the request has a header of one of *names*."""
        return any(name in self.fields for name in names)

    def knows(self, user: Any, scopes: Sequence[str]) -> bool:
        """Tell whether *user*, who may do *scopes*, is the one who was introduced."""
        subject = subject_of(user)
        if subject is None or subject.encoded != self._requester.name:
            return False
        return sorted(self._requester.scopes) == sorted(scopes)

    def selecting(self, names: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return what an answer that varies by *names* is selected by."""
        if names == BY_IDENTITY:  # as most do that vary by who asks
            return (self._identity(self._requester.cookie),)
        return selecting(names, self.fields)

    def _identity(self, cookie: bytes | None) -> bytes:
        requester = self._requester
        if not self._others and cookie is requester.cookie:
            return requester.identity
        others: tuple[bytes, ...] = ()
        for name in self._others:
            others = (*others, b"header", name, self.noted[name])
        return requester.digest(cookie, others)
