"""A request that one limit is for, on its way through."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit.admission import PENDING, NotAdmitted, admitted, defer
from scalekit.problem import refuse
from scalekit.resilience import Unavailable
from scalekit_ratelimit.limits import Limits
from scalekit_ratelimit.only import Only


def telling(only: Only, room: int | None, send: Send) -> Send:
    """Return *send* with the fields of *only* where an answer begins."""
    if room is None:
        return send
    standing = only.standing(room)

    def tell(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*(message.get("headers") or ()), only.field, standing]}
        return send(message)

    return tell


async def refuse_at_once(limits: Limits, only: Only, room: int, scope: Scope, send: Send) -> None:
    """Answer that the limit is reached, once whoever stands further out has admitted *scope*."""
    limits.metrics.refused(only.rule.name)
    if PENDING in scope:
        await admitted(scope)
    start, body = only.refusal(room)
    await send(start)
    await send(body)


async def unavailable(gone: Unavailable, scope: Scope, send: Send) -> None:
    """Answer that nobody knows whether the limit is reached, once whoever stands further out has admitted *scope*."""
    if PENDING in scope:
        await admitted(scope)
    await refuse(scope, send, 503, gone.detail, headers=dict(gone.headers or {}))


async def wait_first(
    app: ASGIApp,
    limits: Limits,
    only: Only,
    who: str,
    reply: asyncio.Future[Any],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Serve *scope* once it is known that it may be."""
    try:
        room = await limits.finish_one(only, who, reply)
    except Unavailable as gone:
        await unavailable(gone, scope, send)
        return
    if room is not None and room < 0:
        await refuse_at_once(limits, only, room, scope, send)
    else:
        await app(scope, receive, telling(only, room, send))


class Deferred:
    """The verdict on a request that goes on meanwhile: nothing leaves before it is known."""

    __slots__ = ("_limits", "_only", "_refusal", "_reply", "_send", "_tell", "_who", "gone", "room")

    def __init__(self, limits: Limits, only: Only, who: str, reply: asyncio.Future[Any], send: Send) -> None:
        self._limits = limits
        self._only = only
        self._who = who
        self._reply = reply
        self._send = send
        self._tell: Send | None = None
        self._refusal: NotAdmitted | None = None
        self.room: int | None = None
        self.gone: Unavailable | None = None

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive) -> None:
        """Let *scope* go on, to wherever the verdict is waited for."""
        defer(scope, self.wait)
        try:
            await app(scope, receive, self.send)
        except NotAdmitted as refusal:
            if refusal is not self._refusal:
                raise
            await self._refuse(scope)
        finally:
            self._reply.cancel()

    async def wait(self) -> None:
        """Return when the request is admitted; raises NotAdmitted when it is not."""
        if self._tell is not None:
            return
        if self._refusal is None:
            await self._learn()
        if self._refusal is not None:
            raise self._refusal

    def send(self, message: Message) -> Awaitable[None]:
        """Pass *message* on once the request is admitted."""
        return self._send_admitted(message) if self._tell is None else self._tell(message)

    async def _send_admitted(self, message: Message) -> None:
        await self.wait()
        await self.send(message)

    async def _learn(self) -> None:
        try:
            self.room = room = await self._limits.finish_one(self._only, self._who, self._reply)
        except Unavailable as gone:
            self.gone = gone
            self._refusal = NotAdmitted()
            return
        if room is not None and room < 0:
            self._refusal = NotAdmitted()
        else:
            self._tell = telling(self._only, room, self._send)

    async def _refuse(self, scope: Scope) -> None:
        if self.gone is not None:
            await unavailable(self.gone, scope, self._send)
        elif self.room is not None:
            await refuse_at_once(self._limits, self._only, self.room, scope, self._send)
