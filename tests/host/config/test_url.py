"""Invalid URLs are rejected, and no message shows a password."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit import ConfigError, HttpUrl, Url, create_app
from scalekit.testing.conformance import bare_application


class StoreUrl(Url):
    SCHEMES = ("store", "sqlite")
    EXAMPLE = "store://127.0.0.1:7000"


def test_an_address_shows_no_password() -> None:
    url = Url("postgresql://app:s3cret@db/shop?sslpassword=hidden&x=1")
    assert str(url) == "postgresql://app:***@db/shop?sslpassword=***&x=1"
    assert "s3cret" not in repr(url)
    assert url.parts.password == "s3cret"
    assert url.reveal() == "postgresql://app:s3cret@db/shop?sslpassword=hidden&x=1"
    assert str(Url("redis://a:b:s3cret@db")) == "redis://a:***@db"


@pytest.mark.parametrize(
    "text",
    [
        "store://h",
        "store://h:1",
        "store://u:p%2F@h:65535/x?y=z:1#a:b",
        "store://[::1]:7000",
        "store://[fe80::1%25eth0]",
        "sqlite:///data.db",
        "sqlite:///:memory:",
        "sqlite://",
    ],
)
def test_valid_urls_are_accepted(text: str) -> None:
    assert StoreUrl(text).reveal() == text


@pytest.mark.parametrize("text", ["redis://h1:1,h2:2,[::1]:3", "rediss-cluster://u:p@h1,h2:6379", "memory:"])
def test_any_scheme_is_accepted_when_none_is_declared(text: str) -> None:
    assert Url(text).reveal() == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "expected a URL with a scheme, such as store://127.0.0.1:7000, got 'nope'"),
        ("queue://h", "the scheme 'queue' is none of store, sqlite; write store://127.0.0.1:7000, got 'queue://h'"),
        ("store://h:65536", "write a port of 1 to 65535"),
        ("store://h:0", "write a port of 1 to 65535"),
        ("store://h:-1", "write a port of 1 to 65535"),
        ("store://h:abc", "got 'store://h:***'"),
        ("store://h:\u0661", "write a port of 1 to 65535"),
        ("store://[::1", "an IPv6 address as [::1]"),
        ("store://::1:80", "an IPv6 address as [::1]"),
        ("store://h1:1,h2:2", "write a port of 1 to 65535"),
        ("store:///name", "the URL has no host; write store://127.0.0.1:7000"),
        ("store://:80", "the URL has no host"),
        ("store://a b", "write it as %20"),
        ("sqlite://data.db", "write sqlite:///data.db, with three slashes"),
        ("sqlite:///nowhere/data.db", "there is no folder 'nowhere'; create it, or write"),
    ],
)
def test_invalid_urls_are_rejected_with_value_and_remedy(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="got '") as caught:
        StoreUrl(text)
    assert message in str(caught.value)


PASSWORDS = st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=8)


@given(PASSWORDS, st.sampled_from(["store://u:{}@h:99999/x", "store://u:{}@", "u:{}@h", "store//u:{}@h", "x://u:{}@h"]))
def test_error_messages_show_no_password(password: str, address: str) -> None:
    with pytest.raises(ValueError, match="got '") as caught:
        StoreUrl(address.format(password))
    assert password not in str(caught.value)
    assert repr(password)[1:-1] not in str(caught.value)


def test_the_file_of_a_url_has_no_scheme(tmp_path: Path) -> None:
    assert StoreUrl(f"sqlite:///{tmp_path}/a%20b.db?mode=ro").file == f"{tmp_path}/a b.db"
    assert StoreUrl("sqlite:///:memory:").file == ""


@pytest.mark.parametrize(
    ("plugin", "key", "value"),
    [
        ("pool", "url", "postgresql://u:s3cret@h:99999/x"),
        ("pool", "urls[0]", ["postgresql://u:s3cret@h:abc/x"]),
        ("pool", "url", "sqlite:///nowhere/x.db"),
        ("replica", "urls[0]", ["postgresql://u:s3/cret@h:80/x"]),
        ("queue", "url", "amqp://u:s3cret@h:99999/"),
        ("queue", "url", "sqlite:///nowhere/queue.db"),
        ("cache", "url", "redis://u:s3cret@h:99999"),
        ("ratelimit", "url", "redis://u:s3cret@h:abc"),
        ("discovery", "consul", "http://u:s3cret@h:99999"),
        ("discovery", "services.a[0]", {"a": ["http://u:s3cret@h:99999"]}),
    ],
)
def test_every_plugin_names_key_value_and_remedy(plugin: str, key: str, value: object) -> None:
    table = {key.partition("[")[0].partition(".")[0]: value}
    with pytest.raises(ConfigError) as caught:
        create_app({"plugins": {"pool": {}, plugin: table}}, app=bare_application)
    (problem,) = [each for each in caught.value.problems if each.key == f"plugins.{plugin}.{key}"]
    assert "; " in problem.message
    assert ", got '" in problem.message
    assert "s3" not in str(caught.value)


def test_a_value_of_the_command_line_is_shown() -> None:
    with pytest.raises(ConfigError, match=r"services\.a\[0\]: expected .* such as http://127\.0\.0\.1:8001, got 'no'"):
        create_app(
            {"plugins": {"discovery": {}}},
            app=bare_application,
            overrides=['plugins.discovery.services={a=["no"]}'],
        )


def test_http_urls_have_their_own_example() -> None:
    with pytest.raises(ValueError, match=r"write http://127\.0\.0\.1:8001"):
        HttpUrl("redis://h")
