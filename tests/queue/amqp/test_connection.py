"""Brokers that are not as RabbitMQ comes: over TLS with certificates on both sides, and without quorum queues."""

from __future__ import annotations

from collections.abc import Iterator
from time import time
from typing import Any

import pytest

from scalekit import ConfigError
from scalekit.contracts import QUEUE
from scalekit.contracts.consumers import Consumers, Message, PublishFailed
from scalekit.errors import ScalekitError
from tests.processes import HOST, free_ports
from tests.queue.harness import dead_letters, inside, serving, until
from tests.servers import RabbitMQ, find

pytestmark = [pytest.mark.anyio, pytest.mark.needs("rabbitmq", "openssl")]
Table = dict[str, Any]


class SecuredRabbitMQ(RabbitMQ):
    """Listens with TLS too, and talks there to those with a certificate only."""

    def prepare(self) -> None:
        super().prepare()
        (self.tls,) = free_ports(1)
        # Erlang believes no certificate that has signed itself, unless it is that of an authority.
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
            "ca_file": self.path("ca.pem"),
            "cert_file": self.path("cert.pem"),
            "key_file": self.path("cert.key"),
        }


class ClassicRabbitMQ(RabbitMQ):
    """Has no quorum queues, as one that was upgraded from before there were any."""

    def prepare(self) -> None:
        super().prepare()
        self.box.environment["RABBITMQ_FEATURE_FLAGS"] = "implicit_default_bindings"


@pytest.fixture(scope="module")
def secured() -> Iterator[SecuredRabbitMQ]:
    with SecuredRabbitMQ() as server:
        yield server


async def test_messages_go_and_come_over_tls_with_certificates_on_both_sides(secured: SecuredRabbitMQ) -> None:
    consumers = Consumers()
    seen: list[int] = []

    @consumers.on("data.created", retry=[])
    async def take(message: Message[int]) -> None:
        seen.append(message.body)
        if message.body == 2:
            raise ValueError

    async with serving(secured.table(), consumers) as host:
        await host.context.get(QUEUE).publish_many("data.created", [1, 2])
        await until(lambda: len(seen) == 2)
        (letter,) = await dead_letters(secured.table(), "data.created", 1)
        assert set(secured.ctl("list_connections", "ssl").split()[1:]) == {"true"}
    assert letter.body == b"2"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("missing", [("ca_file",), ("cert_file", "key_file")])
async def test_without_the_certificate_of_either_side_nothing_is_published(
    secured: SecuredRabbitMQ, missing: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    table = {key: value for key, value in secured.table().items() if key not in missing}
    async with serving(table) as host:
        with pytest.raises(PublishFailed) as failed:
            await host.context.get(QUEUE).publish("data.created", 3, timeout="300ms")
        assert not failed.value.maybe_sent
        await until(lambda: "publishing: no connection" in caplog.text)
        await host.monitor.check_once()
        assert "publishing: " in host.monitor.results["queue"].last_error
    with pytest.raises(ScalekitError, match="the broker cannot be reached"):
        async with inside(table):
            pass


async def test_a_file_that_is_no_certificate_stops_the_start(secured: SecuredRabbitMQ) -> None:
    with pytest.raises(ConfigError, match=f"no TLS to the broker with {__file__}: "):
        async with serving({"url": secured.table()["url"], "ca_file": __file__}):
            pass


async def test_a_broker_without_quorum_queues_gets_classic_ones() -> None:
    consumers = Consumers()
    seen: list[tuple[str, int, float]] = []

    @consumers.on("data.created", retry=["200ms"])
    async def take(message: Message[str]) -> None:
        seen.append((message.body, message.attempt, time()))
        if message.body == "bad":
            raise ValueError

    with ClassicRabbitMQ() as server:
        table = {"url": server.url}
        async with serving(table, consumers) as host:
            queue = host.context.get(QUEUE)
            await queue.publish("data.created", "bad", timeout="30s")
            began = time()
            await queue.publish("data.created", "later", delay="500ms")
            await until(lambda: len(seen) == 3)
            (letter,) = await dead_letters(table, "data.created", 1)
        kinds = dict(line.split() for line in server.ctl("list_queues", "name", "type").splitlines()[1:])
        async with inside(table) as found:
            assert await found.replay("data.created", [letter.id], 1) == 1
            assert (await found.depth("data.created")).ready == 1
    assert [(body, attempt) for body, attempt, _ in seen if body == "bad"] == [("bad", 1), ("bad", 2)]
    assert next(at for body, _, at in seen if body == "later") - began >= 0.5
    assert set(kinds.values()) == {"classic"}
    assert {"data.created", "data.created.dead"} <= set(kinds)
