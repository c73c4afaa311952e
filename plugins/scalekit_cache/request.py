"""A GET or HEAD as the cache sees it: directives, conditions, credentials, and whether it has a body."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from starlette.types import Message, Receive

from scalekit.contracts import subject_of
from scalekit_cache.cache_status import Headers
from scalekit_cache.credentials import (
    COOKIE,
    CREDENTIAL_HEADER,
    NO_CREDENTIALS,
    HeaderRole,
    HeaderRoles,
    RequestCredentials,
)
from scalekit_cache.directives import Directives, parse_cache_control
from scalekit_cache.keys import ACCEPT_ENCODING, IDENTITY, IDENTITY_WITHOUT_COOKIES, REWRITING, variant_key
from scalekit_cache.policies import CachePolicy
from scalekit_cache.storability import fields_of
from scalekit_cache.stored_response import StoragePolicy
from scalekit_caching import Key

CONDITIONS = frozenset({b"if-none-match", b"if-modified-since", b"if-range", b"range"})
"""Headers that the cache evaluates itself, and replaces in a revalidation request."""
BYPASS_HEADERS = frozenset({b"if-match", b"if-unmodified-since", b"transfer-encoding", b"upgrade"})
RELEVANT_HEADERS = (
    REWRITING
    | CONDITIONS
    | BYPASS_HEADERS
    | {b"authorization", b"cache-control", b"content-length", b"cookie", b"host"}
)
"""Request headers that matter to the cache, beside content negotiation and credentials."""
NO_DIRECTIVES: Directives = MappingProxyType({})
NO_FIELDS: Mapping[bytes, bytes] = MappingProxyType({})
BY_IDENTITY = (IDENTITY,)
BY_CODING = (ACCEPT_ENCODING,)
FRAMED_BY_HEADERS = frozenset({"1.0", "1.1"})
"""Versions of HTTP in which a request without Content-Length and Transfer-Encoding has no body."""
BODY_TIMEOUT = 1.0
"""Seconds to wait for the first part of a request; a request without one by then counts as having a body."""


class CacheRequest:
    """One GET or HEAD: its headers, its *directives*, and the flags of its *credentials*.

    ``relevant_headers`` are those that matter to the cache, ``fields`` all of them and the user's identity, by name.
    ``has_body`` is set when the request has a body that no header announces.
    """

    # Defaults on the class, so that a plain request sets few attributes.
    method = "GET"
    relevant_headers = NO_FIELDS
    directives = NO_DIRECTIVES
    has_body = False
    _credential_names: tuple[bytes, ...] = ()
    _fields: dict[bytes, bytes] | None = None

    def __init__(self, headers: Headers, credentials: RequestCredentials = NO_CREDENTIALS) -> None:
        self._headers = headers
        self.set_credentials(credentials)

    def parse(self, method: str, roles: HeaderRoles) -> None:
        """Read the headers with one of *roles* in a request with *method*."""
        self.method = method
        relevant = fields_of([field for field in self._headers if roles[field[0]] is not None])
        self.relevant_headers = relevant
        control = relevant.get(b"cache-control")
        if control is not None:
            self.directives = parse_cache_control(control)
        self._credential_names = tuple(sorted([name for name in relevant if roles[name] is HeaderRole.CREDENTIAL]))

    def set_credentials(self, credentials: RequestCredentials) -> None:
        """Set the user, ``Authorization`` and ``Cookie`` of the request."""
        self._credentials = credentials
        self.credentials = credentials.flags | (CREDENTIAL_HEADER if self._credential_names else 0)

    @property
    def bypass_reason(self) -> bytes:
        """Why the request bypasses the cache; empty when it does not."""
        relevant = self.relevant_headers
        if "no-store" in self.directives:
            return b"request-no-store"
        if b"transfer-encoding" in relevant or relevant.get(b"content-length", b"0") != b"0":
            return b"request-body"
        names = BYPASS_HEADERS & relevant.keys()
        return min(names) if names else b""

    @property
    def fields(self) -> dict[bytes, bytes]:
        """All headers by name, and the identity of the user."""
        if self._fields is None:
            self._fields = fields_of(self._headers)
            self._fields[IDENTITY] = self._identity(self._credentials.cookie)
            self._fields[IDENTITY_WITHOUT_COOKIES] = self._identity(None)
        return self._fields

    def missing_credentials(self, policy: StoragePolicy) -> int:
        """Return the credentials of the request that *policy* does not allow; 0 when the request may reuse it."""
        missing = self.credentials & ~policy.allowed_credentials
        if missing & CREDENTIAL_HEADER and all(name in policy.vary for name in self._credential_names):
            missing &= ~CREDENTIAL_HEADER
        return missing

    def has_any(self, names: tuple[bytes, ...]) -> bool:
        """Return whether the request has a header of one of *names*."""
        return any(name in self.fields for name in names)

    def is_user(self, user: object, scopes: Sequence[str]) -> bool:
        """Return whether *user* with *scopes* is the user of the credentials."""
        subject = subject_of(user)
        if subject is None or subject.encoded != self._credentials.subject:
            return False
        return sorted(self._credentials.scopes) == sorted(scopes)

    def variant_key(self, names: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return the secondary key of the request for a response that varies by *names*."""
        if names == BY_IDENTITY:  # the usual case of responses that vary by user
            return (self._identity(self._credentials.cookie),)
        return variant_key(names, self.fields)

    def may_coalesce(self, policy: CachePolicy) -> bool:
        """Return whether other requests may wait for the response."""
        is_special = self.method != "GET" or b"range" in self.relevant_headers or self.has_body
        return not is_special and not self.is_private(policy)

    def is_private(self, policy: CachePolicy) -> bool:
        """Return whether the response will be for this user only, so that no other request need wait for it."""
        if not self.credentials or policy.by_identity:
            return False
        return bool(self.credentials & ~(COOKIE if policy.ignores_cookies else 0))

    def flight_key(self, primary_key: Key, policy: CachePolicy, stored_names: tuple[bytes, ...] = ()) -> Key:
        """Return the key under which requests for *primary_key* are coalesced; variants are by *stored_names*."""
        names = (*policy.vary, *stored_names)
        if policy.by_identity:
            names = (*names, IDENTITY_WITHOUT_COOKIES if policy.ignores_cookies else IDENTITY)
        return (*primary_key, *self.variant_key(names)) if names else primary_key

    def _identity(self, cookie: bytes | None) -> bytes:
        credentials = self._credentials
        if not self._credential_names and cookie is credentials.cookie:
            return credentials.identity
        others: tuple[bytes, ...] = ()
        for name in self._credential_names:
            others = (*others, b"header", name, self.relevant_headers[name])
        return credentials.digest(cookie, others)


class BodyProbe:
    """Receives the first messages of a request ahead of the application; with HTTP/2 and 3 only these show a body."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._received: list[Message] = []
        self._next: asyncio.Task[Message] | None = None

    async def has_body(self) -> bool:
        """Return whether the request has a body, or may still get one."""
        loop = asyncio.get_running_loop()
        end = loop.time() + BODY_TIMEOUT
        while True:
            self._next = asyncio.ensure_future(self._receive_message())
            await asyncio.wait({self._next}, timeout=end - loop.time())
            if not self._next.done():
                return True
            message, self._next = self._next.result(), None
            self._received.append(message)
            if message.get("body"):
                return True
            if not message.get("more_body", False):
                return False

    async def receive(self) -> Message:
        """Receive the messages that the probe has received, and then the following ones."""
        if self._received:
            return self._received.pop(0)
        if self._next is not None:
            try:
                return await asyncio.shield(self._next)
            finally:
                if self._next is not None and self._next.done():
                    self._next = None
        return await self._receive()

    def close(self) -> None:
        """Cancel a pending receive."""
        if self._next is not None:
            self._next.cancel()

    async def _receive_message(self) -> Message:
        return await self._receive()
