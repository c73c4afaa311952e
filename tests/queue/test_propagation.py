"""Trace context, deadline and consistency token reach the handler of a message."""

from __future__ import annotations

import logging
from pathlib import Path
from time import time
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from scalekit import create_app
from scalekit.contracts import CONSISTENCY_TOKENS, QUEUE
from scalekit.contracts.consistency import CONSISTENCY, Consistency
from scalekit.contracts.consumers import Consumers, Message
from scalekit.errors import ConfigError
from scalekit.http.deadline import DEADLINE
from scalekit.http.trace_context import TRACE_CONTEXT, TraceContext
from scalekit.testing import request, running
from scalekit_queue.amqp import transport as amqp_transport
from tests.queue.harness import AnyMessage, consumers_target, serving, wait_until

pytestmark = pytest.mark.anyio
Table = dict[str, Any]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_a_handler_has_the_trace_context_and_deadline_of_its_publisher(table: Table) -> None:
    consumers = Consumers()
    seen: list[tuple[TraceContext | None, float | None, float | None]] = []

    @consumers.on("data.created")
    async def take(message: AnyMessage) -> None:
        seen.append((TRACE_CONTEXT.get(), DEADLINE.get(), message.deadline))

    async with serving(table, consumers) as host:
        identity = TRACE_CONTEXT.set(TraceContext("request-7", TRACE, [], flags="01"))
        asked = round(time()) + 3600.5
        deadline = DEADLINE.set(asked)
        await host.context.get(QUEUE).publish("data.created", 1)
        TRACE_CONTEXT.reset(identity)
        DEADLINE.reset(deadline)
        await wait_until(lambda: seen)
    (found, until_when, reported), *_ = seen
    assert found is not None
    assert (found.request_id, found.trace_id, found.flags) == ("request-7", TRACE, "01")
    assert (until_when, reported) == (asked, asked)


async def test_the_deadline_of_a_message_is_that_of_the_request_that_published_it(table: Table) -> None:
    consumers = Consumers()
    seen: dict[str, tuple[float | None, float | None]] = {}

    @consumers.on("data.created")
    async def take(message: Message[str]) -> None:
        seen[message.body] = message.deadline, DEADLINE.get()

    async def publish(scope: Scope, receive: Receive, send: Send) -> None:
        await scope["scalekit"].get(QUEUE).publish("data.created", scope["path"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    waits = {"/long": "3600000", "/short": "0"}
    app = create_app({"plugins": {"queue": {**table, "consumers": consumers_target(consumers)}}}, app=publish)
    async with running(app) as state:
        began = time()
        for path in ("/long", "/none", "/short"):
            headers = {"x-request-timeout-ms": waits[path]} if path in waits else {}
            assert (await request(app, path, headers=headers, state=state)).status == 204
        assert DEADLINE.get() is None
        await wait_until(lambda: len(seen) == 3)
    assert seen["/none"] == (None, None)
    deadline, current = seen["/long"]
    assert deadline is not None
    assert began + 3599 < deadline < time() + 3600
    assert current == deadline
    deadline, current = seen["/short"]
    assert deadline is not None
    assert deadline <= time()
    assert current is None, "the deadline has passed, and the message is handled without one"


async def test_reads_of_a_handler_see_the_writes_of_its_publisher(table: Table, tmp_path: Path) -> None:
    consumers = Consumers()
    seen: list[Consistency | None] = []

    @consumers.on("data.created")
    async def take(message: AnyMessage) -> None:
        seen.append(CONSISTENCY.get())

    url = f"sqlite:///{tmp_path}/shop.db"
    copy = f"sqlite:///{tmp_path}/shop.db?copy"
    replica = {"urls": [copy], "secret": "s" * 32}
    async with serving(table, consumers, pool={"url": url}, replica=replica) as host:
        assert host.context.has(CONSISTENCY_TOKENS)
        queue = host.context.get(QUEUE)
        wrote = Consistency()
        wrote.wrote = True
        token = CONSISTENCY.set(wrote)
        await queue.publish("data.created", 1)
        CONSISTENCY.reset(token)
        await wait_until(lambda: seen)
        await queue.publish("data.created", 2)
        await wait_until(lambda: len(seen) == 2)
    first, second = seen
    assert first is not None
    assert first.until
    assert second is not None
    assert not second.until


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("no spaces", 1), {}, "expected a name of letters"),
        (("data.created", object()), {}, "JSON cannot represent the value"),
        (("data.created", 1), {"key": "two words"}, "expected a key"),
        (("data.created", 1), {"delay": "31d"}, "not between 0 and 30 days"),
        (("data.created", 1), {"delay": -1}, "not between 0 and 30 days"),
        (("data.created", 1), {"headers": {"scalekit-attempt": "9"}}, "reserved for ScaleKit"),
        (("data.created", 1), {"headers": {"long": "x" * 20_000}}, "longer than 16384 characters in total"),
    ],
)
async def test_an_invalid_message_is_rejected(
    sqlite_table: Table, arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    async with serving(sqlite_table) as host:
        with pytest.raises(ValueError, match=message):
            await host.context.get(QUEUE).publish(*arguments, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefetch": 0}, "prefetch must be at least 1"),
        ({"prefetch": 5, "concurrency": 6}, "prefetch 5 is less than concurrency 6"),
        ({"timeout": "0s"}, "timeout must be more than none"),
        ({"retry": ["soon"]}, "expected a duration"),
    ],
)
def test_an_invalid_consumer_is_rejected(options: dict[str, Any], message: str) -> None:
    async def take(message: AnyMessage) -> None: ...

    with pytest.raises(ValueError, match=message):
        Consumers().on("data.created", **options)(take)


def test_a_name_has_one_consumer_and_its_handler_is_a_coroutine_function() -> None:
    consumers = Consumers()

    @consumers.on("data.created")
    async def take(message: Message[int]) -> None: ...

    async def another(message: Message[int]) -> None: ...

    with pytest.raises(ValueError, match=r"has a consumer already, .*\.take, and .*\.another would be another; let"):
        consumers.on("data.created")(another)
    with pytest.raises(ValueError, match="is not asynchronous"):
        consumers.on("data.other")(lambda message: None)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"url": "redis://here"}, "the scheme 'redis' is none of sqlite, amqp, amqps; write sqlite:///"),
        ({"url": "sqlite:///:memory:"}, "names no file"),
        ({"url": "amqp:///"}, "names no host"),
        ({"consumers": "nowhere.events:consumers"}, "did not load"),
        ({"consumers": "scalekit.contracts.consumers:Message"}, "no scalekit.contracts.consumers.Consumers"),
        ({"consumers": "scalekit.contracts.consumers"}, "expected module.path:name"),
    ],
)
async def test_an_invalid_table_is_rejected_with_the_remedy(table: Table, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        async with serving(table):
            pass


TWICE = """
from scalekit.contracts.consumers import Consumers, Message

consumers = Consumers()


@consumers.on("data.created")
async def count(message: Message[int]) -> None: ...


@consumers.on("data.created")
async def mail(message: Message[int]) -> None: ...
"""


async def test_a_second_consumer_of_a_name_fails_the_start_and_the_error_names_both(
    sqlite_table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "events_twice.py").write_text(TWICE)
    monkeypatch.syspath_prepend(tmp_path)
    said = r"consumers: .*'data\.created' has a consumer already, events_twice\.count, and events_twice\.mail would"
    with pytest.raises(ConfigError, match=said):
        async with serving({**sqlite_table, "consumers": "events_twice:consumers"}):
            pass


@pytest.mark.usefixtures("no_start_wait")
async def test_the_password_is_never_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqp_transport, "START_TIMEOUT", 0.1)  # no broker listens there
    caplog.set_level(logging.DEBUG, "scalekit")
    async with serving({"url": "amqp://guest:open-sesame@127.0.0.1:9/"}) as host:
        await wait_until(lambda: "no connection to RabbitMQ" in caplog.text)
        await host.monitor.check_once()
        assert host.monitor.results["queue"].last_error
        assert "open-sesame" not in host.monitor.results["queue"].last_error
    assert "open-sesame" not in caplog.text
