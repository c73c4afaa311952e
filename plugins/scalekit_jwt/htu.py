"""Addresses, which have many spellings, in one (RFC 3986 sections 6.2.2 and 6.2.3)."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

_PORTS = {"http": 80, "https": 443}
_HANDSHAKES = {"ws": "http", "wss": "https"}
"""A websocket begins as a request."""
_ESCAPED = re.compile("%([0-9a-fA-F]{2})")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]")
PATH_SAFE_CHARACTERS = "/%:@!$&'()*+,;=~"
"""Characters of a path that need not be escaped, and those that escape."""


def normal(address: str) -> str:
    """Return *address* without query and fragment, in its one spelling; raises ValueError when it is not of the web."""
    if not address.isprintable():
        raise ValueError("not an address")
    parts = urlsplit(address)
    scheme = _HANDSHAKES.get(parts.scheme, parts.scheme)
    if scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError("not an address of the web")
    port = _PORTS[scheme] if parts.port is None else parts.port
    return f"{scheme}://{parts.hostname}:{port}{_path(parts.path)}"


def _path(path: str) -> str:
    return _without_dots(_ESCAPED.sub(_unescaped, quote(path, safe=PATH_SAFE_CHARACTERS)))


def _unescaped(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if _UNRESERVED.fullmatch(character) else f"%{match[1].upper()}"


def _without_dots(path: str) -> str:
    done: list[str] = []
    pieces = path.split("/")[1:]
    for piece in pieces:
        if piece == "..":
            del done[-1:]
        elif piece != ".":
            done.append(piece)
    if pieces and pieces[-1] in (".", ".."):
        done.append("")
    return "/" + "/".join(done)
