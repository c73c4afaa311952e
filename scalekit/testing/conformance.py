"""Conformance tests of plugins: tests of a plugin subclass :class:`PluginConformance`."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import json
import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import hookspecs
from scalekit.app import create_app
from scalekit.asgi_client import running
from scalekit.config.descriptions import descriptions
from scalekit.config.document import read
from scalekit.context import SCOPE_KEY
from scalekit.host import ChainLink, Host, build_chain
from scalekit.http.exchange import Exchange
from scalekit.http.filter import Decision, Filter
from scalekit.pages import CONSOLE_PAGES, Block, PageRegistry
from scalekit.plugins import installed
from scalekit.runner.workers.worker_queries import WORKER_QUERIES

SECTIONS = ["Name", "Description", "Configuration", "Metrics", "Health", "Commands", "Failure", "Examples"]
TABLE_CELL = re.compile(r"^\| `(?P<key>[a-z0-9_.]+)` \| (?P<default>[^|]+) \|", re.MULTILINE)


async def bare_application(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond to every request with 200 and the path."""
    if scope["type"] != "http":
        raise ValueError(f"no {scope['type']} here")
    body = scope["path"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class PluginConformance:
    """Tests of the plugin *name* with the configuration *table*; pytest collects them from a subclass ``Test...``.

    *other_tables* has the tables of required plugins by name.
    """

    name: ClassVar[str]
    table: ClassVar[Mapping[str, Any]] = {}
    other_tables: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @property
    def module(self) -> ModuleType:
        """The module that the plugin's entry point names."""
        (plugin,) = installed()[self.name]
        return importlib.import_module(plugin.module)

    @property
    def readme(self) -> str:
        """The README in the plugin's folder."""
        return Path(str(self.module.__file__)).with_name("README.md").read_text(encoding="utf-8")

    def host(self, app: ASGIApp = bare_application) -> Host:
        """Return a new host of *app* with this plugin and the plugins that it requires."""
        return create_app({"plugins": {**self.other_tables, self.name: dict(self.table)}}, app=app)

    def test_hooks_have_the_signature_that_the_host_declares(self) -> None:
        hooks = {name: function for name, function in vars(self.module).items() if hasattr(function, "scalekit_impl")}
        assert hooks, f"{self.module.__name__} implements no hook"
        for name, function in hooks.items():
            declared = inspect.signature(getattr(hookspecs, name)).parameters
            for parameter, mine in inspect.signature(function).parameters.items():
                assert mine.annotation == declared[parameter].annotation, f"{name}: {parameter}"

    def test_every_key_is_described_in_the_model_and_in_the_readme_with_its_default(self) -> None:
        table = self.host().settings.tables.get(self.name)
        if table is None:
            return
        _check_keys(type(table), dict(TABLE_CELL.findall(_section(self.readme, "Configuration"))))

    def test_the_readme_has_its_sections_in_order(self) -> None:
        found = re.findall(r"^## (.+)$", self.readme, re.MULTILINE)
        assert [section for section in found if section in SECTIONS] == SECTIONS

    def test_every_example_of_the_readme_starts_and_stops(self, tmp_path: Path) -> None:
        examples = toml_blocks(self.readme)
        assert examples, "the README has no example"
        with contextlib.chdir(tmp_path):  # some examples write files
            for number, example in enumerate(examples):
                file = tmp_path / f"example{number}.toml"
                file.write_text(example, encoding="utf-8")
                assert self.name in read(file).table("plugins"), f"example {number} does not turn {self.name} on"
                asyncio.run(_start_and_stop(create_app(file, app=bare_application)))

    def test_it_starts_and_stops_repeatedly_and_leaves_no_task(self) -> None:
        async def twice() -> None:
            host = self.host()
            before = asyncio.all_tasks()
            await _start_and_stop(host)
            await _start_and_stop(host)
            assert asyncio.all_tasks() == before, asyncio.all_tasks() - before

        asyncio.run(twice())

    def test_its_pages_are_described_and_rendered_from_data_that_json_can_represent(self) -> None:
        async def render_all() -> None:
            host = self.host()
            registry = PageRegistry(host.context.get(WORKER_QUERIES), host.settings.plugins.names)
            if not host.context.has(CONSOLE_PAGES):
                host.context.provide(CONSOLE_PAGES, registry)
            pages = host.settings.plugins.pages(host.context).get(self.name, ())
            for page in pages:
                registry.add(page, self.name)
            async with running(host):
                for page in pages:
                    view, blocks = await registry.render(page, {})
                    assert not view.missing, f"{page.name}: collect failed; see the log"
                    assert all(isinstance(block, Block) for block in blocks), f"{page.name}: render returns blocks"
                    assert page.description, f"{page.name} has no description"

        asyncio.run(render_all())

    def test_two_applications_run_side_by_side(self) -> None:
        async def both() -> None:
            first, second = self.host(), self.host()
            async with running(first), running(second):
                assert first.context is not second.context

        asyncio.run(both())

    def test_middleware_forwards_every_scope_type_unchanged(self) -> None:
        for kind in ("lifespan", "websocket", "of-the-future"):
            reached: list[Scope] = []

            async def inner(scope: Scope, receive: Receive, send: Send, reached: list[Scope] = reached) -> None:
                reached.append(scope)

            scope: Scope = {"type": kind, "path": "/", "headers": [], "client": ("127.0.0.1", 1), "state": {}}
            asyncio.run(self._through_middleware(inner, scope))
            assert [each["type"] for each in reached] == [kind], f"a {kind} scope was not forwarded"

    def test_middleware_streams_messages_and_forwards_unknown_ones(self) -> None:
        sent: list[Message] = [
            {"type": "http.response.start", "status": 200, "headers": [], "trailers": True},
            {"type": "http.response.body", "body": b"first", "more_body": True},
            {"type": "http.response.of-the-future", "anything": 1},
            {"type": "http.response.body", "body": b"last", "more_body": False},
            {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False},
        ]
        seen: list[str] = []

        async def stream(scope: Scope, receive: Receive, send: Send) -> None:
            for number, message in enumerate(sent, 1):
                before = deepcopy(message)
                await send(message)
                assert message == before, f"{message['type']} was modified: copy the message instead"
                assert len(seen) == number, f"{message['type']} was buffered"

        asyncio.run(self._through_middleware(stream, _http_scope(), seen))
        assert seen == [message["type"] for message in sent]

    def test_inner_filters_and_the_application_see_the_same_request_headers(self) -> None:
        async def closes(scope: Scope, receive: Receive, send: Send) -> None:
            """Return without a response."""

        for kind in ("http", "websocket"):
            checks = _HeaderCheck()
            scope = {**_http_scope(), "type": kind, "subprotocols": ["bearer", "token"]}
            asyncio.run(self._through_middleware(closes, scope, [], ChainLink("RESOURCES", "conformance", checks)))
            assert checks.differing == [], "change request headers with exchange.replace_headers"

    async def _through_middleware(
        self, app: ASGIApp, scope: Scope, seen: list[str] | None = None, *inner: ChainLink
    ) -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            assert seen is not None, f"{self.name} responded to a {scope['type']} scope"
            seen.append(message["type"])

        host = self.host()
        async with running(host) as state:
            scope.update({"state": {**state}, SCOPE_KEY: host.context})
            own = [link for link in host.links if link.owner == self.name]
            await build_chain([*own, *inner], app, host.templates)(scope, receive, send)


class _AllNames:
    def __contains__(self, name: object) -> bool:
        return True


class _HeaderCheck(Filter):
    """Records headers that differ between an exchange and its scope."""

    request_headers = _AllNames()

    def __init__(self) -> None:
        self.differing: list[object] = []

    def on_request(self, exchange: Exchange) -> Decision:
        """Compare the headers of *exchange* and its scope."""
        named = {name for name, _ in exchange.scope["headers"]}
        for name in named | set(exchange.headers):
            values = [value for each, value in exchange.scope["headers"] if each == name]
            if exchange.values(name) != values:
                self.differing.append((name, exchange.values(name), values))
        return None

    on_open = on_request


def toml_blocks(text: str) -> list[str]:
    """Return the TOML examples of a Markdown *text*."""
    return re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def _section(text: str, name: str) -> str:
    return text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def _http_scope() -> Scope:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/stream",
        "raw_path": b"/stream",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 50000),
        "server": ("localhost", 80),
    }


async def _start_and_stop(host: Host) -> None:
    async with running(host):
        pass


def _check_keys(model: type[BaseModel], documented: Mapping[str, str], prefix: str = "") -> None:
    """Check that each key of *model* has a description, and a row with its default in the README's table *documented*.

    A key with a table as default has no row of its own: its keys have, as ``table.key``.
    """
    described = descriptions(model)
    for name, field in model.model_fields.items():
        key = prefix + name
        assert name in described, f"{key} of {model.__name__} has no description"
        if isinstance(field.default, BaseModel):
            _check_keys(type(field.default), documented, f"{key}.")
            continue
        assert key in documented, f"the README's Configuration table lacks `{key}`"
        default = "required" if field.is_required() else str(field.default)
        in_toml = json.dumps(field.default, default=str) if isinstance(field.default, tuple) else default
        found = any(form.lower() in documented[key].lower() for form in (default, in_toml))
        assert found, f"the README has another default for `{key}`"
