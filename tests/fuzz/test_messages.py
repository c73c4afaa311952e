"""Headers and bodies of foreign publishers: invalid values are ignored, and nothing raises."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf, isfinite, nan
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from scalekit.config.tables import Server
from scalekit.context import Context
from scalekit.contracts.consumers import Consumer
from scalekit_queue.amqp.consumer import envelope_of
from scalekit_queue.commands import _row
from scalekit_queue.dispatch import MessageDispatcher, UndecodableMessage
from scalekit_queue.envelope import ATTEMPT, FIRST_FAILED, LAST_FAILED, REASON, Envelope
from scalekit_queue.propagation import DEADLINE_HEADER, deadline_of, restored_context
from tests.fuzz.words import fuzzed, texts

NAMES = (
    ATTEMPT,
    FIRST_FAILED,
    LAST_FAILED,
    REASON,
    DEADLINE_HEADER,
    "x-request-id",
    "traceparent",
    "tracestate",
    "scalekit-consistency",
)
numbers = texts("nan", "inf", "-inf", "1e308", "1e309", "-1", "0", "1", ".", "e", "_", "²", "٣", "9" * 5000)
headers = st.dictionaries(st.sampled_from(NAMES) | st.text(st.characters(), max_size=5), numbers, max_size=6)
dead = st.dictionaries(st.sampled_from([ATTEMPT, FIRST_FAILED, LAST_FAILED, REASON]), numbers, min_size=1)


@given(headers)
@example({DEADLINE_HEADER: "nan"})
@example({DEADLINE_HEADER: "inf"})
@example({"\ud800": "\ud800"})
@fuzzed
def test_a_message_may_have_any_headers(found: dict[str, str]) -> None:
    envelope = Envelope("data.created", "", b"", 0.0, found)
    assert 0 <= envelope.attempt < 10**9
    deadline = deadline_of(found)
    assert deadline is None or isfinite(deadline)
    with restored_context(found, Context(Server(), {})):
        assert envelope.as_retry(1.0, {}).attempt == envelope.attempt + 1


@given(dead | headers, st.sampled_from([0.0, 1e300, -1e300, nan, inf, 1_700_000_000.0]))
@example({ATTEMPT: "x", FIRST_FAILED: "x", LAST_FAILED: "nan", REASON: ""}, 0.0)
@example({ATTEMPT: "9" * 5000, FIRST_FAILED: "1e300", LAST_FAILED: "-1e300", REASON: ""}, 0.0)
@fuzzed
def test_a_dead_letter_is_shown_whatever_is_written_on_it(found: dict[str, str], published: float) -> None:
    shown = _row(Envelope("data.created", "", b"", published, found, dead=True))
    assert {
        "id",
        "published",
        "reason",
        "attempts",
        "first_failed",
        "last_failed",
        "headers",
        "bytes",
        "body",
    } == shown.keys()


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes()


@given(st.none() | st.dictionaries(st.text(), values | st.lists(values)), st.none() | st.text(), st.binary())
@fuzzed
def test_whatever_a_broker_delivers_is_a_message(table: Any, identifier: Any, body: bytes) -> None:
    properties = SimpleNamespace(headers=table, timestamp=datetime(1970, 1, 1, tzinfo=UTC), message_id=identifier)
    message: Any = SimpleNamespace(header=SimpleNamespace(properties=properties), body=body)
    envelope = envelope_of("data.created", message)
    assert all(isinstance(value, str) for value in envelope.headers.values())


async def take(message: Any) -> None:
    """Accept any message."""


@pytest.mark.anyio
@pytest.mark.parametrize("depth", [100, 100_000])
@pytest.mark.parametrize("piece", [b"[", b'{"a":', b"9", b'"\\ud800"'])
async def test_an_unreadable_body_is_reported(piece: bytes, depth: int) -> None:
    consumer = Consumer("data.created", take, TypeAdapter(dict[str, int]), 1, 1, (), 30.0, None)
    publisher: Any = None  # which only a handler that returns needs
    dispatcher = MessageDispatcher(consumer, None, Context(Server(), {}), publisher, None)
    with pytest.raises(UndecodableMessage):
        await dispatcher.dispatch(Envelope("data.created", "", piece * depth, 0.0))
