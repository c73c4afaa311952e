"""Find the token in a request or websocket."""

from __future__ import annotations

from collections.abc import Iterable

from scalekit_jwt.errors import Refused

Headers = Iterable[tuple[bytes, bytes]]

SUBPROTOCOL = "bearer"
"""What a browser, which can set no header for a websocket, offers before the token: ``["bearer", token]``."""


def credentials(headers: Headers) -> tuple[bytes, bytes]:
    """Return the bearer token, empty where there is none, and the cookies; raises Refused when two are shown."""
    authorization = cookies = b""
    for name, value in headers:
        if name == b"authorization":
            if authorization:
                raise Refused("repeated")
            authorization = value
        elif name == b"cookie":
            cookies = cookies + b"; " + value if cookies else value
    if authorization[:7] == b"Bearer ":
        return authorization[7:].strip(b" "), cookies
    scheme, _, token = authorization.partition(b" ")
    return token.strip(b" ") if scheme.lower() == b"bearer" else b"", cookies


def offered(subprotocols: list[str]) -> str:
    """Return the token that a websocket offers as a subprotocol; empty where it offers none."""
    if len(subprotocols) < 2 or subprotocols[0] != SUBPROTOCOL:
        return ""
    return subprotocols[1]
