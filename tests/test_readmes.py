"""Every TOML example of every README starts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

import scalekit
from scalekit import create_app
from scalekit.http.filter_chain import FilterChain
from scalekit.http.response import local_problem
from scalekit.http.route_template import RouteTemplates
from scalekit.testing import request, running
from scalekit.testing.conformance import bare_application, toml_blocks
from tests.certificates import Authority
from tests.documents import documents

ROOT = Path(__file__).parent.parent
EXAMPLES = [
    pytest.param(block, id=f"{path.relative_to(ROOT)}-{number}")
    for path in documents()
    if path.parent.name not in ("tutorial", "guides")  # tests/tutorial runs these
    for number, block in enumerate(toml_blocks(path.read_text()), 1)
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_starts_and_stops(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some examples write files
    file = tmp_path / "scalekit.toml"
    certificate = Authority(tmp_path).issue("shop")
    for name, path in {"fullchain.pem": certificate.certificate, "privkey.pem": certificate.key}.items():
        example = example.replace(f"/etc/shop/{name}", str(path))
    file.write_text(example.replace("shop.app:app", "sample_app.app:app"))  # shop is the reader's application
    app = create_app(file, app=None if "target" in example else bare_application)

    async def once() -> int:
        async with running(app) as state:
            return (await request(app, "/health/live", state=state)).status

    assert asyncio.run(once()) == 200


def test_the_filter_of_the_handbook_decides_and_adds_to_responses() -> None:
    handbook = (ROOT / "plugins/README.md").read_text().partition("\n## Filters\n")[2]
    names = {**vars(scalekit), "local_problem": local_problem, "Sequence": Sequence}
    whole = "\n".join(re.findall(r"^```python\n(.*?)^```", handbook, re.DOTALL | re.MULTILINE)[:2])
    assert len([line for line in whole.partition("@hookimpl")[0].splitlines() if line]) <= 10
    exec(whole, names)
    (layered,) = names["scalekit_filters"](None)
    chain = FilterChain([layered.link], bare_application, RouteTemplates())
    refused = asyncio.run(request(chain, "/"))
    assert (refused.status, orjson.loads(refused.body)["detail"]) == (403, "missing header X-Guest")
    greeted = asyncio.run(request(chain, "/", headers={"x-guest": "ada"}))
    assert (greeted.status, greeted.header("x-greeting")) == (200, "hello")


def test_the_readme_has_an_example_of_ten_lines() -> None:
    (example,) = toml_blocks((ROOT / "README.md").read_text())
    assert len([line for line in example.splitlines() if line]) <= 10
