"""The addresses of database servers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from scalekit import split_url
from scalekit_pool.connections.driver import DriverOptions


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The address and credentials of one server."""

    host: str
    port: int
    user: str | None
    database: str
    password: str | None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def current_password(self, options: DriverOptions) -> str | None:
        """Return the password of *options*, whose file may have changed, else that of the address."""
        if options.password_file is not None:
            return Path(options.password_file).read_text().strip()
        if options.password is not None:
            return options.password.get_secret_value()
        return self.password


def parse_server_address(address: str, default_port: int, default_database: str = "") -> ServerAddress:
    """Return the server address of the URL *address*."""
    parts = split_url(address)
    database = unquote(parts.path.lstrip("/")) or default_database
    return ServerAddress(parts.host, parts.port or default_port, parts.user, database, parts.password or None)
