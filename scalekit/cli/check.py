"""``scalekit check``: find every mistake before anything is served."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import click
import orjson

from scalekit.cli.source import FileSource, config_options, file_argument
from scalekit.errors import ConfigError, ScalekitError

if TYPE_CHECKING:
    from scalekit.host import Host

Report = dict[str, Any]


@click.command()
@file_argument
@config_options
@click.option("--connect", is_flag=True, help="Also start the plugins and run every health check once.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def check(ctx: click.Context, source: FileSource, connect: bool, as_json: bool) -> None:
    """Read FILE, load what it names and report every mistake; with --connect reach every server too."""
    if not as_json:
        host = source.host()
        count = len(host.settings.plugins.names)
        click.echo(f"{source.file}: well formed; {count} plugin{'s' * (count != 1)}")
        failed = connect and not _print_checks(asyncio.run(_connect(host)))
        ctx.exit(1 if failed else 0)
    report, status = _report(source, connect)
    click.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    ctx.exit(status)


def _report(source: FileSource, connect: bool) -> tuple[Report, int]:
    report: Report = {"version": 1, "status": "ok", "problems": [], "checks": []}
    try:
        host = source.host()
        report["checks"] = asyncio.run(_connect(host)) if connect else []
    except ConfigError as error:
        return report | {"status": "invalid", "problems": list(error.problems)}, error.exit_status
    except ScalekitError as error:
        return report | {"status": "failed", "problems": [{"message": str(error)}]}, error.exit_status
    failed = any(each["error"] for each in report["checks"])
    return report | {"status": "failed" if failed else "ok"}, int(failed)


async def _connect(host: Host) -> list[dict[str, Any]]:
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # what the checks say need not be said twice
    try:
        async with host.context.started():
            await host.monitor.check_once()
    finally:
        logging.disable(disabled)
    return [
        {"name": name, "error": result.last_error, "latency_ms": round(result.latency * 1e3, 3)}
        for name, result in host.monitor.results.items()
    ]


def _print_checks(checks: list[dict[str, Any]]) -> bool:
    for each in checks:
        mark = click.style("failed", fg="red") if each["error"] else click.style("ok    ", fg="green")
        click.echo(f"{mark} {each['name']} ({each['latency_ms']:g} ms) {each['error']}".rstrip())
    return not any(each["error"] for each in checks)
