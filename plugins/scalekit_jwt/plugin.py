"""Hooks of the plugin ``jwt``."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click
from starlette.routing import BaseRoute

from scalekit import (
    Check,
    Context,
    Diagnostic,
    Finding,
    Key,
    Layer,
    LayeredFilter,
    Lifespan,
    ServerRequirement,
    Severity,
    Table,
    Unavailable,
    hookimpl,
    required_server,
    separate_stores,
    warn_about_multiple_processes,
)
from scalekit.contracts import CSRF_RISKS, DATABASE, TOKENS
from scalekit.pages import ConsolePage
from scalekit.telemetry import TELEMETRY, Instrument, instruments_in
from scalekit_jwt import metrics
from scalekit_jwt.challenges import BEARER_CHALLENGE, CHALLENGE, DPOP_CHALLENGE
from scalekit_jwt.commands import commands
from scalekit_jwt.config import JwtConfig
from scalekit_jwt.factory import (
    JwtComponents,
    has_fingerprint,
    open_components,
    uses_memory_store,
    verify_prerequisites,
)
from scalekit_jwt.filters import AuthenticationFilter
from scalekit_jwt.fingerprint import insecure_cookie_findings
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.pages import tokens_page
from scalekit_jwt.policy import AccessPolicy
from scalekit_jwt.routes import routes
from scalekit_redis import RedisContents, RedisUse, redis_connections, redis_diagnostics, redis_instruments

logger = logging.getLogger("scalekit.jwt")

CONSEQUENCE = "a token revoked in one process stays valid in the others"
REMEDY = "turn on [plugins.pool] to store them in the database, or set redis_url"

RISK = "logins that pages of other sites send replace the cookie of plugins.jwt.fingerprint"

AUTHENTICATION: Key[AuthenticationFilter] = Key("authentication", plugin="jwt")
COMPONENTS: Key[JwtComponents] = Key("token components", plugin="jwt")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.jwt]``."""
    return JwtConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return the lifespan that loads keys, opens the session store and polls revocations."""
    config = context.config(JwtConfig)
    authentication = _authentication_filter(context)

    def verify(provided: Container[Key[Any]]) -> None:
        verify_prerequisites(config, DATABASE in provided, context.server.workers or 1)

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        database = context.get(DATABASE) if context.has(DATABASE) else None
        workers = context.server.workers or 1
        metrics = JwtMetrics(context.get(TELEMETRY))
        async with open_components(config, database, redis_connections(context), workers, metrics) as components:
            context.provide(COMPONENTS, components)
            context.provide(TOKENS, components.tokens)
            context.provide(CHALLENGE, _select_challenge(config))
            authentication.authenticator, authentication.metrics = components.authenticator, metrics
            if uses_memory_store(config, database):
                warn_about_multiple_processes(context, "[plugins.jwt] stores sessions in memory", CONSEQUENCE, REMEDY)
            try:
                yield
            finally:
                authentication.authenticator = None

    return Lifespan(run, provides=(TOKENS, COMPONENTS, CHALLENGE), after=(DATABASE,), verify=verify)


@hookimpl
def scalekit_servers(context: Context) -> Sequence[ServerRequirement]:
    """Return the Redis that stores the sessions."""
    return required_server(context.config(JwtConfig).redis_url, "plugins.jwt.redis_url", "sessions")


@hookimpl
def scalekit_diagnostics(context: Context) -> Sequence[Diagnostic]:
    """Return the diagnostics of the cookie, and of the Redis or the memory that stores the sessions."""
    config = context.config(JwtConfig)

    async def cookie() -> Sequence[Finding]:
        return list(insecure_cookie_findings(context.server))

    insecure = config.insecure_cookie and has_fingerprint(config)
    return [*([Diagnostic("cookie of tokens", cookie)] if insecure else []), *_store_diagnostics(context, config)]


def _store_diagnostics(context: Context, config: JwtConfig) -> Sequence[Diagnostic]:
    if config.redis_url is not None:
        use = RedisUse("plugins.jwt.redis_url", "sessions", RedisContents.RECORDS)
        return redis_diagnostics(context, config.redis_url.reveal(), use)
    unless = None if config.session_store == "memory" else DATABASE
    message = "a session, or a revoked token, is known to one of them only"
    return separate_stores(context, Severity.ERROR, message, "plugins.jwt.session_store", REMEDY, unless=unless)


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Instrument[Any]]:
    """Return the metrics of tokens, and those of Redis when it stores the sessions."""
    url = context.config(JwtConfig).redis_url
    return [*instruments_in(metrics), *(() if url is None else redis_instruments(url.reveal()))]


@hookimpl
def scalekit_filters(context: Context) -> Sequence[LayeredFilter]:
    """Return the authentication filter of requests and websockets."""
    authentication = _authentication_filter(context)
    for path in authentication.policy.globs_open_below():
        logger.warning(
            '%r matches one path segment: deeper paths need no token; write "%s*" to protect all below',
            path,
            path,
        )
    if has_fingerprint(context.config(JwtConfig)):
        context.shared(CSRF_RISKS, list).append(RISK)
    return [LayeredFilter(Layer.AUTHENTICATE, authentication)]


@hookimpl
def scalekit_routes(context: Context) -> Sequence[BaseRoute]:
    """Return the routes for refresh, logout and the public JWK set."""
    return routes(lambda: context.get(COMPONENTS).refresh_tokens, lambda: context.get(COMPONENTS).keys)


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Return the check of the revocation poller and the JWKS of trusted issuers."""

    async def check() -> None:
        components = context.get(COMPONENTS)
        errors = [components.poller.last_error, *(each.last_error for each in components.jwks)]
        if any(errors):
            raise Unavailable("; ".join(filter(None, errors)))

    return [Check("jwt", check, critical=False)]


@hookimpl
def scalekit_pages(context: Context) -> Sequence[ConsolePage]:
    """Return the page of sessions and keys."""
    config = context.config(JwtConfig)
    return [tokens_page(config, lambda: context.get(COMPONENTS) if context.has(COMPONENTS) else None)]


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return `scalekit jwt rotate`."""
    return commands(context.config(JwtConfig))


def _authentication_filter(context: Context) -> AuthenticationFilter:
    """Return the authentication filter, shared by all hooks; it accepts no token before the plugin has started."""

    def build() -> AuthenticationFilter:
        config = context.config(JwtConfig)
        policy = AccessPolicy(config.protected_paths, config.public_paths, [table.rule() for table in config.rules])
        return AuthenticationFilter(policy, _select_challenge(config))

    return context.shared(AUTHENTICATION, build)


def _select_challenge(config: JwtConfig) -> str:
    return DPOP_CHALLENGE if config.sender_constraint == "dpop" else BEARER_CHALLENGE
