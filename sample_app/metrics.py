"""Prometheus metrics of the service, one of each kind."""

from __future__ import annotations

from scalekit.telemetry import Counter, Gauge, Histogram

ITEMS_ADDED = Counter("sample_items_added", "Items in requests of clients: stored or rejected.", ("outcome",))
NEWEST_ITEM = Gauge("sample_newest_item", "Id of the newest item.", multiprocess_mode="max")
ITEM_VALUES = Histogram("sample_item_values", "Values of the items added.", buckets=(1.0, 10.0, 100.0, 1000.0))
