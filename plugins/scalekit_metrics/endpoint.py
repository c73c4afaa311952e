"""Metrics endpoint that Prometheus scrapes: the sum over all workers, in the negotiated format and encoding."""

from __future__ import annotations

import asyncio
import zlib
from time import perf_counter

from starlette.requests import Request
from starlette.responses import Response

from scalekit.telemetry import MetricFamilies, Telemetry
from scalekit_metrics.exposition import OpenMetricsFormat, PrometheusFormat, write

TIME_SLICE = 0.0005
"""Seconds for which rendering may block the event loop at a time."""
GZIP_LEVEL = 1
"""The text is so repetitive that the fastest level compresses it to a tenth."""
GZIP_WBITS = 31
"""Window bits that select the gzip container."""


class MetricsEndpoint:
    """Responds with the metrics of all workers."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry

    async def respond(self, request: Request) -> Response:
        """Collect, render and, when accepted, compress the metrics."""
        text_format = negotiate_format(request.headers.get("accept", ""))
        snapshot = await self.telemetry.total()
        body = await render(snapshot.families, text_format)
        headers = {
            "content-type": text_format.content_type,
            "vary": "accept, accept-encoding",
            "cache-control": "no-store",
        }
        if accepts_gzip(request.headers.get("accept-encoding", "")):
            body = await asyncio.to_thread(zlib.compress, body, GZIP_LEVEL, GZIP_WBITS)
            headers["content-encoding"] = "gzip"
        return Response(body, headers=headers)


async def render(families: MetricFamilies, text_format: PrometheusFormat) -> bytes:
    """Return *families* in *text_format*; every TIME_SLICE, return to the event loop."""
    slices: list[bytes] = []
    pieces: list[str] = []
    deadline = perf_counter() + TIME_SLICE
    for piece in write(families, text_format):
        pieces.append(piece)
        if perf_counter() > deadline:
            slices.append(_encode(pieces))
            pieces.clear()
            await asyncio.sleep(0)
            deadline = perf_counter() + TIME_SLICE
    return b"".join([*slices, _encode(pieces)])


def _encode(pieces: list[str]) -> bytes:
    return "".join(pieces).encode("utf-8", "replace")


def negotiate_format(accept: str) -> PrometheusFormat:
    """Return the format for the header *accept*, by the rules of prometheus_client."""
    from prometheus_client.exposition import choose_encoder  # imported late, to keep the start fast

    try:
        _, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # an invalid version
        return PrometheusFormat()
    return OpenMetricsFormat() if content_type.startswith("application/openmetrics-text") else PrometheusFormat()


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether the header *accept_encoding* has gzip with a weight above zero."""
    for coding in accept_encoding.split(","):
        name, _, weight = coding.partition(";")
        if name.strip().lower() == "gzip":
            return weight.replace(" ", "").rstrip("0.") != "q="
    return False
