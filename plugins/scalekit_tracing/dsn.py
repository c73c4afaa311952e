"""The data source name (DSN) of a project on a Sentry-compatible server."""

from __future__ import annotations

import re
from typing import NamedTuple

from scalekit import UrlParts, split_url

_KEY = re.compile(r"[A-Za-z0-9_.~-]{1,256}")


class Dsn(NamedTuple):
    """Server, path of the project's envelopes, and public key."""

    parts: UrlParts
    path: str
    key: str


def parse_dsn(text: str) -> Dsn:
    """Return the DSN of *text*; raises ValueError, without the key, when it is not ``https://KEY@HOST/PROJECT``."""
    problem = "expected a DSN with public key, host and project, as the settings of the project show it"
    try:
        parts = split_url(text)
    except ValueError as error:
        raise ValueError(f"{problem}: {error}") from None
    prefix, _, project = parts.path.rstrip("/").rpartition("/")
    if parts.scheme not in ("http", "https") or not parts.host or not parts.user or not project:
        raise ValueError(problem)
    if parts.query or parts.fragment or not parts.path.isascii() or not _KEY.fullmatch(parts.user):
        raise ValueError(f"{problem}: a key of letters and digits, and a path in ASCII")
    return Dsn(parts, f"{prefix}/api/{project}/envelope/", parts.user)
