"""The share of calls that stays in the own zone."""

from __future__ import annotations

from collections import Counter

import pytest

from scalekit.telemetry import NullTelemetry
from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.load_balancer import Endpoint, LoadBalancer
from scalekit_discovery.metrics import ServiceMetrics
from scalekit_discovery.zones import split_by_zone


def instance(number: int, zone: str) -> ServiceInstance:
    return ServiceInstance(f"i{number:02}", "127.0.0.1", 1000 + number, zone=zone, same_zone=zone == "a")


def new_balancer(zones: str) -> LoadBalancer:
    """Return a load balancer in zone ``a`` with an endpoint for each letter of *zones*."""
    balancer = LoadBalancer("inventory", 5, 30.0, ServiceMetrics(NullTelemetry(), "inventory"))
    balancer.update([instance(*each) for each in enumerate(zones)])
    return balancer


def choose_often(balancer: LoadBalancer, *tried: Endpoint, times: int = 4000) -> Counter[str]:
    chosen = [balancer.choose(tried, 0.0) for _ in range(times)]
    return Counter(each.instance.zone for each in chosen if each is not None)


@pytest.mark.parametrize("zones", ["abc", "aabbcc", "aaab", "abbc", "ab"])
def test_all_calls_stay_in_a_zone_with_its_share_of_the_endpoints(zones: str) -> None:
    assert set(choose_often(new_balancer(zones))) == {"a"}


def test_calls_leave_a_zone_with_less_than_its_share_in_proportion() -> None:
    counted = choose_often(new_balancer("abbbbccccc"))
    assert counted["a"] / 4000 == pytest.approx(1.4 * 1 * 3 / 10, abs=0.05)
    assert counted["b"] < counted["c"]


def test_calls_leave_the_zone_when_its_endpoints_are_ejected() -> None:
    balancer = new_balancer("aabb")
    failing = balancer.endpoints[0]
    for _ in range(5):
        balancer.on_failure(failing, 0.001, 0.0)
    counted = choose_often(balancer)
    assert counted["a"] / 4000 == pytest.approx(1.4 * 1 * 2 / 3, abs=0.05)
    for _ in range(5):
        balancer.on_failure(balancer.endpoints[1], 0.001, 0.0)
    assert set(choose_often(balancer)) == {"b"}


def test_a_retry_stays_in_the_zone_while_it_has_another_endpoint() -> None:
    balancer = new_balancer("aabc")
    first, second, *_ = balancer.endpoints
    assert set(choose_often(balancer, first)) == {"a"}
    assert set(choose_often(balancer, first, second)) == {"b", "c"}


def test_hinted_endpoints_without_a_zone_keep_their_calls() -> None:
    balancer = new_balancer("")
    hinted = [ServiceInstance(f"i{number}", "127.0.0.1", 1, same_zone=number < 2) for number in range(4)]
    balancer.update(hinted)
    split = split_by_zone(balancer.endpoints)
    assert split is not None
    assert split.share >= 1.0


@pytest.mark.parametrize("zones", ["", "a", "aaa", "bbc"])
def test_without_endpoints_in_own_and_other_zones_there_is_no_preference(zones: str) -> None:
    assert split_by_zone(new_balancer(zones).endpoints) is None


def test_instances_without_zones_are_not_split() -> None:
    balancer = new_balancer("")
    balancer.update([ServiceInstance(f"i{number}", "127.0.0.1", 1) for number in range(3)])
    assert split_by_zone(balancer.endpoints) is None
