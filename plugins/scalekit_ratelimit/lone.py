"""A request that one limit is for, on its way through."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit.admission import PENDING, NotAdmitted, admitted, defer, withdraw
from scalekit.exchange import adding
from scalekit.problem import refuse
from scalekit.resilience import Unavailable
from scalekit_ratelimit.limits import Limits, Shared
from scalekit_ratelimit.only import Only


class Question(NamedTuple):
    """What Redis has been asked: whether *only* lets *who* in; *reply* brings the room."""

    limits: Limits
    only: Only
    who: str
    shared: Shared
    reply: asyncio.Future[Any]

    def answer(self) -> Awaitable[int | None]:
        """Wait for the room, None where nobody counts; raises Unavailable."""
        return self.limits.finish_one(self.only, self.who, self.shared, self.reply)


def decide(
    app: ASGIApp, limits: Limits, only: Only, room: int | None, scope: Scope, receive: Receive, send: Send
) -> Awaitable[None]:
    """Serve or refuse *scope*, for which there is so much *room*; None where nobody has counted."""
    if room is None:
        return app(scope, receive, send)
    if room < 0:
        return refuse_at_once(limits, only, room, scope, send)
    return app(scope, receive, adding(send, only.field, only.standing(room)))


async def wait_first(app: ASGIApp, question: Question, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve *scope* once it is known that it may be."""
    try:
        room = await question.answer()
    except Unavailable as gone:
        await unavailable(gone, scope, send)
        return
    await decide(app, question.limits, question.only, room, scope, receive, send)


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


class Deferred:
    """The verdict on a request that goes on meanwhile: nothing leaves before it is known."""

    __slots__ = ("_gone", "_onward", "_question", "_refusal", "_room", "_send")

    def __init__(self, question: Question, send: Send) -> None:
        self._question = question
        self._send = send
        self._onward: Send | None = None
        self._refusal: NotAdmitted | None = None
        self._room: int | None = None
        self._gone: Unavailable | None = None

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive) -> None:
        """Let *scope* go on, to wherever the verdict is waited for."""
        defer(scope, self.wait)
        try:
            await app(scope, receive, self.send)
        except NotAdmitted as refusal:
            if refusal is not self._refusal:
                raise
            withdraw(scope, self.wait)
            await self._refuse(scope)
        finally:
            self._question.reply.cancel()

    async def wait(self) -> None:
        """Return when the request is admitted; raises NotAdmitted when it is not."""
        if self._onward is not None:
            return
        if self._refusal is None:
            await self._learn()
        if self._refusal is not None:
            raise self._refusal

    def send(self, message: Message) -> Awaitable[None]:
        """Pass *message* on once the request is admitted."""
        return self._wait_and_send(message) if self._onward is None else self._onward(message)

    async def _wait_and_send(self, message: Message) -> None:
        await self.wait()
        await self.send(message)

    async def _learn(self) -> None:
        try:
            self._room = room = await self._question.answer()
        except Unavailable as gone:
            self._gone = gone
            self._refusal = NotAdmitted()
            return
        if room is None:
            self._onward = self._send
        elif room < 0:
            self._refusal = NotAdmitted()
        else:
            only = self._question.only
            self._onward = adding(self._send, only.field, only.standing(room))

    async def _refuse(self, scope: Scope) -> None:
        if self._gone is not None:
            await unavailable(self._gone, scope, self._send)
        elif self._room is not None:
            await refuse_at_once(self._question.limits, self._question.only, self._room, scope, self._send)
