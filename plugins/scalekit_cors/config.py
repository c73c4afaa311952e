"""The table ``[plugins.cors]``."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from scalekit import Duration, Method, PathGlob, Table, check_origin

HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
ANY = "*"
SUBDOMAINS = "://*."
"""Stands in an origin before the host whose subdomains are allowed."""


def _origin(text: str) -> str:
    """Return *text*, an origin, one for all subdomains, or ``*``."""
    if text != ANY:
        check_origin(text.replace(SUBDOMAINS, "://", 1))
    return text


def _header_name(name: str) -> str:
    if not HEADER_NAME.fullmatch(name):
        raise ValueError(f'expected the name of a header such as "Content-Type", or "*", got {name!r}')
    return name


Origin = Annotated[str, AfterValidator(_origin)]
HeaderName = Annotated[str, AfterValidator(_header_name)]


class CorsRules(Table):
    """Origins, and the requests that their pages may send."""

    origins: tuple[Origin, ...] = ()
    """Origins whose pages may read responses: exact, ``https://*.shop.example`` for every subdomain, or ``*``."""
    methods: tuple[Method, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    """Methods that a page may use."""
    headers: tuple[HeaderName, ...] = (
        "Authorization",
        "Content-Type",
        "DPoP",
        "Idempotency-Key",
        "If-Match",
        "If-None-Match",
        "Traceparent",
        "Tracestate",
        "X-Request-ID",
    )
    """Request headers that a page may set; ``*`` allows all."""
    expose: tuple[HeaderName, ...] = ("Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-ID")
    """Response headers that a page may read, in addition to the few that it always may; ``*`` without credentials."""
    credentials: bool = False
    """Whether a page may send cookies and client certificates; never together with origin ``*``."""
    max_age: Duration = Duration("10m")
    """How long a browser may cache the result of a preflight."""
    private_network: bool = False
    """Whether a public page may reach this service in a private network (Private Network Access)."""


class CorsPolicy(CorsRules):
    """The rules of some paths, in place of those of ``[plugins.cors]``."""

    path: PathGlob
    """Paths that the policy applies to."""


class CorsConfig(CorsRules):
    """Which origins may use the service from a browser."""

    policies: tuple[CorsPolicy, ...] = ()
    """Rules for some paths, the first that matches; a key that a policy leaves out is that of ``[plugins.cors]``."""

    @model_validator(mode="after")
    def _allow_something_and_not_everything(self) -> Self:
        rules: list[CorsRules] = [self, *(policy.completed_by(self) for policy in self.policies)]
        if not any(each.origins for each in rules):
            raise ValueError('origins is empty: name the origins of your pages, such as ["https://shop.example"]')
        if any(each.credentials and ANY in each.origins for each in rules):
            raise ValueError('credentials with origin "*" would let every site act as its visitor: name the origins')
        if any(each.credentials and ANY in each.expose for each in rules):
            raise ValueError('with credentials, browsers read "*" in expose as the name of a header: name the headers')
        return self
