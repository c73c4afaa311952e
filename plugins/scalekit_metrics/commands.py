"""``scalekit metrics dashboard``."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from scalekit import Context
from scalekit.telemetry import TELEMETRY

DIRECTORY = click.Path(file_okay=False, path_type=Path)


def commands(context: Context) -> list[click.Command]:
    """Return the commands of the plugin."""

    @click.command()
    @click.option("--directory", default=".", type=DIRECTORY, help="Output directory.")
    @click.option("--title", default=context.name or "scalekit", show_default=True, help="Title of the dashboard.")
    @click.option("--runbook", default="runbook.md", show_default=True, help="URL of the runbook, for links of alerts.")
    def dashboard(directory: Path, title: str, runbook: str) -> None:
        """Write a Grafana dashboard, Prometheus rules and their runbook for the enabled plugins."""
        from scalekit_metrics import alerting_rules, grafana

        catalogue = context.get(TELEMETRY).catalogue
        directory.mkdir(parents=True, exist_ok=True)
        dashboard_file, rules_file = directory / "dashboard.json", directory / "rules.yml"
        runbook_file = directory / "runbook.md"
        content = orjson.dumps(grafana.dashboard(title, catalogue), option=orjson.OPT_INDENT_2)
        dashboard_file.write_bytes(content + b"\n")
        links = alerting_rules.RuleLinks(context.name or title, runbook)
        rules_file.write_text(alerting_rules.render(catalogue, links), encoding="utf-8")
        runbook_file.write_text(alerting_rules.runbook(catalogue), encoding="utf-8")
        click.echo(f"wrote {dashboard_file} (import it into Grafana)")
        click.echo(f"wrote {rules_file} (add it to rule_files of Prometheus)")
        click.echo(f"wrote {runbook_file} (publish it, and pass its URL as --runbook)")

    return [dashboard]
