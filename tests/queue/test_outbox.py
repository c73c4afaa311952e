"""The outbox publishes exactly the messages of committed transactions, also when a process is killed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scalekit.contracts import DATABASE, QUEUE, READS, Consumers, Message
from scalekit_queue.amqp import transport as amqp_transport
from tests.processes import Box, wait_for
from tests.queue.conftest import POSTGRES, RABBITMQ
from tests.queue.harness import LIMIT, open_queue_admin, serving, wait_until
from tests.servers import Postgres, Replica

pytestmark = pytest.mark.anyio
Table = dict[str, Any]

STEPS = ("stored", "committed", "selected", "sent", "deleted")
CRASHING = """
import asyncio, json, os, signal, sys

from scalekit import create_app
from scalekit.contracts import DATABASE, QUEUE
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from scalekit_queue import outbox

database_url, table, where = sys.argv[1:]


def crash(step):
    if step == where:
        os.kill(os.getpid(), signal.SIGKILL)


original_publish_rows, original_relay = outbox.Outbox._publish_rows, outbox.Outbox.relay


async def publish_rows(self, rows):
    if rows:
        crash("selected")
    send = self._send

    async def send_and_crash(envelopes, timeout):
        results = await send(envelopes, timeout)
        crash("sent")
        return results

    self._send = send_and_crash
    try:
        return await original_publish_rows(self, rows)
    finally:
        self._send = send


async def relay(self):
    count = await original_relay(self)
    if count:
        crash("deleted")
    return count


outbox.Outbox._publish_rows, outbox.Outbox.relay = publish_rows, relay


async def main():
    host = create_app(
        {"plugins": {"pool": {"url": database_url}, "queue": json.loads(table)}}, app=bare_application
    )
    async with running(host):
        database, queue = host.context.get(DATABASE), host.context.get(QUEUE)
        async with database.transaction():
            await database.execute("INSERT INTO items VALUES (:step)", {"step": where})
            await queue.publish_after(database, "data.created", where)
            crash("stored")
        crash("committed")
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def box() -> Iterator[Box]:
    with Box("outbox") as box:
        yield box


async def rows_after_relay(table: Table, plugins: dict[str, Any]) -> set[str]:
    async with serving(table, **plugins) as host, asyncio.timeout(60):
        database = host.context.get(DATABASE)
        while await database.fetch_val("SELECT count(*) FROM scalekit_queue_outbox"):
            await asyncio.sleep(0.05)
        return {row[0] for row in await database.fetch_all("SELECT step FROM items")}


async def test_rows_and_messages_agree_after_a_crash_at_any_step(
    box: Box, table: Table, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalekit_queue.outbox.CLAIM_TTL", 0.1)
    plugins: dict[str, Any] = {"pool": {"url": database_url}}
    script = CRASHING.replace("database_url, table, where", "outbox.CLAIM_TTL = 0.1\ndatabase_url, table, where")
    box.write("crashing.py", script)
    async with serving(table, **plugins) as host:
        await host.context.get(DATABASE).execute("CREATE TABLE items (step text)")
    rows: set[str] = set()
    for step in STEPS:
        process = box.spawn(sys.executable, "crashing.py", database_url, json.dumps(table), step)
        assert await asyncio.to_thread(process.wait, 60) == -9, box.logs()
        rows = await rows_after_relay(table, plugins)
    assert rows == set(await messages(table)) == {"committed", "selected", "sent", "deleted"}


STORING = """
import asyncio, json, os, sys

from scalekit import create_app
from scalekit.contracts import DATABASE, QUEUE
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from scalekit_queue import outbox

outbox.CLAIM_TTL = 3.0
database_url, table = sys.argv[1:]


async def main():
    plugins = {"pool": {"url": database_url}, "queue": {**json.loads(table), "outbox_batch": 5}}
    app = create_app({"plugins": plugins}, app=bare_application)
    async with running(app):
        database, queue = app.context.get(DATABASE), app.context.get(QUEUE)
        for number in range(300):
            async with database.transaction():
                await database.execute("INSERT INTO items VALUES (:step)", {"step": f"{os.getpid()}-{number}"})
                await queue.publish_after(database, "data.created", f"{os.getpid()}-{number}")
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_relays_of_several_processes_alternate_in_order_and_survive_kills(
    box: Box, table: Table, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the claim of a killed relay expires after this time, which suffices to publish five messages on a busy machine
    monkeypatch.setattr("scalekit_queue.outbox.CLAIM_TTL", 3.0)
    plugins: dict[str, Any] = {"pool": {"url": database_url}}
    box.write("storing.py", STORING)
    async with serving(table, **plugins) as host:
        await host.context.get(DATABASE).execute("CREATE TABLE items (step text)")
    # each killed relay may have published messages that it has not deleted yet
    max_duplicates = 3 * 5
    # the last process stores enough alone: on a busy machine the others may be killed before they store any
    processes = [box.spawn(sys.executable, "storing.py", database_url, json.dumps(table)) for _ in range(3)]
    for process, enough in zip(processes, (50, 150, 250 + max_duplicates), strict=True):
        await wait_depth(table, enough)
        await asyncio.to_thread(box.kill, process)
    rows = await rows_after_relay(table, plugins)
    published = await messages(table)
    assert set(published) == rows
    assert len(rows) >= 250
    assert len(published) - len(rows) <= max_duplicates
    for pid in {row.split("-")[0] for row in rows}:
        numbers = [int(text.split("-")[1]) for text in dict.fromkeys(published) if text.startswith(f"{pid}-")]
        assert numbers == sorted(numbers), "published out of order"


@pytest.mark.usefixtures("no_start_wait")
async def test_a_relay_releases_its_claim_at_shutdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqp_transport, "START_TIMEOUT", 0.1)  # no broker listens there
    nowhere = {"url": "amqp://guest:guest@127.0.0.1:9/"}
    pool = {"url": f"sqlite:///{tmp_path}/test.db"}
    async with serving(nowhere, pool=pool) as host:
        database = host.context.get(DATABASE)
        async with database.transaction():
            await host.context.get(QUEUE).publish_after(database, "data.created", 1)
        async with asyncio.timeout(LIMIT):
            while not await database.fetch_val("SELECT max(claimed) FROM scalekit_queue_outbox"):
                await asyncio.sleep(0.01)
    with closing(sqlite3.connect(tmp_path / "test.db")) as left:
        assert left.execute("SELECT count(*), max(claimed) FROM scalekit_queue_outbox").fetchall() == [(1, 0)]


async def wait_depth(table: Table, count: int) -> None:
    async with open_queue_admin(table) as queue, asyncio.timeout(LIMIT):
        while (await queue.depth("data.created")).ready < count:
            await asyncio.sleep(0.02)


async def messages(table: Table) -> list[str]:
    async with open_queue_admin(table) as queue:
        return [json.loads(each.body) for each in await queue.peek("data.created", False, 10_000)]


@pytest.fixture(params=["sqlite", RABBITMQ, POSTGRES, pytest.param("database:", marks=pytest.mark.needs("postgres"))])
def any_table(request: pytest.FixtureRequest) -> Table:
    """Return the table of a queue, for each transport and for the pool's database."""
    if request.param == "database:":
        return {"url": "database:"}
    table: Table = request.getfixturevalue(f"{request.param}_table")
    return table


@pytest.mark.needs("postgres")
async def test_a_handler_reads_the_writes_of_the_transaction_that_stored_its_message(any_table: Table) -> None:
    consumers = Consumers()
    seen: dict[int, int] = {}

    @consumers.on("data.created", retry=[])
    async def take(message: Message[int]) -> None:
        query = "SELECT count(*) FROM items WHERE number = :number"
        seen[message.body] = await message.context.get(READS).fetch_val(query, {"number": message.body})

    with Postgres() as primary:
        primary.sql("CREATE TABLE items (number integer)")
        with primary.replica("one") as replica:
            await asyncio.to_thread(wait_for, "the replica", lambda: replica.sql("SELECT count(*) FROM items") == "0")
            async with serving(any_table, consumers, pool={"url": primary.url}, replica=replica_of(replica)) as host:
                replica.sql("SELECT pg_wal_replay_pause()")
                database, queue = host.context.get(DATABASE), host.context.get(QUEUE)
                async with database.transaction():
                    await database.execute("INSERT INTO items VALUES (1), (2)")
                    await queue.publish_after(database, "data.created", 1)
                await queue.publish("data.created", 2)
                await wait_until(lambda: len(seen) == 2)
    assert seen == {1: 1, 2: 0}, "without a token the read goes to the replica, which lags"


def replica_of(replica: Replica) -> Table:
    return {"urls": [replica.url], "secret": "s" * 32, "max_lag": "1h", "max_lag_bytes": "1GiB", "token_ttl": "2h"}


async def test_services_with_different_prefixes_publish_their_own_messages(
    sqlite_table: Table, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = {"url": database_url}
    shop, bank = ({"url": f"{sqlite_table['url']}.{name}", "prefix": f"{name}."} for name in ("shop", "bank"))
    with monkeypatch.context() as patch:
        patch.setattr("scalekit_queue.service.run_relay", lambda *_: asyncio.sleep(0))  # it is killed before it relays
        async with serving(shop, pool=pool) as host:
            await host.context.get(QUEUE).publish_after(host.context.get(DATABASE), "data.created", "shop")
    async with serving(bank, pool=pool) as host:
        await host.context.get(QUEUE).publish_after(host.context.get(DATABASE), "data.created", "bank")
        await wait_depth(bank, 1)
    assert await messages(bank) == ["bank"]
    async with serving(shop, pool=pool):
        await wait_depth(shop, 1)
    assert await messages(shop) == ["shop"]


async def test_only_messages_of_committed_transactions_are_published(table: Table, database_url: str) -> None:
    consumers = Consumers()
    seen: list[int] = []

    @consumers.on("data.created")
    async def take(message: Message[int]) -> None:
        seen.append(message.body)

    async with serving(table, consumers, pool={"url": database_url}) as host:
        database, queue = host.context.get(DATABASE), host.context.get(QUEUE)
        await database.execute("CREATE TABLE items (number integer)")
        for number in range(6):
            try:
                async with database.transaction():
                    await database.execute("INSERT INTO items VALUES (:number)", {"number": number})
                    await queue.publish_after(database, "data.created", number)
                    if number % 2:
                        raise ConnectionError
            except ConnectionError:
                pass
        await wait_until(lambda: len(seen) == 3)
        await queue.publish("data.created", 100)
        await wait_until(lambda: 100 in seen)
        rows = [row[0] for row in await database.fetch_all("SELECT number FROM items")]
        async with asyncio.timeout(LIMIT):
            while await database.fetch_val("SELECT count(*) FROM scalekit_queue_outbox"):  # deleted once confirmed
                await asyncio.sleep(0.01)
    assert sorted(rows) == [0, 2, 4]
    assert sorted(seen) == [0, 2, 4, 100]
