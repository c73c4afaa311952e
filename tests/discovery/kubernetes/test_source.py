"""Watching EndpointSlices at an API server that expires versions, ends watches, fails and disappears."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from aiohttp import web

from scalekit.contracts import Services
from scalekit.errors import Unavailable
from scalekit_discovery.kubernetes import source
from tests.discovery.harness import CallLoad, StockService, open_services, wait_instances, wait_until
from tests.discovery.kubernetes.api_server import ADMIN, ApiServer, endpoint, port, status
from tests.processes import HOST, free_ports

pytestmark = pytest.mark.anyio


def url(number: int, address: str = HOST) -> str:
    return f"http://{address}:{number}"


async def wait_watched(server: ApiServer, count: int = 1) -> None:
    await wait_until(lambda: server.wait_watches(count))


async def wait_queries(server: ApiServer, kind: str, count: int) -> None:
    await wait_until(lambda: len(server.queries(kind)) >= count)


async def ids(directory: Services, name: str = "inventory") -> list[str]:
    return [each.id for each in await directory.instances(name)]


async def call_error(directory: Any, name: str = "inventory") -> str:
    """Return the error of a call after the source has reported one."""
    client = directory.client(name)
    await wait_until(directory.source_errors)
    with pytest.raises(Unavailable) as caught:
        await client.get("/")
    return str(caught.value)


async def test_instances_follow_the_slices_of_the_service_and_calls_reach_them(server: ApiServer) -> None:
    with StockService() as first, StockService() as second:
        server.put("other", endpoint("127.0.0.9"), ports=[port(1)])
        server.put("inventory", endpoint(pod="inventory-a"), ports=[port(first.port)])
        async with open_services(**server.table()) as directory:
            assert await wait_instances(directory, 1) == [first.url]
            assert await ids(directory) == [f"inventory-a:{first.port}"]
            async with directory.client("inventory").get("/stock") as response:
                assert response.status == 200
            server.put("inventory", endpoint(pod="inventory-b"), name="inventory-2", ports=[port(second.port)])
            assert await wait_instances(directory, 2) == sorted([first.url, second.url])
            server.delete("inventory-1")
            assert await wait_instances(directory, 1) == [second.url]
            server.put("inventory", name="inventory-2", ports=[port(second.port)])
            assert await wait_instances(directory, 0) == []
            with pytest.raises(Unavailable, match=r"^inventory: Kubernetes at .* has no healthy instance$"):
                await directory.client("inventory").get("/stock")


async def test_a_name_may_contain_namespace_and_port(server: ApiServer) -> None:
    ports = [port(81, "grpc"), port(82, "admin")]
    server.put("inventory", endpoint(), namespace="stock", ports=ports)
    async with open_services(**server.table(initial_timeout="10ms")) as directory:
        assert await wait_instances(directory, 1, "inventory.stock:admin") == [url(82)]
        assert await wait_instances(directory, 1, "inventory.stock:81") == [url(81)]
        assert re.search(
            r"has the ports grpc, admin: append one to the name", await call_error(directory, "inventory.stock")
        )
        assert re.search("is no service of Kubernetes; write NAME", await call_error(directory, "../secrets"))


async def test_long_lists_are_read_in_pages(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PAGE_SIZE", 2)
    for number in range(5):
        server.put("inventory", endpoint(f"127.0.0.{number}"), name=f"slice-{number}", ports=[port(80)])
    table = server.table()
    async with open_services(**table) as directory:
        assert len(await wait_instances(directory, 5)) == 5
        await wait_watched(server)
        server.compact()
        server.cut_watches()
        await wait_queries(server, "list", 4)
        await wait_watched(server)
        assert [query.get("continue", "") for query in server.queries("list")] == ["", "", "106:2", "106:4"]
        assert len(await wait_instances(directory, 5)) == 5


async def test_more_slices_than_the_bound_are_an_error(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_SLICES", 2)
    for number in range(3):
        server.put("inventory", endpoint(), name=f"slice-{number}", ports=[port(80)])
    async with open_services(**server.table()) as directory:
        assert re.search("more than 2 EndpointSlices", await call_error(directory))


async def test_an_error_that_repeats_the_token_is_shown_without_it(server: ApiServer) -> None:
    server.fail(lambda: status(400, "BadRequest", f"invalid header: Bearer {ADMIN}"))
    async with open_services(**server.table(initial_timeout="10ms")) as directory:
        assert re.search(r"status 400: invalid header: Bearer \*\*\*", await call_error(directory))


async def test_a_list_without_end_is_an_error(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_PAGES", 3)
    page = {"items": [], "metadata": {"resourceVersion": "1", "continue": "x"}}
    server.fail(lambda: web.json_response(page))
    async with open_services(**server.table(initial_timeout="10ms")) as directory:
        assert re.search("a list has more than 3 pages", await call_error(directory))


async def test_the_next_watch_continues_at_the_version_of_the_last_bookmark(server: ApiServer) -> None:
    server.put("inventory", endpoint(), ports=[port(80)])
    async with open_services(**server.table()) as directory:
        assert len(await wait_instances(directory, 1)) == 1
        await wait_watched(server)
        server.bookmark()
        server.end_watches()
        await wait_queries(server, "watch", 2)
        server.put("inventory", endpoint("127.0.0.2"), name="second", ports=[port(80)])
        assert len(await wait_instances(directory, 2)) == 2
    first, second = [query["resourceVersion"] for query in server.queries("watch")][:2]
    assert (first, second) == ("101", "102")
    assert len(server.queries("list")) == 1, "the watch continued without a new list"
    assert {query["allowWatchBookmarks"] for query in server.queries("watch")} == {"true"}


async def test_after_a_watch_of_watch_timeout_without_an_event_the_slices_are_listed_from_the_cache(
    server: ApiServer,
) -> None:
    server.put("inventory", endpoint(), ports=[port(80)])
    async with open_services(**server.table(watch_timeout="1s")) as directory:
        assert len(await wait_instances(directory, 1)) == 1
        await wait_queries(server, "watch", 3)
        versions = [(each["resourceVersion"], each.get("resourceVersionMatch")) for each in server.queries("list")]
        assert set(versions[1:]) == {("101", "NotOlderThan")}, "listed again after a watch without a bookmark"
        assert {query["timeoutSeconds"] for query in server.queries("watch")} == {"1"}


@pytest.mark.parametrize("by_status", [False, True], ids=["event", "status"])
async def test_an_expired_version_lists_the_slices_again(server: ApiServer, *, by_status: bool) -> None:
    server.put("inventory", endpoint(), ports=[port(80)])
    async with open_services(**server.table()) as directory:
        assert len(await wait_instances(directory, 1)) == 1
        await wait_watched(server)
        if by_status:
            server.failures.append(lambda: status(410, "Expired", "too old resource version"))
        server.compact()
        server.cut_watches()
        await wait_watched(server)
        server.put("inventory", endpoint("127.0.0.2"), name="second", ports=[port(80)])
        assert len(await wait_instances(directory, 2)) == 2
    assert [query.get("resourceVersion") for query in server.queries("list")] == ["0", None]


async def test_after_the_server_lost_its_state_the_list_starts_without_a_version(server: ApiServer) -> None:
    server.put("inventory", endpoint(), ports=[port(80)])
    async with open_services(**server.table(watch_timeout="1s")) as directory:
        assert len(await wait_instances(directory, 1)) == 1
        await wait_watched(server)
        server.lose_state()
        server.put("inventory", endpoint("127.0.0.2"), name="second", ports=[port(80)])
        assert len(await wait_instances(directory, 2)) == 2
    versions = [query.get("resourceVersion") for query in server.queries("list")]
    assert versions[versions.index(None) - 1] == "101"


async def test_calls_continue_while_the_api_server_is_gone_and_later_changes_are_seen(server: ApiServer) -> None:
    with StockService() as first, StockService() as second:
        server.put("inventory", endpoint(pod="a"), ports=[port(first.port)])
        async with open_services(**server.table()) as directory:
            assert len(await wait_instances(directory, 1)) == 1
            load = CallLoad(directory.client("inventory"))
            async with load.running():
                server.stop()
                await load.wait_calls(100)
                server.put("inventory", endpoint(pod="b"), name="second", ports=[port(second.port)])
                server.start()
                assert len(await wait_instances(directory, 2)) == 2
                await load.wait_for_pids(2)
            assert load.errors == []


async def test_a_start_without_the_api_server_uses_the_cached_instances(server: ApiServer, tmp_path: Path) -> None:
    server.put("inventory", endpoint(zone="a"), ports=[port(80)])
    table = server.table(cache_dir=str(tmp_path / "cache"))
    async with open_services(**table) as directory:
        assert len(await wait_instances(directory, 1)) == 1
    server.stop()
    async with open_services(**{**table, "initial_timeout": "10ms"}) as directory:
        assert await wait_instances(directory, 1) == [url(80)]
        assert re.search(
            r"no instance is known: Kubernetes at .* is unavailable", await call_error(directory, "unheard-of")
        )


async def test_a_rotated_token_is_read_from_its_file(server: ApiServer) -> None:
    server.put("inventory", endpoint(), ports=[port(80)])
    async with open_services(**server.table()) as directory:
        assert len(await wait_instances(directory, 1)) == 1
        await wait_watched(server)
        server.tokens = {"rotated"}
        server.write_token("rotated")
        server.cut_watches()
        server.put("inventory", endpoint("127.0.0.2"), name="second", ports=[port(80)])
        assert len(await wait_instances(directory, 2)) == 2
        assert len(server.queries("list")) == 1, "the watch continued with the new token"


async def test_a_rejected_token_is_reported_with_the_remedy_and_never_shown(
    server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.write_token("wrong-token")
    async with open_services(**server.table(initial_timeout="10ms")) as directory:
        assert re.search("status 401: Unauthorized; the API server rejects the token", await call_error(directory))
        server.write_token(ADMIN)
        server.put("inventory", endpoint(), ports=[port(80)])
        assert len(await wait_instances(directory, 1)) == 1
    assert "wrong-token" not in caplog.text


async def test_a_missing_token_file_is_reported(server: ApiServer) -> None:
    async with open_services(**server.table(token_file="/nowhere/token", initial_timeout="10ms")) as directory:
        assert re.search("no such file: /nowhere/token; outside of a cluster set", await call_error(directory))


async def test_a_missing_permission_is_reported_with_the_remedy(server: ApiServer) -> None:
    message = 'endpointslices is forbidden: User "shop" cannot list resource "endpointslices"'
    server.fail(lambda: status(403, "Forbidden", message))
    async with open_services(**server.table(initial_timeout="10ms")) as directory:
        assert re.search('cannot list resource "endpointslices"; bind a role', await call_error(directory))


async def test_a_token_that_is_replaced_while_the_server_rejects_it_is_used_at_once(
    server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    def rotate() -> web.Response:
        server.tokens = {"rotated"}
        server.write_token("rotated")
        return status(401, "Unauthorized", "Unauthorized")

    server.put("inventory", endpoint(), ports=[port(80)])
    server.failures.append(rotate)
    async with open_services(**server.table()) as directory:
        assert len(await wait_instances(directory, 1)) == 1
    assert "401" not in caplog.text


def errors_logged(directory: Any) -> list[str]:
    found: list[str] = directory.source_errors()
    return found


async def test_a_busy_server_is_reported_and_asked_again(server: ApiServer) -> None:
    server.put("inventory", endpoint(), ports=[port(80)])
    server.failures.append(lambda: status(429, "TooManyRequests", "too many requests", **{"Retry-After": "1"}))
    async with open_services(**server.table(initial_timeout="10ms")) as directory:
        assert re.search("status 429: too many requests", await call_error(directory))
        assert len(await wait_instances(directory, 1)) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"<html>\n",
        b"[]\n",
        b'{"type": "ADDED", "object": 1}\n',
        b'{"type": "ADDED", "object": {}}\n',
        b'{"type": "ADDED", "object": {"metadata": {"name": "x"}, "endpoints": 1}}\n',
        b'{"type": "ADDED", "object": {"metadata": {"name": "x"}, "ports": [{"port": 1}], "endpoints": [7]}}\n',
        b'{"type": "BOOKMARK", "object": {"metadata": ["x"]}}\n',
        b'{"type": "ERROR", "object": {"code": 500, "message": "etcd is sad"}}\n',
    ],
)
async def test_an_unexpected_event_is_an_error_and_the_slices_are_listed_again(
    server: ApiServer, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    server.put("inventory", endpoint(), ports=[port(80)])
    async with open_services(**server.table()) as directory:
        assert len(await wait_instances(directory, 1)) == 1
        await wait_watched(server)
        server.send_raw(line)
        await wait_queries(server, "list", 2)
        assert len(await wait_instances(directory, 1)) == 1
    assert "unexpected response, not the API of Kubernetes" in caplog.text or "etcd is sad" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        "<html>",
        "[]",
        '{"items": []}',
        '{"items": 1, "metadata": {}}',
        '{"items": [1], "metadata": {}}',
        '{"items": [], "metadata": 1}',
        '{"items": [{"metadata": {}}], "metadata": {"resourceVersion": "1"}}',
    ],
)
async def test_an_unexpected_list_is_an_error_and_then_requested_again(server: ApiServer, body: str) -> None:
    server.put("inventory", endpoint(), ports=[port(80)])
    server.fail(lambda: web.Response(text=body, content_type="application/json"))
    async with open_services(**server.table(initial_timeout="10ms")) as directory:
        assert re.search("unexpected response, not the API of Kubernetes", await call_error(directory))
        server.failures.clear()
        assert len(await wait_instances(directory, 1)) == 1


async def test_a_response_is_bounded_in_size(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalekit_discovery.kubernetes.client.MAX_RESPONSE", 1000)
    server.put("inventory", endpoint(), ports=[port(80)])
    server.fail(lambda: web.Response(body=b" " * 2000))
    async with open_services(**server.table(initial_timeout="10ms")) as directory:
        assert re.search("a response exceeds 1000 bytes", await call_error(directory))
        server.failures.clear()
        assert len(await wait_instances(directory, 1)) == 1


async def test_a_server_that_hangs_ends_the_request(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalekit_discovery.kubernetes.client.TIMEOUT", 1.0)

    def hang() -> web.Response:
        sleep(2.0)
        return web.Response()

    server.put("inventory", endpoint(), ports=[port(80)])
    server.failures.append(hang)
    async with open_services(**server.table(initial_timeout="10ms")) as directory:
        assert re.search("is unavailable: timed out", await call_error(directory))
        assert len(await wait_instances(directory, 1)) == 1


async def test_many_services_are_watched_at_the_same_time(server: ApiServer) -> None:
    for number in range(40):
        server.put(f"service-{number}", endpoint(pod=f"pod-{number}"), ports=[port(80)])
    async with open_services(**server.table()) as directory:
        found = await asyncio.gather(*(directory.instances(f"service-{number}") for number in range(40)))
        assert [each.id for (each,) in found] == [f"pod-{number}:80" for number in range(40)]
        await wait_watched(server, 40)


async def test_an_event_without_end_is_an_error(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalekit_discovery.kubernetes.client.MAX_EVENT", 1000)
    server.put("inventory", endpoint(), ports=[port(80)])
    async with open_services(**server.table()) as directory:
        assert len(await wait_instances(directory, 1)) == 1
        await wait_watched(server)
        server.send_raw(b"x" * 2000)
        await wait_queries(server, "list", 2)


async def test_a_server_that_ends_each_watch_at_once_is_not_flooded(
    server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.put("inventory", endpoint(), ports=[port(80)])
    async with open_services(**server.table()) as directory:
        assert len(await wait_instances(directory, 1)) == 1
        await wait_watched(server)
        server.ends_watches = True
        server.cut_watches()
        await wait_until(lambda: "ended two watches at once" in caplog.text)
        assert await wait_instances(directory, 1) == [url(80)]


async def test_a_port_that_is_not_the_api_is_an_error() -> None:
    (closed,) = free_ports(1)
    table = {"source": "kubernetes", "kubernetes": f"http://{HOST}:{closed}", "initial_timeout": "10ms"}
    async with open_services(**table) as directory:
        assert re.search(f"Kubernetes at http://{HOST}:{closed} is unavailable", await call_error(directory))


@pytest.mark.parametrize("node", ["", "node-1"])
async def test_the_zone_is_that_of_the_file_or_of_the_label_of_the_node(server: ApiServer, node: str) -> None:
    server.nodes["node-1"] = {"topology.kubernetes.io/zone": "a"}
    server.put("inventory", endpoint(zone="a"), endpoint("127.0.0.2", zone="b"), ports=[port(80)])
    table = {"node": node} if node else {"zone": "a"}
    async with open_services(**server.table(**table)) as directory:
        assert len(await wait_instances(directory, 2)) == 2
        found: Any = await directory.instances("inventory")
        assert {each.zone: each.same_zone for each in found} == {"a": True, "b": False}


async def test_without_the_permission_to_read_nodes_no_zone_is_preferred(
    server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.put("inventory", endpoint(zone="a"), ports=[port(80)])
    async with open_services(**server.table(node="node-1")) as directory:
        assert len(await wait_instances(directory, 1)) == 1
        found: Any = await directory.instances("inventory")
        assert [each.same_zone for each in found] == [False]
    assert "no zone is preferred, because that of node 'node-1' is unknown" in caplog.text
