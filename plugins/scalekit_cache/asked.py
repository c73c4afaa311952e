"""What a request asks of a cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scalekit.caching.items import digest
from scalekit.contracts import subject_of
from scalekit_cache.credentials import Meaning, Meanings
from scalekit_cache.directives import Directives, parse_cache_control
from scalekit_cache.entry import AUTHORIZATION, COOKIE, NAMELESS, OTHER, USER, Headers, Ruling
from scalekit_cache.keys import REWRITING
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


class Asked:
    """One GET or HEAD: its headers, its *directives*, and the *credentials* that tell who asks.

    ``noted`` are the headers that say something to a cache, ``fields`` all of them, both by name. All credentials
    together stand in ``fields`` as the identity, which is empty for all who show none. ``has_body`` tells that there is
    a body which no header has announced.
    """

    # On the class, so that a request that asks for nothing special sets next to nothing.
    method = "GET"
    noted: Mapping[bytes, bytes] = {}
    directives = NOTHING
    credentials = 0
    has_body = False
    _name = b""
    _scopes: Sequence[str] = ()
    _authorization: bytes | None = None
    _cookie: bytes | None = None
    _others: tuple[bytes, ...] = ()
    _fields: dict[bytes, bytes] | None = None

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def read(self, method: str, meanings: Meanings) -> None:
        """Look for headers with one of *meanings* in a request with *method*."""
        self.method = method
        noted = self.noted = fields_of([field for field in self._headers if meanings[field[0]] is not None])
        control = noted.get(b"cache-control")
        if control is not None:
            self.directives = parse_cache_control(control)
        self.show(noted.get(b"authorization"), noted.get(b"cookie"))
        others = [name for name in noted if meanings[name] is Meaning.CREDENTIAL]
        if others:
            self.credentials |= OTHER
            self._others = tuple(sorted(others))

    def show(self, authorization: bytes | None, cookie: bytes | None) -> None:
        """Take note of the credentials in the headers."""
        if authorization is not None:
            self.credentials |= AUTHORIZATION
            self._authorization = authorization
        if cookie is not None:
            self.credentials |= COOKIE
            self._cookie = cookie

    def introduce(self, user: Any, scopes: Sequence[str]) -> None:
        """Take note of the *user* whom somebody has recognised, and of what they may do."""
        subject = subject_of(user)
        self._name = subject.encoded if subject is not None else b""
        self._scopes = scopes
        self.credentials |= USER if self._name else NAMELESS

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
            self._fields[IDENTITY] = self._identity(self._cookie)
            self._fields[IDENTITY_WITHOUT_COOKIES] = self._identity(None)
        return self._fields

    def lacks(self, ruling: Ruling) -> int:
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
        if subject is None or subject.encoded != self._name:
            return False
        return sorted(self._scopes) == sorted(scopes)

    def selecting(self, names: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return what an answer that varies by *names* is selected by."""
        if names == BY_IDENTITY:  # as most do that vary by who asks
            return (self._identity(self._cookie),)
        return selecting(names, self.fields)

    def _identity(self, cookie: bytes | None) -> bytes:
        """Return a digest of what was shown: a credential is not for memory that others may look at."""
        shown: tuple[bytes, ...] = ()
        if self._name:
            scopes = [each.encode() for each in sorted(self._scopes)] if self._scopes else ()
            shown = (b"user", self._name, b"%d" % len(scopes), *scopes)
        if self._authorization is not None:
            shown = (*shown, b"authorization", self._authorization)
        if cookie is not None:
            shown = (*shown, b"cookie", cookie)
        for name in self._others:
            shown = (*shown, b"header", name, self.noted[name])
        return digest(shown) if shown else b""
