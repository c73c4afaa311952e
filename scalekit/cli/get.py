"""``scalekit get``: one request, without a server."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import click
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.cli.cache_status import explained
from scalekit.cli.source import FileSource, config_options, file_argument
from scalekit.config.environment import is_utf8
from scalekit.host import ChainLink, Host, build_chain
from scalekit.server_info import OTHER_SERVER
from scalekit.terminal import print_table
from scalekit.testing.inprocess import TestResponse, request, running


@click.command()
@click.argument("path")
@file_argument
@config_options
@click.option("-X", "--method", default="GET", help="The method; by default GET.")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header, any number of times.")
@click.option("-d", "--data", default="", help="The body.")
@click.option("-i", "--include", is_flag=True, help="Print status and headers too.")
@click.option("--explain", is_flag=True, help="Print the time spent in each layer, and what caches did.")
@click.pass_context
def get(
    ctx: click.Context,
    source: FileSource,
    path: str,
    method: str,
    headers: Sequence[str],
    data: str,
    include: bool,
    explain: bool,
) -> None:
    """Start the application, send one request for PATH and print the response; exit status 1 from status 400 up."""
    if not path.startswith("/") or not is_utf8(path):
        raise click.BadParameter(f"a path begins with / and is UTF-8, got {path!r}", param_hint="PATH")
    host = source.host()
    timeline = _watch(host) if explain else None
    answer = asyncio.run(_ask(host, path, method.upper(), _fields(headers), os.fsencode(data)))
    if include:
        _print_head(answer)
    click.echo(answer.body, nl=not answer.body.endswith(b"\n"))
    if timeline:
        _explain(timeline, answer)
    ctx.exit(1 if answer.status >= 400 else 0)


def _fields(headers: Sequence[str]) -> dict[str, str]:
    fields = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip() or not name.isascii() or not _is_latin(value):
            message = f"expected NAME:VALUE, in ASCII and Latin-1, got {header!r}"
            raise click.BadParameter(message, param_hint="--header")
        fields[name.strip()] = value.strip()
    return fields


def _is_latin(value: str) -> bool:
    return all(ord(character) < 256 for character in value)


async def _ask(host: Host, path: str, method: str, headers: dict[str, str], body: bytes) -> TestResponse:
    host.context.provide(OTHER_SERVER, False)  # one process serves this request
    async with running(host) as state:
        return await request(host, path, method=method, headers=headers, body=body, state=state)


def _print_head(answer: TestResponse) -> None:
    click.echo(f"HTTP {answer.status}")
    for name, value in answer.headers:
        click.echo(f"{name.decode('latin-1')}: {value.decode('latin-1')}")
    click.echo()


@dataclass(slots=True)
class Lap:
    """A link of the chain and the seconds that a request spent in it and in all that it encloses."""

    place: str
    owner: str
    seconds: float = field(default=0.0)


class Timed:
    """Measure how long *app* takes."""

    def __init__(self, app: ASGIApp, lap: Lap) -> None:
        self.app = app
        self.lap = lap

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, and note the time."""
        begun = time.perf_counter()
        try:
            await self.app(scope, receive, send)
        finally:
            self.lap.seconds = time.perf_counter() - begun


def _watch(host: Host) -> list[Lap]:
    """Rebuild the chain of *host* with a stopwatch around every link; return the laps, outermost first."""
    laps = [Lap(link.place, link.owner) for link in host.links]
    inner = Lap("application", "application")
    links: list[ChainLink] = []
    for link, lap in zip(host.links, laps, strict=True):
        links += [ChainLink(link.place, link.owner, Middleware(Timed, lap)), link]
    host.chain = build_chain(links, Timed(host.target, inner), host.templates)
    return [*laps, inner]


def _explain(laps: Sequence[Lap], answer: TestResponse) -> None:
    """Print each link's own time: what it took less what the next one in took."""
    inner = [lap.seconds for lap in laps[1:]] + [0.0]
    reached = [(lap, lap.seconds - below) for lap, below in zip(laps, inner, strict=True) if lap.seconds]
    click.echo()
    for line in explained(answer):
        click.echo(line)
    print_table(
        ["layer", "plugin", "own time"], [(lap.place, lap.owner, f"{own * 1e6:.0f} µs") for lap, own in reached]
    )
    click.echo(
        f"{answer.status} in {laps[0].seconds * 1e6:.0f} µs, {len(answer.body)} bytes; first request of a new process"
    )
