from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scalekit.telemetry import Alert, Counter, Gauge, Histogram, Instrument
from scalekit_metrics.alerting_rules import RuleLinks, render
from tests.tools import promtool

LOST = Counter("shop_lost_orders", "Lost.", ("reason",), alert=Alert("Orders are lost.", "", severity="critical"))
UP = Gauge(
    "shop_bank_up",
    "The bank.",
    alert=Alert("No bank.", "", operator="<", threshold=1, duration="1m"),
)
SECONDS = Histogram("shop_order_seconds", "Duration of an order.", alert=Alert("Orders slow.", "", threshold=0.5))
CATALOGUE: dict[str, list[Instrument[Any]]] = {
    "shop": [LOST, UP, SECONDS],
    "silent": [Gauge("shop_stock", "Items in stock.")],
}
LINKS = RuleLinks('shop "api"', "https://wiki.example/runbook")


def test_alerts_compare_rates_of_counters_values_of_gauges_and_p99_of_histograms() -> None:
    text = render(CATALOGUE, LINKS)
    for rule in (
        """alert: ShopLostOrders
        expr: "job:shop_lost_orders:rate5m > 0"
        for: 5m
        labels: {severity: critical, service: "shop \\"api\\""}""",
        """alert: ShopBankUp
        expr: "sum by (job) (shop_bank_up) < 1"
        for: 1m
        labels: {severity: warning, service: "shop \\"api\\""}""",
        """alert: ShopOrderSeconds
        expr: "job:shop_order_seconds:p99_5m > 0.5"
        for: 5m""",
    ):
        assert rule in text
    assert 'runbook_url: "https://wiki.example/runbook#shoplostorders"' in text
    assert 'description: "job {{ $labels.job }}, reason {{ $labels.reason }}: {{ $value }}"' in text


def test_a_plugin_without_rules_has_no_group() -> None:
    assert "scalekit-silent" not in render(CATALOGUE, LINKS)


@pytest.mark.needs("promtool")
def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(render(CATALOGUE, LINKS))
    result = promtool("check", "rules", file)
    assert result.returncode == 0, result.stderr
