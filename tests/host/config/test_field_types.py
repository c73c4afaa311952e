from __future__ import annotations

import pytest

from scalekit import is_loopback, loopback_of


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_hosts_are_those_of_the_same_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "2001:db8::1", "127.example", "shop.example", ""])
def test_other_hosts_are_no_loopback_hosts(host: str) -> None:
    assert not is_loopback(host)


def test_a_listener_of_all_interfaces_is_reached_at_the_loopback_address() -> None:
    assert [loopback_of(host) for host in ("0.0.0.0", "::", "10.0.0.7")] == ["127.0.0.1", "::1", "10.0.0.7"]
