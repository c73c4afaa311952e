"""Field types that several tables use: networks, host names, ports, positive durations and sizes."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator

from scalekit.config.name_suggestion import did_you_mean
from scalekit.config.text_pattern import TextPattern
from scalekit.config.types import Duration, Size


def _parse_network(text: object) -> IPv4Network | IPv6Network:
    if text == "*":
        raise ValueError('"*" is not a network; write "0.0.0.0/0" and "::/0" to trust every client')
    try:
        return ip_network(str(text))
    except ValueError:
        raise ValueError(f'expected a network such as "10.0.0.0/8" or "::1", got {text!r}') from None


Network = Annotated[
    IPv4Network | IPv6Network,
    PlainValidator(_parse_network, json_schema_input_type=str),
    PlainSerializer(str, return_type=str),
]
"""A field for an address or network in CIDR notation: ``"10.0.0.0/8"``."""
Networks = tuple[Network, ...]
"""A field for several networks."""


def check_host(text: str) -> str:
    """Return *text*; raise ValueError when it is neither a host name nor an address."""
    try:
        encoded = text.encode("ascii" if text.isascii() else "idna")
    except UnicodeError as error:
        raise ValueError(f"expected a host name, got {text!r}: {error}") from None
    if not encoded or not encoded.decode().isprintable() or not {*"/ "}.isdisjoint(text):
        raise ValueError(f"expected a host name or address, such as 127.0.0.1, got {text!r}")
    return text


def is_loopback(host: str) -> bool:
    """Return whether *host*, a name or an address, is one that only processes of the same machine reach."""
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def loopback_of(host: str) -> str:
    """Return the address at which this machine reaches a listener of *host*: loopback for all interfaces."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


UNIX = "unix:"
"""Begin of the address of a Unix socket."""
MAX_SOCKET_NAME = 107
"""Bytes of the path or the abstract name of a Unix socket (unix(7))."""


def socket_path(address: str) -> str:
    """Return the path of a Unix socket, or its abstract name after ``@``; empty when *address* is not one."""
    return address.removeprefix(UNIX) if address.startswith(UNIX) else ""


def check_listen_address(text: str) -> str:
    """Return *text*; raise ValueError when it is neither a host name, an address nor a Unix socket."""
    if not text.startswith(UNIX):
        return check_host(text)
    name = socket_path(text)
    if name[:1] not in ("/", "@") or len(name) < 2 or name.endswith("/") or not name.isprintable():
        raise ValueError(f'expected an absolute path or a name, "unix:/run/app.sock" or "unix:@app", got {text!r}')
    if len(name.encode()) > MAX_SOCKET_NAME:
        raise ValueError(f"a Unix socket has a path of {MAX_SOCKET_NAME} bytes at most; choose a shorter one: {text!r}")
    return text


def _parse_proxy(text: object) -> IPv4Network | IPv6Network | Literal["unix"]:
    return "unix" if text == "unix" else _parse_network(text)


Number = TypeVar("Number", bound=float)


def _check_positive(value: Number) -> Number:
    if not value:
        raise ValueError(f"must be greater than zero, got '{value}'")
    return value


def _check_prefix(path: str) -> str:
    if path and not re.fullmatch(ROOT_PATH, path):
        raise ValueError(f'expected an ASCII path without a trailing slash, such as "/shop", got {path!r}')
    return path


_HOST = r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]"
_ORIGIN = re.compile(rf"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:{_HOST})(?::(?P<port>\d{{1,5}}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def check_origin(text: str) -> str:
    """Return *text*; raise ValueError when it is not an origin as browsers send it (RFC 6454, section 6.2)."""
    found = _ORIGIN.fullmatch(text)
    if found is None:
        examples = '"https://shop.example" or "http://localhost:3000"'
        raise ValueError(f"expected scheme, host in lower case and port, without a path: {examples}; got {text!r}")
    if found["port"] and found["port"] == _DEFAULT_PORTS.get(found["scheme"]):
        raise ValueError(f"browsers leave out the default port: write {text.removesuffix(':' + found['port'])!r}")
    return text


# fmt: off
METHODS = frozenset(
    {
        "ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD",
        "LABEL", "LINK", "LOCK", "M-SEARCH", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF",
        "MKWORKSPACE", "MOVE", "NOTIFY", "OPTIONS", "ORDERPATCH", "PATCH", "POST", "PROPFIND", "PROPPATCH",
        "PURGE", "PUT", "QUERY", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "TRACE", "UNBIND",
        "UNCHECKOUT", "UNLINK", "UNLOCK", "UNSUBSCRIBE", "UPDATE", "UPDATEREDIRECTREF", "VERSION-CONTROL",
    }
)
# fmt: on
"""IANA's registry of HTTP methods, and the other methods that the parser of the server accepts."""


def _check_method(method: str) -> str:
    if method not in METHODS:
        raise ValueError(f"{method!r} is no HTTP method{did_you_mean(method, METHODS)}")
    return method


ROOT_PATH = r"^(/[A-Za-z0-9._~%-]+)*$"
ListenAddress = Annotated[str, AfterValidator(check_listen_address)]
Proxy = Annotated[
    IPv4Network | IPv6Network | Literal["unix"],
    PlainValidator(_parse_proxy, json_schema_input_type=str),
    PlainSerializer(str, return_type=str),
]
Proxies = tuple[Proxy, ...]
"""A field for the networks of proxies; the word ``unix`` is every peer of a Unix socket."""
Origin = Annotated[str, AfterValidator(check_origin)]
"""A field for an origin as browsers send it: scheme, host in lower case, port unless it is the default."""
HostName = Annotated[
    str,
    TextPattern(r"^[^\s/*@]+$", 'a host name or address without scheme and path, such as "shop.example"'),
    AfterValidator(check_host),
]
"""A field for a host name or address without scheme and path."""
Method = Annotated[
    str,
    BeforeValidator(lambda word: word.upper() if isinstance(word, str) else word),
    TextPattern(r"^[A-Za-z-]+$", 'a method such as "GET"'),
    AfterValidator(_check_method),
]
"""A field for an HTTP method, in upper case after parsing."""
Prefix = Annotated[str, AfterValidator(_check_prefix), Field(json_schema_extra={"pattern": ROOT_PATH})]
PositiveDuration = Annotated[Duration, AfterValidator(_check_positive)]
"""A field for a duration above zero."""
PositiveSize = Annotated[Size, AfterValidator(_check_positive)]
"""A field for a size above zero."""
Count = Annotated[int, Field(ge=0)]
Port = Annotated[int, Field(ge=0, le=65535)]
"""A field for a TCP port, 0 to 65535."""
