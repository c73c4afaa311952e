"""Tasks: which functions and arguments messages carry, and how the function is called."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, cast
from uuid import UUID

import orjson
import pytest
from pydantic import BaseModel, Field, SecretStr
from starlette.requests import Request

from scalekit import Context
from scalekit.config.tables import Server
from scalekit.contracts import Consumers, Message

pytestmark = pytest.mark.anyio


class Address(BaseModel):
    street: str
    number: int = 1


@dataclass
class Point:
    x: float


class House(Address):
    rooms: int = 3


MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
NUMBER = UUID("8f0e4b52-6f63-4c6e-9f43-0a8f3f9f6b0e")
calls: list[Any] = []


def record(
    first: Address, /, moment: datetime, *numbers: UUID, sizes: Annotated[set[int], Field(min_length=1)], **more: Point
) -> None:
    calls.append((first, moment, numbers, sizes, more, threading.current_thread() is threading.main_thread()))


async def greet(name: str, message: Message[Any], punctuation: str = "!") -> str:
    calls.append((message.id, message.context.name))
    return f"hello {name}{punctuation}"


def message_of(consumers: Consumers, body: dict[str, Any]) -> Message[Any]:
    """Return the message with *body* as its only consumer decodes it."""
    (consumer,) = consumers
    decoded = consumer.body.validate_json(orjson.dumps(body))
    return Message(consumer.name, "id-1", decoded, {}, 1, 0.0, None, Context(Server(), {}, name="shop"))


async def called(consumers: Consumers, *args: Any, **kwargs: Any) -> Any:
    (task,), (consumer,) = consumers.tasks.values(), consumers
    return await consumer.handler(message_of(consumers, task.encode(args, kwargs)))


async def test_a_function_receives_the_arguments_of_every_kind_in_a_thread() -> None:
    calls.clear()
    consumers = Consumers()
    assert consumers.task(record) is record
    await called(consumers, Address(street="a"), MOMENT, NUMBER, NUMBER, sizes={2, 3}, left=Point(1.5))
    assert calls == [(Address(street="a"), MOMENT, (NUMBER, NUMBER), {2, 3}, {"left": Point(1.5)}, False)]


async def test_defaults_are_those_of_the_consumer_and_the_message_is_passed() -> None:
    calls.clear()
    consumers = Consumers()
    consumers.task("greetings", result_ttl="1h", retry=[])(greet)
    (consumer,), (task,) = consumers, consumers.tasks.values()
    assert (consumer.name, consumer.result_ttl, consumer.retry) == ("greetings", 3600.0, ())
    assert task.encode(("ada",), {}) == {"name": "ada"}
    assert await called(consumers, "ada") == "hello ada!"
    assert await called(consumers, "ada", punctuation="?") == "hello ada?"
    assert calls == [("id-1", "shop")] * 2


def test_the_name_of_the_messages_is_that_of_the_function() -> None:
    consumers = Consumers()
    consumers.task()(record)
    assert [each.name for each in consumers] == [f"{__name__}.record"]
    with pytest.raises(ValueError, match=r"has two consumers, .*test_tasks\.record and .*test_tasks\.record"):
        consumers.task(record)


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ((), {}, TypeError, r"test_tasks\.greet: missing a required argument: 'name'"),
        (("a", "b", "c"), {}, TypeError, r"test_tasks\.greet: too many positional arguments"),
        (("a",), {"message": 1}, TypeError, r"greet: got an unexpected keyword argument 'message'"),
        ((1,), {}, ValueError, r"argument 'name' of .*test_tasks\.greet: Input should be a valid string"),
    ],
)
def test_invalid_arguments_are_rejected_by_function_and_name(
    args: tuple[Any, ...], kwargs: dict[str, Any], error: type[Exception], message: str
) -> None:
    consumers = Consumers()
    consumers.task(greet)
    with pytest.raises(error, match=message):
        consumers.tasks[greet].encode(args, kwargs)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (Any, MOMENT, "would receive another value"),
        (Any, object(), "Unable to serialize unknown type"),
        (Any, float("nan"), "would receive another value"),
        (SecretStr, SecretStr("hunter2"), "would receive another value"),
        (Address, House(street="a"), "would receive another value"),
        (Address, {"street": 1}, "argument 'value' of .*: street: Input should be a valid string"),
        (bytes, b"\xff", "invalid utf-8"),
    ],
)
def test_a_value_that_json_does_not_carry_is_rejected_without_showing_it(kind: Any, value: Any, message: str) -> None:
    def store(value: Any) -> None: ...

    store.__annotations__["value"] = kind
    consumers = Consumers()
    consumers.task("store")(store)
    with pytest.raises(ValueError, match=message) as caught:
        consumers.tasks[store].encode((value,), {})
    assert "hunter2" not in str(caught.value)


def unannotated(value) -> None:  # type: ignore[no-untyped-def] # as some applications are
    ...


def with_request(request: Request) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (unannotated, "parameter 'value' of .*unannotated has no annotation"),
        (with_request, "parameter 'request' of .*with_request cannot be carried by a message: Unable to generate"),
        (cast(Callable[..., Any], Address), "expected a function as a task"),
        (lambda: None, "expected a name of letters"),
    ],
)
def test_a_function_that_messages_cannot_call_is_rejected(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Consumers().task()(function)


@pytest.mark.parametrize("body", [{}, {"name": "a", "other": 1}, {"name": None}, [1]])
def test_a_body_with_other_arguments_is_undecodable(body: Any) -> None:
    consumers = Consumers()
    consumers.task(greet)
    with pytest.raises(ValueError, match="validation error"):
        message_of(consumers, body)
