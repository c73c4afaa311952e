"""``scalekit metrics dashboard``."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from scalekit import Context
from scalekit.telemetry import TELEMETRY


def commands(context: Context) -> list[click.Command]:
    """Return the commands of the plugin."""

    @click.command()
    @click.option("--directory", default=".", type=click.Path(file_okay=False, path_type=Path), help="Where to write.")
    @click.option("--title", default=context.name or "scalekit", show_default=True, help="The title of the dashboard.")
    def dashboard(directory: Path, title: str) -> None:
        """Write a Grafana dashboard and Prometheus rules for the enabled plugins."""
        from scalekit_metrics import alerting_rules as rules
        from scalekit_metrics import grafana as dashboard

        catalogue = context.get(TELEMETRY).catalogue
        directory.mkdir(parents=True, exist_ok=True)
        grafana, prometheus = directory / "dashboard.json", directory / "rules.yml"
        grafana.write_bytes(orjson.dumps(dashboard.dashboard(title, catalogue), option=orjson.OPT_INDENT_2) + b"\n")
        prometheus.write_text(rules.written(catalogue), encoding="utf-8")
        click.echo(f"wrote {grafana}, to import into Grafana, and {prometheus}, to name in Prometheus's rule_files")

    return [dashboard]
