"""Configuration errors and their remedies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scalekit import ConfigError, PluginError, StartError, create_app
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from scalekit_ratelimit.config import RateLimitPolicyConfig
from tests.ratelimit.client import host, policy

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"default": "often"}, "expected a rate such as"),
    ({"default": 100}, 'expected a rate such as "10/s", "100/15m" or "5000/1h", got 100'),
    ({"default": "1/0s"}, 'expected a rate such as "10/s", "100/15m" or "5000/1h", got '),
    ({"default": "9999999/s"}, "is more than one request per microsecond; set a lower one"),
    ({"default": "5/400d"}, "has a period of more than a year; set a shorter one"),
    ({"default": ["5/s", "5/s"]}, "contains a duplicate rate; remove it"),
    ({"url": "amqp://127.0.0.1"}, 'unsupported store \'amqp://127.0.0.1\'; write "memory:", "database:" or'),
    ({"url": "database://db"}, "the pool's database has no address here; write 'database:'"),
    ({"url": "redis://127.0.0.1:0x"}, "write a port of 1 to 65535"),
    ({"url": "redis-sentinel://a,b"}, "expected the name of the master after the Sentinels"),
    ({"url": "redis+sentinel://a,b/mymaster"}, "write redis-sentinel://"),
    ({"policies": [policy("a", "5/s"), policy("a", "6/s")]}, "duplicate policy name a; rename"),
    ({"policies": [policy("a", "5/s", cost=6)]}, "cost 6 is greater than burst 5"),
    ({"policies": [policy("a", "5/s", burst=6)]}, "burst 6 is greater than limit 5/1s"),
    ({"policies": [policy("a", "5/s", path="x")]}, "put a slash before it"),
    (
        {"policies": [policy("a", "5/s", key="adress")]},
        'expected "ip", "subject", "application", "header:X-API-Key" or a function',
    ),
    ({"policies": [policy("a", "5/s", exempt=["ada"])]}, "or a user as { issuer = "),
    (
        {"policies": [policy("a", "5/s", key=["ip", "application"])]},
        'key = "application" cannot be combined; put the other',
    ),
    (
        {"policies": [policy("a", "5/s", key="application", path="/x", exempt=["10.0.0.0/8"])]},
        "path and exempt cannot be combined with key",
    ),
    ({"policies": [policy("a", "20000/h", algorithm="sliding-window")]}, 'set algorithm = "gcra"'),
    ({"policies": [policy("a b", "5/s")]}, "name"),
    ({"concurrency": {"initial_limit": 2}}, "initial_limit 2 is not between min_limit 4 and max_limit 1000"),
]


@pytest.mark.parametrize(("table", "message"), WRONG)
def test_errors_name_their_remedy(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        host(table)
    assert message in str(caught.value)
    assert "plugins.ratelimit" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "normalized"),
    [
        ("IP", ("ip",)),
        ("Application", ("application",)),
        ("HEADER:X-API-Key", ("header:X-API-Key",)),
        (["Subject", "Header:Tenant"], ("subject", "header:Tenant")),
        ("Header.ip:Ip", ("Header.ip:Ip",)),
    ],
)
def test_key_names_are_case_insensitive(key: str | list[str], normalized: tuple[str, ...]) -> None:
    assert RateLimitPolicyConfig.model_validate(policy("a", "5/s", key=key)).key == normalized


def test_memory_with_several_workers_is_refused_without_per_worker() -> None:
    with pytest.raises(ConfigError, match=r"4 times the limit is allowed; .* per_worker = true"):
        host({"default": "5/s"}, server={"workers": 4})
    host({"default": "5/s", "per_worker": True}, server={"workers": 4})
    host({"default": "5/s"}, server={"workers": 1})
    host({"default": "5/s", "url": "redis://127.0.0.1:1"}, server={"workers": 4})


def test_an_error_that_depends_on_other_tables_names_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "scalekit.toml"
    file.write_text('[server]\nworkers = 4\n[plugins.ratelimit]\ndefault = "5/s"\nurl = "memory:"\n')
    with pytest.raises(ConfigError) as caught:
        create_app(file, app=bare_application)
    assert str(caught.value).startswith(f"{file}:5: plugins.ratelimit.url: memory: is separate in each of 4 workers")


def test_a_key_function_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(PluginError, match=r"no_such_module:function.*name a function as module.path:name"):
        host({"policies": [policy("a", "5/s", key="no_such_module:function")]})


def test_the_store_database_needs_the_pool() -> None:
    with pytest.raises(ConfigError, match=r"plugins.ratelimit.url: 'database:' needs \[plugins.pool\]; turn it on"):
        host({"default": "5/s", "url": "database:"})
    host({"default": "5/s", "url": "database:"}, server={"workers": 4}, pool={"url": "postgresql://a@127.0.0.1:1/a"})


@pytest.mark.anyio
async def test_the_store_database_needs_postgresql(tmp_path: Path) -> None:
    app = host({"default": "5/s", "url": "database:"}, pool={"url": f"sqlite:///{tmp_path}/a.db"})
    with pytest.raises(StartError, match=r"needs PostgreSQL, and \[plugins.pool\] has sqlite; write url = \"memory:\""):
        async with running(app):
            pass
