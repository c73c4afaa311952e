"""Validation of the table and of consumers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from scalekit.contracts import Consumers, Message
from scalekit.errors import ConfigError
from scalekit_queue.amqp import transport as amqp_transport
from tests.queue.harness import AnyMessage, serving, wait_until

pytestmark = pytest.mark.anyio
Table = dict[str, Any]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefetch": 0}, "prefetch must be at least 1"),
        ({"prefetch": 5, "concurrency": 6}, "prefetch 5 is less than concurrency 6"),
        ({"rate": "fast"}, "expected a rate such as"),
        ({"result_ttl": 0}, "result_ttl must be greater than zero"),
        ({"timeout": "0s"}, "timeout must be greater than zero"),
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

    with pytest.raises(ValueError, match=r"has two consumers, .*\.take and .*\.another; handle it in one"):
        consumers.on("data.created")(another)
    with pytest.raises(ValueError, match="is not asynchronous"):
        consumers.on("data.other")(lambda message: None)  # type: ignore[type-var]  # the test of this error


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"url": "redis://here"}, "the scheme 'redis' is none of sqlite, amqp, amqps, postgresql"),
        ({"url": "database://here"}, "the pool's database has no address here; write database:"),
        ({"url": "database:"}, r"'database:' needs \[plugins\.pool\]; turn it on"),
        ({"url": "sqlite:///:memory:"}, "the URL has no file"),
        ({"url": "amqp:///"}, "the URL has no host"),
        ({"consumers": "nowhere.events:consumers"}, "did not load"),
        ({"consumers": "scalekit.contracts.consumers:Message"}, "no scalekit.contracts.Consumers"),
        ({"consumers": "scalekit.contracts.consumers"}, "expected module.path:name"),
    ],
)
async def test_an_invalid_table_is_rejected_with_the_remedy(table: Table, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        async with serving(table):
            pass


TWICE = """
from scalekit.contracts import Consumers, Message

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
    said = r"consumers: .*'data\.created' has two consumers, events_twice\.count and events_twice\.mail;"
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


async def test_result_ttl_with_rabbitmq_and_no_database_fails_the_start() -> None:
    consumers = Consumers()

    @consumers.on("resize", result_ttl="1h")
    async def resize(message: Message[int]) -> None: ...

    with pytest.raises(ConfigError, match=r"'resize' has result_ttl, which needs a database .* turn on"):
        async with serving({"url": "amqp://guest@127.0.0.1:9/"}, consumers):
            pass
