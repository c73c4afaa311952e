"""Choice of endpoints and outlier ejection."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.telemetry import NullTelemetry
from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.load_balancer import SHORT_EJECTION, Endpoint, LoadBalancer
from scalekit_discovery.metrics import ServiceMetrics

EJECTION_TIME = 30.0


def instances(count: int) -> list[ServiceInstance]:
    return [ServiceInstance(f"i{number}", "127.0.0.1", 1000 + number) for number in range(count)]


def new_balancer(count: int, failures: int = 5) -> LoadBalancer:
    balancer = LoadBalancer("inventory", failures, EJECTION_TIME, ServiceMetrics(NullTelemetry(), "inventory"))
    balancer.update(instances(count))
    return balancer


def choose(balancer: LoadBalancer, now: float, *tried: Endpoint) -> Endpoint:
    chosen = balancer.choose(tried, now)
    assert chosen is not None
    return chosen


def fail(balancer: LoadBalancer, endpoint: Endpoint, times: int, now: float) -> None:
    for _ in range(times):
        balancer.on_start(endpoint)
        endpoint.release()
        balancer.on_failure(endpoint, 0.0001, now)


def test_the_endpoint_with_fewer_requests_in_flight_is_chosen() -> None:
    balancer = new_balancer(2)
    busy, idle = balancer.endpoints
    busy.in_flight = 3
    assert all(choose(balancer, 0.0) is idle for _ in range(50))


def test_the_endpoint_with_lower_latency_is_chosen_until_the_latency_decays() -> None:
    balancer = new_balancer(2)
    slow, fast = balancer.endpoints
    balancer.on_success(slow, 1.0, 0.0)
    balancer.on_success(fast, 0.01, 0.0)
    assert all(choose(balancer, 0.1) is fast for _ in range(50))
    assert {choose(balancer, 1000.0) for _ in range(200)} == {slow, fast}


def test_a_weight_of_three_gets_three_times_as_many_concurrent_calls() -> None:
    balancer = new_balancer(0)
    heavy, light = (ServiceInstance("a", "127.0.0.1", 1, weight=3), ServiceInstance("b", "127.0.0.1", 2))
    balancer.update([heavy, light])
    for _ in range(400):
        balancer.on_start(choose(balancer, 0.0))
    in_flight = {endpoint.instance.id: endpoint.in_flight for endpoint in balancer.endpoints}
    assert in_flight["a"] == pytest.approx(300, abs=2)


def test_consecutive_failures_eject_an_endpoint_for_ejection_time_and_one_call_probes_it() -> None:
    balancer = new_balancer(4)
    failing = balancer.endpoints[0]
    fail(balancer, failing, 4, 0.0)
    balancer.on_success(failing, 0.0001, 0.0)
    fail(balancer, failing, 4, 0.0)
    assert failing in {choose(balancer, 0.0) for _ in range(500)}
    fail(balancer, failing, 1, 0.0)
    assert failing not in {choose(balancer, EJECTION_TIME - 0.1) for _ in range(500)}
    assert choose(balancer, EJECTION_TIME + 0.1) is failing
    balancer.on_start(failing)
    assert failing not in {choose(balancer, EJECTION_TIME + 0.1) for _ in range(500)}, "one call at a time probes it"
    failing.release()
    balancer.on_success(failing, 0.0001, EJECTION_TIME + 0.2)
    assert failing in {choose(balancer, EJECTION_TIME + 0.2) for _ in range(500)}


def test_an_endpoint_that_fails_its_probe_stays_ejected() -> None:
    balancer = new_balancer(4)
    failing = balancer.endpoints[0]
    fail(balancer, failing, 5, 0.0)
    fail(balancer, failing, 1, EJECTION_TIME + 1)
    assert failing not in {choose(balancer, 2 * EJECTION_TIME) for _ in range(500)}


def test_an_abandoned_probe_allows_another() -> None:
    balancer = new_balancer(2)
    failing = balancer.endpoints[0]
    fail(balancer, failing, 5, 0.0)
    balancer.on_start(failing)
    balancer.on_abandoned(failing)
    assert failing in {choose(balancer, EJECTION_TIME + 1) for _ in range(500)}


@given(st.integers(1, 12), st.data())
def test_at_most_half_are_ejected_for_longer_than_a_short_ejection(count: int, data: st.DataObject) -> None:
    balancer = new_balancer(count)
    for number in data.draw(st.permutations(range(count))):
        fail(balancer, balancer.endpoints[number], 5, 0.0)
    out = [endpoint for endpoint in balancer.endpoints if not endpoint.is_available(SHORT_EJECTION + 0.1)]
    assert len(out) == count // 2


def test_when_every_endpoint_is_ejected_none_is_chosen() -> None:
    balancer = new_balancer(1)
    fail(balancer, balancer.endpoints[0], 5, 0.0)
    assert balancer.choose((), SHORT_EJECTION / 2) is None
    assert balancer.choose((), SHORT_EJECTION * 2) is balancer.endpoints[0]


def test_a_retry_goes_to_another_endpoint_if_there_is_one() -> None:
    balancer = new_balancer(3)
    first, second, third = balancer.endpoints
    assert {choose(balancer, 0.0, first) for _ in range(100)} == {second, third}
    assert {choose(balancer, 0.0, first, second) for _ in range(20)} == {third}
    alone = new_balancer(1)
    assert choose(alone, 0.0, alone.endpoints[0]) is alone.endpoints[0]


def test_an_endpoint_keeps_its_state_while_its_instance_stays() -> None:
    balancer = new_balancer(3)
    fail(balancer, balancer.endpoints[0], 5, 0.0)
    balancer.update([*instances(3), ServiceInstance("new", "127.0.0.1", 9)])
    assert [endpoint.ejected for endpoint in balancer.endpoints] == [True, False, False, False]
    balancer.update(instances(3)[1:])
    balancer.update(instances(3))
    assert not any(endpoint.ejected for endpoint in balancer.endpoints)


def test_equal_endpoints_share_the_calls() -> None:
    balancer = new_balancer(3)
    counted = Counter(choose(balancer, 0.0).instance.id for _ in range(3000))
    assert min(counted.values()) > 700
