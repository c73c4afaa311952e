"""Redis URLs of servers and clusters, parsed without the client library so that ``scalekit check`` works without it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from urllib.parse import parse_qsl, unquote

from scalekit import UrlParts, split_url

DEFAULT_PORT = 6379
REDIS_SCHEMES = ("redis", "rediss", "unix", "redis-cluster", "rediss-cluster")
"""Schemes of URLs that name a server or a cluster."""
TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_cert_reqs")
OPTIONS = {"unix": ("db",), "redis": (), "redis-cluster": (), "rediss": TLS_OPTIONS, "rediss-cluster": TLS_OPTIONS}

HostPort = tuple[str, int]
"""Host and port of a server."""


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed Redis URL; equal URLs share a connection.

    *hosts* is one host, several for a cluster, none for a Unix socket at *path*. *tls* has the query options of
    redis-py's URLs (``ssl_ca_certs``, ...).
    """

    scheme: str
    hosts: tuple[HostPort, ...] = ()
    path: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: tuple[tuple[str, str], ...] = ()

    @property
    def cluster(self) -> bool:
        """Whether it names a cluster."""
        return self.scheme.endswith("-cluster")

    @property
    def secure(self) -> bool:
        """Whether it uses TLS."""
        return self.scheme.startswith("rediss")

    def __str__(self) -> str:
        """Return the URL without user, password and options."""
        location = self.path or ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts
        )
        return f"{self.scheme}://{location}" + (f"/{self.db}" if self.db and not self.path else "")


def parse_url(url: str) -> RedisUrl:
    """Return the parsed *url*; raises ValueError, which never shows a password."""
    scheme = url.partition(":")[0]
    if scheme not in REDIS_SCHEMES:
        raise ValueError(f"expected a URL that begins with {', '.join(f'{name}://' for name in REDIS_SCHEMES)}")
    split = split_url(url)
    options = dict(_options(scheme, split.query))
    username, password = split.user, split.password or None
    if scheme == "unix":
        if not split.path:
            raise ValueError("expected the path of a Unix socket, such as unix:///run/redis.sock")
        db = _number("db", options.pop("db", "0"))
        return RedisUrl(scheme, (), unquote(split.path), db, username, password)
    path = split.path.strip("/")
    if path and scheme.endswith("-cluster"):
        raise ValueError("a cluster has only database 0; remove the path")
    hosts = tuple(_hosts(split))
    if len(hosts) > 1 and not scheme.endswith("-cluster"):
        raise ValueError(
            f"{scheme}:// takes one host, got {len(hosts)}; the URL of a cluster begins with {scheme}-cluster://"
        )
    db = _number("the database", path or "0")
    return RedisUrl(scheme, hosts, "", db, username, password, tuple(sorted(options.items())))


def _options(scheme: str, query: str) -> Iterator[tuple[str, str]]:
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS[scheme]:
            similar = get_close_matches(name, OPTIONS[scheme], 1)
            valid = ", ".join(OPTIONS[scheme]) or "none"  # an unknown name is not shown: it may be part of a password
            problem = f"option {name!r}; did you mean {similar[0]}?" if similar else f"such option; valid are: {valid}"
            raise ValueError(f"{scheme}:// has no {problem}")
        yield name, value


def _hosts(split: UrlParts) -> Iterator[HostPort]:
    for host, port in split.hosts or (("", None),):
        if not host:
            raise ValueError("expected a host, such as redis://127.0.0.1:6379")
        yield unquote(host), port or DEFAULT_PORT


def _number(part: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 2**31:
        raise ValueError(f"{part} of a Redis URL must be a number")
    return int(text)
