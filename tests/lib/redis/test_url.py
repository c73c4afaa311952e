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
            "redis-sentinel://ann:p%40ss@a,b:7001,[::1]/mymaster",
            RedisUrl(
                "redis-sentinel",
                (("a", 26379), ("b", 7001), ("::1", 26379)),
                username="ann",
                password="p@ss",
                master="mymaster",
            ),
        ),
        (
            "rediss-sentinel://a/my-master.1/3?sentinel_password=a+b%2F&sentinel_username=eve&ssl_ca_certs=/ca.pem",
            RedisUrl(
                "rediss-sentinel",
                (("a", 26379),),
                db=3,
                tls=(("ssl_ca_certs", "/ca.pem"),),
                master="my-master.1",
                sentinel_username="eve",
                sentinel_password="a+b/",
            ),
        ),
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
        ("redis-sentinel://", "expected a host, such as redis-sentinel://10.0.0.5,10.0.0.6,10.0.0.7/mymaster"),
        ("redis-sentinel://a,,b/mymaster", "expected a host"),
        ("redis-sentinel://a,b", "expected the name of the master after the Sentinels"),
        ("redis-sentinel://a,b/", "such as redis-sentinel://10.0.0.5,10.0.0.6,10.0.0.7/mymaster"),
        ("redis-sentinel://a/my%20master", "expected the name of the master"),
        ("redis-sentinel://a/mymaster/one", "the database of a Redis URL must be a number"),
        ("redis-sentinel://a/mymaster/1/2", "the database of a Redis URL must be a number"),
        ("redis-sentinel://a,b,A:26379/mymaster", "the Sentinel a:26379 is named twice; name each Sentinel once"),
        ("redis-sentinel://a/m?sentinel_pasword=hush", "no option 'sentinel_pasword'; did you mean sentinel_password?"),
        ("redis-sentinel://a/m?ssl_ca_certs=x", "no such option; valid are: sentinel_username, sentinel_password"),
        ("redis+sentinel://a/m", "the scheme 'redis+sentinel' is unknown; write redis-sentinel://"),
        ("rediss+sentinel://a/m", "write rediss-sentinel://"),
        ("sentinel://a/m", "write redis-sentinel://"),
        ("redis-sentinels://a/m", "write redis-sentinel://"),
        ("redis+sentinel+ssl://a/m", "write rediss-sentinel://"),
        ("redis+cluster://a", "write redis-cluster://"),
        ("redis://a:1,b:1/mymaster", "that of Sentinels with redis-sentinel://"),
    ],
)
def test_an_invalid_url_is_rejected_with_the_remedy(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://ann:hush@a:port",
        "redis://ann:hush@a,b",
        "http://ann:hush@a",
        "redis://ann:hush@",
        "redis-sentinel://ann:hush@a",
        "redis-sentinel://a?sentinel_password=hush",
    ],
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


def test_the_text_of_a_sentinel_url_shows_the_master_and_no_credentials() -> None:
    address = parse_url("redis-sentinel://ann:hush@a,[::1]:7/mymaster/2?sentinel_username=eve&sentinel_password=quiet")
    assert str(address) == "redis-sentinel://a:26379,[::1]:7/mymaster/2"
    assert str(address.sentinels) == "redis-sentinel://a:26379,[::1]:7/mymaster"
    assert (address.sentinels.username, address.sentinels.password) == ("eve", "quiet")
    assert not any(secret in repr(address) for secret in ("hush", "quiet"))
