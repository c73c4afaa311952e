"""Chains: the messages to publish one after the other, which each message carries in a header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from scalekit import encode_json
from scalekit.contracts import Then, to_seconds, validate_message_name
from scalekit_queue.envelope import MAX_PRIORITY, THEN, Envelope

MAX_STEPS = 100
MAX_LENGTH = 16 * 1024
"""Bytes of a header with the messages that follow, which RabbitMQ passes in one frame."""
MAX_KEY = 120
"""Characters of the key of a message that others follow, whose ids are the key and their number."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The messages *steps* that follow another one; the first of them is the *number*-th after the one with id *root*.

    It is number 0 after a group, whose id it has.
    """

    steps: Sequence[Then]
    root: str
    number: int

    @classmethod
    def of(cls, envelope: Envelope) -> Chain:
        """Return the messages that follow *envelope*; raises ValueError when its header is invalid."""
        content = orjson.loads(envelope.headers[THEN])
        number = int(content["number"])
        root = envelope.id.removesuffix(f".{number - 1}") if number > 1 else envelope.id
        return cls([Then(*each) for each in content["steps"]], root, number)

    @property
    def next_id(self) -> str:
        """The id of the next message, the same for each attempt of the one before."""
        return f"{self.root}.{self.number}" if self.number else self.root

    def body_after(self, result: Any) -> Any:
        """Return the body of the next message, after one whose handler returned *result*."""
        body = self.steps[0].body
        return result if body is None else {**body, "result": result}

    def headers_after(self) -> dict[str, str]:
        """Return the header of the next message, which others may follow."""
        return _headers(self.steps[1:], self.number + 1)


def then_headers(then: Then | Sequence[Then], key: str | None, first: int = 1) -> dict[str, str]:
    """Return the header of a message with *key* that the messages *then* follow, whose numbers begin with *first*.

    Raises ValueError for invalid ones.
    """
    steps = [then] if isinstance(then, Then) else list(then)
    if len(steps) > MAX_STEPS:
        raise ValueError(f"then has {len(steps)} messages, more than {MAX_STEPS}")
    if steps and key is not None and len(key) > MAX_KEY:
        raise ValueError(f"expected a key of at most {MAX_KEY} characters for a message with then, got {key!r}")
    headers = _headers([_checked(each) for each in steps], first)
    if len(headers.get(THEN, "").encode()) > MAX_LENGTH:
        raise ValueError(f"the messages in then have more than {MAX_LENGTH} bytes; publish references to their content")
    return headers


def _headers(steps: Sequence[Then], number: int) -> dict[str, str]:
    if not steps:
        return {}
    rows = [(each.name, each.body, each.delay, each.priority) for each in steps]
    return {THEN: orjson.dumps({"number": number, "steps": rows}).decode()}


def _checked(then: Then) -> Then:
    """Return *then* with its body as JSON values; raises ValueError for invalid ones."""
    validate_message_name(then.name)
    delay = None if then.delay is None else to_seconds("delay", then.delay)
    if then.priority not in range(MAX_PRIORITY + 1):
        raise ValueError(f"expected a priority from 0 to {MAX_PRIORITY}, got {then.priority!r}")
    body = None if then.body is None else orjson.loads(encode_json(then.body))
    if body is not None and (not isinstance(body, dict) or "result" in body):
        raise ValueError(
            f"the body of then {then.name!r} must be an object without 'result', which is what the handler returned"
        )
    return Then(then.name, body, delay, then.priority)
