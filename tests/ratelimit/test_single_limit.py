from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from scalekit import Rate
from scalekit_ratelimit.counting import by_address
from scalekit_ratelimit.headers import ratelimit_member
from scalekit_ratelimit.memory import MemoryLimits, Take
from scalekit_ratelimit.rules import rule
from scalekit_ratelimit.single_limit import REMEMBERED, SingleLimit

STEPS = st.lists(st.integers(0, 3_000_000), min_size=1, max_size=60)


@given(limit=st.integers(2, 7), cost=st.integers(1, 2), steps=STEPS)
def test_one_limit_alone_says_what_it_says_among_others(limit: int, cost: int, steps: list[int]) -> None:
    now = 1
    alone, among = (MemoryLimits(10, lambda: now * 1000) for _ in range(2))
    this = rule("x", Rate(f"{limit}/10s"))
    single = SingleLimit(this, cost, by_address)
    for pause in steps:
        now += pause
        room = alone.take_one(this, "a", single.taken)
        (count,) = among.take([Take(this, "a", cost, False)])
        assert count.allowed == (room >= 0)
        if room >= 0:
            assert single.headers(room) == (
                (b"ratelimit-policy", this.field),
                (b"ratelimit", ratelimit_member(this, count)),
            )
        else:
            fields = dict(single.too_many_requests(room).headers)
            assert fields[b"ratelimit"] == ratelimit_member(this, count)
            assert int(fields[b"retry-after"]) == -(-count.retry // 1_000_000)


def test_a_refusal_names_the_policy() -> None:
    response = SingleLimit(rule("x", Rate("5/s")), 1, by_address).too_many_requests(-1)
    assert (response.status, json.loads(response.body)["violated-policies"]) == (429, ["x"])
    assert dict(response.headers)[b"ratelimit-policy"] == b'"x";q=5;w=1'


def test_what_is_remembered_is_bounded() -> None:
    single = SingleLimit(rule("x", Rate("100000/s")), 1, by_address)
    for number in range(3 * REMEMBERED):
        single.headers(number * single.interval)
        single.too_many_requests(-number * 1_000_000 - 1)
    assert len(single._headers) <= REMEMBERED
    assert len(single._responses) <= REMEMBERED
