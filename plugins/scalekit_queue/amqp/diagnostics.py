"""Diagnostics of RabbitMQ: its version by AMQP, and alarms, policies and queues by its management API."""

from __future__ import annotations

import asyncio
import base64
import http.client
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from threading import Timer
from typing import Any
from urllib.parse import quote, unquote

import orjson

from scalekit import Diagnostic, Finding, Severity, Tls
from scalekit_queue.amqp.connection import Broker, close_connection
from scalekit_queue.amqp.topology import QueueTopology, version_of
from scalekit_queue.config import QueueConfig

PORTS = {"amqp": 15672, "amqps": 15671}
"""The ports of the management API, which has the host and the user of the broker."""
CONNECT_TIMEOUT = 5.0
REQUEST_TIMEOUT = 3.0
"""Seconds for a connection, and for a request with its whole response: the end of the command waits for the thread."""
MAX_RESPONSE = 16 * 2**20
"""Bytes of a response that are read."""
ENDS: Mapping[tuple[int, ...], date] = {
    (3, 13): date(2024, 9, 17),
    (4, 0): date(2025, 4, 15),
    (4, 1): date(2026, 1, 30),
}
"""The last updates of RabbitMQ's versions (rabbitmq.com/release-information)."""
DROPS = ("max-length", "max-length-bytes", "message-ttl", "expires")
"""Keys of policies with which RabbitMQ deletes messages."""
Json = Mapping[str, Any]


def rabbitmq_diagnostics(config: QueueConfig) -> list[Diagnostic]:
    """Return the diagnostics of the broker of *config*."""
    topology = QueueTopology(config.prefix)
    names = [each.name for each in config.load()]
    queues = {topology.ready_queue(name) for name in names}
    dead = {topology.dead_letter_queue(name) for name in names}

    async def version() -> Sequence[Finding]:
        connection = Broker(config).connection("doctor")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await connection.connect()
            return list(version_findings(version_of(connection), datetime.now(UTC).date()))
        finally:
            await close_connection(connection)

    async def management() -> Sequence[Finding]:
        try:
            nodes, policies, found = await asyncio.to_thread(_read, config)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return [_unreadable(config, error)]
        own = [each for each in found if each.get("name") in queues | dead]
        return [
            *node_findings(nodes),
            *policy_findings(policies, sorted(queues | dead)),
            *queue_findings(own, queues, len(nodes)),
        ]

    return [Diagnostic("version of RabbitMQ", version, 10.0), Diagnostic("RabbitMQ's management API", management, 12.0)]


def version_findings(version: tuple[int, ...], today: date) -> Iterator[Finding]:
    """Yield whether the *version* gets no updates *today*."""
    if version and (version < min(ENDS) or today > ENDS.get(version[:2], today)):
        text = ".".join(map(str, version))
        yield Finding(
            "rabbitmq-version",
            Severity.WARNING,
            f"RabbitMQ {text} gets no updates from its project",
            "upgrade to a supported version, unless your distribution maintains this one",
            "plugins.queue.url",
            text,
        )


def node_findings(nodes: Sequence[Json]) -> Iterator[Finding]:
    """Yield alarms, partitions and nodes that do not run."""
    for node in nodes:
        for key, resource in (("mem_alarm", "memory"), ("disk_free_alarm", "disk")):
            if node.get(key):
                yield _alarm(node, f"the {resource} alarm is on: no publisher is served", key, f"free {resource} there")
        if node.get("partitions"):
            message = "the cluster is partitioned"
            yield _alarm(node, message, "partitions", "restart the nodes of the smaller side, and see to the network")
        if not node.get("running", True):
            yield _alarm(node, "the node does not run", "running", "start it, or remove it from the cluster")


def policy_findings(policies: Sequence[Json], queues: Sequence[str]) -> Iterator[Finding]:
    """Yield policies that delete messages of *queues*."""
    for policy in policies:
        definition = policy.get("definition", {})
        keys = [key for key in DROPS if key in definition]
        concerned = [queue for queue in queues if _matches(str(policy.get("pattern", "")), queue)]
        if policy.get("apply-to") == "exchanges" or not keys or not concerned:
            continue
        values = ", ".join(f"{key} {definition[key]}" for key in keys)
        yield Finding(
            "rabbitmq-policy",
            Severity.ERROR,
            f"the policy {policy.get('name')!r} limits {concerned[0]!r}{' and others' * (len(concerned) > 1)}:"
            " messages that were confirmed are deleted",
            "narrow its pattern, so that it does not match the queues of this service",
            str(policy.get("name")),
            values,
        )


def queue_findings(found: Sequence[Json], ready: set[str], nodes: int) -> Iterator[Finding]:
    """Yield queues of the service that are not available, not replicated, or without dead letters."""
    for queue in found:
        name, members, online = queue["name"], queue.get("members") or [], queue.get("online") or []
        if members and 2 * len(online) <= len(members):
            message = f"{name!r} has {len(online)} of {len(members)} members: it takes and delivers no messages"
            yield _queue(Severity.ERROR, message, name, "start the missing nodes", f"{len(online)}/{len(members)}")
        elif members and len(online) < len(members):
            message = f"{name!r} has {len(online)} of {len(members)} members: it stops with another one"
            yield _queue(Severity.WARNING, message, name, "start the missing nodes", f"{len(online)}/{len(members)}")
        if nodes > 1 and (queue.get("type") == "classic" or len(members) == 1):
            message = f"{name!r} is on one node of {nodes}: it is not available without it"
            remedy = f"rabbitmq-queues grow <node> all --queue-pattern {name!r}; replace a classic queue by a new one"
            yield _queue(Severity.WARNING, message, name, remedy, str(queue.get("type")))
        effective = {**(queue.get("effective_policy_definition") or {}), **_without_x(queue.get("arguments") or {})}
        if name in ready and not effective.get("dead-letter-routing-key"):
            message = f"{name!r} has no dead letters: RabbitMQ deletes a message that ends consumers repeatedly"
            remedy = (
                "delete the empty queue, so that the service declares it, or set a policy with dead-letter-exchange"
            )
            yield _queue(Severity.WARNING, message, name, remedy, "none")


def _read(config: QueueConfig) -> tuple[list[Json], list[Json], list[Json]]:
    """Return the nodes, policies and queues that the management API has for the broker of *config*."""
    parts = config.url.parts
    vhost = quote(unquote(parts.path.removeprefix("/")) or "/", safe="")
    address = (parts.host or "127.0.0.1", PORTS[config.url.scheme])
    connection = http.client.HTTPConnection(*address, timeout=REQUEST_TIMEOUT)
    if config.url.scheme == "amqps":
        context = (config.tls or Tls()).ssl_context("the management API")
        connection = http.client.HTTPSConnection(*address, timeout=REQUEST_TIMEOUT, context=context)
    credentials = f"{parts.user or 'guest'}:{parts.password or 'guest'}".encode()
    headers = {"Authorization": f"Basic {base64.b64encode(credentials).decode()}"}
    try:
        nodes, policies, queues = (
            _get(connection, f"/api/{path}", headers) for path in ("nodes", f"policies/{vhost}", f"queues/{vhost}")
        )
    finally:
        connection.close()
    return nodes, policies, queues


def _get(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> list[Json]:
    if connection.sock is None:
        connection.connect()
    deadline = Timer(REQUEST_TIMEOUT, _shut, (connection.sock,))  # the timeout of a socket is for each byte
    deadline.daemon = True
    deadline.start()
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read(MAX_RESPONSE)
    finally:
        deadline.cancel()
    if response.status != 200:
        raise ValueError(f"{response.status} {response.reason}")
    content = orjson.loads(body)
    if not isinstance(content, list):
        raise ValueError("the response is no list")
    return content


def _shut(connected: socket.socket) -> None:
    """End the wait of another thread for *connected*."""
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:  # closed meanwhile
        pass


def _unreadable(config: QueueConfig, error: Exception) -> Finding:
    address = f"{config.url.parts.host}:{PORTS[config.url.scheme]}"
    return Finding(
        "rabbitmq-management",
        Severity.ADVICE,
        f"alarms, policies and queues were not examined: the management API at {address} has no response ({error})",
        "enable the plugin rabbitmq_management, and give the user the tag monitoring",
        "plugins.queue.url",
        address,
    )


def _alarm(node: Json, message: str, key: str, remedy: str) -> Finding:
    name = str(node.get("name"))
    return Finding("rabbitmq-node", Severity.ERROR, f"{name}: {message}", remedy, key, name)


def _queue(severity: Severity, message: str, key: str, remedy: str, value: str) -> Finding:
    return Finding("rabbitmq-queue", severity, message, remedy, key, value)


def _without_x(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("x-"): value for name, value in arguments.items()}


def _matches(pattern: str, queue: str) -> bool:
    try:
        return re.search(pattern, queue) is not None
    except re.error:  # a pattern of Erlang's that Python does not have
        return False
