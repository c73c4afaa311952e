from __future__ import annotations

import pytest

from scalekit_idempotency.keyed_request import KeyedRequest
from scalekit_idempotency.recorded_response import RecordedResponse
from scalekit_idempotency.stores import database
from scalekit_idempotency.stores.contract import KeyInUse, Record
from scalekit_idempotency.stores.database import DatabaseIdempotencyStore
from tests.idempotency.conftest import DATABASES, POSTGRES
from tests.idempotency.shop import Shop
from tests.pool.harness import opened
from tests.pool.table_recorder import Recorder

pytestmark = pytest.mark.anyio

on_databases = pytest.mark.parametrize("kind", DATABASES)

RESPONSE = RecordedResponse(200, ((b"a", b"\xff"),), b"\x00\xff")


def keyed(key: str) -> KeyedRequest:
    return KeyedRequest(key, "0:ada", "POST", "/orders", "fingerprint")


def store_of(shop: Shop, *, ttl: float = 60, max_keys: int = 10) -> DatabaseIdempotencyStore:
    """Return a store of its own, as another process has."""
    return DatabaseIdempotencyStore(shop.database, ttl, max_keys, "serializable")


async def put(store: DatabaseIdempotencyStore, *keys: str) -> None:
    for key in keys:
        async with store.claim(keyed(key)) as claim:
            assert not isinstance(claim, Record)
            await claim.commit(RESPONSE)


async def stored(shop: Shop) -> list[str]:
    return [row.key for row in await shop.database.fetch_all("SELECT key FROM scalekit_idempotency ORDER BY key")]


@on_databases
async def test_a_record_is_stored_with_its_bytes(shop: Shop) -> None:
    await put(store_of(shop), "a")
    async with store_of(shop).claim(keyed("a")) as found:
        assert found == Record("fingerprint", RESPONSE)


@on_databases
async def test_caches_are_told_of_its_own_table_only(kind: str, database_url: str) -> None:
    recorder = Recorder(database_url)
    async with opened(database_url, observer=recorder) as pool:
        assert pool.dialect == kind
        store = DatabaseIdempotencyStore(pool, 60, 10, "read_committed")
        await store.start()
        recorder.forget()
        await put(store, "a")
        async with store.claim(keyed("a")) as found:
            assert isinstance(found, Record)
    assert recorder.written == [frozenset({"scalekit_idempotency"})]
    assert recorder.possibly_written == []


@on_databases
async def test_an_expired_record_is_claimed_again(shop: Shop) -> None:
    expired = store_of(shop, ttl=-1)
    await put(expired, "a")
    await put(expired, "a")
    assert await stored(shop) == ["a"]


@on_databases
async def test_expired_records_are_deleted_in_batches(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BATCH", 2)
    await put(store_of(shop, ttl=-1), *"abcde")
    await put(store := store_of(shop), "f")
    assert await store.clean_up() == 1
    assert await stored(shop) == ["f"]


@on_databases
async def test_the_oldest_records_beyond_the_limit_are_deleted(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BATCH", 2)
    await put(store := store_of(shop, max_keys=2), *"edcba")
    assert await store.clean_up() == 2
    assert await stored(shop) == ["a", "b"]


@pytest.mark.parametrize("kind", [POSTGRES])
async def test_another_process_sees_a_key_in_use(shop: Shop) -> None:
    one, other = store_of(shop), store_of(shop)
    async with one.claim(keyed("a")):
        with pytest.raises(KeyInUse):
            async with other.claim(keyed("a")):
                pass
        await put(other, "b")
    await put(other, "a")


@pytest.mark.parametrize("kind", [POSTGRES])
async def test_the_transaction_has_the_isolation_level(shop: Shop) -> None:
    async with store_of(shop).claim(keyed("a")):
        assert await shop.database.fetch_val("SHOW transaction_isolation") == "serializable"
