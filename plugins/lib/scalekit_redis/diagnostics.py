"""Diagnostics of Redis servers: settings that do not fit to what all plugins store there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from time import time

from scalekit import Context, Diagnostic, Finding, Key, Severity, clock_findings, is_loopback, process_count
from scalekit_redis.connections import redis_connections
from scalekit_redis.url import RedisUrl, parse_url

TIMEOUT = 3.0
"""Seconds for the reply to a command."""
CONNECTIONS = 3
"""Connections of a process: for commands, and for messages and changed keys."""
OLDEST = (7, 2)
"""The oldest version of Redis that its project may still maintain; all versions of Valkey are newer."""


class RedisContents(StrEnum):
    """What a plugin stores in Redis."""

    CACHE = "cache"
    """May be evicted at any time."""
    COUNTERS = "counters"
    """Need no persistence; an eviction forgets them."""
    RECORDS = "records"
    """Must outlive a restart, and never be evicted."""


@dataclass(frozen=True, slots=True)
class RedisUse:
    """What is stored at a server: *purpose* such as ``sessions``, whose address is the value of *key*."""

    key: str
    purpose: str
    contents: RedisContents


@dataclass(frozen=True, slots=True)
class RedisServer:
    """The *uses* of a server, or of a cluster, with some of its *addresses*."""

    addresses: set[object]
    uses: list[RedisUse]


_SERVERS: Key[list[RedisServer]] = Key("servers of Redis")


def redis_diagnostics(context: Context, url: str, use: RedisUse) -> list[Diagnostic]:
    """Return the diagnostic of the server at *url*, for its first *use*; later ones are added to it."""
    address = parse_url(url)
    servers = context.shared(_SERVERS, list[RedisServer])
    addresses: set[object] = {(host, address.master) for host in address.hosts} or {address.path}
    for server in servers:
        if server.addresses & addresses:
            server.addresses.update(addresses)
            server.uses.append(use)
            return []
    server = RedisServer(addresses, [use])
    servers.append(server)
    return [Diagnostic(f"Redis at {address}", partial(_probe, context, url, server.uses), timeout=2 * TIMEOUT)]


async def _probe(context: Context, url: str, uses: Sequence[RedisUse]) -> list[Finding]:
    async with redis_connections(context).open(url, timeout=TIMEOUT) as redis:
        text = await redis.call("INFO", timeout=TIMEOUT)
        began = time()
        seconds, microseconds = await redis.call("TIME", timeout=TIMEOUT)
        offset = int(seconds) + int(microseconds) / 1e6 - (began + time()) / 2
    info = parse_info(text.decode("utf-8", "replace"))
    return [
        *server_findings(info, uses[0].key, process_count(context)),
        *eviction_findings(info, uses),
        *persistence_findings(info, uses),
        *clock_findings(offset, "Redis", uses[0].key),
        *access_findings(parse_url(url), uses[0].key),
    ]


def parse_info(text: str) -> dict[str, str]:
    """Return the fields of the reply to INFO."""
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in lines if colon}


def server_findings(info: Mapping[str, str], key: str, processes: int) -> Iterator[Finding]:
    """Yield what is wrong with the server itself, for a service of *processes*."""
    version = info.get("redis_version", "")
    if "valkey_version" not in info and _numbers(version) < OLDEST and version:
        yield Finding(
            "redis-version",
            Severity.WARNING,
            f"Redis {version} gets no updates from its project",
            "upgrade to a maintained version of Redis or Valkey, unless your distribution maintains this one",
            key,
            version,
        )
    if info.get("role") == "slave":
        yield Finding(
            "redis-role",
            Severity.ERROR,
            "the server is a replica, which takes no writes",
            "name the master, or use a redis-sentinel:// URL, which finds it",
            key,
            "replica",
        )
    needed, limit = processes * CONNECTIONS, int(info.get("maxclients", "0"))
    if limit and needed > 0.8 * limit:
        yield Finding(
            "redis-connections",
            Severity.ERROR if needed > limit else Severity.WARNING,
            f"{processes} processes open up to {needed} connections, and the server takes {limit}",
            "raise maxclients of Redis, or lower workers",
            "maxclients",
            str(limit),
        )


def eviction_findings(info: Mapping[str, str], uses: Sequence[RedisUse]) -> Iterator[Finding]:
    """Yield whether the server evicts what must stay, or does not evict a cache."""
    policy, limit = info.get("maxmemory_policy", ""), int(info.get("maxmemory", "0"))
    lasting = [each for each in uses if each.contents is not RedisContents.CACHE]
    caches = [each for each in uses if each.contents is RedisContents.CACHE]
    if policy not in ("", "noeviction") and lasting:
        names = ", ".join(each.purpose for each in lasting)
        is_error = any(each.contents is RedisContents.RECORDS for each in lasting)
        evicted = int(info.get("evicted_keys", "0"))
        yield Finding(
            "redis-eviction",
            Severity.ERROR if is_error else Severity.WARNING,
            f"{names} can be evicted when memory is full{f'; {evicted} keys have been' if evicted else ''}",
            "set maxmemory-policy noeviction, and give a cache a server of its own",
            "maxmemory-policy",
            policy,
        )
    if caches and limit and policy == "noeviction":
        yield Finding(
            "redis-eviction",
            Severity.WARNING,
            "when memory is full, new responses are not stored, since nothing is evicted",
            "set maxmemory-policy allkeys-lru or allkeys-lfu on a server that has only a cache",
            "maxmemory-policy",
            policy,
        )
    if caches and not limit:
        yield Finding(
            "redis-maxmemory",
            Severity.WARNING,
            "a cache grows until the kernel ends Redis",
            "set maxmemory of Redis to less than its memory",
            "maxmemory",
            "0",
        )
    if caches and lasting:
        names = ", ".join(each.purpose for each in lasting)
        yield Finding(
            "redis-shared",
            Severity.WARNING,
            f"a cache shares the server with {names}: no maxmemory-policy fits to both",
            "give each a server of its own; another database of the same server does not help",
            caches[0].key,
            "shared",
        )


def persistence_findings(info: Mapping[str, str], uses: Sequence[RedisUse]) -> Iterator[Finding]:
    """Yield whether records are lost by a restart, and whether writes to disk fail."""
    records = [each for each in uses if each.contents is RedisContents.RECORDS]
    if records and info.get("aof_enabled") == "0":
        names = ", ".join(each.purpose for each in records)
        yield Finding(
            "redis-persistence",
            Severity.WARNING,
            f"a restart of Redis loses {names} since the last snapshot, or all of them",
            "set appendonly yes; appendfsync everysec loses a second at most",
            "appendonly",
            "no",
        )
    for field in ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status"):
        if info.get(field, "ok") != "ok":
            yield Finding(
                "redis-persistence",
                Severity.ERROR,
                "the last write to disk has failed; by default Redis then refuses all writes",
                "look into the log of Redis: the disk may be full, or fork may lack memory",
                field,
                info[field],
            )


def access_findings(address: RedisUrl, key: str) -> Iterator[Finding]:
    """Yield whether a server on another machine has no password."""
    if not all(is_loopback(host) for host, _ in address.hosts) and not address.password:
        yield Finding(
            "server-password",
            Severity.WARNING,
            f"{address} takes commands without a password from every machine that reaches it",
            "set a password (ACL or requirepass) and name it in the URL, and use rediss:// in foreign networks",
            key,
            "none",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
