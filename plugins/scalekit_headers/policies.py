"""The security headers of a response, by path."""

from __future__ import annotations

from collections.abc import Sequence

from scalekit import PathTable
from scalekit_headers.config import NONCE, HeaderRules, HeadersConfig

Header = tuple[bytes, bytes]

FRAME_OPTIONS = {"'self'": "SAMEORIGIN", "'none'": "DENY"}
CSP = b"content-security-policy"
CSP_REPORT_ONLY = b"content-security-policy-report-only"


class HeaderSet:
    """The headers that the rules of one path set."""

    def __init__(self, rules: HeaderRules) -> None:
        self._policies = {
            CSP: _content_security_policy(rules.content_security_policy, rules.frame_ancestors),
            CSP_REPORT_ONLY: rules.content_security_policy_report_only,
        }
        self.http = [*_fixed_headers(rules), *self.policy_headers("")]
        """Headers of a response to a request over http."""
        self.https = [*self.http, *_hsts(rules)]
        """Headers of a response to a request over https."""

    def policy_headers(self, nonce: str) -> list[Header]:
        """Return the Content Security Policies with *nonce*; without one their source ``{nonce}`` is left out."""
        source = f"'nonce-{nonce}'" if nonce else ""
        texts = ((name, " ".join(text.replace(NONCE, source).split())) for name, text in self._policies.items())
        return [(name, text.replace(" ;", ";").encode()) for name, text in texts if text]


def header_sets(config: HeadersConfig) -> PathTable[HeaderSet]:
    """Return the header sets of the file, by path."""
    entries = [(each.path, HeaderSet(each.completed_by(config))) for each in config.policies]
    return PathTable(HeaderSet(config), entries)


def _content_security_policy(text: str, frame_ancestors: Sequence[str]) -> str:
    if not frame_ancestors or "frame-ancestors" in text:
        return text
    return "; ".join(filter(None, (text.rstrip("; "), f"frame-ancestors {' '.join(frame_ancestors)}")))


def _fixed_headers(rules: HeaderRules) -> list[Header]:
    found = {
        b"x-content-type-options": "nosniff" if rules.content_type_options else "",
        b"referrer-policy": rules.referrer_policy,
        b"x-frame-options": FRAME_OPTIONS.get(" ".join(rules.frame_ancestors), ""),
        b"cross-origin-opener-policy": rules.cross_origin_opener_policy,
        b"permissions-policy": rules.permissions_policy,
    }
    return [(name, value.encode()) for name, value in found.items() if value]


def _hsts(rules: HeaderRules) -> list[Header]:
    if not rules.hsts_max_age:
        return []
    directives = [f"max-age={int(rules.hsts_max_age)}"]
    directives += ["includeSubDomains"] if rules.hsts_include_subdomains else []
    directives += ["preload"] if rules.hsts_preload else []
    return [(b"strict-transport-security", "; ".join(directives).encode())]
