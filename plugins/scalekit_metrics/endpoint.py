"""Metrics endpoint that Prometheus scrapes: the sum over all workers, in the negotiated format and encoding."""

from __future__ import annotations

import asyncio
import zlib
from time import perf_counter

from starlette.requests import Request
from starlette.responses import Response

from scalekit.telemetry import MetricFamilies, Telemetry
from scalekit_metrics.exposition import OpenMetricsFormat, PrometheusFormat, write

SLICE = 0.0005
"""Seconds to write in one go, while requests wait."""
GZIP_LEVEL = 1
"""A page repeats itself so much that the fastest level makes a tenth of it."""
GZIP_WINDOW = 31
"""Tells zlib to write gzip."""


class MetricsEndpoint:
    """Responds with the metrics of all workers."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry

    async def respond(self, request: Request) -> Response:
        """Collect, write and, when accepted, compress the metrics."""
        form = form_for(request.headers.get("accept", ""))
        snapshot = await self.telemetry.total()
        body = await written(snapshot.families, form)
        headers = {"content-type": form.content_type, "vary": "accept, accept-encoding", "cache-control": "no-store"}
        if takes_gzip(request.headers.get("accept-encoding", "")):
            body = await asyncio.to_thread(zlib.compress, body, GZIP_LEVEL, GZIP_WINDOW)
            headers["content-encoding"] = "gzip"
        return Response(body, headers=headers)


async def written(families: MetricFamilies, form: PrometheusFormat) -> bytes:
    """Return the page of *families* in *form*; others are let in while it is written."""
    slices: list[bytes] = []
    pieces: list[str] = []
    pause = perf_counter() + SLICE
    for piece in write(families, form):
        pieces.append(piece)
        if perf_counter() > pause:
            slices.append(_encoded(pieces))
            pieces.clear()
            await asyncio.sleep(0)
            pause = perf_counter() + SLICE
    return b"".join([*slices, _encoded(pieces)])


def _encoded(pieces: list[str]) -> bytes:
    return "".join(pieces).encode("utf-8", "replace")


def form_for(accept: str) -> PrometheusFormat:
    """Return the format that a header *accept* asks for, by the rules of Prometheus's own client."""
    from prometheus_client.exposition import choose_encoder  # a start does without

    try:
        _, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no version
        return PrometheusFormat()
    return OpenMetricsFormat() if content_type.startswith("application/openmetrics-text") else PrometheusFormat()


def takes_gzip(accept_encoding: str) -> bool:
    """Tell whether *accept_encoding* names gzip, and not with a weight of nothing."""
    for coding in accept_encoding.split(","):
        name, _, weight = coding.partition(";")
        if name.strip().lower() == "gzip":
            return weight.replace(" ", "").rstrip("0.") != "q="
    return False
