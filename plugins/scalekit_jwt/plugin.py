"""How tokens join the host."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Container, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click
from starlette.routing import BaseRoute

from scalekit import Check, Context, Key, Layer, Layered, Lifespan, Table, hookimpl
from scalekit.contracts import DATABASE, TOKENS
from scalekit.resilience import Unavailable
from scalekit.served import warn_of_processes
from scalekit.telemetry import TELEMETRY, Declaration, declared_in
from scalekit_jwt import metrics
from scalekit_jwt.challenges import BEARER, DPOP, SCHEME
from scalekit_jwt.commands import commands
from scalekit_jwt.config import JwtConfig
from scalekit_jwt.factory import JwtComponents, in_memory, open_components, verify_prerequisites
from scalekit_jwt.filters import AuthenticationFilter
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.policy import AccessPolicy
from scalekit_jwt.routes import routes

logger = logging.getLogger("scalekit.jwt")

APART = "a token that one of them revokes is good in the others"
SHARE = "turn on [plugins.pool] to keep them in the database, or name redis"

AUTHENTICATION: Key[AuthenticationFilter] = Key("authentication", plugin="jwt")
COMPONENTS: Key[JwtComponents] = Key("own tokens", plugin="jwt")


@hookimpl
def scalekit_config() -> type[Table]:
    """Return the model of ``[plugins.jwt]``."""
    return JwtConfig


@hookimpl
def scalekit_lifespan(context: Context) -> Lifespan:
    """Return what keeps keys and revocations known while the application runs."""
    config = context.config(JwtConfig)
    authentication = _authentication(context)

    def verify(given: Container[Key[Any]]) -> None:
        verify_prerequisites(config, DATABASE in given, context.server.workers or 1)

    @asynccontextmanager
    async def run() -> AsyncGenerator[None, None]:
        database = context.get(DATABASE) if context.has(DATABASE) else None
        workers = context.server.workers or 1
        metrics = JwtMetrics(context.get(TELEMETRY))
        async with open_components(config, database, workers, metrics) as parts:
            context.provide(COMPONENTS, parts)
            context.provide(TOKENS, parts.tokens)
            context.provide(SCHEME, _scheme(config))
            authentication.authenticator, authentication.metrics = parts.authenticator, metrics
            if in_memory(config, database):
                warn_of_processes(context, "[plugins.jwt] keeps sessions in memory", APART, SHARE)
            try:
                yield
            finally:
                authentication.authenticator = None

    return Lifespan(run, provides=(TOKENS, COMPONENTS, SCHEME), after=(DATABASE,), verify=verify)


@hookimpl
def scalekit_metrics(context: Context) -> Sequence[Declaration[Any]]:
    """Return what is counted."""
    return declared_in(metrics)


@hookimpl
def scalekit_filters(context: Context) -> Sequence[Layered]:
    """Return the authentication of requests and websockets."""
    authentication = _authentication(context)
    for path in authentication.policy.unprotected_subpaths():
        logger.warning(
            '%r is for one segment: what is deeper needs no token; write "%s*" to protect all below', path, path
        )
    return [Layered(Layer.IDENTIFY, authentication)]


@hookimpl
def scalekit_routes(context: Context) -> Sequence[BaseRoute]:
    """Return the routes of sessions, and that of the public keys."""
    return routes(lambda: context.get(COMPONENTS).tokens, lambda: context.get(COMPONENTS).keys)


@hookimpl
def scalekit_health(context: Context) -> Sequence[Check]:
    """Tell whether what has been revoked is known, and the keys of others."""

    async def check() -> None:
        parts = context.get(COMPONENTS)
        troubles = [parts.watch.trouble, *(each.trouble for each in parts.remote)]
        if any(troubles):
            raise Unavailable("; ".join(filter(None, troubles)))

    return [Check("jwt", check, critical=False)]


@hookimpl
def scalekit_commands(context: Context) -> Sequence[click.Command]:
    """Return `scalekit jwt rotate`."""
    return commands(context.config(JwtConfig))


def _authentication(context: Context) -> AuthenticationFilter:
    """Return the filter of this application, one for all hooks; it knows no token before the plugin has started."""

    def make() -> AuthenticationFilter:
        config = context.config(JwtConfig)
        policy = AccessPolicy(config.protect, config.public, [table.rule() for table in config.rules])
        return AuthenticationFilter(policy, _scheme(config))

    return context.shared(AUTHENTICATION, make)


def _scheme(config: JwtConfig) -> str:
    return DPOP if config.sender == "dpop" else BEARER
