"""The example of ORM sessions in the README works as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from scalekit import create_app
from scalekit.contracts import DATABASE
from scalekit.testing import request, running

pytestmark = pytest.mark.anyio

README = Path(__file__).parents[4] / "plugins/scalekit_pool/README.md"


async def test_the_example_of_the_readme_adds_and_lists_authors(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"^```python\n((?:(?!^```).)*Depends\(SESSION\).*?)^```", README.read_text(), re.M | re.S)
    module = ModuleType("example_of_sessions")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(example, vars(module))
    host = create_app({"plugins": {"pool": {"url": url}}}, app=module.app)
    async with running(host) as state:
        async with host.context.get(DATABASE).sessions() as session:
            await (await session.connection()).run_sync(module.Model.metadata.create_all)
            await session.commit()
        for name in ("bob", "anna"):
            assert (await request(host, f"/authors/{name}", method="POST", state=state)).status == 200
        assert (await request(host, "/authors", state=state)).body == b'["anna","bob"]'
