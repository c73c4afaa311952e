"""The endpoint: the table, and the standard environment variables."""

from __future__ import annotations

import json

import pytest

from scalekit import ConfigError
from scalekit_tracing.config import TracingConfig
from scalekit_tracing.otlp.endpoint import CollectorEndpoint, endpoint_of, exports_spans, resource_attributes


def table(**keys: object) -> TracingConfig:
    return TracingConfig.model_validate_json(json.dumps(keys))


def endpoint(config: TracingConfig, **variables: str) -> CollectorEndpoint:
    return endpoint_of(config, {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()})


def test_defaults() -> None:
    found = endpoint(table())
    assert found.url == "http://127.0.0.1:4318/v1/traces"
    assert (found.encoding, found.compression, found.timeout, found.headers) == ("protobuf", "gzip", 10.0, {})


def test_variables() -> None:
    found = endpoint(
        table(),
        ENDPOINT="https://collector.example/otlp/",
        HEADERS="api-key=a%20b, x = y ,",
        TIMEOUT="2500",
        COMPRESSION="none",
        PROTOCOL="http/json",
    )
    assert found.url == "https://collector.example/otlp/v1/traces"
    assert found.headers == {"api-key": "a b", "x": "y"}
    assert (found.encoding, found.compression, found.timeout) == ("json", "none", 2.5)


def test_the_variables_for_traces_come_first_and_their_endpoint_is_complete() -> None:
    found = endpoint(table(), ENDPOINT="http://a", TRACES_ENDPOINT="http://b:1/x", TRACES_HEADERS="k=v", HEADERS="a=b")
    assert found.url == "http://b:1/x"
    assert found.headers == {"k": "v"}
    assert endpoint(table(), TRACES_ENDPOINT="http://b").path == "/"


@pytest.mark.parametrize(
    ("keys", "variable", "expected"),
    [
        ({}, "", True),
        ({}, "otlp", True),
        ({}, "otlp,console", True),
        ({}, " none ", False),
        ({"exporter": "none"}, "otlp", False),
        ({"exporter": "otlp"}, "none", True),
    ],
)
def test_whether_traces_are_exported(keys: dict[str, str], variable: str, expected: bool) -> None:
    assert exports_spans(table(**keys), {"OTEL_TRACES_EXPORTER": variable}) is expected


def test_an_unknown_exporter_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"OTEL_TRACES_EXPORTER is 'zipkin'; set it to otlp or none"):
        exports_spans(table(), {"OTEL_TRACES_EXPORTER": "zipkin"})


def test_the_table_comes_before_variables() -> None:
    config = table(
        endpoint="http://[::1]:9/base",
        headers={"X-Key": "mine"},
        encoding="protobuf",
        compression="gzip",
        timeout="3s",
    )
    found = endpoint(config, ENDPOINT="http://a", HEADERS="x-key=b,c=d", PROTOCOL="http/json", COMPRESSION="none")
    assert found.url == "http://[::1]:9/base/v1/traces"
    assert found.headers == {"x-key": "mine", "c": "d"}
    assert (found.encoding, found.compression, found.timeout) == ("protobuf", "gzip", 3.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENDPOINT", "collector:4318"),
        ("PROTOCOL", "grpc"),
        ("COMPRESSION", "br"),
        ("TIMEOUT", "soon"),
        ("TIMEOUT", "0"),
        ("HEADERS", "secret-without-name"),
        ("ENDPOINT", "http://user:secret@host"),
    ],
)
def test_a_bad_variable_is_named_without_its_secrets(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as error:
        endpoint(table(), **{name: value})
    assert "secret" not in str(error.value)
    assert name in str(error.value) or "endpoint" in str(error.value)


def test_resource_attributes() -> None:
    assert resource_attributes({"OTEL_RESOURCE_ATTRIBUTES": "a=b,c=d%2Ce"}) == {"a": "b", "c": "d,e"}
    assert resource_attributes({}) == {}


@pytest.mark.parametrize(
    "sent", ["key=secret%0d%0ax: y", "key=secret%00", "key=secret%e2%82%ac", "a key=secret", "=secret"]
)
def test_headers_that_cannot_be_sent_are_refused_without_their_value(sent: str) -> None:
    with pytest.raises(ConfigError) as error:
        endpoint(table(), HEADERS=sent)
    assert "secret" not in str(error.value)
    assert "HEADERS" in str(error.value)


@pytest.mark.parametrize("value", ["secret\n", "secret\u20ac", "secret\x00"])
def test_headers_of_the_table_that_cannot_be_sent_are_refused(value: str) -> None:
    with pytest.raises(ConfigError) as error:
        endpoint(table(headers={"api-key": value}))
    assert "secret" not in str(error.value)
    assert "tracing.headers has a value for api-key" in str(error.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://collector:4318/v1/traces", "ends with /v1/traces, which is appended to it; remove it"),
        ("http://collector:4318/?key=s3cr3t", "has a query or a fragment, which is not sent"),
        ("http://collector:4318/#x", "has a query or a fragment, which is not sent"),
        ("http://collector:4318/é", "percent-encode what is not ASCII"),
        ("http://user:s3cr3t@collector:4318", "has a user; send credentials in tracing.headers"),
    ],
)
def test_urls_that_cannot_be_meant(url: str, message: str) -> None:
    for name in ("tracing.endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        with pytest.raises(ConfigError) as error:
            endpoint(table(endpoint=url)) if name == "tracing.endpoint" else endpoint(table(), ENDPOINT=url)
        assert message in str(error.value)
        assert name in str(error.value)
        assert "s3cr3t" not in str(error.value)
