"""Build the plugin's components from its configuration."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from scalekit import ConfigError, Problem, StartError
from scalekit.contracts import Database
from scalekit_jwt.authenticator import Authenticator
from scalekit_jwt.config import IssuerTable, JwtConfig
from scalekit_jwt.dpop import ProofVerifier
from scalekit_jwt.fingerprint import FingerprintCookie
from scalekit_jwt.keys.jwks_refresh import RemoteJwks
from scalekit_jwt.keys.key_file import KeyFile
from scalekit_jwt.keys.key_set import StaticKeys, keys_from_files, keys_from_secret
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.refresh_tokens import RefreshTokens
from scalekit_jwt.revocations import RevocationPoller, Revocations
from scalekit_jwt.session_store import SessionStore
from scalekit_jwt.session_store.database import DatabaseSessionStore
from scalekit_jwt.session_store.memory import MemorySessionStore
from scalekit_jwt.token_pair import TokenLifetimes, TokenPairEncoder
from scalekit_jwt.token_service import SessionContext, TokenService
from scalekit_jwt.token_verifier import ACCESS, TokenVerifier
from scalekit_redis import Connections, verify_redis

NO_DATABASE = 'session_store = "database" needs [plugins.pool]; turn it on'


@dataclass(frozen=True, slots=True)
class JwtComponents:
    """The plugin's components while the application runs."""

    tokens: TokenService
    refresh_tokens: RefreshTokens
    authenticator: Authenticator
    keys: StaticKeys | KeyFile
    poller: RevocationPoller
    jwks: Sequence[RemoteJwks]
    sessions: SessionStore
    metrics: JwtMetrics


@asynccontextmanager
async def open_components(
    config: JwtConfig, database: Database | None, connections: Connections, workers: int, metrics: JwtMetrics
) -> AsyncGenerator[JwtComponents, None]:
    """Yield the components for *config* with their background tasks; raises StartError when they cannot be built."""
    clock = time.time
    keys = load_keys(config)
    encoder = TokenPairEncoder(_build_own_verifier(config, keys), _build_lifetimes(config), clock)
    revocations = Revocations(config.issuer)
    async with AsyncExitStack() as stack:
        store = await _open_store(config, database, connections, workers, stack)
        jwks = await _open_jwks(config, metrics, stack)
        proofs = ProofVerifier(store, config.leeway, clock)
        context = SessionContext(
            encoder, store, _build_fingerprint(config), proofs, metrics, clock, lambda: poller.wake()
        )
        authenticator = _build_authenticator(config, context, jwks, revocations)
        poller = _build_poller(context, keys, revocations, authenticator)
        await asyncio.gather(poller.start(), *(each.fetch() for each in jwks))
        running = [poller.run(config.poll_interval), *(each.run(authenticator.clear_cache) for each in jwks)]
        stack.push_async_callback(_cancel, [asyncio.create_task(each) for each in running])
        yield JwtComponents(
            TokenService(context), RefreshTokens(context), authenticator, keys, poller, jwks, store, metrics
        )


def _build_authenticator(
    config: JwtConfig, context: SessionContext, jwks: Sequence[RemoteJwks], revocations: Revocations
) -> Authenticator:
    return Authenticator(
        context.encoder.issuer,
        _build_other_verifiers(config, jwks),
        fingerprint=context.fingerprint,
        revocations=revocations,
        cache_size=config.token_cache_size,
        metrics=context.metrics,
        clock=context.clock,
        proofs=context.proofs,
    )


def _build_poller(
    context: SessionContext, keys: StaticKeys | KeyFile, revocations: Revocations, authenticator: Authenticator
) -> RevocationPoller:
    return RevocationPoller(
        context.store,
        revocations,
        authenticator,
        reload_keys=keys.reload,
        max_session_age=context.encoder.lifetimes.max_session_age,
        metrics=context.metrics,
        clock=context.clock,
    )


def _build_lifetimes(config: JwtConfig) -> TokenLifetimes:
    return TokenLifetimes(config.access_ttl, config.refresh_ttl, config.rotation_grace, config.leeway)


def has_fingerprint(config: JwtConfig) -> bool:
    """Return whether *config* binds tokens to a cookie."""
    return config.fingerprint and config.sender_constraint != "dpop"


def _build_fingerprint(config: JwtConfig) -> FingerprintCookie | None:
    if not has_fingerprint(config):
        return None
    return FingerprintCookie(not config.insecure_cookie, config.refresh_ttl)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _build_own_verifier(config: JwtConfig, keys: StaticKeys | KeyFile) -> TokenVerifier:
    return TokenVerifier(
        config.issuer,
        config.audience or config.issuer,
        frozenset({ACCESS}),
        keys,
        config.leeway,
        time.time,
        requires_dpop=config.sender_constraint == "dpop",
    )


async def _open_jwks(config: JwtConfig, metrics: JwtMetrics, stack: AsyncExitStack) -> list[RemoteJwks]:
    if not config.issuers:
        return []
    from scalekit_jwt.keys.jwks_client import JwksClient, create_http_client  # slow to import, and only issuers need it

    client = await stack.enter_async_context(create_http_client())
    return [
        RemoteJwks(
            table.issuer,
            table.algorithms,
            JwksClient(client, table.issuer, table.jwks_url.reveal() if table.jwks_url else ""),
            metrics,
            refresh_interval=table.jwks_refresh_interval,
            min_interval=table.jwks_min_interval,
        )
        for table in config.issuers
    ]


def _build_other_verifiers(config: JwtConfig, jwks: Sequence[RemoteJwks]) -> dict[str, TokenVerifier]:
    return {
        keys.issuer: _build_verifier(table, keys, config.leeway)
        for table, keys in zip(config.issuers, jwks, strict=True)
    }


def _build_verifier(table: IssuerTable, keys: RemoteJwks, leeway: float) -> TokenVerifier:
    token_types = frozenset(each.lower() for each in table.token_types)
    return TokenVerifier(
        table.issuer, table.audience, token_types, keys, leeway, time.time, audience_claim=table.audience_claim
    )


def load_keys(config: JwtConfig) -> StaticKeys | KeyFile:
    """Return the signing keys of *config*; raises StartError when they are missing or unsuitable."""
    try:
        if config.secret is not None:
            return keys_from_secret(config.secret.get_secret_value())
        if config.keys:
            return keys_from_files(config.keys, config.algorithm)
        return KeyFile(Path(str(config.key_file)), config.algorithm)
    except OSError as error:
        file = error.filename if config.keys else config.key_file  # not the temporary file written beside it
        raise StartError(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise StartError(str(error)) from None


def verify_prerequisites(config: JwtConfig, has_database: bool, workers: int) -> None:
    """Raise ImportError for a missing library, StartError or ConfigError for a configuration that cannot start."""
    if config.key_file is None or Path(config.key_file).exists():  # a missing key_file is created at the start
        load_keys(config)
    if config.issuers:
        importlib.import_module("scalekit_jwt.keys.jwks_client")
    if config.issuers or config.sender_constraint == "dpop":  # imported now, so that no request waits for it
        importlib.import_module("scalekit_jwt.keys.asymmetric_key")
    if config.redis_url is not None:
        verify_redis(config.redis_url.reveal())
        importlib.import_module("scalekit_jwt.session_store.redis")
    elif config.session_store == "database" and not has_database:
        raise ConfigError([Problem(NO_DATABASE, "plugins.jwt.session_store", plugin="jwt")])
    elif workers > 1 and not (has_database and config.session_store == "auto") and config.session_store != "database":
        raise ConfigError([Problem(_no_shared_store(workers), "plugins.jwt.session_store", plugin="jwt")])


def uses_memory_store(config: JwtConfig, database: Database | None) -> bool:
    """Return whether sessions are stored in the memory of this process."""
    return config.redis_url is None and (database is None or config.session_store == "memory")


def _no_shared_store(workers: int) -> str:
    return (
        f"{workers} workers cannot share sessions in memory; turn on [plugins.pool] to store them in the database, and"
        ' remove session_store = "memory"'
    )


async def _open_store(
    config: JwtConfig, database: Database | None, connections: Connections, workers: int, stack: AsyncExitStack
) -> SessionStore:
    if config.redis_url is not None:
        from scalekit_jwt.session_store.redis import open_redis_store  # imported only for this store

        return await stack.enter_async_context(open_redis_store(connections, config.redis_url.reveal()))
    if config.session_store == "database" and database is None:
        raise StartError(NO_DATABASE)
    if database is not None and not uses_memory_store(config, database):
        return DatabaseSessionStore(database)
    if workers > 1:
        raise StartError(_no_shared_store(workers))
    return MemorySessionStore()
