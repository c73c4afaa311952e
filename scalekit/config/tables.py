"""The tables of the file that belong to the host, and the base class of every table."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from scalekit.config.app_name import SERVICE_NAME_PATTERN
from scalekit.config.descriptions import descriptions
from scalekit.config.field_types import (
    Address,
    Count,
    HostName,
    Networks,
    Port,
    PositiveDuration,
    PositiveSize,
    Prefix,
    name_or_address,
)
from scalekit.config.letter_case import in_either_case
from scalekit.config.text_pattern import TextPattern
from scalekit.config.types import Duration, Secret, Size, SizeOrShare
from scalekit.config.url import HttpUrl

TARGET = r"\w+(\.\w+)*:\w+(\.\w+)*"


def _service_name(name: str) -> str:
    if name and not re.fullmatch(SERVICE_NAME_PATTERN, name):
        raise ValueError(f'expected a name of letters, digits, ".", "_" and "-", such as "shop", got {name!r}')
    return name


class Table(BaseModel):
    """A table of the file: frozen, and closed to keys that it does not declare.

    The string below a field becomes the help of the JSON Schema, so every field has one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let words that are enumerated be written in either case."""
        schema: CoreSchema = in_either_case(handler(source))
        return schema

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the JSON Schema with the description of every key."""
        result = handler(schema)
        described = descriptions(cls)
        for name, field in handler.resolve_ref_schema(result).get("properties", {}).items():
            field.setdefault("description", described.get(name, ""))
        return result


def _one_or_more(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


StaticPath = Annotated[
    str, TextPattern(r"^/[^?#*{}]*[^/?#*{}]$", 'a path such as "/static", without a slash at its end')
]
Folders = Annotated[
    tuple[str, ...], Field(min_length=1), BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])
]


class App(Table):
    """What is served."""

    target: str | None = None
    """The ASGI application or a factory of one, as ``module.path:name``."""
    name: Annotated[
        str, AfterValidator(_service_name), Field(json_schema_extra={"pattern": f"{SERVICE_NAME_PATTERN}|^$"})
    ] = ""
    """The name of this service in log lines, in Consul and over dashboards, where their own keys do not say another."""
    static: dict[StaticPath, Folders] = {}
    """Folders of static files by path; ``package:folder`` is one inside an installed package."""

    @field_validator("target")
    @classmethod
    def _names_an_attribute(cls, target: str | None) -> str | None:
        if target is not None and not re.fullmatch(TARGET, target):
            raise ValueError(f"expected module.path:name, such as shop.app:app, got {target!r}")
        return target


class Memory(Table):
    """How a process keeps its memory in hand."""

    limit: SizeOrShare | None = None
    """What one worker may use before a new one takes its place: a size, or a share of the memory that the cgroup or
    machine has."""
    check_interval: Duration = Duration("5s")
    """Time between two looks at what each worker uses."""
    gc_freeze: bool = True
    """Whether what start has made is left out of garbage collections from then on."""
    gc_thresholds: tuple[Count, Count, Count] | None = None
    """Python's thresholds of garbage collection, as ``gc.set_threshold`` takes them."""
    tracemalloc: Annotated[int, Field(ge=0, le=50)] = 0
    """Frames to remember of every allocation, for ``/-/memory``; 0 remembers none, any other number costs much."""


class Server(Table):
    """Where and how it is served."""

    host: Address = "127.0.0.1"
    """Address to listen on; ``0.0.0.0`` or ``::`` for every interface."""
    port: Port = 8000
    """Port to listen on; 0 takes a free one."""
    role: Literal["web", "worker"] = "web"
    """What a process is for: ``web`` serves the application, ``worker`` only runs plugins, and serves nothing but the
    management address."""
    management_address: str | None = None
    """A second address, ``host:port`` with a port of its own, for health and operators' pages, which then leave the
    public one."""
    root_path: Prefix = ""
    """Path prefix that a proxy in front has taken off, such as ``/shop``."""
    trusted_proxies: Networks = ()
    """Networks whose forwarded headers are believed."""
    forwarded_headers: Literal["auto", "x-forwarded", "forwarded"] = "auto"
    """Which headers those proxies write; ``auto`` prefers ``X-Forwarded-*`` where both arrive."""
    allowed_hosts: tuple[HostName, ...] = ()
    """Exact names, with or without a port, that the Host header may have; empty allows all."""
    operator_networks: Networks = ()
    """Networks that may see details of health and operators' pages."""
    operator_token: Secret | None = None
    """A bearer token that opens the same details from anywhere."""
    max_body: Size = Size("16MiB")
    """Largest request body, streamed or not."""
    max_header: PositiveSize = Size("64KiB")
    """Largest request line with all headers; chunk extensions and trailers of a body may be as large again."""
    header_timeout: PositiveDuration = Duration("10s")
    """Time for a client to send a complete request head."""
    body_timeout: PositiveDuration = Duration("30s")
    """Time that a request may spend waiting for its body; every KiB that arrives adds a second."""
    write_timeout: PositiveDuration = Duration("30s")
    """Time for a client to take what has been written to it."""
    keep_alive_timeout: PositiveDuration = Duration("65s")
    """How long an idle connection is kept; longer than the proxy in front keeps it."""
    backlog: Annotated[int, Field(ge=1)] = 2048
    """Connections that may wait to be accepted."""
    start_timeout: PositiveDuration = Duration("30s")
    """Time for each plugin to start."""
    drain_delay: Duration = Duration("5s")
    """After SIGTERM, how long new connections are still served while balancers look away."""
    graceful_timeout: Duration = Duration("30s")
    """Time for requests in flight to finish before they are cut."""
    stop_timeout: Duration = Duration("10s")
    """Time for each plugin to stop before it is cut."""
    workers: Annotated[int, Field(ge=1, le=512)] | None = None
    """Processes that serve, under a supervisor that replaces those which crash or hang; unset serves in one process."""
    preload: bool = True
    """Whether one process imports plugins and application and forks the workers, which share its memory; each imports
    for itself where importing starts threads."""
    worker_start_timeout: PositiveDuration = Duration("5m")
    """Time for a worker to become ready, imports of the application included, before it is ended."""
    hang_timeout: Duration = Duration("30s")
    """How long the event loop of a worker that is ready may be blocked before the worker is replaced."""
    memory: Memory = Memory()
    """How a process keeps its memory in hand."""

    @model_validator(mode="after")
    def _has_workers_to_replace(self) -> Server:
        if self.memory.limit is not None and self.workers is None:
            raise ValueError("memory.limit replaces workers, and there are none; add workers = 1 or more")
        return self

    @model_validator(mode="after")
    def _has_two_ports(self) -> Server:
        # A connection's local port decides which of the two addresses it belongs to.
        if self.management_address is not None and split_address(self.management_address)[1] == self.port:
            raise ValueError(f"management_address has the port of the public address, {self.port}; give it another")
        return self

    @field_validator("management_address")
    @classmethod
    def _has_host_and_port(cls, address: str | None) -> str | None:
        if address is not None:
            host, port = split_address(address)
            name_or_address(host)
            if not port:
                raise ValueError(f"port 0 would be unknown to probes; name a port, such as {host}:9100")
        return address


class External(Table):
    """A service that the application needs, watched by its status line; its address alone stands for the table."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "string"]})

    url: HttpUrl
    """URL (http or https) that responds with 2xx or 3xx while the service is healthy."""
    critical: bool = False
    """Whether this instance is not ready without it."""
    timeout: PositiveDuration = Duration("2s")
    """Time limit for its response."""

    @model_validator(mode="before")
    @classmethod
    def _address_alone(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value


class Health(Table):
    """How health is checked and shown."""

    path: Annotated[str, TextPattern(r"^/[^?#]*[^/?#]$", 'a path such as "/health", without a slash at its end')] = (
        "/health"
    )
    """Where the health pages are: this path, and ``/live`` and ``/ready`` under it."""
    check_interval: PositiveDuration = Duration("5s")
    """Time between two rounds of each check."""
    external: dict[str, External] = {}
    """Services outside, by name."""


def split_address(address: str) -> tuple[str, int]:
    """Split ``host:port`` or ``[::1]:port``; raises ValueError when it is neither."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f'expected host:port, such as "127.0.0.1:9100", got {address!r}')
    return host.removeprefix("[").removesuffix("]"), int(port)
