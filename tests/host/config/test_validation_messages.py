"""Validation messages name the key, the mistake and the remedy."""

from __future__ import annotations

import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from scalekit import ConfigError, Size, Url, create_app
from scalekit.config.document import read
from scalekit.config.schema import file_schema
from scalekit.plugins import Plugins, installed
from scalekit.settings import load
from scalekit.testing.conformance import bare_application

SECRET = f'secret = "{"s" * 32}"\n'


def refusal(toml: str) -> str:
    with pytest.raises(ConfigError) as caught:
        create_app(tomllib.loads(toml), app=bare_application)
    return str(caught.value)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('[server]\nallowed_hosts = "shop"', 'server.allowed_hosts: should be a list; write ["shop"]'),
        ("[server]\nallowed_hosts = 5", "server.allowed_hosts: should be a list; write [5]"),
        (
            "[server]\nallowed_hosts = { a = 1 }",
            "server.allowed_hosts: should be a list of tables; write [[server.allowed_hosts]]",
        ),
        ('[app.static]\n"/static" = []', "app.static./static: needs at least 1 value, got []"),
        ("[server]\nmemory = 3", "server.memory: should be a table; write [server.memory], got 3"),
        ("[[server]]\nport = 1", "server: should be a table; write [server]"),
        ('[plugins.discovery]\nservices = ["a"]', "should be a table; write [plugins.discovery.services]"),
        ("[plugins.logging]\nconsole = true", "should be 'auto', 'json', 'pretty' or 'off', got true"),
        ('[plugins.logging]\naccess = "yes"', "should be true or false, without quotes, got 'yes'"),
        ('[server]\nport = "8000"', "should be a number; write 8000 without quotes, got '8000'"),
        ("[server]\nhost = 127", "should be text in quotes, got 127"),
        (
            '[[plugins.ratelimit.policies]]\nname = "x"',
            "plugins.ratelimit.policies[0].limit: is required; write limit = ... in [[plugins.ratelimit.policies]]",
        ),
        ('[health.external."my shop"]', 'is required; write url = ... in [health.external."my shop"]'),
        ("[server.memory]\ngc_thresholds = [1, 2]", "a value is missing: gc_thresholds needs more than 2 values"),
        ("[plugins.cache]\ntags_from_sql = true", "plugins.cache.tags_from_sql: requires 'database'"),
        ('[plugins.cache]\nurl = "cluster-cache:"', "plugins.cache.url: requires "),
        (f'[plugins.jwt]\nsession_store = "database"\n{SECRET}', "plugins.jwt.session_store: session_store = "),
        ('[plugins.queue]\nconsumers = "os:pat"', "module 'os' has no 'pat'; did you mean 'path'?"),
    ],
)
def test_messages_name_the_remedy(toml: str, message: str) -> None:
    assert message in refusal(toml)


def test_each_key_is_reported_once() -> None:
    toml = f'[plugins.jwt]\n{SECRET}[[plugins.jwt.rules]]\npath = "/a"\nclaims = {{ a = 1.5 }}\n'
    assert refusal(toml).count("claims.a") == 1


@pytest.mark.parametrize(
    ("toml", "line", "message"),
    [
        ("a = 1\nb = 2\na = 3\n", 3, "the key 'a' occurs twice, first in line 1; remove one"),
        ("[t]\na = 1\n[t.u]\n[v]\n[t]\nb = 1\n", 5, "the table [t] occurs twice, first in line 1"),
        ("[t]\na = 1\na = 2\n", 3, "the key 't.a' occurs twice, first in line 2"),
        (
            "[[t]]\na = 1\n[t]\n",
            3,
            "the table [t] is also written [[t]], first in line 1; write [[t]] above each element",
        ),
        ("[t.u]\na = 1\n[[t.u]]\n", 3, "the table [t.u] is also written [[t.u]], first in line 1; write [[t.u]]"),
        ("a = [1,\nb = 1\n", 2, "a: the list that starts in line 1 is not valid; quote text, separate values"),
        ('a = ["x"\nb = 1\n', 2, "a: the list that starts in line 1 is not valid; quote text, separate values"),
        ('a = [\n"x", # one\n"y"\n[t]\n', 4, "a: the list that starts in line 1 is not valid"),
        ("a = [10.0.0.0/8]\n", 1, "a: the list is not valid; quote text, separate values by commas, end with ]"),
        ("a = [hunter2, x]\n", 1, "a: the list is not valid; quote text, separate values by commas, end with ]"),
        ('a = ["x"] # all\nb = 5s\n', 2, 'b: text needs quotes; write b = "5s"'),
        ('a = [\n"x"\n]\nb = 5s\n', 4, 'b: text needs quotes; write b = "5s"'),
        ("a = [1]\nc = 2\nb = 5s\n", 3, 'b: text needs quotes; write b = "5s"'),
        (
            "a = { b = hello }\n",
            1,
            "a: write an inline table in one line, with text in quotes and commas between",
        ),
        ("a = 1 b = 2\n", 1, "a: write each key in its own line"),
        ('a = "x"; b = 2\n', 1, "a: write each key in its own line"),
        ("a = 01\n", 1, "a: a number must not start with 0"),
        ("a = None\n", 1, "a: TOML has no None; remove the key"),
        ("// a\n", 1, "a comment starts with #"),
        ('a = "C:\\Users"\n', 1, "a backslash in double quotes starts an escape"),
        ("a.b = 1\na = 2\n", 2, "the key 'a' occurs twice, first in line 1"),
        ("a = { b = 1, b = 2 }\n", 1, "the key 'b' occurs twice in one inline table"),
        ("[x]\na = { b = 1 }\na.c = 2\n", 3, "x.a was closed, first in line 2"),
        ("a = hello\n", 1, 'a: text needs quotes; write a = "..."'),
        ("[t]\nurl = redis://:hunter2@h\n", 2, 'url: text needs quotes; write url = "..."'),
        ("password = hunter2\n", 1, 'password: text needs quotes; write password = "..."'),
        ("drain = 5s # short\n", 1, 'drain: text needs quotes; write drain = "5s"'),
        ("limit = 5/15m\n", 1, 'limit: text needs quotes; write limit = "5/15m"'),
        ("a = True\n", 1, "a: write true, in lower case"),
        ("a = off\n", 1, "a: write false, in lower case"),
        ("a = \n", 1, "a has no value"),
        ("a: 1\n", 1, "write a = with an equals sign"),
        ('a = "hunter2\nb = 1\n', 1, "a string is not closed"),
        ('a = "C:\\dir"\n', 1, "a backslash in double quotes"),
        ("a = {\nb = 1 }\n", 1, "a: write an inline table in one line"),
        ("[a\nb = 1\n", 1, "not valid TOML: expected ']' at the end of a table declaration"),
    ],
)
def test_syntax_errors_name_key_line_and_remedy(toml: str, line: int, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(toml)
    with pytest.raises(ConfigError) as caught:
        read(file)
    (problem,) = caught.value.problems
    assert (problem.line, message in problem.message) == (line, True), problem
    assert "hunter2" not in str(problem)


def test_words_are_accepted_in_any_case_in_every_table() -> None:
    plugins = Plugins()
    for candidates in installed().values():
        plugins.load(candidates)
    schema = file_schema(plugins.models())
    words = {word for node in nodes(schema) if "enum" in node for word in node["enum"]}
    assert {"INFO", "info", "Info", "gradient", "GRADIENT", "dpop", "DPOP", "web", "WEB", "HS256", "hs256"} <= words
    assert not [node for node in nodes(schema) if "const" in node]
    for model in [*plugins.models().values()]:
        for name, field in model.model_fields.items():
            for word in enumerated(field.annotation):
                for spelled in (word.lower(), word.upper(), word.title()):
                    errors = mistakes(model, {name: spelled})
                    assert not [each for each in errors if each["loc"] == (name,) and each["type"] == "literal_error"]


@pytest.mark.parametrize(
    ("table", "key", "value", "read_as"),
    [
        ("logging", "level", "info", "INFO"),
        ("logging", "levels", {"shop": "Debug"}, {"shop": "DEBUG"}),
        ("logging", "console", "JSON", "json"),
        ("pool", "sslmode", "Verify-Full", "verify-full"),
        ("discovery", "source", "STATIC", "static"),
        ("ratelimit", "on_error", "Refuse", "refuse"),
    ],
)
def test_a_word_in_another_case_becomes_the_declared_word(table: str, key: str, value: object, read_as: object) -> None:
    settings = load({"plugins": {table: {key: value}}})
    assert settings.document.problems == []
    assert getattr(settings.tables[table], key) == read_as


def test_units_schemes_and_booleans_are_accepted_in_any_case() -> None:
    assert Size("10mb") == Size("10MB")
    assert Size("64KB") == Size("64kB")
    assert Size("1mib") == Size("1MiB")
    assert Url("REDIS://h").scheme == "redis"
    assert load({}, ("server.memory.gc_freeze=FALSE",)).server.memory.gc_freeze is False
    assert load({}, ("server.role=WEB",)).server.role == "web"


def nodes(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [node for each in schema for node in nodes(each)]
    return [schema, *(node for each in schema.values() for node in nodes(each))] if isinstance(schema, dict) else []


def enumerated(annotation: Any) -> list[str]:

    if typing.get_origin(annotation) is typing.Literal:
        return [word for word in typing.get_args(annotation) if isinstance(word, str)]
    return [word for each in typing.get_args(annotation) for word in enumerated(each)]


def mistakes(model: Any, table: dict[str, object]) -> list[Any]:

    try:
        model.model_validate(table)
    except ValidationError as error:
        return list(error.errors())
    return []
