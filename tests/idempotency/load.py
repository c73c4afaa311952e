"""Many clients that place orders with keys, repeat them, and record the history of each key."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Iterable
from time import monotonic

from tests.idempotency.history import Operation, is_linearizable
from tests.processes import HOST

APPLICATION = """
import asyncio, random

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from scalekit.contracts import DATABASE


async def order(request):
    database = DATABASE(request)
    item = (await request.json())["item"]
    async with database.transaction():
        number = await database.fetch_val("INSERT INTO orders (item) VALUES (:item) RETURNING id", {"item": item})
    await asyncio.sleep(random.random() / 100)
    await database.execute("UPDATE stock SET sold = sold + 1 WHERE id = :id", {"id": number % 16})
    return JSONResponse({"number": number}, 201)


app = Starlette(routes=[Route("/orders", order, methods=["POST"])])
"""
TABLES = """
CREATE TABLE orders (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item TEXT NOT NULL);
CREATE TABLE stock (id INTEGER PRIMARY KEY, sold INTEGER NOT NULL);
INSERT INTO stock SELECT number, 0 FROM generate_series(0, 15) AS number;
"""
REPEATED = 0.3
"""Share of requests whose key another client has used, most of them at the same time."""
RESPONSE_TIMEOUT = 30.0
PAUSE = 0.02
"""Seconds before an attempt is repeated."""


def schedule(requests: int) -> list[str]:
    """Return the keys of *requests* requests in the order in which clients send them."""
    distinct = round(requests * (1 - REPEATED))
    keys = [str(number) for number in range(distinct)]
    for _ in range(requests - distinct):
        place = random.randrange(len(keys))
        keys.insert(min(len(keys), place + random.randrange(1, 20)), keys[place])
    return keys


class Load:
    """Sends requests to the service at *port* with *clients* connections at a time; *histories* are by key."""

    def __init__(self, port: int, clients: int) -> None:
        self.histories: dict[str, list[Operation]] = defaultdict(list)
        self.sent = 0
        self._port = port
        self._clients = clients

    async def run(self, keys: Iterable[str]) -> None:
        """Repeat each request until it gets a response of 201."""
        waiting = iter(keys)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._clients):
                group.create_task(self._send_all(waiting))

    def violations(self, numbers: dict[str, list[int]]) -> list[str]:
        """Return the keys whose history does not fit the *numbers* of their orders."""
        found = [key for key, history in self.histories.items() if not self._fits(history, numbers.get(key, []))]
        return found + [key for key in numbers if key not in self.histories]

    def count(self, kind: str) -> int:
        """Return the number of operations of *kind*."""
        return sum(each.kind == kind for history in self.histories.values() for each in history)

    async def _send_all(self, keys: Iterable[str]) -> None:
        client = Client(self._port)
        try:
            for key in keys:
                while (operation := await client.order(key)).kind not in ("executed", "replayed"):
                    self.histories[key].append(operation)
                    await asyncio.sleep(PAUSE)
                self.histories[key].append(operation)
                self.sent += 1
        finally:
            client.close()

    @staticmethod
    def _fits(history: list[Operation], numbers: list[int]) -> bool:
        return len(numbers) == 1 and is_linearizable(history, numbers[0])


class Client:
    """One connection to the service, opened again after an error."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def order(self, key: str) -> Operation:
        """Send an order of the item *key* with that key."""
        began = monotonic()
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT):
                status, replayed, body = await self._exchange(key)
        except (OSError, EOFError, TimeoutError):
            self.close()
            return Operation("unknown", began)
        if status == 201:
            return Operation("replayed" if replayed else "executed", began, monotonic(), json.loads(body)["number"])
        if status == 409:
            return Operation("refused", began, monotonic())
        if status in (500, 503):  # the outcome of a commit may be unknown
            return Operation("unknown", began)
        raise AssertionError(f"unexpected response {status}: {body!r}")

    def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def _exchange(self, key: str) -> tuple[int, bool, bytes]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(HOST, self._port)
        body = json.dumps({"item": key}).encode()
        fields = f"Host: {HOST}\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}"
        self._writer.write(f"POST /orders HTTP/1.1\r\n{fields}\r\n\r\n".encode() + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        content = await self._reader.readexactly(int(head.partition("content-length: ")[2].split("\r\n")[0]))
        if "connection: close" in head:
            self.close()
        return int(head.split()[1]), "idempotency-replayed: true" in head, content


def numbers_by_item(rows: str) -> dict[str, list[int]]:
    """Return the numbers of the orders of each item from *rows* of item and number."""
    found: dict[str, list[int]] = defaultdict(list)
    for row in rows.splitlines():
        item, _, number = row.partition("|")
        found[item].append(int(number))
    return found
