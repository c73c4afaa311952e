"""The checker of histories finds what is wrong with them."""

from __future__ import annotations

import pytest

from tests.idempotency.history import Operation, is_linearizable

EXECUTED, REPLAYED = Operation("executed", 0, 1, 7), Operation("replayed", 2, 3, 7)


@pytest.mark.parametrize(
    ("history", "final"),
    [
        ([], None),
        ([EXECUTED], 7),
        ([EXECUTED, REPLAYED], 7),
        ([Operation("unknown", 0), REPLAYED], 7),
        ([Operation("unknown", 0)], None),
        ([Operation("unknown", 0)], 7),
        ([Operation("unknown", 0), EXECUTED], 7),
        ([Operation("executed", 0, 5, 7), Operation("replayed", 1, 2, 7)], 7),
        ([Operation("executed", 0, 5, 7), Operation("refused", 1, 2)], 7),
        ([Operation("unknown", 0), Operation("refused", 1, 2), Operation("executed", 3, 4, 7)], 7),
        ([EXECUTED, Operation("refused", 0.5, 3), Operation("refused", 2, 4)], 7),  # by one that was refused itself
    ],
)
def test_a_request_is_executed_once(history: list[Operation], final: int | None) -> None:
    assert is_linearizable(history, final)


@pytest.mark.parametrize(
    ("history", "final"),
    [
        ([EXECUTED], None),  # the effect was lost
        ([EXECUTED], 8),
        ([], 7),  # an effect without a request
        ([EXECUTED, Operation("executed", 2, 3, 8)], 7),  # executed twice
        ([EXECUTED, Operation("executed", 0, 1, 7)], 7),
        ([EXECUTED, Operation("replayed", 2, 3, 8)], 7),  # another response
        ([REPLAYED], 7),  # of nothing
        ([REPLAYED, Operation("executed", 4, 5, 7)], 7),  # before its request
        ([REPLAYED, Operation("unknown", 4)], 7),
        ([EXECUTED, Operation("refused", 2, 3)], 7),  # by nothing
        ([EXECUTED, Operation("refused", 2, 3), Operation("refused", 2, 3)], 7),  # by each other
    ],
)
def test_anything_else_is_found(history: list[Operation], final: int | None) -> None:
    assert not is_linearizable(history, final)
