from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from scalekit import Rate
from scalekit_ratelimit.answering import standing_of
from scalekit_ratelimit.counting import by_address
from scalekit_ratelimit.memory import MemoryLimits, Take
from scalekit_ratelimit.only import REMEMBERED, Only
from scalekit_ratelimit.rules import rule

STEPS = st.lists(st.integers(0, 3_000_000), min_size=1, max_size=60)


@given(limit=st.integers(2, 7), cost=st.integers(1, 2), steps=STEPS)
def test_one_limit_alone_says_what_it_says_among_others(limit: int, cost: int, steps: list[int]) -> None:
    now = 1
    alone, among = (MemoryLimits(10, lambda: now * 1000) for _ in range(2))
    this = rule("x", Rate(f"{limit}/10s"))
    only = Only(this, cost, by_address)
    for pause in steps:
        now += pause
        room = alone.take_one(this, "a", only.taken)
        (count,) = among.take([Take(this, "a", cost, False)])
        assert count.allowed == (room >= 0)
        if room >= 0:
            assert only.standing(room) == (b"ratelimit", standing_of(this, count))
        else:
            start, _ = only.refusal(room)
            fields = dict(start["headers"])
            assert fields[b"ratelimit"] == standing_of(this, count)
            assert int(fields[b"retry-after"]) == -(-count.retry // 1_000_000)


def test_an_answer_may_be_changed_by_who_passes_it_on() -> None:
    only = Only(rule("x", Rate("5/s")), 1, by_address)
    first, body = only.refusal(-1)
    first["headers"].append((b"x-request-id", b"1"))
    again, _ = only.refusal(-1)
    assert (b"x-request-id", b"1") not in again["headers"]
    assert json.loads(body["body"])["violated-policies"] == ["x"]


def test_what_is_remembered_is_bounded() -> None:
    only = Only(rule("x", Rate("100000/s")), 1, by_address)
    for number in range(3 * REMEMBERED):
        only.standing(number * only.interval)
        only.refusal(-number * 1_000_000 - 1)
    assert len(only._fields) <= REMEMBERED
    assert len(only._refusals) <= REMEMBERED
