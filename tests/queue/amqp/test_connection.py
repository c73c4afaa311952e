"""RabbitMQ over mutual TLS, and RabbitMQ without quorum queues."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import time
from typing import Any

import pytest

from scalekit import ConfigError
from scalekit.contracts import QUEUE, Consumers, Message, PublishFailed
from scalekit.errors import ScalekitError
from scalekit_queue.amqp import connection
from tests.processes import HOST, free_ports
from tests.queue.harness import LIMIT, open_queue_admin, serving, wait_dead_letters, wait_until
from tests.servers import RabbitMQ, find

pytestmark = [pytest.mark.anyio, pytest.mark.needs("rabbitmq", "openssl")]
Table = dict[str, Any]
TLS_FILES = {"ca_file": "ca.pem", "cert_file": "cert.pem", "key_file": "cert.key"}


class OldRabbitMQ(RabbitMQ):
    """Listens with mutual TLS too; has quorum queues disabled, like a broker upgraded from a version before them."""

    def prepare(self) -> None:
        super().prepare()
        self.box.environment["RABBITMQ_FEATURE_FLAGS"] = "implicit_default_bindings"
        (self.tls,) = free_ports(1)
        # Erlang accepts a self-signed certificate only as a certificate authority.
        self._certify("ca", "/CN=authority")
        names = ("-addext", f"subjectAltName=IP:{HOST},DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE")
        self._certify("cert", "/CN=localhost", "-CA", "ca.pem", "-CAkey", "ca.key", *names)
        settings = {
            "listeners.ssl.1": f"{HOST}:{self.tls}",
            "ssl_options.cacertfile": self.path("ca.pem"),
            "ssl_options.certfile": self.path("cert.pem"),
            "ssl_options.keyfile": self.path("cert.key"),
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "true",
        }
        plain = (self.box.directory / "rabbitmq.conf").read_text()
        self.box.write("rabbitmq.conf", plain + "".join(f"{key} = {value}\n" for key, value in settings.items()))

    def _certify(self, name: str, subject: str, *options: str) -> None:
        new = ("-x509", "-days", "2", "-nodes", "-newkey", "rsa:2048", "-subj", subject)
        self.box.run(find("openssl"), "req", *new, *options, "-keyout", f"{name}.key", "-out", f"{name}.pem")

    def path(self, name: str) -> str:
        return str(self.box.directory / name)

    def table(self) -> Table:
        return {
            "url": f"amqps://guest:guest@{HOST}:{self.tls}/",
            "tls": {name: self.path(file) for name, file in TLS_FILES.items()},
        }


@pytest.fixture(scope="module")
def secured() -> Iterator[OldRabbitMQ]:
    with OldRabbitMQ() as server:
        yield server


async def test_messages_are_published_and_consumed_over_mutual_tls(secured: OldRabbitMQ) -> None:
    consumers = Consumers()
    seen: list[int] = []

    @consumers.on("data.created", retry=[])
    async def take(message: Message[int]) -> None:
        seen.append(message.body)
        if message.body == 2:
            raise ValueError

    async with serving(secured.table(), consumers) as host:
        await host.context.get(QUEUE).publish_many("data.created", [1, 2])
        await wait_until(lambda: len(seen) == 2)
        (letter,) = await wait_dead_letters(secured.table(), "data.created", 1)
        assert set(secured.ctl("list_connections", "ssl").split()[1:]) == {"true"}
    assert letter.body == b"2"


@pytest.mark.usefixtures("no_start_wait")
@pytest.mark.parametrize("missing", [("ca_file",), ("cert_file", "key_file")])
async def test_publishing_fails_when_a_certificate_is_missing(
    secured: OldRabbitMQ, missing: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    tls = {key: secured.path(file) for key, file in TLS_FILES.items() if key not in missing}
    table = {**secured.table(), "tls": tls}
    async with serving(table) as host:
        with pytest.raises(PublishFailed) as failed:
            await host.context.get(QUEUE).publish("data.created", 3, timeout="300ms")
        assert not failed.value.maybe_sent
        await wait_until(lambda: "publisher: no connection" in caplog.text)
        await host.monitor.check_once()
        assert "publisher: " in host.monitor.results["queue"].last_error
    with pytest.raises(ScalekitError, match="cannot connect to the broker"):
        async with open_queue_admin(table):
            pass


async def test_an_invalid_certificate_file_fails_the_start(secured: OldRabbitMQ) -> None:
    with pytest.raises(ConfigError, match=f"TLS to the broker: cannot load {__file__}: "):
        async with serving({"url": secured.table()["url"], "tls": {"ca_file": __file__}}):
            pass


async def test_classic_queues_are_declared_when_quorum_queues_are_disabled(secured: OldRabbitMQ) -> None:
    consumers = Consumers()
    seen: list[tuple[str, int, float]] = []

    @consumers.on("data.created", retry=["200ms"])
    async def take(message: Message[str]) -> None:
        seen.append((message.body, message.attempt, time()))
        if message.body == "bad":
            raise ValueError

    table = {"url": secured.url, "prefix": "classic."}
    async with serving(table, consumers) as host:
        queue = host.context.get(QUEUE)
        await queue.publish("data.created", "bad", timeout="30s")
        began = time()
        await queue.publish("data.created", "later", delay="500ms")
        await wait_until(lambda: len(seen) == 3)
        (letter,) = await wait_dead_letters(table, "data.created", 1)
    kinds = dict(line.split() for line in secured.ctl("list_queues", "name", "type").splitlines()[1:])
    async with open_queue_admin(table) as admin:
        assert await admin.replay("data.created", [letter.id], 1) == 1
        assert (await admin.depth("data.created")).ready == 1
    assert [(body, attempt) for body, attempt, _ in seen if body == "bad"] == [("bad", 1), ("bad", 2)]
    assert next(at for body, _, at in seen if body == "later") - began >= 0.5
    assert set(kinds.values()) == {"classic"}
    assert {"classic.data.created", "classic.data.created.dead"} <= set(kinds)


async def test_a_task_that_waits_for_a_hanging_broker_does_not_prevent_the_reconnection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT", 0.01)
    is_closed = asyncio.Event()

    async def close_channel() -> None:
        try:
            await asyncio.sleep(LIMIT)
        finally:
            await is_closed.wait()
            raise ConnectionError("closed")

    async def miss_heartbeats() -> None:
        await asyncio.sleep(0)
        raise connection.ConnectionLost("the broker missed its heartbeats")

    closing = asyncio.ensure_future(close_channel())
    with pytest.raises(connection.ConnectionLost):
        await connection.wait_first(closing, miss_heartbeats())
    assert not closing.done()
    is_closed.set()
    await asyncio.wait([closing])
    assert isinstance(closing.exception(), ConnectionError)
