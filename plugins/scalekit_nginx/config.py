"""The table ``[nginx]``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from scalekit.config.shape import Shape
from scalekit.config.tables import SomeTime, Table, split_address
from scalekit.config.types import Duration

PLAIN_PATH = r"^[A-Za-z0-9_./@+,=~ -]+$"
URL_PATH = r"^/([A-Za-z0-9._~-]+/)+$"
SERVER_NAME = r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$"


def _listens(address: str) -> str:
    host, port = split_address(address)
    if not port or not re.fullmatch(r"[A-Za-z0-9.-]+|[0-9a-fA-F:.]+", host):
        raise ValueError(f'expected host:port, such as "0.0.0.0:80" or "[::]:80", got {address!r}')
    return address


ListenAddress = Annotated[str, AfterValidator(_listens)]
FilePath = Annotated[
    str, Shape(PLAIN_PATH, 'a path of letters, digits, blanks and "_ . / @ + , = ~ -", such as "shop/static"')
]
ServerName = Annotated[str, Shape(SERVER_NAME, 'a host name such as "shop.example" or "*.shop.example"')]


class NginxConfig(Table):
    """What ``scalekit nginx`` writes besides what the other tables say."""

    listen: ListenAddress = "127.0.0.1:8080"
    """Where nginx listens."""
    names: tuple[ServerName, ...] = ()
    """The host names that it serves; empty serves all."""
    certificate: FilePath | None = None
    """The certificate with its chain; with it nginx serves TLS."""
    key: FilePath | None = None
    """The key of certificate."""
    static: dict[Annotated[str, Shape(URL_PATH, 'a path with a slash at both ends, such as "/static/"')], FilePath] = {}
    """Folders of files that nginx serves itself, by path, such as ``"/static/" = "shop/static"``."""
    upstreams: tuple[ListenAddress, ...] = ()
    """The instances where nobody knows the live ones; empty is the address of ``[server]``."""
    settle: Duration = Duration("30s")
    """How long an instance is gone before it is taken out; nginx passes it by from the first failure on."""
    directory: FilePath = "nginx"
    """Where nginx keeps its process id, logs and temporary files."""
    user: Annotated[str, Shape(r"^[a-z_][a-z0-9_-]{0,31}$", 'a user of this machine, such as "www-data"')] | None = None
    """Whom the workers of an nginx that root starts run as."""
    workers: Annotated[int, Field(ge=1, le=512)] | None = None
    """Worker processes; without it one for each core."""
    connections: Annotated[int, Field(ge=16, le=1_000_000)] = 4096
    """Connections of each worker."""
    read_timeout: SomeTime = Duration("60s")
    """How long an instance may be silent before the request is given to another, or answered with 504."""
    tries: Annotated[int, Field(ge=1, le=100)] = 3
    """Instances that a request is given to at most."""
    tries_time: SomeTime = Duration("10s")
    """How long after its arrival a request may still be given to another instance."""

    @model_validator(mode="after")
    def _has_certificate_and_key(self) -> NginxConfig:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together; name both, or neither")
        return self
