"""Run the application for a claimed key, and commit the claim before its response is sent."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit_idempotency.metrics import Outcome
from scalekit_idempotency.recorded_response import NOT_STORED, RecordedResponse
from scalekit_idempotency.stores.contract import Claim, KeyInUse

EVENT_STREAM = b"text/event-stream"

OPEN_WORK = (
    "the response is a stream or larger than max_response of [plugins.idempotency], and a transaction or session of the"
    " handler is still open: commit it before the response"
)


@dataclass(frozen=True, slots=True)
class ResponseRules:
    """Responses of at most *max_size* bytes are stored, unless their status is one of *unstored* or from 500."""

    max_size: int
    unstored: Container[int]

    def stores(self, status: int) -> bool:
        """Return whether responses with *status* are stored."""
        return status < 500 and status not in self.unstored


class Execution:
    """One run of the application: its response is held until *claim* is committed or rolled back.

    The claim ends with the response or, while the application has an open transaction or session, with its call: such a
    transaction is committed after the response, by a dependency of FastAPI.
    """

    def __init__(self, claim: Claim, rules: ResponseRules, send: Send) -> None:
        self.outcome = Outcome.FAILED
        self._claim = claim
        self._rules = rules
        self._send = send
        self._held: list[Message] = []
        self._size = 0
        self._is_complete = self._has_ended = False
        self._failure: BaseException | None = None
        self.commit_failed = False

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive) -> None:
        """Run *app*; raise its error or, when the claim cannot be committed, KeyInUse or the error of the commit.

        In the latter case nothing was sent.
        """
        try:
            await app(scope, receive, self._hold)
            if not self._has_ended and self._failure is None:
                await (self._end(self._response()) if self._is_complete else self._roll_back())
        except Exception:
            if self._failure is None:
                raise
        if self._failure is not None:  # the application may have handled it, as an error of its response
            raise self._failure

    async def _hold(self, message: Message) -> None:
        if self._has_ended:
            await self._send(message)
        elif self._failure is None:
            await self._add(message)

    async def _add(self, message: Message) -> None:
        self._held.append(message)
        kind = message["type"]
        if kind == "http.response.body":
            self._size += len(message.get("body", b""))
            self._is_complete = not message.get("more_body", False)
        if self._is_stream(message):
            await self._end_before_stream()
        elif self._is_complete and not (self._stores and self._claim.has_open_work):
            await self._end(self._response())

    def _is_stream(self, message: Message) -> bool:
        """Return whether the response cannot be held any longer."""
        if message["type"] == "http.response.start":
            media_types = (value for name, value in message.get("headers", ()) if name.lower() == b"content-type")
            return any(value.lower().startswith(EVENT_STREAM) for value in media_types)
        return self._size > self._rules.max_size or message["type"] == "http.response.pathsend"

    async def _end_before_stream(self) -> None:
        """Commit without the response, of which the rest is sent as it comes."""
        if self._stores and self._claim.has_open_work:
            self._failure = RuntimeError(OPEN_WORK)
            raise self._failure
        await self._end(NOT_STORED)

    async def _end(self, response: RecordedResponse) -> None:
        if not self._stores:
            await self._roll_back()
            return
        try:
            await self._claim.commit(response)
        except BaseException as error:
            self._failure = error
            self.commit_failed = not isinstance(error, KeyInUse)
            raise
        self.outcome = Outcome.UNSTORED if response is NOT_STORED else Outcome.EXECUTED
        await self._release()

    async def _roll_back(self) -> None:
        await self._claim.rollback()
        await self._release()

    async def _release(self) -> None:
        self._has_ended = True
        held, self._held = self._held, []
        for message in held:
            await self._send(message)

    @property
    def _stores(self) -> bool:
        return bool(self._held) and self._rules.stores(self._held[0].get("status", 500))

    def _response(self) -> RecordedResponse:
        start, *rest = self._held
        body = b"".join(message.get("body", b"") for message in rest)
        return RecordedResponse.of(start["status"], start.get("headers", ()), body)
