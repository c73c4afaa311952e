"""Histories of requests with one key, and whether they are linearizable.

The object of a key has one state: not executed, or executed with a result. A request that got no response may have been
executed at any time after it was sent, or never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

Kind = Literal["executed", "replayed", "refused", "unknown"]


@dataclass(frozen=True, slots=True)
class Operation:
    """A request sent at *sent*, whose response came at *received*; *result* is that of its response, if it had one."""

    kind: Kind
    sent: float
    received: float = inf
    result: int | None = None


def is_linearizable(history: Sequence[Operation], final: int | None) -> bool:
    """Return whether *history* of one key has an order in which it was executed once, and ends with the result *final*.

    Requests of the kind "refused" got 409: another one with the key was running meanwhile, which may be one that was
    refused itself.
    """
    if not _have_reasons(history):
        return False
    changing = [each for each in history if each.kind != "refused"]
    return _has_order(changing, None, final)


def _has_order(rest: list[Operation], state: int | None, final: int | None) -> bool:
    """Return whether the operations *rest* can follow in *state* (Wing and Gong, 1993)."""
    if all(each.kind == "unknown" for each in rest):
        return state == final or (state is None and bool(rest))
    deadline = min(each.received for each in rest)
    for number, each in enumerate(rest):
        if each.sent > deadline:  # another one ended before it began
            continue
        others = [*rest[:number], *rest[number + 1 :]]
        for following in _next_states(each, state, final):
            if _has_order(others, following, final):
                return True
    return False


def _next_states(each: Operation, state: int | None, final: int | None) -> list[int | None]:
    if each.kind == "executed":
        return [each.result] if state is None else []
    if each.kind == "replayed":
        return [state] if state is not None and state == each.result else []
    return [state, final] if state is None else [state]


def _have_reasons(history: Sequence[Operation]) -> bool:
    """Return whether each refused request leads, over those that it met, to one that was not refused."""
    reasons = [each for each in history if each.kind != "refused"]
    rest = [each for each in history if each.kind == "refused"]
    while rest:
        explained = [each for each in rest if any(_met(each, other) for other in reasons)]
        if not explained:
            return False
        rest = [each for each in rest if each not in explained]
        reasons = explained
    return True


def _met(one: Operation, other: Operation) -> bool:
    return one.sent < other.received and one.received > other.sent
