"""What is kept: answers, values, and by what the answers of one resource vary."""

from __future__ import annotations

from typing import Any

from scalekit_cache.dates import format_date
from scalekit_cache.keys import Key

Headers = list[tuple[bytes, bytes]]

AUTHORIZATION = 1
USER = 2
COOKIE = 4
EVERY = AUTHORIZATION | USER | COOKIE
NAMELESS = 8
"""A user whom nothing tells from another: no answer is kept for such a one."""

OVERHEAD = 600
"""Bytes that one item takes beside what it holds, more or less."""


class Item:
    """Something that is kept under *key*; the rest is for whoever keeps it."""

    __slots__ = ("key", "newer", "older", "since", "size", "tags", "used", "valid")

    def __init__(self, key: Key, size: int, tags: tuple[bytes, ...] = (), since: int = 0) -> None:
        self.key = key
        self.size = size + OVERHEAD
        self.tags = tags
        self.since = since
        self.valid = since
        self.used = False
        self.newer: Item | None = None
        self.older: Item | None = None


class Variants(Item):
    """Stands where the answers of a resource vary; each is under ``(token, *selecting)``."""

    __slots__ = ("names", "token")

    def __init__(self, key: Key, names: tuple[bytes, ...], token: bytes) -> None:
        super().__init__(key, sum(map(len, key)) + sum(map(len, names)))
        self.names = names
        self.token = token


class Value(Item):
    """An object of an application: its *frame*, and when it expires."""

    __slots__ = ("expires", "frame")

    def __init__(self, key: Key, frame: bytes, expires: float, tags: tuple[bytes, ...] = (), since: int = 0) -> None:
        super().__init__(key, len(key[-1]) + len(frame), tags, since)
        self.frame = frame
        self.expires = expires


class Terms:
    """For how long an answer may be used, and for whom.

    *born* is when it would have had the age 0, in seconds since the epoch; the rest is in seconds. *covers* are the
    credentials that do not matter to it or are part of its key. *checked* tells that it must be validated before each
    use, *strict* that it must not be used when it is stale. *early* is when to refresh it ahead of time.
    """

    __slots__ = (
        "born",
        "checked",
        "covers",
        "early",
        "if_error",
        "immutable",
        "lifetime",
        "strict",
        "while_revalidate",
    )

    def __init__(
        self,
        born: float,
        lifetime: float,
        covers: int = 0,
        while_revalidate: float = 0.0,
        if_error: float = 0.0,
        checked: bool = False,
        strict: bool = False,
        immutable: bool = False,
        early: float = float("inf"),
    ) -> None:
        self.born = born
        self.lifetime = lifetime
        self.covers = covers
        self.while_revalidate = while_revalidate
        self.if_error = if_error
        self.checked = checked
        self.strict = strict
        self.immutable = immutable
        self.early = early


class Entry(Item):
    """An answer: its *status*, its *headers* as they are sent but for the age, its whole *body* and its *terms*.

    ``plain_until`` is until when it may be given at once to who asks for nothing special; ``routed`` is what the
    application's router has left in the scope.
    """

    __slots__ = (
        "_head",
        "_second",
        "body",
        "etag",
        "expires",
        "headers",
        "modified",
        "name",
        "names",
        "plain_until",
        "routed",
        "status",
        "terms",
    )

    def __init__(
        self,
        key: Key,
        status: int,
        headers: Headers,
        body: bytes,
        terms: Terms,
        name: bytes,
        names: tuple[bytes, ...] = (),
        tags: tuple[bytes, ...] = (),
        since: int = 0,
    ) -> None:
        held = len(body) + sum(len(field) + len(value) + 100 for field, value in headers) + sum(map(len, key))
        super().__init__(key, held, tags, since)
        self.status = status
        self.headers = headers
        self.body = body
        self.terms = terms
        self.name = name
        self.names = names
        self.etag = next((value for field, value in headers if field == b"etag"), None)
        self.modified = next((value for field, value in headers if field == b"last-modified"), None)
        self.expires = terms.born + terms.lifetime
        self.routed: dict[str, Any] = {}
        self.plain_until = 0.0 if terms.checked else min(self.expires, terms.early)
        self._second = -1
        self._head: Headers = []

    def head(self, now: float) -> Headers:
        """Return the headers to answer with *now*, for who may change the list."""
        age = int(now - self.terms.born)
        if age != self._second:
            self._second = age
            status = b"%b; hit; ttl=%d" % (self.name, int(self.expires - now))
            self._head = self.aged(age, status)
        return self._head.copy()

    def aged(self, age: int, status: bytes) -> Headers:
        """Return the headers with the *age* and the *status* of the cache."""
        return with_status([*self.headers, (b"age", b"%d" % max(0, age))], status)


def with_status(headers: Headers, status: bytes) -> Headers:
    """Return *headers* with *status* as the last member of ``Cache-Status``, which is one list (RFC 9211)."""
    before = [value for name, value in headers if name.lower() == b"cache-status"]
    if not before:
        return [*headers, (b"cache-status", status)]
    kept = [field for field in headers if field[0].lower() != b"cache-status"]
    return [*kept, (b"cache-status", b", ".join([*before, status]))]


def dated(headers: Headers, now: float) -> Headers:
    """Return *headers* with a date, which an answer has had since it was made."""
    if any(name == b"date" for name, _ in headers):
        return headers
    return [*headers, (b"date", format_date(now))]
