"""From EndpointSlices to instances: conditions, ports, address families, zones and hints."""

from __future__ import annotations

from typing import Any

import pytest

from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.kubernetes import endpoint_slices
from scalekit_discovery.kubernetes.endpoint_slices import Location, ServicePort, instances_of
from scalekit_discovery.sources import SourceError
from tests.discovery.kubernetes.api_server import endpoint, port

HTTP = (port(80),)
TARGET = ServicePort("inventory", "shop")


def slice_of(*endpoints: Any, ports: Any = HTTP, family: str = "IPv4") -> dict[str, Any]:
    return {"addressType": family, "ports": ports and list(ports), "endpoints": list(endpoints)}


def instances(
    *slices: Any, target: ServicePort = TARGET, zone: str = "", family: str = "IPv4"
) -> list[ServiceInstance]:
    return instances_of(slices, target, Location(zone, family))


def addresses(*slices: Any, **options: Any) -> list[str]:
    return [each.address for each in instances(*slices, **options)]


def with_conditions(address: str, **conditions: bool | None) -> dict[str, Any]:
    return endpoint(address, conditions=conditions)


def test_an_endpoint_is_used_while_it_is_ready_and_while_the_condition_is_unknown() -> None:
    ready, unknown = with_conditions("10.0.0.1", ready=True), with_conditions("10.0.0.2", ready=None)
    without, unready = endpoint("10.0.0.3", conditions=None), with_conditions("10.0.0.4", ready=False)
    assert addresses(slice_of(ready, unknown, without, unready)) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def test_terminating_endpoints_that_serve_are_used_only_when_no_other_is_ready() -> None:
    draining = with_conditions("10.0.0.1", ready=False, serving=True, terminating=True)
    ended = with_conditions("10.0.0.2", ready=False, serving=False, terminating=True)
    starting = with_conditions("10.0.0.3", ready=False, serving=False, terminating=False)
    ready = with_conditions("10.0.0.4", ready=True, serving=True, terminating=False)
    assert addresses(slice_of(draining, ended, starting)) == ["10.0.0.1"]
    assert addresses(slice_of(draining, ended, starting), slice_of(ready)) == ["10.0.0.4"]


def test_a_pod_with_two_addresses_is_one_instance_in_the_family_of_the_cluster() -> None:
    pod: Any = {"targetRef": {"kind": "Pod", "name": "a", "uid": "1"}}
    both = slice_of(endpoint("fd00::1", **pod), family="IPv6"), slice_of(endpoint("10.0.0.1", **pod))
    only_six = slice_of(endpoint("fd00::2", pod="b"), family="IPv6")
    assert addresses(*both, only_six) == ["10.0.0.1", "fd00::2"]
    assert addresses(*both, only_six, family="IPv6") == ["fd00::1", "fd00::2"]
    assert instances(only_six)[0].url == "http://[fd00::2]:80"


def test_an_endpoint_in_two_slices_is_one_instance_and_one_without_a_pod_has_its_address_as_id() -> None:
    bare = {"addresses": ["10.0.0.9"], "targetRef": None}
    found = instances(slice_of(endpoint(pod="a")), slice_of(endpoint(pod="a"), bare))
    assert [each.id for each in found] == ["a:80", "10.0.0.9:80"]


@pytest.mark.parametrize(
    ("ports", "name", "expected"),
    [
        ([port(80, "")], "", 80),
        ([port(81, "metrics"), port(80, "http")], "", 80),
        ([port(81, "metrics"), port(80, "web", appProtocol="http")], "", 80),
        ([port(53, "dns", protocol="UDP"), port(80, "web")], "", 80),
        ([port(81, "metrics"), port(80, "http")], "metrics", 81),
        ([port(81, "metrics"), port(80, "http")], "81", 81),
        ([port(81, "metrics"), port(80, "http")], "absent", None),
        ([port(53, "dns", protocol="UDP")], "", None),
        ([], "", None),
        (None, "8080", 8080),
    ],
)
def test_the_port_is_the_named_one_else_the_only_one_else_http(ports: Any, name: str, expected: int | None) -> None:
    found = instances(slice_of(endpoint(), ports=ports), target=ServicePort("inventory", "shop", name))
    assert [each.port for each in found] == ([] if expected is None else [expected])


def test_several_ports_without_a_choice_are_an_error_that_names_them() -> None:
    with pytest.raises(SourceError, match=r"inventory\.shop has the ports grpc, admin: append one to the name"):
        instances(slice_of(endpoint(), ports=[port(1, "grpc"), port(2, "admin")]))


@pytest.mark.parametrize(
    ("fields", "scheme"),
    [
        ({"name": "http"}, "http"),
        ({"name": "https"}, "https"),
        ({"name": "https-web"}, "https"),
        ({"name": "web", "appProtocol": "https"}, "https"),
    ],
)
def test_the_scheme_is_that_of_the_port(fields: dict[str, str], scheme: str) -> None:
    (found,) = instances(slice_of(endpoint(), ports=[port(443, **fields)]))
    assert found.scheme == scheme


def test_instances_of_the_own_zone_are_marked_and_hints_replace_zones_when_all_endpoints_have_them() -> None:
    def hinted(address: str, zone: str, *hints: str) -> dict[str, Any]:
        return endpoint(address, zone=zone, hints={"forZones": [{"name": each} for each in hints]})

    plain = slice_of(endpoint("10.0.0.1", zone="a"), endpoint("10.0.0.2", zone="b"))
    assert [each.same_zone for each in instances(plain, zone="a")] == [True, False]
    assert [each.same_zone for each in instances(plain)] == [False, False]
    hints = slice_of(hinted("10.0.0.1", "a", "b"), hinted("10.0.0.2", "b", "a"))
    assert [each.same_zone for each in instances(hints, zone="a")] == [False, True]
    mixed = slice_of(hinted("10.0.0.1", "a", "b"), endpoint("10.0.0.2", zone="b"))
    assert [each.same_zone for each in instances(mixed, zone="a")] == [True, False]


def test_instances_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_slices, "MAX_INSTANCES", 3)
    assert len(instances(slice_of(*(endpoint(f"10.0.0.{number}") for number in range(9))))) == 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("inventory", ServicePort("inventory", "shop")),
        ("inventory.stock", ServicePort("inventory", "stock")),
        ("inventory.stock:grpc", ServicePort("inventory", "stock", "grpc")),
        ("inventory:8080", ServicePort("inventory", "shop", "8080")),
    ],
)
def test_a_name_is_a_service_with_namespace_and_port(name: str, expected: ServicePort) -> None:
    assert ServicePort.parse(name, "shop") == expected


@pytest.mark.parametrize("name", ["", "Inventory", "a/b", "a.b.c", "../x", "a:b:c", "a,b=c", "x" * 64, "a\n"])
def test_another_text_is_no_service(name: str) -> None:
    with pytest.raises(SourceError, match="is no service of Kubernetes"):
        ServicePort.parse(name, "shop")


@pytest.mark.parametrize("address", ["shop/..", "user@shop", "a b", ""])
def test_an_address_that_is_none_is_an_error(address: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        instances(slice_of({"addresses": [address or "[::1]"]}))


@pytest.mark.parametrize("number", [-1, 65536])
def test_a_number_that_is_no_port_is_an_error(number: int) -> None:
    with pytest.raises(ValueError, match="is no port"):
        instances(slice_of(endpoint("10.0.0.1"), ports=[port(number)]))
