"""The credentials of a request: its user, ``Authorization``, ``Cookie`` and other headers that identify a user."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from functools import lru_cache

from scalekit.contracts import SubjectIdentifier, is_authenticated, subject_of
from scalekit_caching import digest

AUTHORIZATION = 1
USER = 2
COOKIE = 4
UNNAMED_USER = 8
"""An authenticated user without a name; responses are never stored."""
CREDENTIAL_HEADER = 16
"""A header that matches ``credential_headers``."""
DECLARED = 32
"""A header that the route declares as a credential."""
ALL_CREDENTIALS = AUTHORIZATION | USER | COOKIE | CREDENTIAL_HEADER | DECLARED
APPLICATION_USER = 64
"""A user that only the application has authenticated: the cache key does not contain that user."""

STANDARD_CREDENTIALS = frozenset({b"authorization", b"cookie"})
"""Credentials with rules of their own (RFC 9111, section 3.5)."""

CREDENTIAL_HEADERS = (
    "*Authorization",
    "*Token*",
    "*Api-Key*",
    "*ApiKey*",
    "*Access-Key*",
    "*-Secret*",
    "*Password*",
    "*Credential*",
    "*Session*",
    "*JWT*",
    "*Client-Cert*",
    "*ClientCert*",
    "*SSL-Cert*",
    "*SSL-Client-*",
    "X-Auth-*",
    "X-Authenticated-*",
    "X-Authentik-*",
    "X-CSRF*",
    "X-XSRF*",
    "Remote-User",
    "Remote-Name",
    "Remote-Email",
    "Remote-Groups",
    "X-Remote-User*",
    "X-Remote-Group*",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-User",
    "X-User-Id",
    "X-User-Name",
    "X-User-Email",
    "X-Username",
    "X-Userinfo",
    "X-Tenant*",
    "X-Amzn-Oidc-*",
    "X-Amzn-Mtls-*",
    "Cf-Access-*",
    "X-Goog-IAP-*",
    "X-Goog-Authenticated-User-*",
    "X-MS-CLIENT-PRINCIPAL*",
    "X-Consumer-*",
    "X-Pomerium-*",
    "X-Webauth-*",
    "Tailscale-User-*",
)
"""Headers that clients and authenticating proxies commonly send; ``*`` stands for any part of a name."""
MAX_CACHED_NAMES = 4096
"""Maximum number of header names whose role is cached."""
PLAIN_HEADERS = frozenset({b"host", *STANDARD_CREDENTIALS})
"""Relevant headers of a request without conditions, range and directives."""
MAX_NAME_LENGTH = 256
"""Maximum length of a header name that is matched; a longer name counts as a credential."""
MAX_CACHED_USERS = 1024
"""Maximum number of users whose credentials are cached, since their digest costs more than the rest of a lookup."""
MAX_CACHED_BYTES = 4096
"""Maximum size of the credential headers of a cached user, in bytes."""

_COMMON_HEADERS = re.compile(
    rb"accept.*|if-.*|content-.*|sec-(?:fetch|ch|gpc|purpose).*|x-forwarded-.*|x-b3-.*|x-envoy-.*"
    rb"|cf-(?:ray|visitor|ipcountry|connecting-ip|connecting-ipv6|worker)"
    rb"|host|connection|keep-alive|te|via|from|dnt|user-agent|referer|origin|pragma|priority|range|date|expect|trailer"
    rb"|upgrade|upgrade-insecure-requests|save-data|max-forwards|cache-control|forwarded|cdn-loop|purpose|x-purpose|x-moz"
    rb"|x-requested-with|x-request-id|x-correlation-id|x-real-ip|x-client-ip|true-client-ip|traceparent|tracestate|baggage"
    rb"|b3|x-amzn-trace-id|x-amz-cf-id|x-cloud-trace-context|x-request-start|x-request-timeout-ms|x-user-agent|x-varnish"
    rb"|downlink|rtt|ect|dpr|device-memory|viewport-width|width"
)
"""Headers that browsers and proxies send for every user."""
_USER_NAMES = re.compile(
    r"user(?!_?agent)|authenticated|api_?key|tenant|credential|principal|customer"
    r"|(?<![a-z])(?:auth|authorization|identity|account|subject|sub|claims|uid|member|viewer|actor|caller|login|person"
    r"|profile|jwt|token|scopes|roles?|permissions|org|organi[sz]ation|client_id)(?![a-z])"
)
"""Matches names in ``request.state`` under which applications set a user or permissions."""


class HeaderRole(Enum):
    """The role of a request header in the cache, beside content negotiation."""

    RELEVANT = auto()
    CREDENTIAL = auto()


class HeaderRoles(dict[bytes, HeaderRole | None]):
    """The role of each header by name: the *relevant* ones, and credentials, which match one of *patterns*.

    Use ``[]`` only, not ``get``: a missing name is classified on first use.
    """

    def __init__(self, relevant: Iterable[bytes], patterns: Iterable[str]) -> None:
        super().__init__()
        self._fixed: dict[bytes, HeaderRole | None] = dict.fromkeys(
            [*relevant, *STANDARD_CREDENTIALS], HeaderRole.RELEVANT
        )
        self.update(self._fixed)
        parts = ["[^ ]*".join(map(re.escape, pattern.lower().split("*"))) for pattern in patterns]
        self._credentials = re.compile("|".join(parts) or "(?!)")

    def __missing__(self, name: bytes) -> HeaderRole | None:
        # WSGI gateways treat underscores in header names as hyphens.
        text = name.decode("latin-1").lower().replace("_", "-")
        is_credential = len(text) > MAX_NAME_LENGTH or self._credentials.fullmatch(text) is not None
        if len(self) >= MAX_CACHED_NAMES:
            self.clear()
            self.update(self._fixed)
        role = self[name] = HeaderRole.CREDENTIAL if is_credential else None
        return role

    def is_credential(self, name: bytes) -> bool:
        """Return whether the header *name* identifies the user."""
        return name in STANDARD_CREDENTIALS or self[name] is HeaderRole.CREDENTIAL


@lru_cache(4096)
def is_common_header(name: bytes) -> bool:
    """Return whether browsers and proxies send the header *name*, in lower case, for every user."""
    return len(name) <= MAX_NAME_LENGTH and _COMMON_HEADERS.fullmatch(name) is not None


@lru_cache(4096)
def is_user_name(name: str) -> bool:
    """Return whether applications set a user in ``request.state`` under such a *name*."""
    return _USER_NAMES.search(name.lower()) is not None


class RequestCredentials:
    """The authenticated user of a request, and its ``Authorization`` and ``Cookie``.

    ``flags`` has a bit for each kind. ``identity`` is a digest of all of them, so that no credential is written to a
    shared store; it is empty for a request without credentials.
    """

    __slots__ = ("_identity", "authorization", "cookie", "flags", "scopes", "subject")

    def __init__(
        self, subject: bytes, scopes: Sequence[str], authorization: bytes | None, cookie: bytes | None, flags: int
    ) -> None:
        self.subject = subject
        self.scopes = scopes
        self.authorization = authorization
        self.cookie = cookie
        self.flags = flags
        self._identity: bytes | None = None

    @property
    def identity(self) -> bytes:
        """The digest, computed on first use."""
        if self._identity is None:
            self._identity = self.digest(self.cookie)
        return self._identity

    def digest(self, cookie: bytes | None, others: tuple[bytes, ...] = ()) -> bytes:
        """Return the identity with *cookie* instead of the cookies of the request, and with *others*."""
        parts: tuple[bytes, ...] = ()
        if self.subject:
            scopes = [each.encode() for each in sorted(self.scopes)] if self.scopes else ()
            parts = (b"user", self.subject, b"%d" % len(scopes), *scopes)
        if self.authorization is not None:
            parts = (*parts, b"authorization", self.authorization)
        if cookie is not None:
            parts = (*parts, b"cookie", cookie)
        parts += others
        return digest(parts) if parts else b""


NO_CREDENTIALS = RequestCredentials(b"", (), None, None, 0)


class CredentialsCache:
    """Caches RequestCredentials by user object. *cookies_identify* makes cookies a credential.

    A verified token has the same user object in each request, so the lookup is by identity of that object; all
    other parts of the credentials are compared.
    """

    def __init__(self, cookies_identify: bool) -> None:
        self._cookies_identify = cookies_identify
        self._by_user: dict[int, tuple[object, object, SubjectIdentifier, RequestCredentials]] = {}

    def get(self, authorization: bytes | None, cookie: bytes | None, user: object, auth: object) -> RequestCredentials:
        """Return the credentials with these headers, authenticated as *user* with the scopes of *auth*."""
        if user is None or not is_authenticated(user):
            no_headers = authorization is None and cookie is None
            return NO_CREDENTIALS if no_headers else self._create(None, authorization, cookie)
        cached = self._by_user.get(id(user))
        subject = getattr(user, "subject_identifier", None)
        if cached is not None and cached[0] is user and cached[1] is auth and cached[2] is subject:
            found = cached[3]
            if found.authorization == authorization and found.cookie == cookie:
                return found
        found = self._create((subject_of(user), tuple(getattr(auth, "scopes", ()))), authorization, cookie)
        size = len(authorization or b"") + len(cookie or b"")
        if isinstance(subject, SubjectIdentifier) and size <= MAX_CACHED_BYTES:
            if len(self._by_user) >= MAX_CACHED_USERS:
                self._by_user.pop(next(iter(self._by_user)))
            self._by_user[id(user)] = (user, auth, subject, found)
        return found

    def users_by_identity(self) -> dict[bytes, SubjectIdentifier]:
        """Return the cached users by their identities in secondary keys, with and without cookies."""
        cached = [(subject, credentials) for _, _, subject, credentials in self._by_user.values()]
        return {
            identity: subject
            for subject, credentials in cached
            for identity in (credentials.identity, credentials.digest(None))
        }

    def _create(
        self,
        user: tuple[SubjectIdentifier | None, Sequence[str]] | None,
        authorization: bytes | None,
        cookie: bytes | None,
    ) -> RequestCredentials:
        flags, name = 0, b""
        scopes: Sequence[str] = ()
        if user is not None:
            subject, scopes = user
            flags |= UNNAMED_USER if subject is None else USER
            name = subject.encoded if subject is not None else b""
        if authorization is not None:
            flags |= AUTHORIZATION
        if cookie is not None and self._cookies_identify:
            flags |= COOKIE
        return RequestCredentials(name, scopes, authorization, cookie, flags)
