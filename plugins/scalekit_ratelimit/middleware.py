"""Stand before the application, and let in who is within the limits."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit.admission import NotAdmitted, admitted, defer, waits
from scalekit.problem import refuse
from scalekit.resilience import Unavailable
from scalekit_ratelimit.answering import STARTS, Answer, Exceeded, standing_of
from scalekit_ratelimit.limits import Limits
from scalekit_ratelimit.marking import ASKING, MARKED, Asking
from scalekit_ratelimit.memory import Take
from scalekit_ratelimit.policies import Only
from scalekit_ratelimit.shared import Trip


class Slot:
    """Holds the limits while they are started."""

    __slots__ = ("limits",)

    def __init__(self) -> None:
        self.limits: Limits | None = None


class LimitMiddleware:
    """Count with the limits in *slot* by what is known before, or with *late* once, it is known who asks."""

    carries_admission = True

    def __init__(self, app: ASGIApp, slot: Slot, late: bool) -> None:
        self.app = app
        self.slot = slot
        self.late = late
        self.defers = waits(app)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Refuse what is over a limit; tell the others how they stand."""
        limits = self.slot.limits
        if limits is None or (scope["type"] != "http" and scope["type"] != "websocket"):
            return self.app(scope, receive, send)
        chosen = limits.policies.of(scope["path"], scope.get("method", "GET"), self.late)
        marks = not self.late and bool(MARKED)
        if chosen is None and not marks:
            return self.app(scope, receive, send)
        if chosen is not None and chosen.only is not None and limits.counts_at_once and not marks:
            return self._only(chosen.only, limits, scope, receive, send)
        takes = [take for policy in chosen.policies for take in policy.takes(scope)] if chosen else []
        if not takes and not marks:
            return self.app(scope, receive, send)
        answer = Answer(limits, scope, send)
        app = marking(self.app, limits, answer) if marks else self.app
        try:
            begun = limits.begin(takes) if takes else {}
        except Unavailable as gone:
            return _refuse(scope, Verdict(limits, Trip([]), answer, gone))
        if type(begun) is Trip:
            return self._travel(app, Verdict(limits, begun, answer), scope, receive)
        if not answer.add(begun):  # type: ignore[arg-type]
            return _refuse(scope, Verdict(limits, Trip([]), answer))
        return app(scope, receive, answer.send)

    def _only(self, only: Only, limits: Limits, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Do what most requests ask for, without what they do not need."""
        who = only.count(scope)
        if who is None:
            return self.app(scope, receive, send)
        rule = only.rule
        count = limits.memory.take_one(rule, who, only.cost)
        if not count[0]:
            answer = Answer(limits, scope, send)
            answer.add({Take(rule, who, only.cost, False): count})
            return _refuse(scope, Verdict(limits, Trip([]), answer))
        told, standing = only.field, (b"ratelimit", standing_of(rule, count))

        def tell(message: Message) -> Awaitable[None]:
            if message["type"] in STARTS:
                message = {**message, "headers": [*(message.get("headers") or ()), told, standing]}
            return send(message)

        return self.app(scope, receive, tell)

    async def _travel(self, app: ASGIApp, verdict: Verdict, scope: Scope, receive: Receive) -> None:
        try:
            if self.defers:
                defer(scope, verdict.wait)
                await app(scope, receive, verdict.send)
            else:
                await verdict.wait()
                await app(scope, receive, verdict.answer.send)
        except NotAdmitted as refusal:
            if refusal is not verdict.refusal:
                raise
            await verdict.refuse(scope)
        finally:
            verdict.trip.abandon()


class Verdict:
    """What comes of a *trip*: nothing leaves before it is known."""

    __slots__ = ("_gone", "_known", "_limits", "answer", "refusal", "trip")

    def __init__(self, limits: Limits, trip: Trip, answer: Answer, gone: Unavailable | None = None) -> None:
        self._limits = limits
        self._known = False
        self._gone = gone
        self.trip = trip
        self.answer = answer
        self.refusal: NotAdmitted | None = None

    async def wait(self) -> None:
        """Return when the request is admitted; raises NotAdmitted when it is not."""
        if not self._known:
            try:
                counts = await self._limits.finish(self.trip)
                self._known = True
                if not self.answer.add(counts):
                    self.refusal = NotAdmitted()
            except Unavailable as gone:
                self._known = True
                self._gone = gone
                self.refusal = NotAdmitted()
        if self.refusal is not None:
            raise self.refusal

    async def send(self, message: Message) -> None:
        """Pass *message* on once the request is admitted."""
        if not self._known:
            await self.wait()
        await self.answer.send(message)

    async def refuse(self, scope: Scope) -> None:
        """Answer that a limit is reached, or that nobody knows."""
        if self._gone is None:
            await self.answer.refuse()
        else:
            headers = dict(self._gone.headers or {})
            await refuse(scope, self.answer.raw, 503, self._gone.detail, headers=headers)


async def _refuse(scope: Scope, verdict: Verdict) -> None:
    """Refuse at once; but whoever stands further out goes first."""
    await admitted(scope)
    await verdict.refuse(scope)


def marking(app: ASGIApp, limits: Limits, answer: Answer) -> ASGIApp:
    """Return *app* where its handlers may be marked: they find the limits of the request."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        token = ASKING.set(Asking(limits, scope, answer))
        try:
            await app(scope, receive, send)
        except Exceeded:
            if not answer.replaced:
                await answer.refuse()
        finally:
            ASKING.reset(token)

    return marked
