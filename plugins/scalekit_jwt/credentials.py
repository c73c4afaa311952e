"""Extract the access token, the cookies and the DPoP proof from a request or websocket."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import Exchange
from scalekit_jwt.dpop import PATH_SAFE_CHARACTERS, ExpectedRequest, PresentedProof
from scalekit_jwt.errors import InvalidToken

AUTHORIZATION, COOKIE = b"authorization", b"cookie"

BEARER, DPOP = b"Bearer ", b"DPoP "
SCHEMES = {b"bearer": BEARER, b"dpop": DPOP}

SUBPROTOCOLS = {"bearer": 2, "dpop": 3}
"""Number of subprotocols in ``["bearer", token]`` and ``["dpop", token, proof]``: browsers set no websocket headers."""


def read_credentials(exchange: Exchange) -> tuple[bytes, bytes]:
    """Return the Authorization and Cookie headers of a request, each empty when absent.

    Raises InvalidToken for several Authorization headers.
    """
    headers = exchange.headers
    if not exchange.repeated:
        return headers.get(AUTHORIZATION, b""), headers.get(COOKIE, b"")
    if AUTHORIZATION in exchange.repeated:
        raise InvalidToken("duplicate_header")
    return headers.get(AUTHORIZATION, b""), b"; ".join(exchange.values(COOKIE))


def normalize_authorization(authorization: bytes) -> bytes:
    """Return an Authorization as ``Bearer TOKEN`` or ``DPoP TOKEN``; empty for another scheme or without a token."""
    scheme, _, token = authorization.partition(b" ")
    prefix, token = SCHEMES.get(scheme.lower()), token.strip(b" ")
    return prefix + token if prefix and token else b""


def extract_token(authorization: bytes) -> bytes:
    """Return the token in an Authorization header."""
    return authorization.partition(b" ")[2].strip(b" ")


def join_cookies(scope: Scope) -> bytes:
    """Return the Cookie headers of *scope*, joined."""
    return b"; ".join(value for name, value in scope["headers"] if name == COOKIE)


def read_proof(scope: Scope) -> PresentedProof:
    """Return the DPoP header of *scope*, empty unless there is exactly one, and the request that it must match."""
    proofs = [value for name, value in scope["headers"] if name == b"dpop"]
    expected = ExpectedRequest(scope.get("method", "GET"), _url(scope))
    return PresentedProof(proofs[0] if len(proofs) == 1 else b"", expected)


def read_subprotocols(subprotocols: Sequence[str]) -> list[str]:
    """Return the scheme, the token and, for DPoP, the proof in a websocket's *subprotocols*; empty without a token."""
    count = SUBPROTOCOLS.get(subprotocols[0], 0) if subprotocols else 0
    return [*subprotocols[:count]] if count and len(subprotocols) >= count else []


def move_subprotocol_token(exchange: Exchange) -> str:
    """Move a token in the subprotocols to the Authorization header, hidden from the application's subprotocols.

    Return the subprotocol to accept with, because a browser closes a websocket that accepts none of its offers; empty
    without a token in the subprotocols.
    """
    scope = exchange.scope
    found = read_subprotocols(scope.get("subprotocols", []))
    if not found or AUTHORIZATION in exchange.headers:
        return ""
    scheme, token, *proofs = found
    scope["subprotocols"] = [scheme, *scope["subprotocols"][len(found) :]]
    exchange.replace_headers(
        [
            *((name, value) for name, value in scope["headers"] if name != b"sec-websocket-protocol"),
            (b"sec-websocket-protocol", ", ".join(scope["subprotocols"]).encode("latin-1", "replace")),
            (AUTHORIZATION, f"{scheme} {token}".encode("utf-8", "replace")),
            *((b"dpop", proof.encode("utf-8", "replace")) for proof in proofs),
        ]
    )
    return scheme


def accept_with_subprotocol(subprotocol: str, app: ASGIApp) -> ASGIApp:
    """Return *app* with *subprotocol* added to ``websocket.accept``, unless the application chooses one."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_accept(message: Message) -> None:
            if message["type"] == "websocket.accept" and not message.get("subprotocol"):
                message = {**message, "subprotocol": subprotocol}
            await send(message)

        await app(scope, receive, send_accept)

    return wrapped


def _url(scope: Scope) -> str:
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    path = quote(scope.get("raw_path") or scope["path"], safe=PATH_SAFE_CHARACTERS)
    return f"{scope['scheme']}://{host.decode('latin-1')}{path}"
