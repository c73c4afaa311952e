"""``scalekit check``: find mistakes in file and application without serving."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
import orjson

from scalekit.cli.source import TRACEBACK, FileSource, config_options, file_argument
from scalekit.config.password_mask import mask_passwords
from scalekit.csrf_warning import csrf_warnings
from scalekit.errors import ConfigError, ScalekitError
from scalekit.terminal import print_error, print_traceback

if TYPE_CHECKING:
    from scalekit.host import Host

Check = dict[str, Any]


@dataclass(slots=True)
class CheckReport:
    """The result of a check; *status* is the exit status with which `scalekit run` would fail, or 0."""

    status: int = 0
    warnings: list[str] = field(default_factory=list)
    problems: list[Any] = field(default_factory=list)
    plugins: int = 0
    checks: list[Check] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    errors: list[ScalekitError] = field(default_factory=list)

    @property
    def status_name(self) -> str:
        """The status as ``ok``, ``invalid`` or ``failed``."""
        return {0: "ok", ConfigError.exit_status: "invalid"}.get(self.status, "failed")


@click.command()
@file_argument
@config_options
@click.option(
    "--connect", is_flag=True, help="Also start the plugins and the application, and run every health check once."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def check(ctx: click.Context, source: FileSource, connect: bool, as_json: bool) -> None:
    """Check FILE, its plugins and the application, and report every mistake."""
    report = _check(source, connect)
    for each in report.errors if ctx.meta.get(TRACEBACK) else ():
        print_traceback(each)
    if as_json:
        content = {
            "version": 1,
            "status": report.status_name,
            "problems": report.problems,
            "warnings": report.warnings,
            "checks": report.checks,
        }
        click.echo(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(source, report)
    ctx.exit(report.status)


def _check(source: FileSource, connect: bool) -> CheckReport:
    report = CheckReport()
    disabled = logging.root.manager.disable
    try:
        host = source.host()
        report.plugins = len(host.settings.plugins.names)
        report.warnings = csrf_warnings(host.context, host.target) if host.settings.server.role == "web" else []
        logging.disable(logging.WARNING)  # the report contains these messages
        asyncio.run(_check_host(host, connect, report))
    except ConfigError as mistakes:
        report.status, report.problems, report.errors = mistakes.exit_status, list(mistakes.problems), [mistakes]
    except ScalekitError as failure:
        report.status, report.errors = failure.exit_status, [failure]
        report.problems = [{"message": mask_passwords(str(failure))}]
    finally:
        logging.disable(disabled)
    return report


async def _check_host(host: Host, connect: bool, report: CheckReport) -> None:
    from scalekit.cli.preflight import run_preflight, verify_application

    await verify_application(host)
    if not connect:
        return
    preflight = await run_preflight(host)
    report.skipped, report.errors = preflight.skipped, [*preflight.failures]
    report.problems = [{"message": mask_passwords(str(each))} for each in preflight.failures]
    report.checks = [
        {"name": name, "error": result.last_error, "latency_ms": round(result.latency * 1e3, 3)}
        for name, result in preflight.results.items()
    ]
    report.status = int(bool(preflight.failures or any(each["error"] for each in report.checks)))


def _print(source: FileSource, report: CheckReport) -> None:
    if report.status == ConfigError.exit_status:
        raise ConfigError(report.problems)
    if not report.status or report.checks or report.skipped:
        click.echo(f"{source.file}: valid; {report.plugins} plugin{'s' * (report.plugins != 1)}")
    for warning in report.warnings:
        click.echo(f"{click.style('warning', fg='yellow')}: {warning}")
    for problem in report.problems:
        print_error(problem["message"])
    for name in report.skipped:
        click.echo(f"{click.style('skipped', fg='yellow')} {name}: a plugin that it requires did not start")
    for each in report.checks:
        mark = click.style("failed", fg="red") if each["error"] else click.style("ok    ", fg="green")
        click.echo(f"{mark} {each['name']} ({each['latency_ms']:g} ms) {each['error']}".rstrip())
