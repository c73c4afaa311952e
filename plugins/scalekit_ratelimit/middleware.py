"""Stand before the application, and let in who is within the limits."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit.admission import NotAdmitted, admitted, defer, waits, withdraw
from scalekit.resilience import Unavailable
from scalekit.routes import route_path
from scalekit_ratelimit.answering import Answer, Exceeded
from scalekit_ratelimit.limits import Limits
from scalekit_ratelimit.lone import Deferred, Question, decide, unavailable, wait_first
from scalekit_ratelimit.marking import ASKING, MARKED, Asking
from scalekit_ratelimit.only import Only
from scalekit_ratelimit.policies import Policy
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
        kind = scope["type"]
        if limits is None or (kind != "http" and kind != "websocket"):
            return self.app(scope, receive, send)
        path = scope["path"] if not scope.get("root_path") else route_path(scope)
        chosen = limits.policies.of(path, scope.get("method", "GET"), self.late)
        marks = bool(MARKED) and not self.late
        if chosen is None:
            return self._several(limits, (), marks, scope, receive, send) if marks else self.app(scope, receive, send)
        only = chosen.only
        if only is None or marks or limits.legacy or kind != "http":
            return self._several(limits, chosen.policies, marks, scope, receive, send)
        who = only.count(scope)
        return self.app(scope, receive, send) if who is None else self._one(limits, only, who, scope, receive, send)

    def _one(self, limits: Limits, only: Only, who: str, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Do what most requests ask for, without what they do not need."""
        shared = limits.shared
        if shared is None:
            return decide(
                self.app, limits, only, limits.memory.take_one(only.rule, who, only.taken), scope, receive, send
            )
        try:
            asked = limits.begin_one(only, who, shared)
        except Unavailable as gone:
            return unavailable(gone, scope, send)
        if asked is None or isinstance(asked, int):
            return decide(self.app, limits, only, asked, scope, receive, send)
        question = Question(limits, only, who, shared, asked)
        if self.defers:
            return Deferred(question, send).serve(self.app, scope, receive)
        return wait_first(self.app, question, scope, receive, send)

    def _several(
        self,
        limits: Limits,
        policies: Sequence[Policy],
        marks: bool,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> Awaitable[None]:
        """Count by all of *policies* at once, and let marked handlers count more."""
        takes = [take for policy in policies for take in policy.takes(scope)]
        if not takes and not marks:
            return self.app(scope, receive, send)
        answer = Answer(limits, scope, send)
        app = marking(self.app, limits, answer) if marks else self.app
        try:
            begun = limits.begin(takes) if takes else {}
        except Unavailable as gone:
            return unavailable(gone, scope, send)
        if isinstance(begun, Trip):
            return self._travel(app, Verdict(limits, begun, answer), scope, receive)
        if not answer.add(begun):
            return _refuse(scope, answer)
        return app(scope, receive, answer.send)

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
            withdraw(scope, verdict.wait)
            await verdict.refuse(scope)
        finally:
            verdict.trip.abandon()


class Verdict:
    """What comes of a *trip*: nothing leaves before it is known."""

    __slots__ = ("_gone", "_known", "_limits", "answer", "refusal", "trip")

    def __init__(self, limits: Limits, trip: Trip, answer: Answer) -> None:
        self._limits = limits
        self._known = False
        self._gone: Unavailable | None = None
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
            await unavailable(self._gone, scope, self.answer.raw)


async def _refuse(scope: Scope, answer: Answer) -> None:
    """Refuse at once; but whoever stands further out goes first."""
    await admitted(scope)
    await answer.refuse()


def marking(app: ASGIApp, limits: Limits, answer: Answer) -> ASGIApp:
    """Return *app* where its handlers may be marked: they find the limits of the request."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        token = ASKING.set(Asking(limits, scope, answer))
        try:
            await app(scope, receive, send)
        except Exceeded:
            await answer.end()
        finally:
            ASKING.reset(token)

    return marked
