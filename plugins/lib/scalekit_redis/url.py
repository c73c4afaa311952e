"""Redis URLs, parsed without the client library so that ``scalekit check`` works without it.

A URL names a server, a cluster, or the master that Sentinels monitor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from urllib.parse import unquote

from scalekit import UrlParts, split_url

DEFAULT_PORT, DEFAULT_SENTINEL_PORT = 6379, 26379
REDIS_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis-cluster",
    "rediss-cluster",
    "redis-sentinel",
    "rediss-sentinel",
)
"""Schemes of URLs that name a server, a cluster, or the master that Sentinels monitor."""
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_cert_reqs")
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
OPTIONS = {
    "unix": ("db",),
    "redis": (),
    "redis-cluster": (),
    "redis-sentinel": SENTINEL_OPTIONS,
    "rediss": TLS_OPTIONS,
    "rediss-cluster": TLS_OPTIONS,
    "rediss-sentinel": (*TLS_OPTIONS, *SENTINEL_OPTIONS),
}
SENTINEL_EXAMPLE = "redis-sentinel://10.0.0.5,10.0.0.6,10.0.0.7/mymaster"
_MASTER_NAME = re.compile(r"[A-Za-z0-9._-]+")  # what Sentinel accepts
_OTHER_SPELLING = re.compile(r"(?:redis(s)?[+_.-]?)?(cluster|sentinel)s?(\+?(?:ssl|tls))?")
"""Schemes of other clients, such as ``redis+sentinel``."""

HostPort = tuple[str, int]
"""Host and port of a server."""


def format_host(server: HostPort) -> str:
    """Return *server* as ``host:port``, an IPv6 address in brackets."""
    host, port = server
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed Redis URL; equal URLs share a connection.

    *hosts* is one host, several for a cluster, none for a Unix socket at *path*; for Sentinel they are the Sentinels,
    which monitor the master with the name *master*. *tls* has the query options of redis-py's URLs
    (``ssl_ca_certs``, ...).
    """

    scheme: str
    hosts: tuple[HostPort, ...] = ()
    path: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: tuple[tuple[str, str], ...] = ()
    master: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    @property
    def cluster(self) -> bool:
        """Whether it names a cluster."""
        return self.scheme.endswith("-cluster")

    @property
    def sentinels(self) -> RedisUrl:
        """The Sentinels, with their own user and password."""
        return replace(self, db=0, username=self.sentinel_username, password=self.sentinel_password)

    @property
    def secure(self) -> bool:
        """Whether it uses TLS."""
        return self.scheme.startswith("rediss")

    def __str__(self) -> str:
        """Return the URL without user, password and options."""
        location = self.path or ",".join(map(format_host, self.hosts))
        master = f"/{self.master}" if self.master else ""
        return f"{self.scheme}://{location}{master}" + (f"/{self.db}" if self.db and not self.path else "")


def parse_url(url: str) -> RedisUrl:
    """Return the parsed *url*; raises ValueError, which never shows a password."""
    scheme = url.partition(":")[0]
    if scheme not in REDIS_SCHEMES:
        if similar := similar_scheme(scheme):
            raise ValueError(f"the scheme {scheme!r} is unknown; write {similar}://")
        raise ValueError(f"expected a URL that begins with {', '.join(f'{name}://' for name in REDIS_SCHEMES)}")
    split = split_url(url)
    options = dict(_options(scheme, split.query))
    if scheme == "unix":
        return _socket(split, options)
    if scheme.endswith("-sentinel"):
        return _sentinels(split, options)
    path = split.path.strip("/")
    if path and scheme.endswith("-cluster"):
        raise ValueError("a cluster has only database 0; remove the path")
    hosts = tuple(_hosts(split, DEFAULT_PORT))
    if len(hosts) > 1 and not scheme.endswith("-cluster"):
        raise ValueError(
            f"{scheme}:// takes one host, got {len(hosts)}; the URL of a cluster begins with {scheme}-cluster://,"
            f" that of Sentinels with {scheme}-sentinel://"
        )
    db = _number("the database", path or "0")
    return RedisUrl(scheme, hosts, "", db, split.user, split.password or None, tuple(sorted(options.items())))


def similar_scheme(scheme: str) -> str:
    """Return the scheme for what *scheme* means in other clients, such as ``redis+sentinel``; empty for any other."""
    found = _OTHER_SPELLING.fullmatch(scheme)
    return f"redis{'s' if found[1] or found[3] else ''}-{found[2]}" if found else ""


def _socket(split: UrlParts, options: dict[str, str]) -> RedisUrl:
    if not split.path:
        raise ValueError("expected the path of a Unix socket, such as unix:///run/redis.sock")
    db = _number("db", options.pop("db", "0"))
    return RedisUrl("unix", (), unquote(split.path), db, split.user, split.password or None)


def _sentinels(split: UrlParts, options: dict[str, str]) -> RedisUrl:
    """Return the URL of the master that the Sentinels of *split* monitor."""
    hosts = tuple(_hosts(split, DEFAULT_SENTINEL_PORT))
    lowered = [(host.lower(), port) for host, port in hosts]
    for host, server in zip(hosts, lowered, strict=True):
        if lowered.count(server) > 1:
            raise ValueError(f"the Sentinel {format_host(host)} is named twice; name each Sentinel once")
    master, _, db = split.path.removeprefix("/").partition("/")
    if not _MASTER_NAME.fullmatch(unquote(master)):
        raise ValueError(
            "expected the name of the master after the Sentinels, as in their `sentinel monitor` line, such as"
            f" {SENTINEL_EXAMPLE}"
        )
    username, password = (options.pop(name, None) or None for name in SENTINEL_OPTIONS)
    return RedisUrl(
        split.scheme,
        hosts,
        db=_number("the database", db.removesuffix("/") or "0"),
        username=split.user,
        password=split.password or None,
        tls=tuple(sorted(options.items())),
        master=unquote(master),
        sentinel_username=username,
        sentinel_password=password,
    )


def _options(scheme: str, query: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name not in OPTIONS[scheme]:
            similar = get_close_matches(name, OPTIONS[scheme], 1)
            valid = ", ".join(OPTIONS[scheme]) or "none"  # an unknown name is not shown: it may be part of a password
            problem = f"option {name!r}; did you mean {similar[0]}?" if similar else f"such option; valid are: {valid}"
            raise ValueError(f"{scheme}:// has no {problem}")
        yield name, unquote(value)


def _hosts(split: UrlParts, default_port: int) -> Iterator[HostPort]:
    for host, port in split.hosts or (("", None),):
        if not host:
            example = SENTINEL_EXAMPLE if split.scheme.endswith("-sentinel") else "redis://127.0.0.1:6379"
            raise ValueError(f"expected a host, such as {example}")
        yield unquote(host), port or default_port


def _number(part: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 2**31:
        raise ValueError(f"{part} of a Redis URL must be a number")
    return int(text)
