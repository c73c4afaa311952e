"""Pending decisions: all are made before anything takes effect, the outermost first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import ASGIApp

from scalekit import LATER, Decision, Exchange, Pending
from tests.host.asgi import Conversation, behind, http_scope
from tests.host.http.recorder import EarlyRecorder, Note, PendingDecision, Recorder, calls, page, response

pytestmark = pytest.mark.anyio


class Request:
    """One request that is served in a task."""

    def __init__(self, app: ASGIApp) -> None:
        self.client = Conversation()
        self.task = asyncio.create_task(self.client.run(app, http_scope()))

    async def goes_on(self) -> None:
        """Run the event loop until everything waits for a reply."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def ends(self) -> Conversation:
        async with asyncio.timeout(20):
            await self.task
        return self.client


async def test_filters_that_run_while_pending_are_called_and_others_are_not() -> None:
    notes: list[Note] = []
    pending = PendingDecision()
    chain = behind(
        page,
        EarlyRecorder("a", notes, pending),
        EarlyRecorder("b", notes),
        Recorder("c", notes),
        EarlyRecorder("d", notes),
    )
    request = Request(chain)
    await request.goes_on()
    assert notes == [("a", "request"), ("b", "request")]
    pending.complete()
    assert (await request.ends()).body == b"page"
    assert calls(notes, "request") == ["a", "b", "c", "d"]
    assert calls(notes, "complete") == ["d", "c", "b", "a"]


async def test_the_application_does_not_run_before_every_decision_is_made() -> None:
    notes: list[Note] = []
    outer, inner = PendingDecision(), PendingDecision()
    request = Request(behind(page, EarlyRecorder("a", notes, outer), EarlyRecorder("b", notes, inner)))
    await request.goes_on()
    assert len(outer.replies) == len(inner.replies) == 1
    inner.complete()
    await request.goes_on()
    assert calls(notes, "application") == []
    outer.complete()
    assert (await request.ends()).body == b"page"


async def test_a_filter_that_returned_later_is_called_again_when_nothing_is_pending() -> None:
    notes: list[Note] = []
    pending = PendingDecision()

    def later(exchange: Exchange) -> Decision:
        return LATER if exchange.pending else response(404)

    request = Request(
        behind(page, EarlyRecorder("a", notes, pending), EarlyRecorder("b", notes, later), EarlyRecorder("c", notes))
    )
    await request.goes_on()
    assert calls(notes, "request") == ["a", "b"]
    pending.complete()
    assert (await request.ends()).status == 404
    assert calls(notes, "request") == ["a", "b", "b"]
    assert calls(notes, "complete") == ["a"]


@pytest.mark.parametrize("first", ["outer", "inner"])
async def test_an_outer_rejection_wins_without_waiting_for_the_inner_reply(first: str) -> None:
    notes: list[Note] = []
    outer, inner = PendingDecision(response(429)), PendingDecision(response(200))
    chain = behind(page, Recorder("a", notes), EarlyRecorder("b", notes, outer), EarlyRecorder("c", notes, inner))
    request = Request(chain)
    await request.goes_on()
    if first == "inner":
        inner.complete()
        await request.goes_on()
        assert request.client.sent == []
    outer.complete()
    assert (await request.ends()).status == 429
    assert inner.reply.cancelled() == (first == "outer")
    assert notes[-2:] == [("a", "start", 429), ("a", "complete", 429, "")]
    assert calls(notes, "complete") == ["a"]


async def test_an_early_response_is_sent_after_the_outer_decisions() -> None:
    notes: list[Note] = []
    outer = PendingDecision()
    request = Request(
        behind(page, EarlyRecorder("a", notes, outer), EarlyRecorder("b", notes, response()), EarlyRecorder("c", notes))
    )
    await request.goes_on()
    assert request.client.sent == []
    outer.complete()
    assert (await request.ends()).body == b"local"
    assert calls(notes, "request") == ["a", "b"]
    assert calls(notes, "complete") == ["a"]


async def test_an_early_takeover_serves_after_the_outer_decisions() -> None:
    notes: list[Note] = []
    outer = PendingDecision()

    def takes_over(exchange: Exchange) -> Any:
        async def serve(app: ASGIApp) -> None:
            notes.append(("b", "serves"))
            await app(exchange.scope, exchange.receive, exchange.send)

        return serve

    request = Request(
        behind(page, EarlyRecorder("a", notes, outer), EarlyRecorder("b", notes, takes_over), EarlyRecorder("c", notes))
    )
    await request.goes_on()
    assert notes == [("a", "request"), ("b", "request")]
    outer.complete()
    assert (await request.ends()).body == b"page"
    assert [note[0] for note in notes if note[1] in ("serves", "complete")] == ["b", "c", "a"]


async def test_headers_of_an_early_filter_are_not_sent_with_a_rejection() -> None:
    notes: list[Note] = []

    def adds(exchange: Exchange) -> Decision:
        exchange.added_headers.append((b"x-inner", b"1"))
        return None

    def added(outcome: Decision) -> Decision:
        exchanges[-1].added_headers.append((b"x-outer", b"1"))
        return outcome

    exchanges: list[Exchange] = []

    def asks(exchange: Exchange) -> Decision:
        exchanges.append(exchange)
        return pending(exchange)

    for outcome, expected in ((response(429), [b"x-outer"]), (None, [b"x-inner", b"x-outer"])):
        pending = PendingDecision(lambda outcome=outcome: added(outcome))  # type: ignore[misc]
        request = Request(behind(page, EarlyRecorder("a", notes, asks), EarlyRecorder("b", notes, adds)))
        await request.goes_on()
        pending.complete()
        headers = (await request.ends()).sent[0]["headers"]
        assert sorted(name for name, _ in headers if name.startswith(b"x-")) == expected


async def test_a_decision_may_be_pending_again() -> None:
    notes: list[Note] = []
    second, inner = PendingDecision(response(418)), PendingDecision(response(200))
    first = PendingDecision(lambda: second(request_exchange[-1]))
    request_exchange: list[Exchange] = []

    def asks(exchange: Exchange) -> Decision:
        request_exchange.append(exchange)
        return first(exchange)

    request = Request(behind(page, EarlyRecorder("a", notes, asks), EarlyRecorder("b", notes, inner)))
    await request.goes_on()
    inner.complete()
    first.complete()
    await request.goes_on()
    assert request.client.sent == []
    second.complete()
    assert (await request.ends()).status == 418


async def test_a_decision_is_made_for_every_outcome_of_the_reply() -> None:
    notes: list[Note] = []
    pending = PendingDecision(response(418))
    request = Request(behind(page, EarlyRecorder("a", notes, pending)))
    await request.goes_on()
    pending.reply.set_exception(OSError("gone"))
    assert (await request.ends()).status == 418


async def test_a_cancelled_reply_becomes_a_503() -> None:
    notes: list[Note] = []
    outer, inner = PendingDecision(response(418)), PendingDecision()
    request = Request(
        behind(page, Recorder("a", notes), EarlyRecorder("b", notes, outer), EarlyRecorder("c", notes, inner))
    )
    await request.goes_on()
    outer.reply.cancel()
    assert (await request.ends()).status == 503
    assert inner.reply.cancelled()
    assert notes[-1] == ("a", "complete", 503, "")


async def test_a_cancelled_request_cancels_its_replies_and_reaches_outer_filters() -> None:
    notes: list[Note] = []
    outer, inner = PendingDecision(), PendingDecision()
    request = Request(
        behind(
            page,
            Recorder("a", notes),
            EarlyRecorder("b", notes, outer),
            EarlyRecorder("c", notes),
            EarlyRecorder("d", notes, inner),
        )
    )
    await request.goes_on()
    request.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request.ends()
    assert outer.reply.cancelled()
    assert inner.reply.cancelled()
    assert calls(notes, "complete") == ["a"]
    assert notes[-1] == ("a", "complete", 0, "CancelledError")


async def test_an_exception_of_a_decision_cancels_other_replies_and_reaches_outer_filters() -> None:
    notes: list[Note] = []

    def fails() -> Decision:
        raise LookupError

    outer, inner = PendingDecision(fails), PendingDecision()
    request = Request(
        behind(
            page,
            Recorder("a", notes),
            EarlyRecorder("b", notes, outer),
            EarlyRecorder("c", notes),
            EarlyRecorder("d", notes, inner),
        )
    )
    await request.goes_on()
    outer.complete()
    with pytest.raises(LookupError):
        await request.ends()
    assert inner.reply.cancelled()
    assert calls(notes, "complete") == ["a"]
    assert notes[-1] == ("a", "complete", 0, "LookupError")


async def test_an_exception_of_a_decision_with_a_done_reply_cancels_other_replies() -> None:
    notes: list[Note] = []

    def fails() -> Decision:
        raise LookupError

    def is_there(exchange: Exchange) -> Decision:
        reply = asyncio.get_running_loop().create_future()
        reply.set_result(None)
        return Pending(reply, fails)

    inner = PendingDecision()
    with pytest.raises(LookupError):
        await Request(behind(page, EarlyRecorder("a", notes, is_there), EarlyRecorder("b", notes, inner))).ends()
    assert inner.reply.cancelled()


async def test_an_exception_of_an_early_filter_is_raised_only_when_its_turn_comes() -> None:
    notes: list[Note] = []

    def fails(exchange: Exchange) -> Decision:
        raise LookupError

    for outcome in (response(429), None):
        pending = PendingDecision(outcome)
        notes.clear()
        request = Request(behind(page, EarlyRecorder("a", notes, pending), EarlyRecorder("b", notes, fails)))
        await request.goes_on()
        pending.complete()
        if outcome is not None:
            assert (await request.ends()).status == 429
            continue
        with pytest.raises(LookupError):
            await request.ends()
        assert notes[-1] == ("a", "complete", 0, "LookupError")


async def test_done_replies_need_no_iteration_of_the_event_loop() -> None:
    def is_there(exchange: Exchange) -> Decision:
        reply = asyncio.get_running_loop().create_future()
        reply.set_result(None)
        return Pending(reply, lambda: None)

    notes: list[Note] = []
    chain = behind(page, EarlyRecorder("a", notes, is_there), EarlyRecorder("b", notes, is_there))
    exchange = chain.exchange(http_scope(), None, None)  # type: ignore[arg-type]
    assert chain.decide(exchange) is None
    assert (exchange.depth, exchange.pending) == (2, None)
