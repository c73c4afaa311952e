from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.telemetry import NullTelemetry
from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.load_balancer import PAUSE, Endpoint, LoadBalancer
from scalekit_discovery.metrics import ServiceMetrics
from scalekit_discovery.retry_budget import FREE_PER_SECOND, SECONDS, RetryBudget

EJECTION = 30.0


def instances(count: int) -> list[ServiceInstance]:
    return [ServiceInstance(f"i{number}", "127.0.0.1", 1000 + number) for number in range(count)]


def targets(count: int, failures: int = 5) -> LoadBalancer:
    made = LoadBalancer("inventory", failures, EJECTION, ServiceMetrics(NullTelemetry(), "inventory"))
    made.update(instances(count))
    return made


def choose(among: LoadBalancer, now: float, *tried: Endpoint) -> Endpoint:
    chosen = among.choose(tried, now)
    assert chosen is not None
    return chosen


def fail(among: LoadBalancer, target: Endpoint, times: int, now: float) -> None:
    for _ in range(times):
        among.begin(target)
        target.finish()
        among.failed(target, 0.0001, now)


def test_what_has_less_in_flight_gets_the_call() -> None:
    among = targets(2)
    busy, idle = among.all
    busy.in_flight = 3
    assert all(choose(among, 0.0) is idle for _ in range(50))


def test_what_answers_sooner_gets_the_call_until_its_slowness_is_forgotten() -> None:
    among = targets(2)
    slow, fast = among.all
    among.succeeded(slow, 1.0, 0.0)
    among.succeeded(fast, 0.01, 0.0)
    assert all(choose(among, 0.1) is fast for _ in range(50))
    assert {choose(among, 1000.0) for _ in range(200)} == {slow, fast}


def test_a_weight_of_three_gets_three_times_as_many_calls_at_once() -> None:
    among = targets(0)
    heavy, light = (ServiceInstance("a", "127.0.0.1", 1, weight=3), ServiceInstance("b", "127.0.0.1", 2))
    among.update([heavy, light])
    for _ in range(400):
        among.begin(choose(among, 0.0))
    in_flight = {target.instance.id: target.in_flight for target in among.all}
    assert in_flight["a"] == pytest.approx(300, abs=2)


def test_five_failures_in_a_row_take_an_instance_out_for_thirty_seconds_and_one_call_tries_it() -> None:
    among = targets(4)
    bad = among.all[0]
    fail(among, bad, 4, 0.0)
    among.succeeded(bad, 0.0001, 0.0)
    fail(among, bad, 4, 0.0)
    assert bad in {choose(among, 0.0) for _ in range(500)}
    fail(among, bad, 1, 0.0)
    assert bad not in {choose(among, EJECTION - 0.1) for _ in range(500)}
    assert choose(among, EJECTION + 0.1) is bad
    among.begin(bad)
    assert bad not in {choose(among, EJECTION + 0.1) for _ in range(500)}, "one call at a time tries it"
    bad.finish()
    among.succeeded(bad, 0.0001, EJECTION + 0.2)
    assert bad in {choose(among, EJECTION + 0.2) for _ in range(500)}


def test_one_that_fails_when_it_is_tried_stays_out() -> None:
    among = targets(4)
    bad = among.all[0]
    fail(among, bad, 5, 0.0)
    fail(among, bad, 1, EJECTION + 1)
    assert bad not in {choose(among, 2 * EJECTION) for _ in range(500)}


def test_a_caller_that_goes_away_while_it_tries_lets_another_try() -> None:
    among = targets(2)
    bad = among.all[0]
    fail(among, bad, 5, 0.0)
    among.begin(bad)
    among.left(bad)
    assert bad in {choose(among, EJECTION + 1) for _ in range(500)}


@given(st.integers(1, 12), st.data())
def test_at_most_half_are_left_out_for_longer_than_a_moment(count: int, data: st.DataObject) -> None:
    among = targets(count)
    for number in data.draw(st.permutations(range(count))):
        fail(among, among.all[number], 5, 0.0)
    out = [target for target in among.all if not target.admits(PAUSE + 0.1)]
    assert len(out) == count // 2


def test_when_every_breaker_is_open_nothing_is_called() -> None:
    among = targets(1)
    fail(among, among.all[0], 5, 0.0)
    assert among.choose((), PAUSE / 2) is None
    assert among.choose((), PAUSE * 2) is among.all[0]


def test_a_further_attempt_goes_to_another_where_there_is_one() -> None:
    among = targets(3)
    first, second, third = among.all
    assert {choose(among, 0.0, first) for _ in range(100)} == {second, third}
    assert {choose(among, 0.0, first, second) for _ in range(20)} == {third}
    alone = targets(1)
    assert choose(alone, 0.0, alone.all[0]) is alone.all[0]


def test_what_is_known_of_an_instance_stays_while_it_does() -> None:
    among = targets(3)
    fail(among, among.all[0], 5, 0.0)
    among.update([*instances(3), ServiceInstance("new", "127.0.0.1", 9)])
    assert [target.opened for target in among.all] == [True, False, False, False]
    among.update(instances(3)[1:])
    among.update(instances(3))
    assert not any(target.opened for target in among.all)


@given(st.lists(st.tuples(st.integers(0, 2000), st.floats(0, 5)), max_size=30), st.sampled_from([0.05, 0.1, 0.5]))
def test_retries_are_never_more_than_their_share_and_those_that_are_free(
    rounds: list[tuple[int, float]], share: float
) -> None:
    budget = RetryBudget(share, 0.0)
    calls, taken, now = 0, 0, 0.0
    for count, pause in rounds:
        now += pause
        calls += count
        for _ in range(count):
            budget.pay_in()
            taken += budget.take(now)
        assert taken <= share * calls + FREE_PER_SECOND * (now + SECONDS) + 1


def test_a_budget_of_nothing_allows_nothing() -> None:
    budget = RetryBudget(0.0, 0.0)
    budget.pay_in()
    assert not budget.take(100.0)


def test_two_that_are_alike_share_the_calls() -> None:
    among = targets(3)
    counted = Counter(choose(among, 0.0).instance.id for _ in range(3000))
    assert min(counted.values()) > 700
