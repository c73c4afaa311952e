"""Error messages of invalid texts describe the expected form."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from scalekit import ConfigError, create_app
from scalekit.config.text_pattern import TextPattern
from scalekit.testing.conformance import bare_application
from tests.service import ROOT

Colour = TypeAdapter(Annotated[str, TextPattern("^[a-z]+$", 'a colour such as "red"')])


def test_a_matching_text_is_accepted() -> None:
    assert Colour.validate_python("blue") == "blue"
    assert Colour.json_schema() == {"type": "string", "pattern": "^[a-z]+$"}


@pytest.mark.parametrize("text", ["Blue", "", "blue\n", "light blue"])
def test_an_invalid_text_is_rejected_with_the_expected_form(text: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(f'expected a colour such as "red", got {text!r}')):
        Colour.validate_python(text)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"health": {"path": "health"}}, """health.path: expected a path without a trailing slash, """),
        ({"health": {"path": "/"}}, """health.path: expected a path without a trailing slash, """),
        ({"app": {"static": {"static": ["."]}}}, """app.static.static: expected a path without a trailing slash, """),
        (
            {"server": {"allowed_hosts": ["https://a.example"]}},
            """server.allowed_hosts[0]: expected a host name or address """,
        ),
        (
            {"plugins": {"metrics": {"path": "metrics/"}}},
            """plugins.metrics.path: expected a path without a trailing slash, """,
        ),
        ({"plugins": {"queue": {"prefix": "my shop"}}}, """plugins.queue.prefix: expected at most 64 letters"""),
        ({"plugins": {"cache": {"prefix": ""}}}, """plugins.cache.prefix: expected 1 to 64 letters"""),
        (
            {"plugins": {"discovery": {"service": "my shop"}}},
            """plugins.discovery.service: expected a name of letters""",
        ),
        ({"plugins": {"ratelimit": {"policies": [{"name": "log in", "limit": "1/s"}]}}}, "].name: expected at most 64"),
    ],
)
def test_a_message_names_key_value_and_remedy(table: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_app(table, app=bare_application)
    (problem,) = caught.value.problems
    assert said in str(problem)
    assert ", got '" in str(problem)


def test_no_message_shows_a_bare_pattern() -> None:
    files = [file for folder in ("scalekit", "plugins") for file in Path(ROOT, folder).rglob("*.py")]
    assert files
    assert [str(file) for file in files if "Field(pattern=" in file.read_text(encoding="utf-8")] == []
