"""Add the number of visits of the client to each response."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import Context
from scalekit_visits.keys import VISITS


class VisitsMiddleware:
    """Count the requests of each client and add the count to the response headers."""

    def __init__(self, app: ASGIApp, context: Context, header: str) -> None:
        self.app = app
        self.context = context
        self.header = header.lower().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count an HTTP request; forward other scopes."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        number = self.context.get(VISITS).add(scope["client"][0])
        field = (self.header, str(number).encode())

        async def send_with_number(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), field]}
            await send(message)

        await self.app(scope, receive, send_with_number)
