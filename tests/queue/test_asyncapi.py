"""The AsyncAPI document of the messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped] # has no types
import pytest
from pydantic import BaseModel

from scalekit.contracts import Consumers, Message
from scalekit_queue.asyncapi import describe_messages
from scalekit_queue.config import QueueConfig
from tests import command_line
from tests.servers import CATALOGUE, find

pytestmark = pytest.mark.needs("asyncapi")
INFO = {"title": "shop", "version": "2.1"}
SAMPLE = Path(__file__).parents[2]


class Address(BaseModel):
    """Where an order goes."""

    street: str


class Order(BaseModel):
    """An order."""

    id: int
    to: Address


class Visit(BaseModel):
    """A visit, with an address of another kind."""

    class Address(BaseModel):
        """Where the visitor came from."""

        url: str

    source: Address


def assert_is_valid(document: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(json.loads(Path(find(CATALOGUE["asyncapi"])).read_text())).validate(document)


def described(consumers: Consumers, **table: Any) -> dict[str, Any]:
    document = describe_messages(consumers, QueueConfig.model_validate(table), INFO)
    assert_is_valid(document)
    return document


def resolve(document: dict[str, Any], reference: dict[str, str]) -> Any:
    found: Any = document
    for part in reference["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_the_document_of_the_sample_is_valid() -> None:
    done = command_line.scalekit("-c", "sample_app/scalekit.toml", "queue", "asyncapi", folder=SAMPLE)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert_is_valid(document)
    assert document["operations"].keys() >= {"receive:item.added", "send:item.added"}


def test_consumers_and_published_messages_are_described_with_their_bodies() -> None:
    consumers = Consumers()
    consumers.publishes("order.shipped", Order, "Sent at the gate.")
    consumers.publishes("page.visited", Visit)
    consumers.publishes("ping")

    @consumers.on("order:placed", retry=["5s"], timeout="2s", dedupe="1h", result_ttl="1d", rate="10/s")
    async def place(message: Message[Order]) -> None:
        """Reserve the goods."""

    document = described(consumers, prefix="shop.")
    place_order = document["operations"]["receive:order:placed"]
    assert place_order["description"] == "Reserve the goods."
    options = {
        "concurrency": 10,
        "retry": [5.0],
        "timeout": 2.0,
        "dedupe": 3600.0,
        "result_ttl": 86400.0,
        "rate": "10/1s",
    }
    assert place_order["x-scalekit"] == options
    channel = resolve(document, place_order["channel"])
    assert channel["address"] == "shop.order:placed"
    message = resolve(document, place_order["messages"][0])
    order = resolve(document, message["payload"])
    assert (order["description"], order["required"]) == ("An order.", ["id", "to"])
    ship = document["operations"]["send:order.shipped"]
    assert (ship["action"], ship["description"]) == ("send", "Sent at the gate.")
    assert "description" not in document["operations"]["send:ping"]
    assert document["channels"]["ping"]["messages"]["ping"]["payload"] == {}
    # Two models have the name Address.
    streets, sources = resolve(document, order["properties"]["to"]), document["channels"]["page.visited"]
    visit = resolve(document, sources["messages"]["page.visited"]["payload"])
    assert streets["required"] == ["street"]
    assert resolve(document, visit["properties"]["source"])["required"] == ["url"]


def test_a_message_that_is_published_and_consumed_has_one_channel() -> None:
    consumers = Consumers()
    consumers.publishes("order.placed", Order)

    @consumers.on("order.placed")
    async def place(message: Message[Order]) -> None: ...

    document = described(consumers)
    assert list(document["channels"]) == ["order.placed"]
    assert [each["action"] for each in document["operations"].values()] == ["receive", "send"]


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("sqlite:///queue.db", {"host": "localhost", "protocol": "sqlite"}),
        ("database:", {"host": "localhost", "protocol": "postgresql"}),
        ("postgresql://user:secret@database:5432/queue", {"host": "database:5432", "protocol": "postgresql"}),
        ("amqps://user:secret@broker:5671/", {"host": "broker:5671", "protocol": "amqps"}),
        ("amqp://user:secret@[::1]/", {"host": "[::1]", "protocol": "amqp"}),
    ],
)
def test_the_server_has_no_credentials(url: str, server: dict[str, str]) -> None:
    document = described(Consumers(), url=url)
    assert document["servers"] == {"queue": server}
    assert "secret" not in json.dumps(document)


def test_a_message_is_declared_once() -> None:
    consumers = Consumers()
    consumers.publishes("order.placed", Order)
    with pytest.raises(ValueError, match=r"'order\.placed' is declared twice as published"):
        consumers.publishes("order.placed", Visit)
    with pytest.raises(ValueError, match=r"expected a name of letters, digits"):
        consumers.publishes("no name")


def test_a_task_is_described_by_its_arguments() -> None:
    consumers = Consumers()

    @consumers.task("receipts.send")
    def send_receipt(order: Order, *copies: str, note: str = "") -> None:
        """Send a receipt."""

    document = described(consumers)
    message = document["channels"]["receipts.send"]["messages"]["receipts.send"]
    schema = resolve(document, message["payload"])
    assert (sorted(schema["properties"]), schema["required"]) == (["copies", "note", "order"], ["order"])
    assert resolve(document, schema["properties"]["order"])["title"] == "Order"
    assert document["operations"]["receive:receipts.send"]["description"] == "Send a receipt."
