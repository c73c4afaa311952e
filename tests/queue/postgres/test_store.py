"""Delivery tags, leases and the delivery limit of the message store."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from scalekit.contracts import Database
from scalekit_queue.envelope import Envelope
from scalekit_queue.postgres.admin import PostgresAdmin
from scalekit_queue.postgres.store import PostgresStore, Settlement
from scalekit_queue.transport import QueueDepth
from tests.pool.harness import opened

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]
NAME = "data.created"


@pytest.fixture
async def database(postgresql_table: dict[str, Any]) -> AsyncGenerator[Database, None]:
    async with opened(postgresql_table["url"]) as database:
        yield database


@pytest.fixture
def stores(database: Database, postgresql_table: dict[str, Any]) -> tuple[PostgresStore, PostgresStore]:
    """Return the stores of two processes."""
    return (
        PostgresStore(database, postgresql_table["prefix"], 2**62 + 1),
        PostgresStore(database, postgresql_table["prefix"], 2**62 + 2),
    )


@pytest.fixture
def admin(database: Database, postgresql_table: dict[str, Any]) -> PostgresAdmin:
    return PostgresAdmin(database, postgresql_table["prefix"])


async def insert(store: PostgresStore, *ids: str) -> None:
    await store.insert([store.new_message(Envelope(NAME, identifier, b"1", 5.0)) for identifier in ids])


async def test_messages_of_a_process_whose_lease_has_expired_are_delivered_again_and_settled_once(
    stores: tuple[PostgresStore, PostgresStore], admin: PostgresAdmin
) -> None:
    killed, other = stores
    await insert(killed, "one", "two")
    assert await killed.receive(NAME, 10) == [], "without a lease"
    await killed.renew_lease(60.0)
    await other.renew_lease(60.0)
    ((stale, _, _),) = await killed.receive(NAME, 1)
    assert [each.envelope.id for each in await other.receive(NAME, 10)] == ["two"]
    assert await admin.depth(NAME) == QueueDepth(NAME, 0, 0, 2, 0)
    await killed.renew_lease(-1.0)
    assert await admin.depth(NAME) == QueueDepth(NAME, 1, 0, 1, 0, 5.0)
    assert await killed.receive(NAME, 10) == [], "with an expired lease"
    ((tag, unsettled, envelope),) = await other.receive(NAME, 10)
    assert (unsettled, envelope.id) == (2, "one")
    assert await killed.ack([stale]) == [False]
    assert await killed.retry([Settlement(stale, 0.0, "{}")]) == [False]
    assert await killed.dead_letter([Settlement(stale, 0.0, "{}")]) == [False]
    assert await killed.requeue([stale]) == [False]
    assert await other.ack([stale, tag]) == [True, True], "both have the number of the message that is deleted"
    assert await other.ack([tag]) == [False]
    await other.end_lease()


async def test_a_message_that_is_requeued_keeps_its_place_and_its_number_of_deliveries(
    stores: tuple[PostgresStore, PostgresStore], admin: PostgresAdmin
) -> None:
    store, _ = stores
    await insert(store, "one", "two")
    await store.renew_lease(60.0)
    ((tag, _, _),) = await store.receive(NAME, 1)
    assert await store.requeue([tag]) == [True]
    assert await store.ack([tag]) == [False], "it is not in flight"
    assert [each.id for each in await admin.peek(NAME, False, 10)] == ["one", "two"]
    received = await store.receive(NAME, 10)
    assert [(each.unsettled, each.envelope.id) for each in received] == [(1, "one"), (1, "two")]
    assert await store.ack([tag]) == [False], "a tag does not recur"
    await store.end_lease()


async def test_a_new_lease_takes_over_the_known_deliveries_and_frees_the_others(
    stores: tuple[PostgresStore, PostgresStore],
) -> None:
    store, other = stores
    await insert(store, "known", "lost")
    await store.renew_lease(60.0)
    await other.renew_lease(60.0)
    known, _lost = await store.receive(NAME, 10)  # the response with the second one is lost
    assert await other.receive(NAME, 10) == []
    await store.replace_lease(60.0, [known.tag])
    ((key, unsettled, envelope),) = await other.receive(NAME, 10)
    assert (unsettled, envelope.id) == (2, "lost")
    assert await store.ack([known.tag]) == [True]
    assert await other.ack([key]) == [True]
    await insert(store, "next")
    assert [each.envelope.id for each in await store.receive(NAME, 10)] == ["next"]
    await store.end_lease()
    assert [each.envelope.id for each in await other.receive(NAME, 10)] == ["next"]
    await other.end_lease()


async def test_leases_that_expired_long_ago_are_deleted(
    stores: tuple[PostgresStore, PostgresStore], database: Database
) -> None:
    one, other = stores
    await one.renew_lease(-120.0)
    await other.renew_lease(60.0)
    leases = await database.fetch_all("SELECT lease FROM scalekit_queue_leases WHERE lease > :low", {"low": 2**62})
    assert [row[0] for row in leases] == [2**62 + 2]
    await other.end_lease()


async def test_receiving_and_settling_grow_no_index_entry_for_each_delivery(
    stores: tuple[PostgresStore, PostgresStore], database: Database
) -> None:
    store, _ = stores
    await insert(store, *map(str, range(10)))
    await store.renew_lease(60.0)
    received = await store.receive(NAME, 10)
    await store.requeue([each.tag for each in received])
    query = "SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_xact_user_tables WHERE relname = 'scalekit_queue_messages'"
    async with database.transaction(force_rollback=True):
        assert len(await store.receive(NAME, 10)) == 10
        ((hot, updates),) = await database.fetch_all(query)
    assert hot == updates >= 10
    await store.end_lease()
