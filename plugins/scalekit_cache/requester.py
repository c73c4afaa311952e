"""The client of a request, as its credentials identify it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scalekit.contracts import SubjectIdentifier, is_authenticated, subject_of
from scalekit_cache.stored_response import AUTHORIZATION, COOKIE, NAMELESS, USER
from scalekit_caching.items import digest

MAX_REMEMBERED = 1024
"""CredentialsCache whose identity is remembered, since a digest of it costs more than all the rest of a look-up."""
MAX_BYTES = 4096
"""Bytes of the headers of one that is remembered."""


class RequestCredentials:
    """The authenticated user of a request, and the request headers that identify a user.

    ``credentials`` tells which there are; ``identity`` is a digest of all of them, for a credential is not for memory
    that others may read; it is empty for a request without credentials.
    """

    __slots__ = ("_identity", "authorization", "cookie", "credentials", "name", "scopes")

    def __init__(
        self, name: bytes, scopes: Sequence[str], authorization: bytes | None, cookie: bytes | None, credentials: int
    ) -> None:
        self.name = name
        self.scopes = scopes
        self.authorization = authorization
        self.cookie = cookie
        self.credentials = credentials
        self._identity: bytes | None = None

    @property
    def identity(self) -> bytes:
        """The digest, worked out when it is first needed."""
        if self._identity is None:
            self._identity = self.digest(self.cookie)
        return self._identity

    def digest(self, cookie: bytes | None, others: tuple[bytes, ...] = ()) -> bytes:
        """Return the identity with *cookie* in place of the cookies, and with *others*."""
        shown: tuple[bytes, ...] = ()
        if self.name:
            scopes = [each.encode() for each in sorted(self.scopes)] if self.scopes else ()
            shown = (b"user", self.name, b"%d" % len(scopes), *scopes)
        if self.authorization is not None:
            shown = (*shown, b"authorization", self.authorization)
        if cookie is not None:
            shown = (*shown, b"cookie", cookie)
        shown += others
        return digest(shown) if shown else b""


ANONYMOUS = RequestCredentials(b"", (), None, None, 0)


class CredentialsCache:
    """Remembers requesters. *cookies_count* tells whether a cookie is a credential.

    One whose token is verified comes with the same user object each time, which is found at once; all that makes up a
    requester is compared nevertheless.
    """

    def __init__(self, cookies_count: bool) -> None:
        self._cookies_count = cookies_count
        self._by_user: dict[int, tuple[Any, Any, SubjectIdentifier, RequestCredentials]] = {}

    def of(self, authorization: bytes | None, cookie: bytes | None, user: Any, auth: Any) -> RequestCredentials:
        """Return the requester with these headers, authenticated as *user* with the scopes of *auth*."""
        if user is None or not is_authenticated(user):
            return ANONYMOUS if authorization is None and cookie is None else self._make(None, authorization, cookie)
        known = self._by_user.get(id(user))
        subject = getattr(user, "subject_identifier", None)
        if known is not None and known[0] is user and known[1] is auth and known[2] is subject:
            found = known[3]
            if found.authorization == authorization and found.cookie == cookie:
                return found
        found = self._make((subject_of(user), tuple(getattr(auth, "scopes", ()))), authorization, cookie)
        if isinstance(subject, SubjectIdentifier) and len(authorization or b"") + len(cookie or b"") <= MAX_BYTES:
            if len(self._by_user) >= MAX_REMEMBERED:
                self._by_user.pop(next(iter(self._by_user)))
            self._by_user[id(user)] = (user, auth, subject, found)
        return found

    def _make(
        self,
        user: tuple[SubjectIdentifier | None, Sequence[str]] | None,
        authorization: bytes | None,
        cookie: bytes | None,
    ) -> RequestCredentials:
        credentials, name = 0, b""
        scopes: Sequence[str] = ()
        if user is not None:
            subject, scopes = user
            credentials |= NAMELESS if subject is None else USER
            name = subject.encoded if subject is not None else b""
        if authorization is not None:
            credentials |= AUTHORIZATION
        if cookie is not None and self._cookies_count:
            credentials |= COOKIE
        return RequestCredentials(name, scopes, authorization, cookie, credentials)
