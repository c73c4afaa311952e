"""The example of tasks in the README works, and its table of options has their defaults."""

import ast
import inspect
import re
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import orjson
import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel

import scalekit_queue
from scalekit import create_app
from scalekit.contracts import Consumers
from scalekit.contracts.tasks import TaskOptions
from scalekit.testing import request, running
from tests.queue.harness import open_queue_admin

pytestmark = pytest.mark.anyio
README = Path(scalekit_queue.__file__).with_name("README.md")


class Order(BaseModel):
    email: str
    total: Decimal


def shop() -> Any:
    """Return the module of the example, with what it takes from its application."""
    examples = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    (example,) = [each for each in examples if "DURABLE_TASKS" in each]
    module = ModuleType("shop_of_the_readme")
    vars(module).update(
        app=FastAPI(), consumers=Consumers(), Order=Order, Decimal=Decimal, Annotated=Annotated, Depends=Depends
    )
    exec(compile(example, str(README), "exec"), vars(module))
    return module


def test_the_options_of_consumers_have_the_defaults_that_the_readme_tells() -> None:
    (table,) = re.findall(r"^\| option \| default .*?\n\n", README.read_text(), re.DOTALL | re.MULTILINE)
    told = {name: ast.literal_eval(default) for name, default in re.findall(r"^\| `(\w+)` \| `(.*?)` \|", table, re.M)}
    parameters = inspect.signature(Consumers.on).parameters.values()
    assert told == {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
    assert set(told) == set(TaskOptions.__annotations__)


async def test_the_example_of_tasks_stores_a_message(
    sqlite_table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = shop()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    table = {**sqlite_table, "consumers": f"{module.__name__}:consumers", "consume_in": "workers"}
    host = create_app({"plugins": {"queue": table}}, app=module.app)
    body = b'{"email": "ada@example.com", "total": "9.90"}'
    headers = {"content-type": "application/json"}
    async with running(host) as state, open_queue_admin(table) as admin:
        response = await request(host, "/orders", method="POST", headers=headers, body=body, state=state)
        (message,) = await admin.peek("shop_of_the_readme.send_receipt", False, 10)
    assert (response.status, orjson.loads(message.body)) == (200, orjson.loads(body))
