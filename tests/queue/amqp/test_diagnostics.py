"""Alarms, policies and queues of RabbitMQ are found by its management API."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import date
from http.client import HTTPConnection
from typing import Any

import pytest

from scalekit import INSTANCES, create_app
from scalekit.contracts import Consumers, Message
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from scalekit_queue.amqp import diagnostics
from scalekit_queue.amqp.diagnostics import (
    node_findings,
    policy_findings,
    queue_findings,
    rabbitmq_diagnostics,
    version_findings,
)
from scalekit_queue.config import QueueConfig
from tests.processes import HOST
from tests.queue.harness import LIMIT, consumers_target
from tests.servers import RabbitMQ

pytestmark = pytest.mark.anyio


class ManagedRabbitMQ(RabbitMQ):
    """A RabbitMQ with its management API."""

    name = "rabbitmq-management"
    port_count = 4

    def prepare(self) -> None:
        super().prepare()
        self.box.write("enabled_plugins", "[rabbitmq_management].\n")
        file = self.box.directory / "rabbitmq.conf"
        management = f"management.tcp.ip = {HOST}\nmanagement.tcp.port = {self.ports[3]}\n"
        file.write_text(f"{file.read_text()}{management}collect_statistics_interval = 200\n")

    def _environment(self, port: int, distribution: int, mapper: int, management: int = 0) -> dict[str, str]:
        return super()._environment(port, distribution, mapper)

    def api(self, method: str, path: str, content: object = None) -> None:
        """Send a request to the management API, which is quicker than rabbitmqctl."""
        connection = HTTPConnection(HOST, self.ports[3], timeout=60)
        headers = {"Authorization": f"Basic {b64encode(b'guest:guest').decode()}"}
        with closing(connection):
            connection.request(method, f"/api/{path}", json.dumps(content), headers)
            assert connection.getresponse().status in (201, 204)


@pytest.fixture(scope="module")
def managed() -> Iterator[ManagedRabbitMQ]:
    with ManagedRabbitMQ() as server:
        yield server


consumers = Consumers()


@consumers.on("order.placed")
async def handle(message: Message[int]) -> None: ...


async def diagnosed(url: str) -> list[tuple[str, str, str, str]]:
    """Return name, severity, key and value of the findings."""
    table = {"url": url, "consumers": consumers_target(consumers), "consume_in": "workers"}
    host = create_app({"plugins": {"queue": table}}, app=bare_application)
    host.context.provide(INSTANCES, 2)
    items = host.settings.plugins.diagnostics(host.context)["queue"]
    async with running(host):
        found = [finding for each in items for finding in await each.probe()]
    return [(each.name, each.severity.value, each.key, each.value) for each in found if each.name != "rabbitmq-version"]


@pytest.mark.needs("rabbitmq")
async def test_alarms_and_policies_of_a_broker_are_found(
    managed: ManagedRabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(diagnostics.PORTS, "amqp", managed.ports[3])
    assert await diagnosed(managed.url) == []
    definition = {"max-length": 10, "overflow": "drop-head"}
    managed.api("PUT", "policies/%2F/short", {"pattern": "^order", "definition": definition})
    managed.ctl("set_vm_memory_high_watermark", "absolute", "1")
    expected = [
        ("rabbitmq-node", "error", "mem_alarm", f"test{managed.port}@localhost"),
        ("rabbitmq-policy", "error", "short", "max-length 10"),
    ]
    async with asyncio.timeout(LIMIT):  # the API has the state of a node with a delay
        while await diagnosed(managed.url) != expected:
            await asyncio.sleep(0.1)
    managed.ctl("set_vm_memory_high_watermark", "absolute", "512MB")
    managed.api("DELETE", "policies/%2F/short")
    async with asyncio.timeout(LIMIT):
        while await diagnosed(managed.url):
            await asyncio.sleep(0.1)


@pytest.mark.needs("rabbitmq")
async def test_without_the_management_api_it_is_said_what_was_not_examined(
    managed: ManagedRabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(diagnostics.PORTS, "amqp", managed.port)  # which does not speak HTTP
    ((name, severity, _, value),) = await diagnosed(managed.url)
    assert (name, severity, value) == ("rabbitmq-management", "advice", f"{HOST}:{managed.port}")
    monkeypatch.setitem(diagnostics.PORTS, "amqp", managed.ports[3])
    managed.api("PUT", "users/shop", {"password": "secret", "tags": ""})
    managed.api("PUT", "permissions/%2F/shop", {"configure": ".*", "write": ".*", "read": ".*"})
    ((name, _, _, _),) = await diagnosed(managed.url.replace("guest:guest", "shop:secret"))
    assert name == "rabbitmq-management"


async def test_a_response_whose_bytes_arrive_slowly_ends_after_the_time_of_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        ended.set()

    ended = asyncio.Event()
    monkeypatch.setattr(diagnostics, "REQUEST_TIMEOUT", 0.2)
    async with await asyncio.start_server(trickle, HOST, 0) as server:
        monkeypatch.setitem(diagnostics.PORTS, "amqp", server.sockets[0].getsockname()[1])
        table = {"url": f"amqp://{HOST}/", "consumers": consumers_target(consumers)}
        config = create_app({"plugins": {"queue": table}}, app=bare_application).context.config(QueueConfig)
        _, management = rabbitmq_diagnostics(config)
        async with asyncio.timeout(LIMIT):
            (finding,) = await management.probe()
            await ended.wait()
    assert finding.name == "rabbitmq-management"


def test_versions_end() -> None:
    assert [each.value for each in version_findings((3, 10), date(2024, 1, 1))] == ["3.10"]
    assert [each.value for each in version_findings((4, 0), date(2026, 1, 1))] == ["4.0"]
    assert not list(version_findings((4, 1), date(2026, 1, 1)))
    assert not list(version_findings((4, 99), date(2036, 1, 1)))
    assert not list(version_findings((), date(2036, 1, 1))), "another broker"


def test_disk_alarms_partitions_and_stopped_nodes_are_errors() -> None:
    nodes: list[Any] = [
        {"name": "a", "running": True, "disk_free_alarm": True, "mem_alarm": False, "partitions": ["b"]},
        {"name": "b", "running": False},
        {"name": "c", "running": True, "partitions": []},
    ]
    assert [(each.key, each.value) for each in node_findings(nodes)] == [
        ("disk_free_alarm", "a"),
        ("partitions", "a"),
        ("running", "b"),
    ]


def test_policies_that_delete_messages_of_other_queues_only_are_no_finding() -> None:
    policies: list[Any] = [
        {"name": "others", "pattern": "^other", "definition": {"max-length": 1}, "apply-to": "queues"},
        {"name": "exchanges", "pattern": ".*", "definition": {"expires": 1}, "apply-to": "exchanges"},
        {"name": "harmless", "pattern": ".*", "definition": {"ha-mode": "all"}, "apply-to": "all"},
        {"name": "broken", "pattern": "(?<", "definition": {"expires": 1}, "apply-to": "all"},
        {"name": "ttl", "pattern": "dead$", "definition": {"message-ttl": 1000}, "apply-to": "queues"},
    ]
    found = [(each.key, each.value) for each in policy_findings(policies, ["order.placed", "order.placed.dead"])]
    assert found == [("ttl", "message-ttl 1000")]


def test_queues_without_a_majority_replicas_or_dead_letters_are_found() -> None:
    arguments = {"x-dead-letter-routing-key": "a.dead"}

    def found(nodes: int = 3, **queue: Any) -> list[tuple[str, str]]:
        items = queue_findings([{"name": "a", "type": "quorum", "arguments": arguments, **queue}], {"a"}, nodes)
        return [(each.severity.value, each.value) for each in items]

    three = ["x", "y", "z"]
    assert found(members=three, online=three) == []
    assert found(members=three, online=["x"]) == [("error", "1/3")]
    assert found(members=three, online=["x", "y"]) == [("warning", "2/3")]
    assert found(members=["x"], online=["x"]) == [("warning", "quorum")]
    assert found(members=["x"], online=["x"], nodes=1) == []
    assert found(type="classic") == [("warning", "classic")]
    assert found(members=three, online=three, arguments={}) == [("warning", "none")]
    policy = {"dead-letter-routing-key": "a.dead"}
    assert found(members=three, online=three, arguments={}, effective_policy_definition=policy) == []
