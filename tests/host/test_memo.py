from __future__ import annotations

from scalekit.memo import MAX_KEYS, Memo


def test_a_value_is_computed_once_for_its_two_arguments() -> None:
    made: list[tuple[int, int]] = []

    def make(a: int, b: int) -> int:
        made.append((a, b))
        return a - b

    memo = Memo(make)
    assert [memo[key] for key in [(1, 2), (2, 1), (1, 2), (2, 1)]] == [-1, 1, -1, 1]
    assert made == [(1, 2), (2, 1)]


def test_a_full_memo_is_cleared() -> None:
    memo: Memo[int, int, int] = Memo(lambda a, b: a - b)
    for number in range(MAX_KEYS + 1):
        assert memo[number, 1] == number - 1
        assert len(memo) <= MAX_KEYS
    assert len(memo) == 1
