"""The Python examples of the READMEs of plugins run, in an application that has all plugins and what readers have.

Code without ``await`` outside of functions is that of a module, which runs before the start. The rest, and each
function whose only parameter is ``request``, runs in a request of a user.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.routing import Route

from scalekit import create_app
from scalekit.contracts import BROADCAST, CACHE, DATABASE, SESSION, TOKENS, Consumers, Tick
from scalekit.host import Host
from scalekit.testing import request, running
from tests.documents import ROOT
from tests.tutorial.page import blocks

pytestmark = pytest.mark.anyio

READMES = sorted(path for path in ROOT.glob("plugins/*/README.md") if "```python" in path.read_text())
NOT_RUN = {
    "# settings.py": "two files of a Django project; tests/queue/django runs one",
    "config = context.config": "part of the env.py of `scalekit pool alembic init`, which tests/pool/migrations runs",
}
"""First lines of examples that are not run, with the reason."""
TABLES_WITHOUT_KEYS = ("broadcast", "cache", "cluster-cache", "idempotency", "logging", "metrics", "replica")
SCHEMA = """
CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, seen INTEGER DEFAULT 0);
INSERT INTO items (id, name) VALUES (17, 'lamp');
CREATE TABLE visits (item INTEGER);
CREATE TABLE orders (id INTEGER PRIMARY KEY, article TEXT);
CREATE TABLE stock (sku INTEGER);
CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE profiles (id INTEGER PRIMARY KEY, name TEXT, avatar TEXT);
CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, active BOOLEAN, profile_id INTEGER)
"""
METADATA = MetaData()
USERS = Table(
    "users",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("email", String),
    Column("active", Integer),
    Column("profile_id", ForeignKey("profiles.id")),
)
Table("profiles", METADATA, Column("id", Integer, primary_key=True), Column("name", String), Column("avatar", String))


class ReaderModel(DeclarativeBase):
    pass


class Author(ReaderModel):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


class Order(BaseModel):
    email: str
    total: Decimal


class OrderShipped(BaseModel):
    order: int


class RequestWithForm(Request):
    """A request whose form needs no python-multipart, which readers install themselves."""

    async def form(self) -> FormData:  # type: ignore[override]  # used with await only
        return FormData(name="ada")


def returns(value: object) -> Callable[..., Awaitable[Any]]:
    """Return an asynchronous function of the reader that returns *value*."""

    async def function(*arguments: object) -> object:
        return value

    return function


def names_of_readers() -> dict[str, Any]:
    """Return what the examples take from the application of their reader."""
    return {
        **{each.__name__: each for each in (Author, Decimal, HTMLResponse, JSONResponse, Order, OrderShipped, Tick)},
        **{name: returns([]) for name in ("download_rates", "load_items", "send_mail")},
        "ADD": "INSERT INTO orders (article) VALUES (:article)",
        "ADD_ORDER": "INSERT INTO orders (article) VALUES (:article)",
        "ADD_REPORTS": "SELECT :day",
        "CACHE": CACHE,
        "DATABASE": DATABASE,
        "Depends": Depends,
        "SESSION": SESSION,
        "Annotated": Annotated,
        "app": FastAPI(),
        "consumers": Consumers(),
        "fetch_rates": returns({"day": 1.5}),
        "images": [1, 2],
        "headers": {},
        "last_id": None,
        "partial": partial,
        "select": select,
        "total_of": returns(19.5),
        "users": USERS,
        "values": {"article": "A-1"},
    }


class ReadmeModule:
    """The examples of a README as a module, whose *steps* remain to be run in a request."""

    def __init__(self, readme: Path) -> None:
        self.module = ModuleType(f"examples_of_{readme.parent.name}")
        self.names = vars(self.module)
        self.names.update(names_of_readers())
        self.steps: list[tuple[str, CodeType | Callable[[Request], Any]]] = []
        sys.modules[self.module.__name__] = self.module
        for block in blocks(readme):
            if block.language == "python" and block.text.partition("\n")[0] not in NOT_RUN:
                self._add(block.place, "\n" * (block.line - 1) + block.text, readme)

    def _add(self, place: str, text: str, readme: Path) -> None:
        code = compile(text, str(readme), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            self.steps.append((place, code))
            return
        before = set(map(id, self.names.values()))
        exec(code, self.names)
        new = [value for value in self.names.values() if id(value) not in before and inspect.isroutine(value)]
        handlers = [each for each in new if [*inspect.signature(each).parameters] == ["request"]]
        self.steps += [(f"{place}: {each.__name__}", each) for each in handlers]

    async def run(self, request: Request) -> None:
        """Run all steps in *request*; a job that one returns is in the path of the next."""
        database = DATABASE(request)
        client = SimpleNamespace(get=lambda path: database.fetch_all("SELECT id FROM orders"))
        self.names.update(request=request, database=database, db=database, client=client)
        for place, step in self.steps:
            try:
                result = await self._run_step(step, request)
            except Exception as error:
                error.add_note(place)
                raise
            if isinstance(result, JSONResponse) and b'"job"' in bytes(result.body):
                request.scope["path_params"] = {"job": bytes(result.body).decode().split('"')[3]}

    async def _run_step(self, step: CodeType | Callable[[Request], Any], request: Request) -> object:
        if not isinstance(step, CodeType):
            result = step(request)
            return await result if inspect.isawaitable(result) else result
        running_step = asyncio.ensure_future(eval(step, self.names))
        if "messages" in step.co_names:  # a subscription, which ends when the process drains
            await asyncio.sleep(0)
            await BROADCAST(request).publish("room:7", {"text": "hello"})
            running_step.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running_step
            return None
        return await running_step


async def respond_with_stock(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send the response of the service *inventory*."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]"
    )
    await writer.drain()
    writer.close()


@asynccontextmanager
async def inventory() -> AsyncGenerator[str, None]:
    """Run another service, and yield its URL."""
    async with await asyncio.start_server(respond_with_stock, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def host_of(examples: ReadmeModule, folder: Path, inventory_url: str) -> Host:
    """Return an application with all plugins, which runs the steps of *examples* at ``/``."""

    async def run(request: Request) -> PlainTextResponse:
        await examples.run(RequestWithForm(request.scope, request.receive))
        return PlainTextResponse("done")

    policy = "script-src 'self' {nonce}"
    plugins = {
        **{name: {} for name in TABLES_WITHOUT_KEYS},
        "discovery": {"services": {"inventory": [inventory_url]}},
        "headers": {"content_security_policy": policy},
        "jwt": {"secret": "an example, which is long enough to be one", "fingerprint": False, "insecure_cookie": True},
        "pool": {"url": f"sqlite:///{folder}/shop.db"},
        "queue": {"url": f"sqlite:///{folder}/queue.db", "consumers": f"{examples.module.__name__}:consumers"},
        "ratelimit": {"policies": [{"name": "login-name", "key": "application", "limit": "5/15m"}]},
        "tracing": {"exporter": "none"},
    }
    return create_app({"plugins": plugins}, app=Starlette(routes=[Route("/", run, methods=["POST"])]))


@pytest.fixture
def modules() -> Iterator[None]:
    """Forget the modules of the examples."""
    yield
    for name in [name for name in sys.modules if name.startswith("examples_of_")]:
        del sys.modules[name]


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name.removeprefix("scalekit_"))
async def test_the_examples_of_a_readme_run(readme: Path, tmp_path: Path) -> None:
    examples = ReadmeModule(readme)
    async with inventory() as url:
        host = host_of(examples, tmp_path, url)
        async with running(host) as state:
            for statement in SCHEMA.split(";"):
                await host.context.get(DATABASE).execute(statement)
            tokens = await host.context.get(TOKENS).issue("ada", claims={"tenant": "a"}, scopes=["orders:read"])
            headers = {"authorization": f"Bearer {tokens.access}"}
            response = await request(host, "/", method="POST", headers=headers, state=state)
    assert (response.status, response.body) == (200, b"done")


def test_every_example_that_is_not_run_exists() -> None:
    first_lines = [block.text.partition("\n")[0] for readme in READMES for block in blocks(readme)]
    assert set(NOT_RUN) <= set(first_lines)
