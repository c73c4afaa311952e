from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from scalekit.telemetry import TELEMETRY
from scalekit_idempotency import filters
from scalekit_idempotency.keyed_request import request_id
from scalekit_idempotency.metrics import ERRORS, REQUESTS
from tests.idempotency.conftest import DATABASES, MEMORY, STORES, Open
from tests.idempotency.shop import Shop

pytestmark = pytest.mark.anyio

on_every_store = pytest.mark.parametrize("kind", STORES)
on_databases = pytest.mark.parametrize("kind", DATABASES)
in_memory = pytest.mark.parametrize("kind", [MEMORY])


@on_every_store
async def test_a_repeated_request_gets_the_stored_response_and_has_no_effect(shop: Shop) -> None:
    first = await shop.post("/orders")
    assert (first.status, first.body, first.header("idempotency-replayed")) == (201, b'{"item":"tea"}', None)
    again = await shop.post("/orders")
    assert (again.status, again.body, again.header("idempotency-replayed")) == (201, b'{"item":"tea"}', "true")
    assert again.header("location") == "/orders/tea"
    assert again.header("content-type") == "application/json"
    assert again.header("content-length") == "14"
    assert await shop.orders() == ["tea"]


@on_every_store
async def test_another_key_another_subject_and_no_key_are_other_requests(open_service: Open) -> None:
    async with open_service(subject_header="X-API-Key") as shop:
        subjects: tuple[dict[str, Any], ...] = ({}, {"x_api_key": "one"}, {"x_api_key": "two"})
        for headers in subjects:
            for key in ("a", "b", None):
                assert (await shop.post("/orders", key, **headers)).header("idempotency-replayed") is None
        assert await shop.orders() == ["tea"] * 9
        assert (await shop.post("/orders", "a", x_api_key="one")).header("idempotency-replayed") == "true"


@on_every_store
async def test_a_key_of_another_request_is_refused(shop: Shop) -> None:
    await shop.post("/orders")
    for path, body in (("/orders", "coffee"), ("/other", "tea"), ("/orders?fast=1", "tea")):
        refused = await shop.post(path, body=body)
        assert refused.status == 422
        assert "belongs to a request with another method, path, query or body" in orjson.loads(refused.body)["detail"]
    assert await shop.orders() == ["tea"]


@on_every_store
async def test_a_key_in_use_is_refused_until_its_request_has_ended(open_service: Open) -> None:
    async with open_service(retry_after="2500ms") as shop, asyncio.TaskGroup() as group:
        first = group.create_task(shop.post("/wait"))
        await shop.waiting.wait()
        refused = await shop.post("/wait")
        assert (refused.status, refused.header("retry-after")) == (409, "3")
        assert refused.header("content-type") == "application/problem+json"
        shop.proceed.set()
        assert (await first).body == b"done"
        again = await shop.post("/wait")
        assert (again.body, again.header("idempotency-replayed")) == (b"done", "true")
        assert await shop.orders() == ["tea"]


@on_every_store
async def test_a_request_waits_for_the_response_of_the_first_one_with_its_key(open_service: Open) -> None:
    async with open_service(wait_timeout="60s") as shop, asyncio.TaskGroup() as group:
        first = group.create_task(shop.post("/wait"))
        await shop.waiting.wait()
        others = [group.create_task(shop.post("/wait")) for _ in range(3)]
        await asyncio.sleep(0.25)
        assert not any(each.done() for each in others)
        shop.proceed.set()
        assert (await first).header("idempotency-replayed") is None
        for other in others:
            response = await other
            assert (response.body, response.header("idempotency-replayed")) == (b"done", "true")
        assert await shop.orders() == ["tea"]


@in_memory
async def test_a_request_that_has_waited_in_vain_is_refused(open_service: Open) -> None:
    async with open_service(wait_timeout="150ms") as shop, asyncio.TaskGroup() as group:
        first = group.create_task(shop.post("/wait"))
        await shop.waiting.wait()
        assert (await shop.post("/wait")).status == 409
        shop.proceed.set()
        await first


@in_memory
async def test_the_number_of_requests_that_wait_is_bounded(open_service: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MAX_WAITING", 1)
    async with open_service(wait_timeout="60s") as shop, asyncio.TaskGroup() as group:
        first = group.create_task(shop.post("/wait"))
        await shop.waiting.wait()
        others = [group.create_task(shop.post("/wait")) for _ in range(3)]
        refused, waiting = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        while len(waiting) > 1:
            more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            refused |= more
        assert [each.result().status for each in refused] == [409, 409]
        shop.proceed.set()
        assert [(await each).body for each in (first, *waiting)] == [b"done", b"done"]


@in_memory
async def test_a_request_whose_client_disconnects_waits_no_longer(open_service: Open) -> None:
    async with open_service(wait_timeout="60s") as shop, asyncio.TaskGroup() as group:
        first = group.create_task(shop.post("/wait"))
        await shop.waiting.wait()
        assert (await shop.post("/wait", is_connected=False)).status == 409  # a client may have closed one direction
        shop.proceed.set()
        await first


@on_databases
@pytest.mark.parametrize("status", [500, 503, 401, 408, 425, 429])
async def test_a_request_with_a_transient_status_is_rolled_back_and_may_be_repeated(shop: Shop, status: int) -> None:
    for _ in range(2):
        response = await shop.post(f"/status/{status}")
        assert (response.status, response.body) == (status, b"as asked")
        assert response.header("idempotency-replayed") is None
    assert await shop.orders() == []


@on_every_store
async def test_other_client_errors_are_stored(shop: Shop) -> None:
    for _ in range(2):
        response = await shop.post("/status/402")
        assert (response.status, response.body) == (402, b"as asked")
    assert await shop.orders() == ["tea"]


@on_databases
async def test_a_failed_request_is_rolled_back(shop: Shop) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="on purpose"):
            await shop.post("/fail")
    assert await shop.orders() == []
    await shop.post("/orders")
    assert await shop.orders() == ["tea"]


@pytest.mark.parametrize("kind", STORES[2:])
async def test_without_a_database_a_failed_request_may_be_repeated_but_its_writes_stay(shop: Shop) -> None:
    for _ in range(2):
        assert (await shop.post("/status/500")).status == 500
    assert await shop.orders() == ["tea", "tea"]


@on_databases
@pytest.mark.parametrize("path", ["/stream", "/large"])
async def test_what_cannot_be_stored_is_executed_once(open_service: Open, path: str) -> None:
    async with open_service(max_response="4000B") as shop:
        first = await shop.post(path)
        assert first.status == 200
        assert len(first.body) == (5000 if path == "/large" else 11)
        again = await shop.post(path)
        assert (again.status, again.header("retry-after")) == (409, None)
        assert "was executed, but its response was not stored" in orjson.loads(again.body)["detail"]
        assert await shop.orders() == ["tea"]


@on_databases
async def test_a_session_that_is_committed_after_the_response_takes_part(shop: Shop) -> None:
    assert (await shop.post("/session/commit")).status == 200
    assert (await shop.post("/session/commit")).header("idempotency-replayed") == "true"
    assert await shop.orders() == ["tea"]
    with pytest.raises(RuntimeError, match="on purpose"):
        await shop.post("/session/fail", "b")
    assert await shop.orders() == ["tea"]
    assert (await shop.post("/session/forget", "c")).status == 200
    assert await shop.orders() == ["tea"]


@on_databases
async def test_a_large_response_before_the_commit_fails(open_service: Open) -> None:
    async with open_service(max_response="4000B") as shop:
        with pytest.raises(RuntimeError, match="commit it before the response"):
            await shop.post("/session/commit?size=5000")
        assert await shop.orders() == []


@on_databases
async def test_a_failed_claim_or_commit_is_an_error_and_rolls_back(shop: Shop) -> None:
    errors = shop.host.context.get(TELEMETRY).series(ERRORS)
    with pytest.raises(Exception, match="scalekit_idempotency"):
        await shop.post("/sql", body="DROP TABLE scalekit_idempotency")
    assert errors.value == 1
    assert (await shop.post("/orders")).status == 201, "the table is still there"
    await shop.database.execute("DROP TABLE scalekit_idempotency")
    with pytest.raises(Exception, match="scalekit_idempotency"):
        await shop.post("/orders")
    assert errors.value == 2
    assert await shop.orders() == ["tea"]


@on_databases
async def test_outcomes_are_counted(shop: Shop) -> None:
    with pytest.raises(RuntimeError):
        await shop.post("/fail")
    for path, key in (("/orders", "a"), ("/orders", "a"), ("/other", "a"), ("/stream", "b"), ("/orders", '"')):
        await shop.post(path, key)
    with pytest.raises(Exception, match="no_such_table"):
        await shop.post("/sql", "c", body="SELECT * FROM no_such_table")
    recorded = shop.host.context.get(TELEMETRY).recorded(REQUESTS)
    counts = {labels[0]: series.value for labels, series in recorded.items() if series.value}
    assert counts == {"failed": 2, "executed": 1, "replayed": 1, "mismatch": 1, "unstored": 1, "invalid": 1}


@on_databases
async def test_a_response_that_is_not_completed_is_rolled_back(shop: Shop) -> None:
    for _ in range(2):
        assert (await shop.post("/stop")).header("idempotency-replayed") is None
    assert await shop.orders() == []
    await shop.post("/orders")
    assert await shop.orders() == ["tea"]


@on_databases
async def test_a_read_that_fails_in_a_transaction_of_its_own_may_be_handled(shop: Shop) -> None:
    first, again = [await shop.post("/try", body="SELECT * FROM no_such_table") for _ in range(2)]
    assert (first.status, first.body) == (again.status, again.body) == (400, b"refused")
    assert again.header("idempotency-replayed") == "true"


@on_databases
async def test_a_request_whose_key_was_committed_meanwhile_is_rolled_back(shop: Shop) -> None:
    """As when the lock was granted on a snapshot from before the commit of another request."""
    columns = "(id, key, subject, method, path, fingerprint, status, headers, body, created, expires)"
    values = f"('{request_id('', 'a')}', 'a', '', 'POST', '/sql', '', 200, '[]', '', 0, 9e9)"
    response = await shop.post("/sql", body=f"INSERT INTO scalekit_idempotency {columns} VALUES {values}")
    assert (response.status, response.header("retry-after")) == (409, "1")
    assert await shop.database.fetch_val("SELECT count(*) FROM scalekit_idempotency") == 0


@in_memory
async def test_methods_and_paths_choose_the_requests(open_service: Open) -> None:
    async with open_service(methods=["PUT"], paths=["/orders"]) as shop:
        for method, path in (("POST", "/orders"), ("PUT", "/other"), ("GET", "/orders")):
            await shop.post(path, method=method)
            assert (await shop.post(path, method=method)).header("idempotency-replayed") is None
        await shop.post("/orders", method="PUT")
        assert (await shop.post("/orders", method="PUT")).header("idempotency-replayed") == "true"
    async with open_service(create=False, exclude=["/or*"]) as shop:
        await shop.post("/orders")
        assert (await shop.post("/orders")).header("idempotency-replayed") is None


@in_memory
async def test_a_key_may_be_required(open_service: Open) -> None:
    async with open_service(required_paths=["/orders"]) as shop:
        refused = await shop.post("/orders", None)
        assert (refused.status, orjson.loads(refused.body)["detail"]) == (
            400,
            "this request needs the header Idempotency-Key",
        )
        assert (await shop.post("/other", None)).status == 201
        assert (await shop.post("/orders", None, method="PUT")).status == 201
        assert (await shop.post("/orders", '"a')).status == 400
        assert await shop.orders() == ["tea", "tea"]
    async with open_service(create=False, paths=["/o*"], exclude=["/orders"], required_paths=["/**"]) as shop:
        assert (await shop.post("/orders", None)).status == 201, "its key would be ignored"
        assert (await shop.post("/status/404", None)).status == 404
        assert (await shop.post("/other", None)).status == 400


@on_databases
async def test_a_path_with_any_character_has_a_key(shop: Shop) -> None:
    responses = [await shop.post("/no%00where") for _ in range(2)]
    assert [response.status for response in responses] == [404, 404]
    assert responses[1].header("idempotency-replayed") == "true"


@in_memory
async def test_a_body_that_is_too_large_is_refused(open_service: Open) -> None:
    async with open_service(max_body="10B") as shop:
        assert (await shop.post("/orders", body="x" * 11)).status == 413
        assert (await shop.post("/orders", body="x" * 10)).status == 201
        assert (await shop.post("/orders", None, "x" * 11)).status == 201


@in_memory
async def test_cookies_are_not_replayed(shop: Shop) -> None:
    assert (await shop.post("/orders")).header("set-cookie") == "seen=1"
    assert (await shop.post("/orders")).header("set-cookie") is None
