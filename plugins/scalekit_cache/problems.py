"""What the cache answers by itself when it must not ask the application."""

from __future__ import annotations

from starlette.types import Scope, Send

from scalekit import send_problem


async def refuse_only_if_cached(scope: Scope, send: Send, name: bytes) -> None:
    """Answer 504: nothing fit is kept, and the client wants nothing else (RFC 9111, section 5.2.1.7)."""
    headers = {"cache-status": f"{name.decode()}; fwd=request; detail=only-if-cached"}
    await send_problem(
        scope, send, 504, "nothing is kept that could answer, and only-if-cached asks for no more", headers=headers
    )
