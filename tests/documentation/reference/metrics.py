"""The page of every metric, from the instruments of the host and of the plugins."""

from __future__ import annotations

from scalekit.telemetry import TELEMETRY
from scalekit.telemetry.instruments import AnyInstrument
from tests.documentation.reference.every_plugin import host
from tests.documentation.reference.markdown import table

PAGE = "reference/metrics"
UNITS = {"seconds": "seconds", "bytes": "bytes", "ratio": "ratio, 0 to 1"}
"""Units by the last word of a name, as Prometheus advises."""


def pages() -> dict[str, str]:
    """Return the page of all metrics."""
    introduction = (
        "# Metrics\n\nThe [plugin metrics](../plugins/metrics.md) exports these. A histogram has the series `_bucket`, "
        "`_sum` and `_count`. An alert in the last column is explained in the [runbook](../runbook.md).\n"
    )
    catalogue = host().context.get(TELEMETRY).catalogue
    sections = [_section(owner, list(instruments)) for owner, instruments in catalogue.items() if instruments]
    return {PAGE: "\n".join([introduction, *sections])}


def _section(owner: str, instruments: list[AnyInstrument]) -> str:
    rows = [
        (
            f"`{each.name}{'_total' if each.kind == 'counter' else ''}`",
            each.kind,
            UNITS.get(each.name.rpartition("_")[2], ""),
            ", ".join(f"`{label}`" for label in each.labels),
            each.help,
            each.alert.summary if each.alert else "",
        )
        for each in sorted(instruments, key=lambda each: each.name)
    ]
    return f"## {owner or 'host'}\n\n" + table(("metric", "type", "unit", "labels", "meaning", "alert"), rows)
