"""Request headers that identify the user, beside ``Authorization`` and ``Cookie``, which always do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum, auto
from functools import lru_cache

ALWAYS = frozenset({b"authorization", b"cookie"})
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
"""What clients, and proxies that authenticate, send as a rule; ``*`` stands for any part of a name."""
REMEMBERED = 4096
"""Names of headers of which it is remembered what they mean."""
PLAIN = frozenset({b"host", *ALWAYS})
"""Headers that mean something to a cache in a request that asks for no more than a resource."""
MOST_NAMES = 16
"""Headers of a request of which it is remembered together what they mean."""
LONGEST = 256
"""Characters of a name that is looked at; longer ones are taken for credentials."""


_OF_ANYBODY = re.compile(
    rb"accept.*|if-.*|content-.*|sec-(?:fetch|ch|gpc|purpose).*|x-forwarded-.*|x-b3-.*|x-envoy-.*"
    rb"|cf-(?:ray|visitor|ipcountry|connecting-ip|connecting-ipv6|worker)"
    rb"|host|connection|keep-alive|te|via|from|dnt|user-agent|referer|origin|pragma|priority|range|date|expect|trailer"
    rb"|upgrade|upgrade-insecure-requests|save-data|max-forwards|cache-control|forwarded|cdn-loop|purpose|x-purpose|x-moz"
    rb"|x-requested-with|x-request-id|x-correlation-id|x-real-ip|x-client-ip|true-client-ip|traceparent|tracestate|baggage"
    rb"|b3|x-amzn-trace-id|x-amz-cf-id|x-cloud-trace-context|x-request-start|x-request-timeout-ms|x-user-agent|x-varnish"
    rb"|downlink|rtt|ect|dpr|device-memory|viewport-width|width"
)
"""Headers that browsers and proxies send for every user."""


class HeaderRole(Enum):
    """What a header means to a cache, beside the form of a response that is wanted."""

    NOTED = auto()
    CREDENTIAL = auto()


class HeaderRoles(dict[bytes, HeaderRole | None]):
    """The meaning of each header by its name: *noted* ones, and those that one of *patterns* calls a credential.

    Look with ``[]`` only: what is not there yet is found out then.
    """

    def __init__(self, noted: Iterable[bytes], patterns: Iterable[str]) -> None:
        super().__init__()
        self._known: dict[bytes, HeaderRole | None] = dict.fromkeys([*noted, *ALWAYS], HeaderRole.NOTED)
        self.update(self._known)
        parts = ["[^ ]*".join(map(re.escape, pattern.lower().split("*"))) for pattern in patterns]
        self._credentials = re.compile("|".join(parts) or "(?!)")

    def __missing__(self, name: bytes) -> HeaderRole | None:
        # A gateway to WSGI reads names with underscores as if they had hyphens.
        text = name.decode("latin-1").lower().replace("_", "-")
        is_one = len(text) > LONGEST or self._credentials.fullmatch(text) is not None
        if len(self) >= REMEMBERED:
            self.clear()
            self.update(self._known)
        found = self[name] = HeaderRole.CREDENTIAL if is_one else None
        return found

    def is_credential(self, name: bytes) -> bool:
        """Return whether the header *name* identifies the user."""
        return name in ALWAYS or self[name] is HeaderRole.CREDENTIAL


class SpecialHeaders(dict[tuple[bytes, ...], bool]):
    """Whether a request with headers of these names may ask for more than a resource, by their *meanings*."""

    def __init__(self, meanings: HeaderRoles) -> None:
        super().__init__()
        self._meanings = meanings

    def __missing__(self, names: tuple[bytes, ...]) -> bool:
        meanings = self._meanings
        found = any(meanings[name] is not None and name not in PLAIN for name in names)
        if len(names) <= MOST_NAMES:
            if len(self) >= REMEMBERED:
                self.clear()
            self[names] = found
        return found


@lru_cache(4096)
def is_of_anybody(name: bytes) -> bool:
    """Return whether browsers and proxies send the header *name*, in lower case, for every user."""
    return len(name) <= LONGEST and _OF_ANYBODY.fullmatch(name) is not None
