"""Where spans are sent: the table, completed by the standard environment variables of OpenTelemetry.

Source: OpenTelemetry specification, OTLP exporter configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple
from urllib.parse import unquote

from scalekit import ConfigError, HttpUrl, Problem, UrlParts
from scalekit_tracing.config import HEADER_NAME, TracingConfig

DEFAULT = "http://127.0.0.1:4318"
PATH = "/v1/traces"
ENCODINGS: Mapping[str, Literal["protobuf", "json"]] = {"http/protobuf": "protobuf", "http/json": "json"}
PREFIX = "OTEL_EXPORTER_OTLP_"
EXPORTER = "OTEL_TRACES_EXPORTER"
MAX_TIMEOUT = 600.0
_NAME = re.compile(HEADER_NAME)
_VALUE = re.compile(r"[\t\x20-\x7e]*")


class CollectorEndpoint(NamedTuple):
    """A collector's URL, as *parts* and *path*, and how requests are sent to it; *timeout* is in seconds.

    *source* is the key, or the environment variable, with the URL.
    """

    parts: UrlParts
    path: str
    headers: Mapping[str, str]
    encoding: Literal["protobuf", "json"]
    compression: Literal["gzip", "none"]
    timeout: float
    source: str

    @property
    def url(self) -> str:
        """The URL without user, password and query, for messages."""
        host = f"[{self.parts.host}]" if ":" in self.parts.host else self.parts.host
        port = f":{self.parts.port}" if self.parts.port else ""
        return f"{self.parts.scheme}://{host}{port}{self.path}"


def endpoint_of(config: TracingConfig, environment: Mapping[str, str]) -> CollectorEndpoint:
    """Return the endpoint of *config*, with keys that the file leaves out from *environment*.

    Raises ConfigError when a variable has no valid value.
    """
    source, parts, path = _url(config, environment)
    if parts.user is not None:
        raise _mistake(f"{source} has a user; send credentials in tracing.headers")
    if parts.query or parts.fragment:
        raise _mistake(f"{source} has a query or a fragment, which is not sent; write only scheme, host, port and path")
    if not path.isascii():
        raise _mistake(f"{source} has the path {path!r}; percent-encode what is not ASCII, é as %C3%A9")
    return CollectorEndpoint(
        parts,
        path,
        _headers(config, environment),
        config.encoding or _encoding(environment),
        _compression(config, environment),
        _timeout(config, environment),
        source,
    )


def exports_spans(config: TracingConfig, environment: Mapping[str, str]) -> bool:
    """Return whether *config*, or else *environment*, has kept traces exported; raises ConfigError as endpoint_of."""
    if config.exporter is not None:
        return config.exporter == "otlp"
    text = environment.get(EXPORTER, "").strip() or "otlp"
    names = {each.strip() for each in text.split(",")}
    if not names & {"otlp", "none"}:
        raise _mistake(f"{EXPORTER} is {text!r}; set it to otlp or none, or set tracing.exporter")
    return "otlp" in names


def _mistake(message: str) -> ConfigError:
    return ConfigError([Problem(message, "plugins.tracing", plugin="tracing")])


def _variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the name and the value of the variable for traces, or of that for all signals, empty when unset."""
    for variable in (f"{PREFIX}TRACES_{name}", PREFIX + name):
        if value := environment.get(variable, "").strip():
            return variable, value
    return "", ""


def _url(config: TracingConfig, environment: Mapping[str, str]) -> tuple[str, UrlParts, str]:
    """Return the key or variable with the URL, the URL's parts, and the path of requests."""
    if config.endpoint is not None:
        return _with_path("tracing.endpoint", config.endpoint.parts)
    variable, text = _variable(environment, "ENDPOINT")
    if not variable:
        return _with_path("tracing.endpoint", HttpUrl(DEFAULT).parts)
    try:
        parts = HttpUrl(text).parts
    except ValueError as error:
        raise _mistake(f"{variable}: {error}") from None
    return (variable, parts, parts.path or "/") if "TRACES" in variable else _with_path(variable, parts)


def _with_path(source: str, parts: UrlParts) -> tuple[str, UrlParts, str]:
    path = parts.path.rstrip("/")
    if path.endswith(PATH):
        raise _mistake(f"{source} ends with {PATH}, which is appended to it; remove it")
    return source, parts, path + PATH


def _headers(config: TracingConfig, environment: Mapping[str, str]) -> dict[str, str]:
    variable, text = _variable(environment, "HEADERS")
    found = {name.lower(): value for name, value in _pairs(text, "HEADERS").items()}
    _check_headers(found, variable)
    sent = {name.lower(): value.get_secret_value() for name, value in config.headers.items()}
    _check_headers(sent, "tracing.headers")
    return {**found, **sent}


def _check_headers(headers: Mapping[str, str], source: str) -> None:
    """Raise ConfigError, without the value, when one of *headers* cannot be sent."""
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise _mistake(f"{source} has the name {name!r}; write that of a header, such as api-key")
        if not _VALUE.fullmatch(value):
            raise _mistake(f"{source} has a value for {name} that is no header; write printable ASCII in one line")


def _encoding(environment: Mapping[str, str]) -> Literal["protobuf", "json"]:
    variable, text = _variable(environment, "PROTOCOL")
    if not variable:
        return "protobuf"
    if text not in ENCODINGS:
        raise _mistake(f"{variable} is {text!r}; set it to http/protobuf or http/json, on the collector's port 4318")
    return ENCODINGS[text]


def _compression(config: TracingConfig, environment: Mapping[str, str]) -> Literal["gzip", "none"]:
    variable, text = _variable(environment, "COMPRESSION")
    if "compression" in config.model_fields_set or not variable:
        return config.compression
    if text == "gzip":
        return "gzip"
    if text == "none":
        return "none"
    raise _mistake(f"{variable} is {text!r}; set it to gzip or none")


def _timeout(config: TracingConfig, environment: Mapping[str, str]) -> float:
    variable, text = _variable(environment, "TIMEOUT")
    if "timeout" in config.model_fields_set or not variable:
        return config.timeout
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= MAX_TIMEOUT * 1000:
        raise _mistake(f"{variable} is {text!r}; set it to milliseconds, such as 10000")
    return int(text) / 1000


def resource_attributes(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes in ``OTEL_RESOURCE_ATTRIBUTES``; raises ConfigError when they are malformed."""
    return _pairs(environment.get("OTEL_RESOURCE_ATTRIBUTES", ""), "RESOURCE_ATTRIBUTES")


def _pairs(text: str, name: str) -> dict[str, str]:
    """Return the values of ``name=value,name=value``, percent-decoded (W3C Baggage); values are never shown."""
    found = {}
    for pair in text.split(","):
        key, equals, value = pair.partition("=")
        if not pair.strip():
            continue
        if not equals or not key.strip():
            raise _mistake(f"OTEL_..._{name} has a part without name=value; write name=value,name=value")
        found[key.strip()] = unquote(value.strip())
    return found
