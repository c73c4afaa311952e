"""The table ``[plugins.nginx]``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from scalekit import Duration, PositiveDuration, Table, TextPattern, split_address

PLAIN_PATH = r"^[A-Za-z0-9_./@+,=~ -]+$"
URL_PATH = r"^/(?!-/)([A-Za-z0-9._~-]+/)+$"
SERVER_NAME = r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$"
USER_NAME = r"^[a-z_][a-z0-9_-]{0,31}$"


def _host_and_port(address: str) -> str:
    host, port = split_address(address)
    if not port or not re.fullmatch(r"[A-Za-z0-9.-]+|[0-9a-fA-F:.]+", host):
        raise ValueError(f'expected host:port, such as "0.0.0.0:80" or "[::]:80", got {address!r}')
    return address


HostAndPort = Annotated[str, AfterValidator(_host_and_port)]
FilePath = Annotated[
    str, TextPattern(PLAIN_PATH, 'a path of letters, digits, blanks and "_ . / @ + , = ~ -", such as "shop/static"')
]
ServerName = Annotated[str, TextPattern(SERVER_NAME, 'a host name such as "shop.example" or "*.shop.example"')]


class NginxTls(Table):
    """The certificate that nginx presents to clients."""

    cert_file: FilePath
    """The server certificate, followed by its intermediate certificates, in PEM."""
    key_file: FilePath
    """The private key of cert_file, in PEM."""


class NginxConfig(Table):
    """How nginx listens, and how it proxies requests to the instances of this service."""

    listen: HostAndPort = "127.0.0.1:8080"
    """Address on which nginx listens, ``host:port``."""
    server_names: tuple[ServerName, ...] = ()
    """Host names that nginx serves (``server_name``); empty serves every name."""
    tls: NginxTls | None = None
    """``{ cert_file, key_file }``: serve HTTPS and HTTP/2 with this certificate."""
    static: dict[
        Annotated[
            str, TextPattern(URL_PATH, 'a path with a slash at both ends that is not below "/-/", such as "/static/"')
        ],
        FilePath,
    ] = {}
    """Folders of static files that nginx serves itself, by path, such as ``"/static/" = "shop/static"``."""
    upstreams: tuple[HostAndPort, ...] = ()
    """Instances, ``host:port``, when no plugin discovers them; empty means the address of ``[server]``."""
    debounce: Duration = Duration("30s")
    """How long an instance must be missing before it is removed; from its first failure on nginx skips it anyway."""
    directory: FilePath = "nginx"
    """Folder of nginx's pid file, logs and temporary files."""
    user: Annotated[str, TextPattern(USER_NAME, 'a user of this machine, such as "www-data"')] | None = None
    """User of the worker processes when root starts nginx."""
    operator_pages: bool = False
    """Pass requests for the pages of operators, below ``/-/``, to the instances, which check who is an operator."""
    worker_processes: Annotated[int, Field(ge=1, le=512)] | None = None
    """Worker processes of nginx; unset means one per CPU core."""
    worker_connections: Annotated[int, Field(ge=16, le=1_000_000)] = 4096
    """Connections per worker process."""
    read_timeout: PositiveDuration = Duration("60s")
    """How long an instance may send nothing before nginx tries the next one or responds with 504."""
    upstream_tries: Annotated[int, Field(ge=1, le=100)] = 3
    """Instances that nginx tries for one request, at most."""
    upstream_tries_timeout: PositiveDuration = Duration("10s")
    """How long after its arrival a request may still be passed to another instance."""
