"""What a client is told of its limits (draft-ietf-httpapi-ratelimit-headers-10 and later)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from typing import Any

from starlette.types import Message, Scope, Send

from scalekit.problem import ProblemError, ProblemResponse, send_problem
from scalekit_ratelimit.limits import Counts, Limits
from scalekit_ratelimit.memory import Take
from scalekit_ratelimit.rules import MICROSECONDS, Count, Rule
from scalekit_ratelimit.single_limit import QUOTA_EXCEEDED

logger = logging.getLogger("scalekit.ratelimit")

STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class Exceeded(ProblemError):
    """Ends a handler whose limit is reached; the answer is the middleware's, whatever the framework makes of this."""


class Answer:
    """The way of an answer to the client, which is told of every limit that was asked."""

    __slots__ = ("_limits", "_refused", "_scope", "counts", "raw", "replaced", "started")

    def __init__(self, limits: Limits, scope: Scope, send: Send) -> None:
        self._limits = limits
        self._scope = scope
        self.raw = send
        self.counts: Counts = {}
        self._refused: list[tuple[Take, Count]] = []
        self.replaced = False
        self.started = False

    def add(self, counts: Counts) -> bool:
        """Note how limits stand; tell whether all allow."""
        for take, count in counts.items():
            if take.dry:
                if not count.allowed:
                    self._would_refuse(take)
                continue
            self.counts[take] = count
            if not count.allowed:
                self._refused.append((take, count))
                self._limits.metrics.refused(take.rule.name)
        return not self._refused

    def send(self, message: Message) -> Awaitable[None]:
        """Pass *message* on, with the fields where an answer begins."""
        if message["type"] in STARTS:
            if self._refused:
                self.replaced = True
                return self.refuse()
            self.started = True
            headers = [*(message.get("headers") or ()), *self.headers()]
            return self.raw({**message, "headers": headers})
        return _nothing() if self.replaced else self.raw(message)

    async def refuse(self) -> None:
        """Answer that a limit is reached."""
        await send_problem(self._scope, self.raw, self.problem())

    async def end(self) -> None:
        """Answer that a limit is reached, unless something was answered; to be called where Exceeded is caught."""
        if self.replaced:
            return
        if self.started:
            raise RuntimeError("a limit was counted after the response had begun: count before it")
        await self.refuse()

    def problem(self) -> ProblemResponse:
        """Return the answer to who has reached a limit."""
        return too_many(self._refused, self.counts, self._limits.legacy)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that tell how the limits stand."""
        return fields(self.counts, self._limits.legacy)

    def _would_refuse(self, take: Take) -> None:
        self._limits.metrics.would_refuse(take.rule.name)
        logger.info(
            "policy %s would refuse %s %r", take.rule.name, self._scope.get("method", "GET"), self._scope["path"]
        )


def too_many(refused: Sequence[tuple[Take, Count]], counts: Counts, legacy: bool) -> ProblemResponse:
    """Return the answer to who was *refused*, with how all *counts* stand."""
    names = [take.rule.name for take, _ in refused]
    headers = {name.decode(): value.decode() for name, value in fields(counts, legacy)}
    headers["retry-after"] = str(max(_seconds(count.retry) for _, count in refused))
    members: dict[str, Any] = {"type": QUOTA_EXCEEDED, "violated-policies": names}
    return ProblemResponse(429, f"too many requests: {', '.join(names)}", headers=headers, **members)


def fields(counts: Counts, legacy: bool) -> list[tuple[bytes, bytes]]:
    """Return the fields that tell how *counts* stand."""
    if not counts:
        return []
    policies, standing = [], []
    for take, count in counts.items():
        policies.append(take.rule.field)
        standing.append(standing_of(take.rule, count))
    told = [(b"ratelimit-policy", b", ".join(policies)), (b"ratelimit", b", ".join(standing))]
    return told + _legacy(counts) if legacy else told


def _legacy(counts: Counts) -> list[tuple[bytes, bytes]]:
    take, count = min(counts.items(), key=lambda item: (item[1].allowed, item[1].remaining))
    until = _seconds(count.reset if count.allowed else count.retry)
    return [
        (b"x-ratelimit-limit", b"%d" % take.rule.limit),
        (b"x-ratelimit-remaining", b"%d" % count.remaining),
        (b"x-ratelimit-reset", b"%d" % until),
    ]


async def _nothing() -> None:
    """Let what a framework says of a refusal go nowhere."""


def standing_of(rule: Rule, count: Count) -> bytes:
    """Return the member of ``RateLimit``; who is refused is told when to try, so that Retry-After is never earlier."""
    allowed, remaining, reset, retry = count
    return rule.quoted + b";r=%d;t=%d" % (remaining, -(-(reset if allowed else retry) // MICROSECONDS))


def _seconds(microseconds: int) -> int:
    return -(-microseconds // MICROSECONDS)
