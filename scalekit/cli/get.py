"""``scalekit get``: send one request to the application without a server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence

import click

from scalekit.asgi_client import ReceivedResponse, request, running
from scalekit.cli.source import FileSource, config_options, file_argument
from scalekit.config.environment import is_utf8
from scalekit.config.text_redaction import Redactor
from scalekit.host import Host
from scalekit.http.cache_status import explain_cache_status
from scalekit.http.trace_recorder import TraceRecorder
from scalekit.layer_times import LayerTimer, own_times, timed_chain
from scalekit.server_info import OTHER_SERVER
from scalekit.telemetry.finished_span import FinishedSpan
from scalekit.telemetry.span_redactor import SpanRedactor
from scalekit.telemetry.trace_tree import trace_tree
from scalekit.terminal import print_table


@click.command()
@click.argument("path")
@file_argument
@config_options
@click.option("-X", "--method", default="GET", help="Request method; by default GET.")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", help="Request header; repeatable.")
@click.option("-d", "--data", default="", help="Request body.")
@click.option("-i", "--include", is_flag=True, help="Print status and headers, too.")
@click.option(
    "--explain",
    is_flag=True,
    help="Print the time in each layer, what caches decide, and the spans.",
)
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
    """Start the application, send a request for PATH and print the response; exit status 1 for status 400 and above."""
    if not path.startswith("/") or not is_utf8(path):
        raise click.BadParameter(f"expected a path that starts with / and is UTF-8, got {path!r}", param_hint="PATH")
    host = source.host()
    spans: list[FinishedSpan] = []
    layers: list[LayerTimer] = []
    if explain:
        host.chain, layers = timed_chain(host, TraceRecorder(spans.extend))
    redactor = SpanRedactor(Redactor(redact_configured=host.context.redact))
    try:
        response = asyncio.run(_send_request(host, path, method.upper(), _fields(headers), os.fsencode(data)))
    except Exception:
        _print_lines(trace_tree(spans, redactor))
        raise
    if include:
        _print_head(response)
    click.echo(response.body, nl=not response.body.endswith(b"\n"))
    if layers:
        _explain(layers, response, trace_tree(spans, redactor))
    ctx.exit(1 if response.status >= 400 else 0)


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


async def _send_request(host: Host, path: str, method: str, headers: dict[str, str], body: bytes) -> ReceivedResponse:
    host.context.provide(OTHER_SERVER, False)  # one process serves this request
    async with running(host) as state:
        return await request(host, path, method=method, headers=headers, body=body, state=state)


def _print_head(response: ReceivedResponse) -> None:
    click.echo(f"HTTP {response.status}")
    for name, value in response.headers:
        click.echo(f"{name.decode('latin-1')}: {value.decode('latin-1')}")
    click.echo()


def _explain(layers: Sequence[LayerTimer], response: ReceivedResponse, spans: Iterable[str]) -> None:
    """Print what caches decided, each link's own time, and the lines of *spans*."""
    click.echo()
    for line in explain_cache_status(response.header("cache-status") or ""):
        click.echo(line)
    rows = [(each.place, each.owner, f"{each.seconds * 1e6:.0f} µs") for each in own_times(layers)]
    print_table(["layer", "plugin", "own time"], rows)
    click.echo()
    _print_lines(spans)
    click.echo()
    total, size = layers[0].seconds * 1e6, len(response.body)
    click.echo(f"{response.status} in {total:.0f} µs, {size} bytes; first request of a new process")


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)
