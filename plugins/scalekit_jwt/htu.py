"""Normalize the URL of a DPoP proof's ``htu`` claim (RFC 9449 section 4.3, RFC 3986 sections 6.2.2 and 6.2.3)."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

_PORTS = {"http": 80, "https": 443}
_WEBSOCKET_SCHEMES = {"ws": "http", "wss": "https"}
"""A websocket begins as an HTTP request."""
_ESCAPED = re.compile("%([0-9a-fA-F]{2})")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]")
PATH_SAFE_CHARACTERS = "/%:@!$&'()*+,;=~"
"""Characters of a path that are not percent-encoded, and ``%`` itself."""


def normalize_htu(url: str) -> str:
    """Return *url* normalized, without query and fragment; raises ValueError unless it is an HTTP or websocket URL."""
    if not url.isprintable():
        raise ValueError("not an address")
    parts = urlsplit(url)
    scheme = _WEBSOCKET_SCHEMES.get(parts.scheme, parts.scheme)
    if scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError("not an HTTP address")
    port = _PORTS[scheme] if parts.port is None else parts.port
    return f"{scheme}://{parts.hostname}:{port}{_normalize_path(parts.path)}"


def _normalize_path(path: str) -> str:
    return _remove_dot_segments(_ESCAPED.sub(_unescape, quote(path, safe=PATH_SAFE_CHARACTERS)))


def _unescape(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if _UNRESERVED.fullmatch(character) else f"%{match[1].upper()}"


def _remove_dot_segments(path: str) -> str:
    done: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del done[-1:]
        elif segment != ".":
            done.append(segment)
    if segments and segments[-1] in (".", ".."):
        done.append("")
    return "/" + "/".join(done)
