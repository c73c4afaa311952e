from __future__ import annotations

from typing import Any

from scalekit.telemetry import Counter, Gauge, Histogram, Instrument
from scalekit_metrics.grafana import dashboard, panels

ORDERS = Counter("shop_orders", "Placed orders.", ("payment",))
STOCK = Gauge("shop_stock_items", "Items in stock.", multiprocess_mode="max")
SIZES = Histogram("shop_upload_bytes", "Size of uploads.", ("kind",))
CATALOGUE: dict[str, list[Instrument[Any]]] = {"shop": [ORDERS, STOCK, SIZES], "empty": [], "other": [STOCK] * 4}


def test_each_kind_has_its_panels() -> None:
    shown = [(panel.title, panel.unit, len(panel.queries)) for each in CATALOGUE["shop"] for panel in panels(each)]
    assert shown == [
        ("Shop orders", "ops", 1),
        ("Shop stock items", "short", 1),
        ("Shop upload", "bytes", 3),
        ("Shop upload: count", "ops", 1),
    ]


def test_panels_do_not_overlap_and_have_unique_ids() -> None:
    rows = dashboard("shop", CATALOGUE)["panels"]
    placed = [each for panel in rows for each in (panel, *panel.get("panels", ()))]
    assert len({panel["id"] for panel in placed}) == len(placed)
    occupied: set[tuple[int, int]] = set()
    for panel in placed:
        position = panel["gridPos"]
        assert position["x"] + position["w"] <= 24
        cells = {(x + position["x"], y + position["y"]) for x in range(position["w"]) for y in range(position["h"])}
        assert not cells & occupied, panel["title"]
        occupied |= cells
