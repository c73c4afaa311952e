"""Errors of the database show no value of a row or parameter: in logs, responses, pages, traces and dead letters."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scalekit import create_app
from scalekit.contracts import DATABASE, QUEUE, Consumers, Message
from scalekit.testing import request, running
from tests.pool.conftest import POSTGRES, postgres_url, shared_postgres, url
from tests.queue.harness import consumers_target, wait_dead_letters

__all__ = ["postgres_url", "shared_postgres", "url"]

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("url", ["file", POSTGRES], indirect=True)]

VALUE = "hunter-two"
PEOPLE = sa.Table(
    "people",
    sa.MetaData(),
    sa.Column("email", sa.String(100), primary_key=True),
    sa.Column("state", sa.Enum("new", "old", name="state", native_enum=False)),
    sa.Column("born", sa.Date),
)
ADD = "INSERT INTO people (email) VALUES (:email)"


async def unique(database: Any) -> None:
    await database.execute(ADD, {"email": VALUE})


async def unique_in_session(database: Any) -> None:
    async with database.sessions() as session:
        await session.execute(PEOPLE.insert().values(email=VALUE))


async def wrong_type(database: Any) -> None:
    await database.execute("SELECT CAST(:a AS date) FROM people WHERE born + 1 = :b", {"a": VALUE, "b": VALUE})
    raise ValueError("SQLite compares any types")


async def wrong_type_in_session(database: Any) -> None:
    async with database.sessions() as session:
        await session.execute(PEOPLE.insert().values(email="other", born=VALUE))


async def wrong_member(database: Any) -> None:
    await database.execute(PEOPLE.insert().values(email="other", state=VALUE))


async def literal(database: Any) -> None:
    async with database.sessions() as session:
        await session.execute(sa.text(f"INSERT INTO people (email) VALUES ('{VALUE}')"))


FAILURES: list[Callable[[Any], Awaitable[None]]] = [
    unique,
    unique_in_session,
    wrong_type,
    wrong_type_in_session,
    wrong_member,
    literal,
]


async def fail(of: Request) -> Response:
    await FAILURES[int(of.path_params["number"])](DATABASE(of))
    return Response()


async def test_no_value_of_an_error_of_the_database_is_shown(url: str, tmp_path: Path) -> None:
    consumers = Consumers()

    @consumers.on("people.fail", retry=())
    async def consume(message: Message[int]) -> None:
        await FAILURES[message.body](message.context.get(DATABASE))

    queue = {"url": f"sqlite:///{tmp_path}/queue.db", "poll_interval": "50ms"}
    plugins: dict[str, Any] = {
        "pool": {"url": url, "sslmode": "disable", "slow_query_threshold": "1us"},
        "console": {},
        "logging": {"console": "off", "directory": str(tmp_path / "log")},
        "queue": {**queue, "consumers": consumers_target(consumers)},
    }
    tables = {"plugins": plugins, "server": {"operator_networks": ["127.0.0.1"]}}
    app = create_app(tables, app=Starlette(routes=[Route("/fail/{number}", fail)]))
    shown = []
    async with running(app) as state:
        await app.context.get(DATABASE).execute(sa.schema.CreateTable(PEOPLE))
        await app.context.get(DATABASE).execute(ADD, {"email": VALUE})
        for number in range(len(FAILURES)):
            with contextlib.suppress(Exception):
                headers = {"x-request-id": f"r-{number}"}
                shown.append(str((await request(app, f"/fail/{number}", state=state, headers=headers)).body))
            await app.context.get(QUEUE).publish("people.fail", number)
        letters = await wait_dead_letters(queue, "people.fail", len(FAILURES))
        pages = ["database.json", "logs.json", *(f"requests.json?id=r-{number}" for number in range(len(FAILURES)))]
        shown += [(await request(app, f"/-/{page}", state=state)).body.decode() for page in pages]
    shown += [str(letter) for letter in letters]
    log = [path.read_text() for path in (tmp_path / "log").iterdir()]
    assert sum("Traceback" in line for text in log for line in text.splitlines()) >= 2 * len(FAILURES)
    assert any("Exception at" in text for text in shown)
    assert [text for text in (*shown, *log) if VALUE in text] == []
