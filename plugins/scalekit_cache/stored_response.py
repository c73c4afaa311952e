"""What is kept: answers, and by what the answers of one resource vary."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

from scalekit import LocalResponse
from scalekit_caching.items import Item, Key
from scalekit_caching.tags import path_tags

Headers = list[tuple[bytes, bytes]]

AUTHORIZATION = 1
USER = 2
COOKIE = 4
NAMELESS = 8
"""A user whom nothing tells from another: no answer is kept for such a one."""
OTHER = 16
"""A header that the file lists as a credential."""
DECLARED = 32
"""What the route itself declares as a credential."""
EVERY = AUTHORIZATION | USER | COOKIE | OTHER | DECLARED
UNSEEN = 64
"""A user whom only the application has recognised: the key of the response does not know that user."""

OF_ENTRY = 700
"""Bytes that an answer takes beside what it holds, more or less."""
FIELD = 130
"""Bytes that one header takes beside its value, more or less."""
FOR_VALIDATION = 3600.0
"""Seconds for which a stale answer is kept on that could be validated."""

NOWHERE: Mapping[str, Any] = {}
"""What a router leaves in the scope where there is none."""


class Variants(Item):
    """Stands where the answers of a resource vary by *names*; each is under ``(token, *selecting)``."""

    __slots__ = ("names", "token")

    def __init__(self, key: Key, names: tuple[bytes, ...], token: bytes) -> None:
        super().__init__(key, sum(map(len, key)) + sum(map(len, names)))
        self.names = names
        self.token = token


class StoragePolicy:
    """How answers of one kind are kept; times are in seconds.

    *lifetime* is how long they say that they are fresh, *by_policy* how long they are where they say nothing. *expires*
    tells whether ``Expires`` counts. *covers* are the credentials that do not matter to them or are part of their keys.
    *checked* ones must be validated before each use, *strict* ones must not be used when they are stale. They vary by
    *names* and are kept *without* some fields.
    """

    __slots__ = (
        "by_policy",
        "checked",
        "covers",
        "expires",
        "heuristic",
        "if_error",
        "immutable",
        "lifetime",
        "names",
        "says_more",
        "strict",
        "while_revalidate",
        "without",
    )

    def __init__(
        self,
        *,
        lifetime: float | None,
        by_policy: float | None,
        expires: bool,
        heuristic: float,
        covers: int,
        while_revalidate: float,
        if_error: float,
        checked: bool,
        strict: bool,
        immutable: bool,
        says_more: bool,
        names: tuple[bytes, ...],
        without: frozenset[bytes],
    ) -> None:
        self.lifetime = lifetime
        self.by_policy = by_policy
        self.expires = expires
        self.heuristic = heuristic
        self.covers = covers
        self.while_revalidate = while_revalidate
        self.if_error = if_error
        self.checked = checked
        self.strict = strict
        self.immutable = immutable
        self.says_more = says_more
        self.names = names
        self.without = without


class StoredResponse(Item):
    """An answer: its *status*, its *headers* as they are sent but for the age, its whole *body*, and how it is kept.

    ``plain_until`` is until when it may be given at once to who asks for nothing special; ``routed`` is what the
    application's router has left in the scope. From *early* on it is made anew ahead of time.
    """

    __slots__ = (
        "_response",
        "_second",
        "body",
        "born",
        "detail",
        "early",
        "etag",
        "expires",
        "headers",
        "modified",
        "name",
        "path",
        "plain_until",
        "routed",
        "ruling",
        "status",
    )

    def __init__(
        self,
        key: Key,
        status: int,
        headers: Headers,
        body: bytes,
        ruling: StoragePolicy,
        born: float,
        lifetime: float,
        etag: bytes | None,
        modified: bytes | None,
        name: bytes,
        path: str,
        early: float = float("inf"),
        tags: tuple[bytes, ...] = (),
        since: int = 0,
        routed: Mapping[str, Any] = NOWHERE,
    ) -> None:
        size = OF_ENTRY + FIELD * len(headers) + len(body)
        for _, value in headers:
            size += len(value)
        # What Item.__init__ does: a call costs as much as all of it.
        self.key = key
        self.size = size
        self.tags = tags
        self.since = self.valid = since
        self.used = False
        self.seen = 0.0
        self.newer = self.older = None
        self.status = status
        self.headers = headers
        self.body = body
        self.ruling = ruling
        self.born = born
        self.early = early
        self.etag = etag
        self.modified = modified
        self.name = name
        self.path = path
        self.expires = born + lifetime
        self.plain_until = 0.0 if ruling.checked else min(self.expires, early)
        self.routed = routed
        self.detail = b""
        self._second = -1
        self._response: LocalResponse | None = None

    def all_tags(self) -> tuple[bytes, ...]:
        """Return its tags and those of its path."""
        return (*self.tags, *path_tags(self.path))

    def retain_until(self) -> float:
        """Return until when it may be given or validated."""
        more = max(self.ruling.while_revalidate, self.ruling.if_error)
        return self.expires + (max(more, FOR_VALIDATION) if self.etag or self.modified else more)

    def as_fallback(self) -> StoredResponse:
        """Return a copy whose ``Cache-Status`` says that the shared store could not be asked."""
        stand_in = copy(self)
        stand_in.detail, stand_in._response = b"; detail=disconnected", None
        stand_in.newer = stand_in.older = None
        return stand_in

    def response_at(self, now: float) -> LocalResponse:
        """Return the response to a hit *now*, made once a second."""
        age = int(now - self.born)
        response = self._response
        if response is None or age != self._second:
            status = b"%b; hit; ttl=%d%b" % (self.name, int(self.expires - now), self.detail)
            response = self._response = LocalResponse(self.status, self.aged(now, status), self.body)
            self._second = age
        return response

    def head(self, now: float) -> Headers:
        """Return a copy of the headers of the same."""
        return self.response_at(now).headers.copy()

    def aged(self, now: float, status: bytes) -> Headers:
        """Return the headers with the age of *now* and the *status* of the cache."""
        aged = [*self.headers, (b"age", b"%d" % max(0, int(now - self.born)))]
        for name, _ in self.headers:
            if name == b"cache-status":
                return with_status(aged, status)
        aged.append((b"cache-status", status))
        return aged


def with_status(headers: Headers, status: bytes) -> Headers:
    """Return *headers* with *status* as the last member of ``Cache-Status``, which is one list (RFC 9211)."""
    before = [value for name, value in headers if name.lower() == b"cache-status"]
    if not before:
        return [*headers, (b"cache-status", status)]
    kept = [field for field in headers if field[0].lower() != b"cache-status"]
    return [*kept, (b"cache-status", b", ".join([*before, status]))]
