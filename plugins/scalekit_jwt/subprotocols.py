"""Take the token of a websocket from where browsers can put it."""

from __future__ import annotations

from starlette.types import Message, Scope, Send

from scalekit_jwt.credentials import offered


def taking_subprotocols(scope: Scope, send: Send) -> Send:
    """Move a token that came as a subprotocol to where it belongs; the application never sees it as a protocol.

    Return what to send with: a browser gives up when none of the protocols that it offers is chosen.
    """
    found = offered(scope.get("subprotocols", []))
    if not found or any(name == b"authorization" for name, _ in scope["headers"]):
        return send
    chosen, token, *proofs = found
    scope["subprotocols"] = [chosen, *scope["subprotocols"][len(found) :]]
    scope["headers"] = [
        *((name, value) for name, value in scope["headers"] if name != b"sec-websocket-protocol"),
        (b"sec-websocket-protocol", ", ".join(scope["subprotocols"]).encode("latin-1", "replace")),
        (b"authorization", f"{chosen} {token}".encode("utf-8", "replace")),
        *((b"dpop", proof.encode("utf-8", "replace")) for proof in proofs),
    ]

    async def accept_one(message: Message) -> None:
        if message["type"] == "websocket.accept" and not message.get("subprotocol"):
            message = {**message, "subprotocol": chosen}
        await send(message)

    return accept_one
