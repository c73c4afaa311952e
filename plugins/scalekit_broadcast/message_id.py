"""Ids of messages: ``<milliseconds>-<number>``, the time of publication and a number that counts within the channel."""

from __future__ import annotations

import re
from time import time
from typing import NamedTuple

PATTERN = re.compile(r"(\d{1,15})-(\d{1,15})", re.ASCII)


class MessageId(NamedTuple):
    """A parsed id. Number 0 is a position before the first message."""

    milliseconds: int
    number: int

    def __str__(self) -> str:
        """Return the form that clients receive."""
        return f"{self.milliseconds}-{self.number}"


def parse_message_id(text: str) -> MessageId | None:
    """Return the id that *text* is, or None when it is not the form of one."""
    match = PATTERN.fullmatch(text)
    return None if match is None else MessageId(int(match[1]), int(match[2]))


def first_position() -> MessageId:
    """Return the position of a subscriber of a channel that has no messages."""
    return MessageId(int(time() * 1000), 0)


def count_missed(last: MessageId | None, first: MessageId | None, ttl: float) -> int:
    """Return how many messages are missed between *last*, which is not stored any more, and the stored one *first*.

    It is a lower bound, since ids of a channel whose history has expired count from 1 again. *first* is None when
    nothing is stored, *last* when it is unknown, and *ttl* in seconds is how long a history is kept.
    """
    if last is None:
        return 1
    age = time() - last.milliseconds / 1000
    if last.number == 0 and age < ttl:
        return first.number - 1 if first is not None else 0
    if first is None or first.number <= last.number:
        return 1
    return max(1, first.number - last.number - 1)
