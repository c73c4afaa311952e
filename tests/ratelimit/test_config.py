from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scalekit import ConfigError, PluginError, create_app
from scalekit.testing.conformance import bare_application
from scalekit_ratelimit.config import RateLimitPolicyConfig
from tests.ratelimit.client import host, policy

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"default": "often"}, "expected a rate such as"),
    ({"default": 100}, 'expected a rate such as "10/s", "100/15m" or "5000/1h", got 100'),
    ({"default": "1/0s"}, 'expected a rate such as "10/s", "100/15m" or "5000/1h", got '),
    ({"default": "9999999/s"}, "is more than one request in a microsecond; write a lower one"),
    ({"default": "5/400d"}, "is over more than a year; write a shorter period"),
    ({"default": ["5/s", "5/s"]}, "says the same twice; leave one out"),
    ({"url": "amqp://127.0.0.1"}, "no store has the address 'amqp://127.0.0.1'; write \"memory:\" or"),
    ({"url": "redis://127.0.0.1:0x"}, "write a port of 1 to 65535"),
    ({"policies": [policy("a", "5/s"), policy("a", "6/s")]}, "two policies are called a"),
    ({"policies": [policy("a", "5/s", cost=6)]}, "cost 6 is more than the 5 that may come at once"),
    ({"policies": [policy("a", "5/s", burst=6)]}, "burst 6 is above limit 5/1s"),
    ({"policies": [policy("a", "5/s", path="x")]}, "put a slash before it"),
    (
        {"policies": [policy("a", "5/s", by="adress")]},
        'expected "ip", "subject", "code", "header:X-API-Key" or a function',
    ),
    ({"policies": [policy("a", "5/s", exempt=["ada"])]}, "or a user as { issuer = "),
    ({"policies": [policy("a", "5/s", by=["ip", "code"])]}, 'by = "code" stands alone; put what else'),
    (
        {"policies": [policy("a", "5/s", by="code", path="/x", exempt=["10.0.0.0/8"])]},
        "path and exempt cannot be beside by",
    ),
    ({"policies": [policy("a", "20000/h", algorithm="sliding-window")]}, 'write algorithm = "gcra"'),
    ({"policies": [policy("a b", "5/s")]}, "name"),
    ({"concurrency": {"initial": 2}}, "initial 2 is not between least 4 and most 1000"),
]


@pytest.mark.parametrize(("table", "message"), WRONG)
def test_mistakes_are_told_with_their_remedy(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        host(table)
    assert message in str(caught.value)
    assert "plugins.ratelimit" in str(caught.value)


@pytest.mark.parametrize(
    ("by", "read"),
    [
        ("IP", ("ip",)),
        ("Code", ("code",)),
        ("HEADER:X-API-Key", ("header:X-API-Key",)),
        (["Subject", "Header:Tenant"], ("subject", "header:Tenant")),
        ("Header.ip:Ip", ("Header.ip:Ip",)),
    ],
)
def test_what_is_counted_by_may_be_written_in_either_case(by: str | list[str], read: tuple[str, ...]) -> None:
    assert RateLimitPolicyConfig.model_validate(policy("a", "5/s", by=by)).by == read


def test_memory_with_several_workers_is_refused_unless_the_file_says_so() -> None:
    with pytest.raises(ConfigError, match=r"lets through 4 times the limit; .* per_worker = true"):
        host({"default": "5/s"}, server={"workers": 4})
    host({"default": "5/s", "per_worker": True}, server={"workers": 4})
    host({"default": "5/s"}, server={"workers": 1})
    host({"default": "5/s", "url": "redis://127.0.0.1:1"}, server={"workers": 4})


def test_what_only_shows_beside_other_tables_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "scalekit.toml"
    file.write_text('[server]\nworkers = 4\n[plugins.ratelimit]\ndefault = "5/s"\nurl = "memory:"\n')
    with pytest.raises(ConfigError) as caught:
        create_app(file, app=bare_application)
    assert str(caught.value).startswith(f"{file}:5: plugins.ratelimit.url: memory: counts in each of 4 workers")


def test_a_function_that_is_not_there_is_named() -> None:
    with pytest.raises(PluginError, match=r"no_such_module:function.*name a function as module.path:name"):
        host({"policies": [policy("a", "5/s", by="no_such_module:function")]})
