"""``scalekit doctor``: find what is wrong or unwise on this machine and with its servers."""

from __future__ import annotations

import asyncio
import logging
import textwrap
from typing import TYPE_CHECKING, Any

import click
import orjson

from scalekit.cli.source import FileSource, config_options, file_argument

if TYPE_CHECKING:
    from scalekit.doctor.examination import Examination, OwnedFinding

COLORS = {"error": "red", "warning": "yellow", "advice": "cyan"}
WIDTH = 100


@click.command()
@file_argument
@config_options
@click.option(
    "--instances",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Number of instances of the service, each with its workers and connections.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def doctor(ctx: click.Context, source: FileSource, instances: int, as_json: bool) -> None:
    """Find what is wrong or unwise with FILE here: limits of the machine, servers and their settings, unsafe defaults.

    Starts the plugins, not the application, and serves nothing. Exit status 1 if a finding is an error.
    """
    from scalekit.doctor.examination import examine

    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # the findings contain these messages
    try:
        examination = asyncio.run(examine(source.host(), instances))
    finally:
        logging.disable(disabled)
    if as_json:
        click.echo(orjson.dumps(_content(examination), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(examination)
    ctx.exit(int(examination.has_errors))


def _content(examination: Examination) -> dict[str, Any]:
    return {
        "version": 1,
        "status": "failed" if examination.has_errors else "ok",
        "findings": [_row(each) for each in examination.findings],
        "examined": examination.examined,
    }


def _row(owned: OwnedFinding) -> dict[str, str]:
    finding = owned.finding
    return {
        "name": finding.name,
        "severity": finding.severity,
        "owner": owned.owner,
        "message": finding.message,
        "key": finding.key,
        "value": finding.value,
        "remedy": finding.remedy,
        "link": finding.link,
    }


def _print(examination: Examination) -> None:
    for owned in examination.findings:
        finding = owned.finding
        severity = click.style(finding.severity.value, fg=COLORS[finding.severity], bold=True)
        place = " = ".join(filter(None, (finding.key, finding.value)))
        click.echo(f"{severity} {owned.owner}: {finding.name} {place}".rstrip())
        for line in (finding.message, f"remedy: {finding.remedy}", f"see {finding.link}"):
            click.echo(textwrap.fill(line, WIDTH, initial_indent="    ", subsequent_indent="    "))
    counts = {name: sum(each.finding.severity == name for each in examination.findings) for name in COLORS}
    text = ", ".join(f"{number} {name}{'s' * (number != 1 and name != 'advice')}" for name, number in counts.items())
    click.echo(f"{len(examination.examined)} examined: {text}")
