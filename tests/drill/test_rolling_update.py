"""A short rolling update behind all proxies at once, and its report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.drill.rolling_update import RollingUpdate, roll, update_mistakes, update_report
from tests.proxies import FRONTS
from tests.tools import WrkResult

SERVER = 'drain_delay = "1s"\ntrusted_proxies = ["127.0.0.1"]\n'
FINE = WrkResult(100, 10.0, 0, 0, 0, 0, 0, 0.01, 0.0125, "")


@pytest.mark.needs("nginx", "caddy", "haproxy", "wrk")
def test_no_request_fails_while_all_instances_are_replaced() -> None:
    updates = roll(sorted(FRONTS), SERVER, connections=12)
    assert [each.proxy for each in updates] == ["caddy", "haproxy", "nginx"]
    assert min(each.result.requests for each in updates) > 300
    assert update_mistakes(updates) == []


def test_the_report_has_a_line_for_each_proxy_and_names_failed_requests() -> None:
    updates = [RollingUpdate("a", FINE), RollingUpdate("b", replace(FINE, not_2xx_or_3xx=2, read_errors=1))]
    assert "| a | 100 | 12 ms | none |\n| b | 100 | 12 ms | 2 not 2xx or 3xx, 1 read |" in update_report(updates)
    assert update_mistakes(updates) == ["b: 2 not 2xx or 3xx, 1 read failed"]
