"""Hooks of the plugin ``headers``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scalekit import Context, Layer, LayeredFilter, Table, hookimpl
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_headers import metrics
from scalekit_headers.config import NONCE, HeaderRules, HeadersConfig
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
    """Return the filters of headers and, where the file has them, of CSRF protection and of nonces."""
    config = context.config(HeadersConfig)
    sets = header_sets(config)
    filters = [LayeredFilter(Layer.EDGE, HeadersFilter(sets))]
    if config.csrf_protection:
        csrf = CsrfFilter(config.csrf_trusted_origins, CsrfMetrics(context.get(TELEMETRY)))
        filters.append(LayeredFilter(Layer.EDGE, csrf))
    if any(_has_nonce(rules) for rules in (config, *config.policies)):
        filters.append(LayeredFilter(Layer.RESOURCES, NonceFilter(sets)))
    return filters


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics of CSRF protection, where it is on."""
    return instruments_in(metrics) if context.config(HeadersConfig).csrf_protection else []


def _has_nonce(rules: HeaderRules) -> bool:
    return NONCE in rules.content_security_policy + rules.content_security_policy_report_only
