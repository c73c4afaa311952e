"""Decide which requests pages of other origins may send (Fetch standard, section 3.3, CORS protocol)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scalekit import PathTable
from scalekit_cors.config import ANY, CorsConfig, CorsRules

Header = tuple[bytes, bytes]

MAX_ORIGINS = 1000
"""Maximum number of allowed origins whose headers are cached by a policy; at that number all are removed."""
MAX_ORIGIN_LENGTH = 256
"""Bytes of the longest origin whose headers are stored."""
ALLOW_ORIGIN = b"access-control-allow-origin"
VARY_ORIGIN: Header = (b"vary", b"Origin")
VARY_PREFLIGHT: Header = (
    b"vary",
    b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network",
)
SUBDOMAINS = r"(?:[a-z0-9_-]+\.)+"
SAFELISTED = frozenset({"accept", "accept-language", "content-language", "content-type", "range"})
"""Request headers that a page may always set, within limits that the browser checks."""


class Preflight(NamedTuple):
    """The request that a browser announces with OPTIONS."""

    origin: bytes
    method: bytes
    headers: bytes
    private_network: bool


@dataclass(frozen=True, slots=True)
class PreflightDecision:
    """The response to a preflight: *headers* and, when it is rejected, the *reason*."""

    headers: list[Header]
    reason: str = ""


class Policy:
    """The rules for some paths."""

    def __init__(self, rules: CorsRules) -> None:
        self._rules = rules
        self._any_origin = ANY in rules.origins
        self._any_header = ANY in rules.headers
        self._request_headers = SAFELISTED | {name.lower() for name in rules.headers}
        self._methods = {method.encode() for method in rules.methods}
        self._matches = _origin_pattern(rules.origins)
        self._stored: dict[bytes, list[Header]] = {}
        self.vary: list[Header] = [] if self._any_origin else [VARY_ORIGIN]
        """Headers of a response to a request without Origin, so that caches do not serve it to pages."""
        self._of_any_origin = self._response_headers(b"") if self._any_origin else None

    def response_headers(self, origin: bytes) -> list[Header] | None:
        """Return the headers of a response to a page of *origin*, or None when the origin is not allowed."""
        found = self._of_any_origin or self._stored.get(origin)
        if found is not None or not self._allows(origin):
            return found
        found = self._response_headers(origin)
        if len(origin) <= MAX_ORIGIN_LENGTH:
            if len(self._stored) >= MAX_ORIGINS:
                self._stored.clear()
            self._stored[origin] = found
        return found

    def decide_preflight(self, request: Preflight) -> PreflightDecision:
        """Return the response to a preflight *request*."""
        reason = self._rejection(request)
        if reason:
            return PreflightDecision([VARY_PREFLIGHT], reason)
        headers = [*self._origin_headers(request.origin)]
        headers.append((b"access-control-allow-methods", ", ".join(self._rules.methods).encode()))
        names = request.headers if self._any_header else ", ".join(self._rules.headers).encode()
        if names:
            headers.append((b"access-control-allow-headers", names))
        headers.append((b"access-control-max-age", str(int(self._rules.max_age)).encode()))
        if request.private_network:
            headers.append((b"access-control-allow-private-network", b"true"))
        return PreflightDecision([*headers, VARY_PREFLIGHT])

    def _rejection(self, request: Preflight) -> str:
        """Return why *request* is rejected, empty when it is not."""
        if not self._allows(request.origin):
            return f"origin {_text(request.origin)} is not allowed"
        if request.method not in self._methods:
            return f"method {_text(request.method)} is not allowed for pages of other origins"
        if not self._any_header:
            names = {name.strip().lower() for name in _text(request.headers).split(",") if name.strip()}
            refused = sorted(names - self._request_headers)
            if refused:
                return f"request header {', '.join(refused)} is not allowed for pages of other origins"
        if request.private_network and not self._rules.private_network:
            return "requests of public pages to this private network are not allowed"
        return ""

    def _allows(self, origin: bytes) -> bool:
        return self._any_origin or self._matches(_text(origin)) is not None

    def _response_headers(self, origin: bytes) -> list[Header]:
        exposed = ", ".join(self._rules.expose).encode()
        expose = [(b"access-control-expose-headers", exposed)] if exposed else []
        return [*self._origin_headers(origin), *expose, *self.vary]

    def _origin_headers(self, origin: bytes) -> list[Header]:
        if self._any_origin:
            return [(ALLOW_ORIGIN, b"*")]
        credentials = [(b"access-control-allow-credentials", b"true")] if self._rules.credentials else []
        return [(ALLOW_ORIGIN, origin), *credentials]


def policies_of(config: CorsConfig) -> PathTable[Policy]:
    """Return the policies of the file, by path."""
    return PathTable(Policy(config), [(each.path, Policy(each.completed_by(config))) for each in config.policies])


def preflight_of(origin: bytes, headers: Mapping[bytes, bytes]) -> Preflight:
    """Return the preflight that *headers*, those of an OPTIONS request of a page of *origin*, describe."""
    return Preflight(
        origin,
        headers[b"access-control-request-method"],
        headers.get(b"access-control-request-headers", b""),
        headers.get(b"access-control-request-private-network") == b"true",
    )


def _origin_pattern(origins: Sequence[str]) -> Callable[[str], re.Match[str] | None]:
    patterns = [re.escape(origin).replace(re.escape("*."), SUBDOMAINS) for origin in origins if origin != ANY]
    return re.compile("|".join(patterns) if patterns else "(?!)").fullmatch


def _text(value: bytes) -> str:
    return value.decode("latin-1")
