"""The table ``[plugins.headers]``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from scalekit import Duration, Origin, PathGlob, Table

NONCE = "{nonce}"
"""Stands in a Content Security Policy for the nonce of the response."""
ReferrerPolicy = Literal[
    "",
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
]
OpenerPolicy = Literal["", "same-origin", "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none"]


NO_SOURCE = "'none'"
PRELOAD_MIN_AGE = Duration("365d")
"""The shortest ``max-age`` that hstspreload.org accepts."""
_SOURCE = re.compile(r"'self'|'none'|(?!(?:self|none)$)[^\s;,'\"{}]+")


def _header_value(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"expected printable ASCII on one line, got {text!r}")
    return text


def _policy(text: str) -> str:
    if "{" in text.replace(NONCE, ""):
        raise ValueError(f"the only placeholder is {NONCE}, got {text!r}")
    return text


def _ancestor(text: str) -> str:
    if not _SOURCE.fullmatch(text):
        raise ValueError(f"""expected a source such as "https://shop.example", "'self'" or "'none'", got {text!r}""")
    return text


def _ancestors(sources: Sequence[str]) -> Sequence[str]:
    if NO_SOURCE in sources and len(sources) > 1:
        raise ValueError("""browsers ignore "'none'" beside other sources: write it alone, or leave it out""")
    return sources


HeaderValue = Annotated[str, AfterValidator(_header_value)]
PolicyText = Annotated[HeaderValue, AfterValidator(_policy)]
FrameAncestor = Annotated[HeaderValue, AfterValidator(_ancestor)]
FrameAncestors = Annotated[tuple[FrameAncestor, ...], AfterValidator(_ancestors)]


class HeaderRules(Table):
    """The headers of responses; an empty text or ``false`` leaves a header out."""

    content_type_options: bool = True
    """``X-Content-Type-Options: nosniff``: browsers do not guess the type of a response."""
    referrer_policy: ReferrerPolicy = "strict-origin-when-cross-origin"
    """``Referrer-Policy``: the part of a page's URL that a browser sends to sites which the page links to."""
    frame_ancestors: FrameAncestors = ("'self'",)
    """Sources that may show a page in a frame, as in CSP; empty leaves out ``frame-ancestors`` and X-Frame-Options."""
    cross_origin_opener_policy: OpenerPolicy = "same-origin-allow-popups"
    """``Cross-Origin-Opener-Policy``: whether pages of other origins keep a reference to a window of this one."""
    permissions_policy: HeaderValue = "browsing-topics=()"
    """``Permissions-Policy``: features of the browser that a page may use."""
    hsts_max_age: Duration = Duration("180d")
    """Time for which browsers use https only; sent where the request came over https. ``"0s"`` leaves it out."""
    hsts_include_subdomains: bool = False
    """Extend it to all subdomains."""
    hsts_preload: bool = False
    """Permit browsers to build it in (hstspreload.org); needs the subdomains and a year."""
    content_security_policy: PolicyText = ""
    """``Content-Security-Policy``; ``{nonce}`` stands for the nonce of the response, ``'nonce-...'``."""
    content_security_policy_report_only: PolicyText = ""
    """The same, reported and not enforced."""


class HeaderPolicy(HeaderRules):
    """Other headers for some paths."""

    path: PathGlob
    """Paths that the policy applies to."""


class HeadersConfig(HeaderRules):
    """Security headers, and protection against CSRF."""

    policies: tuple[HeaderPolicy, ...] = ()
    """Headers of some paths, by the first match; a key that a policy leaves out is that of ``[plugins.headers]``."""
    csrf_protection: bool = False
    """Reject requests of other sites that may change something; those with a token and without cookies pass."""
    csrf_trusted_origins: tuple[Origin, ...] = ()
    """Other origins whose pages may send them."""

    @model_validator(mode="after")
    def _check_preload(self) -> Self:
        rules: list[HeaderRules] = [self, *(policy.completed_by(self) for policy in self.policies)]
        for each in rules:
            if each.hsts_preload and not (each.hsts_include_subdomains and each.hsts_max_age >= PRELOAD_MIN_AGE):
                raise ValueError('hsts_preload needs hsts_include_subdomains = true and hsts_max_age = "365d" or more')
        return self
