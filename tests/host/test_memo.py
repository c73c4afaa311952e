from __future__ import annotations

from scalekit.memo import MAX_KEYS, Memo, computed_once


def test_a_value_is_made_once_for_its_two_arguments() -> None:
    made: list[tuple[int, int]] = []

    def make(a: int, b: int) -> int:
        made.append((a, b))
        return a - b

    memo = Memo(make)
    assert [memo[key] for key in [(1, 2), (2, 1), (1, 2), (2, 1)]] == [-1, 1, -1, 1]
    assert made == [(1, 2), (2, 1)]


def test_it_forgets_all_when_it_is_full() -> None:
    memo: Memo[int, int, int] = Memo(lambda a, b: a - b)
    for number in range(MAX_KEYS + 1):
        assert memo[number, 1] == number - 1
        assert len(memo) <= MAX_KEYS
    assert len(memo) == 1


def test_an_attribute_is_computed_once_for_each_object_and_not_where_it_fails() -> None:
    class Thing:
        calls = 0

        @computed_once
        def value(self) -> int:
            """Return a number."""
            self.calls += 1
            return 1 // (self.calls - 1)

    thing, other = Thing(), Thing()
    for _ in range(2):
        try:
            assert thing.value == 1
        except ZeroDivisionError:
            assert thing.calls == 1
    assert (thing.value, thing.calls, other.calls) == (1, 2, 0)
    assert Thing.value.__doc__ == "Return a number."
