"""The host's tables of the file."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from scalekit.config.app_name import SERVICE_NAME_PATTERN
from scalekit.config.field_types import (
    UNIX,
    Count,
    HostName,
    ListenAddress,
    Networks,
    Port,
    PositiveDuration,
    PositiveSize,
    Prefix,
    Proxies,
    check_host,
    check_listen_address,
    socket_path,
)
from scalekit.config.path_glob import PathGlob
from scalekit.config.server_tls import ServerTls
from scalekit.config.table import Table
from scalekit.config.text_pattern import TextPattern
from scalekit.config.types import Duration, Secret, Size, SizeOrShare
from scalekit.config.url import HttpUrl

TARGET = r"\w+(\.\w+)*:\w+(\.\w+)*"


def _check_service_name(name: str) -> str:
    if name and not re.fullmatch(SERVICE_NAME_PATTERN, name):
        raise ValueError(f'expected a name of letters, digits, ".", "_" and "-", such as "shop", got {name!r}')
    return name


def _to_tuple(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _check_static_path(path: str) -> str:
    if path == "/-" or path.startswith("/-/"):
        raise ValueError(
            f"paths below /-/ are those of operators, outside of all plugins; choose another, got {path!r}"
        )
    return path


StaticPath = Annotated[
    str,
    TextPattern(
        r"^(/(?!\.{1,2}(/|$))[^/?#*{}%\\\x00-\x1f]+)+$",
        'a path without a trailing slash, dot segments or any of ?#*{}%, such as "/static"',
    ),
    AfterValidator(_check_static_path),
]
Folders = Annotated[
    tuple[str, ...], Field(min_length=1), BeforeValidator(_to_tuple, json_schema_input_type=str | list[str])
]
Globs = Annotated[tuple[PathGlob, ...], BeforeValidator(_to_tuple, json_schema_input_type=str | list[str])]
CacheControl = Annotated[str, TextPattern(r"^[\x20-\x7e]+$", 'directives such as "public, max-age=300"')]


class StaticFolders(Table):
    """Folders of static files below one URL path; a string or list is ``folders``."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "string", "array"]})

    folders: Folders
    """Folders, the first that has a file serves it; ``package:folder`` is a folder inside an installed package."""
    cache_control: CacheControl = "public, no-cache"
    """Value of Cache-Control; with ``private`` or ``no-store`` it is that of immutable files too."""
    immutable: Globs = ()
    """Paths of files that never change, beside those with a hexadecimal hash in their names: cached for a year."""

    @model_validator(mode="before")
    @classmethod
    def _expand_folders(cls, value: object) -> object:
        return {"folders": value} if isinstance(value, str | list) else value


class App(Table):
    """The table ``[app]``: the application."""

    target: str | None = None
    """ASGI application or a factory that returns one, as ``module.path:name``."""
    name: Annotated[
        str, AfterValidator(_check_service_name), Field(json_schema_extra={"pattern": f"{SERVICE_NAME_PATTERN}|^$"})
    ] = ""
    """Name of this service: the default of the keys for it in logging, discovery and metrics."""
    static: dict[StaticPath, StaticFolders] = {}
    """Folders of static files by URL path."""

    @field_validator("target")
    @classmethod
    def _check_target(cls, target: str | None) -> str | None:
        if target is not None and not re.fullmatch(TARGET, target):
            raise ValueError(f"expected module.path:name, such as shop.app:app, got {target!r}")
        return target


class Memory(Table):
    """The table ``[server.memory]``: memory limit, garbage collection and allocation tracing."""

    limit: SizeOrShare | None = None
    """Memory above which a worker is replaced: a size, or a share of the memory of the cgroup or machine."""
    check_interval: Duration = Duration("5s")
    """Interval between checks of the limit."""
    gc_freeze: bool = True
    """Exclude the objects that exist after the start from garbage collections (``gc.freeze``)."""
    gc_thresholds: tuple[Count, Count, Count] | None = None
    """Thresholds of the garbage collector (``gc.set_threshold``)."""
    tracemalloc: Annotated[int, Field(ge=0, le=50)] = 0
    """Stack frames that ``tracemalloc`` records of each allocation, for ``/-/memory``; 0 disables it. Expensive."""


class Server(Table):
    """The table ``[server]``: addresses, limits, timeouts and worker processes."""

    host: ListenAddress = "127.0.0.1"
    """Address to listen on; ``0.0.0.0`` or ``::`` for all interfaces, ``unix:/PATH`` for a Unix socket."""
    port: Port = 8000
    """Port to listen on; 0 chooses a free one. Unused with a Unix socket."""
    socket_mode: Annotated[str, TextPattern(r"^0?[0-7]{3}$", 'an octal mode such as "0660"')] = "0660"
    """Mode of the files of Unix sockets."""
    role: Literal["web", "worker"] = "web"
    """``web`` serves the application; ``worker`` only runs plugins, and serves only ``management_address``."""
    management_address: str | None = None
    """Second address, ``host:port`` or Unix socket, that serves health and operator pages instead of the public one."""
    tls: ServerTls | None = None
    """TLS of the public address; unset serves plain HTTP."""
    root_path: Prefix = ""
    """Path prefix that the proxy removes, such as ``/shop``."""
    trusted_proxies: Proxies = ()
    """Networks of the proxies whose forwarded headers are trusted; ``unix`` for clients of a Unix socket."""
    forwarded_headers: Literal["auto", "x-forwarded", "forwarded"] = "auto"
    """Headers that those proxies set; ``auto`` prefers ``X-Forwarded-*`` when both are present."""
    allowed_hosts: tuple[HostName, ...] = ()
    """Allowed values of the Host header, without or with a port; empty allows all."""
    operator_networks: Networks = ()
    """Networks of the operators, to which details of health and operator pages are shown."""
    operator_token: Secret | None = None
    """Bearer token with which operators see the same from any network."""
    max_body: Size = Size("16MiB")
    """Maximum size of a request body."""
    max_header: PositiveSize = Size("64KiB")
    """Maximum size of a request head, and of the chunk extensions and trailers of a body."""
    header_timeout: PositiveDuration = Duration("10s")
    """Timeout for a client to send a complete request head."""
    body_timeout: PositiveDuration = Duration("30s")
    """Timeout for the request body while the application reads it; each KiB received extends it by one second."""
    write_timeout: PositiveDuration = Duration("30s")
    """Timeout for a client to read a response that is written."""
    keep_alive_timeout: PositiveDuration = Duration("65s")
    """Timeout of an idle connection; must exceed that of the proxy."""
    backlog: Annotated[int, Field(ge=1)] = 2048
    """Maximum number of connections in the accept queue."""
    start_timeout: PositiveDuration = Duration("30s")
    """Timeout for the start of each plugin."""
    drain_delay: Duration = Duration("5s")
    """Time after SIGTERM in which new connections are still accepted, until load balancers see the failed readiness."""
    graceful_timeout: Duration = Duration("30s")
    """Timeout for requests in flight at shutdown, which are then cancelled."""
    stop_timeout: Duration = Duration("10s")
    """Timeout for the stop of each plugin, which is then cancelled."""
    workers: Annotated[int, Field(ge=1, le=512)] | None = None
    """Number of worker processes, supervised and replaced after a crash or hang; unset runs one process."""
    preload: bool = True
    """Import plugins and application once and fork the workers, on Linux; not when importing starts threads."""
    worker_start_timeout: PositiveDuration = Duration("5m")
    """Timeout for a worker to import the application and become ready, after which it is killed."""
    hang_timeout: Duration = Duration("30s")
    """Time without a heartbeat, because the event loop is blocked, after which a worker is replaced."""
    memory: Memory = Memory()
    """Memory limit, garbage collection and allocation tracing."""

    @model_validator(mode="after")
    def _check_memory_limit(self) -> Server:
        if self.memory.limit is not None and self.workers is None:
            raise ValueError("memory.limit requires workers; add workers = 1 or more")
        return self

    @property
    def has_operators(self) -> bool:
        """Whether the file names operators: by address, network or token."""
        return bool(self.management_address or self.operator_networks or self.operator_token)

    @model_validator(mode="after")
    def _check_ports(self) -> Server:
        # The local port or the path of a connection determines its address.
        second = self.management_address
        if second is not None and second == self.host:
            raise ValueError(f"management_address is the public address, {second}; choose another")
        if second is None or socket_path(second) or socket_path(self.host):
            return self
        if split_address(second)[1] == self.port:
            raise ValueError(f"management_address has the port of the public address, {self.port}; choose another")
        return self

    @field_validator("management_address")
    @classmethod
    def _check_management_address(cls, address: str | None) -> str | None:
        if address is not None and address.startswith(UNIX):
            return check_listen_address(address)
        if address is not None:
            host, port = split_address(address)
            check_host(host)
            if not port:
                raise ValueError(f"the port must not be 0; write a port, such as {host}:9100")
        return address


class External(Table):
    """An external service with an HTTP health check; a string is its URL."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "string"]})

    url: HttpUrl
    """URL (http or https) that responds with 2xx or 3xx while the service is healthy."""
    critical: bool = False
    """Readiness fails when this check fails."""
    timeout: PositiveDuration = Duration("2s")
    """Timeout of the check."""

    @model_validator(mode="before")
    @classmethod
    def _expand_url(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value


class Health(Table):
    """The table ``[health]``: paths and checks."""

    path: Annotated[str, TextPattern(r"^/[^?#]*[^/?#]$", 'a path without a trailing slash, such as "/health"')] = (
        "/health"
    )
    """Path of the health pages: this path, and ``/live`` and ``/ready`` below it."""
    check_interval: PositiveDuration = Duration("5s")
    """Interval between runs of each check."""
    external: dict[str, External] = {}
    """External services by name."""


def split_address(address: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[::1]:port``; raises ValueError when it is neither."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f'expected host:port, such as "127.0.0.1:9100", got {address!r}')
    return host.removeprefix("[").removesuffix("]"), int(port)
