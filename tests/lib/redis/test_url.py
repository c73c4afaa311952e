"""Redis URLs, and the errors of invalid ones."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.provisional import domains

from scalekit_redis.url import RedisUrl, parse_url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", RedisUrl("redis", (("localhost", 6379),))),
        ("redis://localhost:6380/3", RedisUrl("redis", (("localhost", 6380),), db=3)),
        ("redis://:p%40ss@localhost", RedisUrl("redis", (("localhost", 6379),), password="p@ss")),
        ("redis://ann:secret@[::1]:7000/0", RedisUrl("redis", (("::1", 7000),), username="ann", password="secret")),
        ("unix:///run/redis.sock?db=2", RedisUrl("unix", path="/run/redis.sock", db=2)),
        ("unix://:secret@/run/redis.sock", RedisUrl("unix", path="/run/redis.sock", password="secret")),
        ("redis-cluster://a,b:7001,[::1]:7002", RedisUrl("redis-cluster", (("a", 6379), ("b", 7001), ("::1", 7002)))),
        (
            "rediss://host?ssl_check_hostname=false&ssl_ca_certs=/ca.pem",
            RedisUrl("rediss", (("host", 6379),), tls=(("ssl_ca_certs", "/ca.pem"), ("ssl_check_hostname", "false"))),
        ),
    ],
)
def test_a_valid_url_is_parsed(url: str, address: RedisUrl) -> None:
    assert parse_url(url) == address


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://localhost", "expected a URL that begins with redis://, rediss://, unix://, redis-cluster://"),
        ("redis://", "expected a host, such as redis://127.0.0.1:6379"),
        ("redis://a,b", "takes one host, got 2; the URL of a cluster begins with redis-cluster://"),
        ("redis://a:port", "write a port of 1 to 65535"),
        ("redis://a:70000", "write a port of 1 to 65535"),
        ("redis://a/name", "the database of a Redis URL must be a number"),
        ("redis-cluster://a/1", "a cluster has only database 0; remove the path"),
        ("unix://", "expected the path of a Unix socket"),
        ("rediss://a?ssl_ca_cert=x", "no option 'ssl_ca_cert'; did you mean ssl_ca_certs?"),
        ("redis://a?timeout=3", "no such option; valid are: none"),
    ],
)
def test_an_invalid_url_is_rejected_with_the_remedy(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_url(url)


@pytest.mark.parametrize(
    "url", ["redis://ann:hush@a:port", "redis://ann:hush@a,b", "http://ann:hush@a", "redis://ann:hush@"]
)
def test_no_error_shows_the_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"^expected|takes one|host or port") as caught:
        parse_url(url)
    assert "hush" not in str(caught.value)


@given(st.lists(st.tuples(domains(), st.integers(1, 65535)), min_size=1), st.text(), st.text())
def test_the_text_of_a_url_shows_hosts_and_no_credentials(
    hosts: list[tuple[str, int]], username: str, password: str
) -> None:
    address = RedisUrl("redis-cluster", tuple(hosts), username=username, password=f"hush{password}")
    assert parse_url(str(address)).hosts == address.hosts
    assert "hush" not in str(address) + repr(address)
