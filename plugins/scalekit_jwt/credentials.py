"""Find the token in a request or websocket, and the proof that may come with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from scalekit import Exchange
from scalekit_jwt.dpop import ExpectedRequest, PresentedProof
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.htu import PATH_SAFE_CHARACTERS

AUTHORIZATION, COOKIE = b"authorization", b"cookie"

BEARER, DPOP = b"Bearer ", b"DPoP "
SCHEMES = {b"bearer": BEARER, b"dpop": DPOP}

SUBPROTOCOLS = {"bearer": 2, "dpop": 3}
"""What a browser offers, which can set no header for a websocket: ``["bearer", token]``, ``["dpop", token, proof]``."""


def credentials(exchange: Exchange) -> tuple[bytes, bytes]:
    """Return the Authorization and the cookies of a request, empty where there are none.

    Raises InvalidToken when there are two Authorizations.
    """
    headers = exchange.headers
    if not exchange.repeated:
        return headers.get(AUTHORIZATION, b""), headers.get(COOKIE, b"")
    if AUTHORIZATION in exchange.repeated:
        raise InvalidToken("repeated")
    return headers.get(AUTHORIZATION, b""), b"; ".join(exchange.values(COOKIE))


def normalize(authorization: bytes) -> bytes:
    """Return an Authorization as ``Bearer TOKEN`` or ``DPoP TOKEN``; empty for any other scheme, or without a token."""
    scheme, _, token = authorization.partition(b" ")
    known, token = SCHEMES.get(scheme.lower()), token.strip(b" ")
    return known + token if known and token else b""


def token_in(authorization: bytes) -> bytes:
    """Return the token in an Authorization."""
    return authorization.partition(b" ")[2].strip(b" ")


def cookies_in(scope: Mapping[str, Any]) -> bytes:
    """Return the cookies of the request that *scope* is."""
    return b"; ".join(value for name, value in scope["headers"] if name == COOKIE)


def shown(scope: Mapping[str, Any]) -> PresentedProof:
    """Return the proof in *scope*, of which one that comes with another is none, and what is asked for."""
    proofs = [value for name, value in scope["headers"] if name == b"dpop"]
    return PresentedProof(
        proofs[0] if len(proofs) == 1 else b"", ExpectedRequest(scope.get("method", "GET"), _address(scope))
    )


def offered(subprotocols: Sequence[str]) -> list[str]:
    """Return the name, the token and perhaps the proof that a websocket offers as subprotocols; empty without any."""
    count = SUBPROTOCOLS.get(subprotocols[0], 0) if subprotocols else 0
    return [*subprotocols[:count]] if count and len(subprotocols) >= count else []


def _address(scope: Mapping[str, Any]) -> str:
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    path = quote(scope.get("raw_path") or scope["path"], safe=PATH_SAFE_CHARACTERS)
    return f"{scope['scheme']}://{host.decode('latin-1')}{path}"
