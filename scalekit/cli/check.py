"""``scalekit check``: find every mistake before anything is served."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
import orjson

from scalekit.cli.source import TRACEBACK, FileSource, config_options, file_argument
from scalekit.config.mask import mask_passwords
from scalekit.errors import ConfigError, ScalekitError
from scalekit.terminal import print_error, print_traceback

if TYPE_CHECKING:
    from scalekit.host import Host

Check = dict[str, Any]


@dataclass(slots=True)
class Verdict:
    """What `scalekit run` would say: *status* is its exit status, 0 when it would serve."""

    status: int = 0
    problems: list[Any] = field(default_factory=list)
    plugins: int = 0
    checks: list[Check] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    errors: list[ScalekitError] = field(default_factory=list)

    @property
    def word(self) -> str:
        """The status in one word."""
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
    """Read FILE, load what it names and report every mistake; with --connect reach every server too."""
    verdict = _verdict(source, connect)
    for each in verdict.errors if ctx.meta.get(TRACEBACK) else ():
        print_traceback(each)
    if as_json:
        report = {"version": 1, "status": verdict.word, "problems": verdict.problems, "checks": verdict.checks}
        click.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(source, verdict)
    ctx.exit(verdict.status)


def _verdict(source: FileSource, connect: bool) -> Verdict:
    verdict = Verdict()
    disabled = logging.root.manager.disable
    try:
        host = source.host()
        verdict.plugins = len(host.settings.plugins.names)
        logging.disable(logging.WARNING)  # what the checks say need not be said twice
        asyncio.run(_try(host, connect, verdict))
    except ConfigError as mistakes:
        verdict.status, verdict.problems, verdict.errors = mistakes.exit_status, list(mistakes.problems), [mistakes]
    except ScalekitError as failure:
        verdict.status, verdict.errors = failure.exit_status, [failure]
        verdict.problems = [{"message": mask_passwords(str(failure))}]
    finally:
        logging.disable(disabled)
    return verdict


async def _try(host: Host, connect: bool, verdict: Verdict) -> None:
    from scalekit.cli.preflight import run_preflight, verify_application

    await verify_application(host)
    if not connect:
        return
    done = await run_preflight(host)
    verdict.left_out, verdict.errors = done.left_out, [*done.failures]
    verdict.problems = [{"message": mask_passwords(str(each))} for each in done.failures]
    verdict.checks = [
        {"name": name, "error": result.last_error, "latency_ms": round(result.latency * 1e3, 3)}
        for name, result in done.results.items()
    ]
    verdict.status = int(bool(done.failures or any(each["error"] for each in verdict.checks)))


def _print(source: FileSource, verdict: Verdict) -> None:
    if verdict.status == ConfigError.exit_status:
        raise ConfigError(verdict.problems)
    if not verdict.status or verdict.checks or verdict.left_out:
        click.echo(f"{source.file}: well formed; {verdict.plugins} plugin{'s' * (verdict.plugins != 1)}")
    for problem in verdict.problems:
        print_error(problem["message"])
    for name in verdict.left_out:
        click.echo(f"{click.style('left out', fg='yellow')} {name}: it requires what did not start")
    for each in verdict.checks:
        mark = click.style("failed", fg="red") if each["error"] else click.style("ok    ", fg="green")
        click.echo(f"{mark} {each['name']} ({each['latency_ms']:g} ms) {each['error']}".rstrip())
