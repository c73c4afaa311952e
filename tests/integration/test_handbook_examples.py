"""The Python examples of the handbook are a plugin that works, and the calls of Redis in it do what they say."""

from __future__ import annotations

import ast
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from scalekit import Context, Finding, Key, Url, create_app
from scalekit.config.tables import Server
from scalekit.telemetry import TELEMETRY, NullTelemetry
from scalekit.testing import request, running
from scalekit.testing.conformance import bare_application
from scalekit_redis import Script, redis_connections
from tests.documents import ROOT
from tests.host.deploy.conftest import describe_sample
from tests.plugin_source import Install
from tests.processes import HOST, wait_for
from tests.servers import Redis
from tests.tutorial.page import Block, blocks

pytestmark = pytest.mark.anyio

EXAMPLES = [block for block in blocks(ROOT / "plugins/README.md") if block.language == "python"]
HEADER = """\
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import click
from scalekit import *
from scalekit.contracts import DATABASE
from scalekit.deploy import DeployKind, ServiceDescription, generated_header
from scalekit.pages import ActionForm, Block, Column, ConsolePage, DataTable, FormField, PageAction, PageView
from scalekit.telemetry import Counter, Gauge, Histogram, SpanKind, SpanType, record_span
from scalekit.testing import PluginConformance

PAGE = "https://greeting.example/findings"
guest = SimpleNamespace(language="en")


class Greeter:
    guests = {"ada": 2}

    def counts(self):
        return dict(self.guests)

    def forget(self, guest):
        del self.guests[guest]

    async def count_languages(self):
        return 1


@asynccontextmanager
async def open_greeter(config):
    yield Greeter()


@hookimpl
def scalekit_config():
    return GreetingConfig


"""
"""What an author of a plugin has around the examples."""
OPERATORS = {"operator_networks": ["127.0.0.1"]}


def is_of_redis(example: Block) -> bool:
    """Return whether the *example* is of the section on Redis."""
    return "redis" in example.text


@pytest.fixture
def plugin(install: Install) -> str:
    """Install the examples as the plugin *greeting*, and return its module."""
    return install("greeting", HEADER + "\n\n".join(each.text for each in EXAMPLES if not is_of_redis(each)))


async def test_the_examples_are_a_plugin_with_a_filter_and_a_page(plugin: str) -> None:
    app = create_app({"server": OPERATORS, "plugins": {"console": {}, "greeting": {}}}, app=bare_application)
    async with running(app) as state:
        refused = await request(app, "/", state=state)
        assert (refused.status, json.loads(refused.body)["detail"]) == (403, "missing header X-Guest")
        greeted = await request(app, "/", headers={"x-guest": "ada"}, state=state)
        assert (greeted.status, greeted.header("x-greeting")) == (200, "hello")
        page = await request(app, "/-/guests.json", state=state)
        assert (page.status, b"ada" in page.body) == (200, True)
        headers = {"content-type": "application/json"}
        body = b'{"guest": "ada"}'
        forgot = await request(app, "/-/guests/forget", method="POST", headers=headers, body=body, state=state)
        assert (forgot.status, b"forgot ada" in forgot.body) == (200, True)


async def test_the_examples_find_what_is_unwise_and_generate_a_deployment(plugin: str) -> None:
    app = create_app({"plugins": {"greeting": {}}}, app=bare_application)
    module = import_module(plugin)
    async with running(app):
        (diagnostic,) = module.scalekit_diagnostics(app.context)
        assert [type(each) for each in await diagnostic.probe()] == [Finding]
    files = module.NOMAD.generate(describe_sample("scalekit.toml"), {"datacenter": "eu"})
    assert 'datacenters = ["eu"]' in files["job.hcl"]
    assert module.TestConformance.name == "greeting"


@pytest.mark.needs("redis")
async def test_the_calls_of_redis_do_what_they_say() -> None:
    opened, calls = filter(is_of_redis, EXAMPLES)
    greeter: Key[Any] = Key("greeter")
    with Redis() as server, Redis("--replicaof", HOST, str(server.port)):
        wait_for("the replica", lambda: "state=online" in server.cli("INFO", "replication"))
        context = Context(Server(), {})
        context.provide(TELEMETRY, NullTelemetry())
        names: dict[str, Any] = {
            "AsyncGenerator": AsyncGenerator,
            "COUNT": Script("return redis.call('INCRBY', KEYS[1], ARGV[1])"),
            "GREETER": greeter,
            "RedisGreeter": lambda redis: redis,
            "asynccontextmanager": asynccontextmanager,
            "config": SimpleNamespace(url=Url(server.url)),
            "context": context,
            "counter": "counter",
            "key": "key",
            "limit": 5,
            "other": "other",
            "redis_connections": redis_connections,
            "value": b"1",
        }
        exec(opened.text, names)
        async with names["run"]():
            names["redis"] = context.get(greeter)
            await eval(compile(calls.text, calls.place, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
            assert await names["redis"].get("counter") == b"1"
