"""Hooks of the plugin ``headers``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scalekit import Context, Layer, LayeredFilter, Table, hookimpl
from scalekit.contracts import CSRF_PROTECTION
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_headers import metrics
from scalekit_headers.config import HeadersConfig
from scalekit_headers.csrf import CsrfFilter
from scalekit_headers.filters import HeadersFilter, NonceFilter
from scalekit_headers.metrics import CsrfMetrics
from scalekit_headers.policies import header_sets


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.headers]``."""
    return HeadersConfig


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the filters of headers, of nonces and, where the file has it, of CSRF protection."""
    config = context.config(HeadersConfig)
    sets = header_sets(config)
    filters = [LayeredFilter(Layer.EDGE, HeadersFilter(sets))]
    if config.csrf_protection:
        context.shared(CSRF_PROTECTION, lambda: True)
        csrf = CsrfFilter(config.csrf_trusted_origins, CsrfMetrics(context.get(TELEMETRY)))
        filters.append(LayeredFilter(Layer.EDGE, csrf))
    return [*filters, LayeredFilter(Layer.RESOURCES, NonceFilter(sets))]


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics of CSRF protection, where it is on."""
    return instruments_in(metrics) if context.config(HeadersConfig).csrf_protection else []
