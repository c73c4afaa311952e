"""Put the parts together."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from scalekit.contracts import Database
from scalekit.errors import ConfigError, Problem, StartError
from scalekit_jwt.authenticator import Authenticator
from scalekit_jwt.config import IssuerTable, JwtConfig
from scalekit_jwt.dpop import ProofVerifier
from scalekit_jwt.fingerprint import FingerprintCookie
from scalekit_jwt.jwks import RemoteJwks
from scalekit_jwt.key_file import KeyFile
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.revocation_poller import RevocationPoller
from scalekit_jwt.revocations import Revocations
from scalekit_jwt.session_store import SessionStore
from scalekit_jwt.session_store.database import DatabaseSessionStore
from scalekit_jwt.session_store.memory import MemorySessionStore
from scalekit_jwt.static_keys import StaticKeys, keys_from_files, keys_from_secret
from scalekit_jwt.token_service import TokenLifetimes, TokenService
from scalekit_jwt.token_verifier import ACCESS, Issuer
from scalekit_redis import verify_redis

NO_DATABASE = 'state = "database" needs [plugins.pool]; turn it on'


@dataclass(frozen=True, slots=True)
class JwtComponents:
    """What is there while it runs."""

    tokens: TokenService
    authenticator: Authenticator
    keys: StaticKeys | KeyFile
    watch: RevocationPoller
    remote: Sequence[RemoteJwks]


@asynccontextmanager
async def open_components(
    config: JwtConfig, database: Database | None, workers: int, metrics: JwtMetrics
) -> AsyncGenerator[JwtComponents, None]:
    """Give the parts that *config* names; raises StartError when they cannot be had."""
    keys = load_keys(config)
    clock = time.time
    audience = config.audience or config.issuer
    bound = config.sender == "dpop"
    own = Issuer(config.issuer, audience, frozenset({ACCESS}), keys, config.leeway, clock, bound)
    cookie = config.fingerprint and not bound
    fingerprint = FingerprintCookie(not config.insecure_cookie, config.refresh) if cookie else None
    revoked = Revocations(own.name)
    lifetimes = TokenLifetimes(config.access, config.refresh, config.grace, config.leeway)
    async with AsyncExitStack() as stack:
        sessions = await _sessions(config, database, workers, stack)
        remote = await _remote(config, metrics, stack)
        others = {each.issuer: _issuer(table, each, config) for table, each in zip(config.issuers, remote, strict=True)}
        proofs = ProofVerifier(sessions, config.leeway, clock)
        authenticator = Authenticator(own, others, fingerprint, revoked, config.remember, metrics, clock, proofs)
        tokens = TokenService(
            own, lifetimes, fingerprint, proofs, sessions, revoked, metrics, clock, lambda: watch.ask()
        )
        watch = RevocationPoller(tokens, authenticator, keys.reload, metrics, clock)
        await asyncio.gather(watch.begin(), *(each.fetch() for each in remote))
        running = [watch.run(config.poll), *(each.run(authenticator.clear_cache) for each in remote)]
        stack.push_async_callback(_end, [asyncio.create_task(each) for each in running])
        yield JwtComponents(tokens, authenticator, keys, watch, remote)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _remote(config: JwtConfig, metrics: JwtMetrics, stack: AsyncExitStack) -> list[RemoteJwks]:
    if not config.issuers:
        return []
    from scalekit_jwt.jwks_client import JwksClient, http_client  # takes long to import, and few need it

    client = await stack.enter_async_context(http_client())
    return [
        RemoteJwks(
            table.issuer,
            table.algorithms,
            JwksClient(client, table.issuer, table.jwks.reveal() if table.jwks else ""),
            metrics,
            every=table.refetch,
            again=table.cool_down,
        )
        for table in config.issuers
    ]


def _issuer(table: IssuerTable, keys: RemoteJwks, config: JwtConfig) -> Issuer:
    types = frozenset(each.lower() for each in table.types)
    claim = table.audience_claim
    return Issuer(table.issuer, table.audience, types, keys, config.leeway, time.time, audience_claim=claim)


def load_keys(config: JwtConfig) -> StaticKeys | KeyFile:
    """Return the keys that *config* names; raises StartError when they are not there or not fit."""
    try:
        if config.secret is not None:
            return keys_from_secret(config.secret.get_secret_value())
        if config.keys:
            return keys_from_files(config.keys, config.algorithm)
        return KeyFile(Path(str(config.key_file)), config.algorithm)
    except OSError as error:
        file = error.filename if config.keys else config.key_file  # which is not what is written first beside it
        raise StartError(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise StartError(str(error)) from None


def verify_prerequisites(config: JwtConfig, has_database: bool, workers: int) -> None:
    """Raise ImportError when a library is not there, and StartError for what else is known not to start."""
    if config.key_file is None or Path(config.key_file).exists():  # else it is made at the start
        load_keys(config)
    if config.issuers:
        importlib.import_module("scalekit_jwt.jwks_client")
    if config.issuers or config.sender == "dpop":  # else the first token or proof would wait for the import
        importlib.import_module("scalekit_jwt.asymmetric_key")
    if config.redis is not None:
        verify_redis(config.redis.reveal())
        importlib.import_module("scalekit_jwt.session_store.redis")
    elif config.state == "database" and not has_database:
        raise ConfigError([Problem(NO_DATABASE, "plugins.jwt.state", plugin="jwt")])
    elif workers > 1 and not (has_database and config.state == "auto") and config.state != "database":
        raise ConfigError([Problem(_no_shared_sessions(workers), "plugins.jwt.state", plugin="jwt")])


def in_memory(config: JwtConfig, database: Database | None) -> bool:
    """Return whether sessions are those of this process alone."""
    return config.redis is None and (database is None or config.state == "memory")


def _no_shared_sessions(workers: int) -> str:
    return (
        f"{workers} workers cannot share sessions in memory; turn on [plugins.pool] to keep them in the database, and"
        ' leave state = "memory" out'
    )


async def _sessions(config: JwtConfig, database: Database | None, workers: int, stack: AsyncExitStack) -> SessionStore:
    if config.redis is not None:
        from scalekit_jwt.session_store.redis import open_redis_store  # its library is needed by none of the others

        return await stack.enter_async_context(open_redis_store(config.redis.reveal()))
    if config.state == "database" and database is None:
        raise StartError(NO_DATABASE)
    if database is not None and not in_memory(config, database):
        return DatabaseSessionStore(database)
    if workers > 1:
        raise StartError(_no_shared_sessions(workers))
    return MemorySessionStore()
