from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Trace:
    """Middleware that prepends its name to the ``trace`` header of the response."""

    def __init__(self, app: ASGIApp, name: str) -> None:
        self.app = app
        self.name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = dict(message["headers"])
                headers[b"trace"] = b" ".join([self.name.encode(), headers.get(b"trace", b"")]).strip()
                message = {**message, "headers": list(headers.items())}
            await send(message)

        await self.app(scope, receive, traced)
