"""A shop whose stock is used by statements or by ORM sessions, and clients that return their tokens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from scalekit import create_app
from scalekit.asgi_client import ReceivedResponse
from scalekit.contracts import DATABASE, READS, SESSION
from scalekit.host import Host
from scalekit.testing import request, running

SECRET = "the secret of all instances of the shop"
TABLE = "CREATE TABLE stock (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL)"
WRITE = "INSERT INTO stock (id, amount) VALUES (:id, :amount) ON CONFLICT (id) DO UPDATE SET amount = excluded.amount"
READ = "SELECT amount FROM stock WHERE id = :id"

Value = TypeVar("Value")


class Model(DeclarativeBase):
    pass


class Stock(Model):
    __tablename__ = "stock"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    amount: Mapped[int]


async def put(request: Request) -> Response:
    """Write the amount, and return the amount that the same request reads."""
    values = {"id": int(request.path_params["id"]), "amount": int(request.query_params["amount"])}
    await DATABASE(request).execute(WRITE, values)
    return PlainTextResponse(str(await READS(request).fetch_val(READ, {"id": values["id"]})))


async def get(request: Request) -> Response:
    """Return the amount."""
    return PlainTextResponse(str(await READS(request).fetch_val(READ, {"id": int(request.path_params["id"])})))


async def put_object(request: Request) -> Response:
    """Write the amount in a session, and return the amount that the same session reads."""
    session = SESSION(request)
    await session.merge(Stock(id=int(request.path_params["id"]), amount=int(request.query_params["amount"])))
    await session.commit()
    return await get_object(request)


async def get_object(request: Request) -> Response:
    """Return the amount that a session reads."""
    query = select(Stock.amount).where(Stock.id == int(request.path_params["id"]))
    return PlainTextResponse(str(await SESSION(request).scalar(query)))


def routes() -> list[Route]:
    return [
        Route("/stock/{id}", put, methods=["PUT"]),
        Route("/stock/{id}", get),
        Route("/objects/{id}", put_object, methods=["PUT"]),
        Route("/objects/{id}", get_object),
    ]


@dataclass(frozen=True, slots=True)
class Instance:
    """One running application."""

    host: Host
    state: dict[str, Any]

    async def send(
        self, target: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> ReceivedResponse:
        """Send a request as a server does, in a new task and context."""
        sending = request(self.host, target, method=method, headers=headers, state=self.state)
        return await asyncio.create_task(sending)

    async def metric(self, name: str) -> dict[str, float]:
        """Return the values of the replica plugin's metric *name*, by the value of its label."""
        page = (await self.send("/metrics")).body.decode()
        prefix = f"scalekit_replica_{name}{{"
        lines = [line.removeprefix(prefix) for line in page.splitlines() if line.startswith(prefix)]
        return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}

    async def share_on_replicas(self) -> float:
        """Return the share of reads that replicas served."""
        on_replicas = sum((await self.metric("reads_total")).values())
        return on_replicas / (on_replicas + sum((await self.metric("fallbacks_total")).values()))


@asynccontextmanager
async def shop(
    pool: Mapping[str, Any], replica: Mapping[str, Any], more: Sequence[BaseRoute] = ()
) -> AsyncGenerator[Instance, None]:
    """Run one instance with these tables, and metrics."""
    table = {**({"secret": SECRET} if replica.get("urls") else {}), **replica}
    tables = {"plugins": {"pool": dict(pool), "metrics": {}, "replica": table}}
    host = create_app(tables, app=Starlette(routes=[*routes(), *more]))
    async with running(host) as state:
        yield Instance(host, state)


class Client:
    """A client of random *instances*, which returns its token as a cookie or a header, and uses the stock at *path*."""

    def __init__(self, instances: Sequence[Instance], cookies: bool = True, path: str = "/stock") -> None:
        self.instances = instances
        self.cookies = cookies
        self.path = path
        self.headers: dict[str, str] = {}

    async def send(self, target: str, method: str = "GET") -> ReceivedResponse:
        response = await random.choice(self.instances).send(target, method, self.headers)
        cookie, token = response.header("set-cookie"), response.header("scalekit-consistency")
        if cookie and token:
            self.headers = {"cookie": cookie.split(";")[0]} if self.cookies else {"scalekit-consistency": token}
        return response

    async def write(self, item: int, amount: int) -> ReceivedResponse:
        return await self.send(f"{self.path}/{item}?amount={amount}", "PUT")

    async def read(self, item: int) -> ReceivedResponse:
        return await self.send(f"{self.path}/{item}")


async def wait_until(description: str, condition: Callable[[], Any], limit: float = 60.0) -> Any:
    """Wait until *condition*, a function or coroutine function, returns a true value; return the value."""
    try:
        async with asyncio.timeout(limit):
            while True:
                value = condition()
                if hasattr(value, "__await__"):
                    value = await value
                if value:
                    return value
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise TimeoutError(f"{description}: not within {limit:g} s") from None
