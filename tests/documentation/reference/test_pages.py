"""The reference has every key, command, hook and metric, with types and defaults as in the file."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from pydantic import BaseModel, Field

from scalekit import Duration, PathGlob, PositiveDuration, Secret, Size, Table, TextPattern, Url, hookspecs
from scalekit.telemetry import TELEMETRY
from tests.documentation.reference import configuration
from tests.documentation.reference.commands import command_line
from tests.documentation.reference.every_plugin import host, names
from tests.documentation.reference.pages import reference_pages
from tests.documentation.reference.values import default_of, models_in, type_of

PAGES = reference_pages()
MODELS = {**configuration.HOST, **host().settings.plugins.models()}


def fields_of(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yield name and row of each key of *model* and of the tables in it."""
    for name, field in model.model_fields.items():
        yield name, f"| `{name}` | "
        for inner in models_in(field.annotation):
            yield from fields_of(inner)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_key_has_a_row(name: str) -> None:
    page = PAGES[f"reference/configuration/{name}"]
    assert [key for key, row in fields_of(MODELS[name]) if row not in page] == []


def test_every_plugin_with_keys_is_listed() -> None:
    index = PAGES["reference/configuration/index"]
    assert set(MODELS) - set(re.findall(r"\]\(([\w-]+)\.md\)", index)) == set()
    assert set(names()) >= set(MODELS) - set(configuration.HOST)


def paths_of(group: click.Group, before: str = "scalekit") -> Iterator[str]:
    for name, command in group.commands.items():
        yield f"{before} {name}"
        if isinstance(command, click.Group):
            yield from paths_of(command, f"{before} {name}")


def test_every_command_has_a_section_with_its_options() -> None:
    text = "\n".join(page for name, page in PAGES.items() if name.startswith("reference/commands/"))
    assert [path for path in paths_of(command_line()) if f"# `{path}`\n" not in text] == []
    assert "| `--logger NAME` | Only for this logger and those below it. |" in text
    assert text.count("| `--traceback` |") == 1


def test_every_hook_has_a_section() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("scalekit_")]
    assert re.findall(r"^## `(\w+)`$", PAGES["reference/hooks"], re.MULTILINE) == hooks


def test_every_metric_has_a_row() -> None:
    catalogue = host().context.get(TELEMETRY).catalogue
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGES["reference/metrics"], re.MULTILINE))
    assert {each.name for instruments in catalogue.values() for each in instruments} <= {
        row.removesuffix("_total") for row in rows
    }


class Inner(Table):
    """A table in another."""

    name: str
    """Name."""


class Sample(Table):
    """One key of each kind."""

    text: str = 'a "b"'
    number: int = Field(default=1, ge=1, le=1_000_000)
    share: float = Field(default=0.5, gt=0, lt=1)
    on: bool = True
    wait: PositiveDuration = Duration("30s")
    blocking: Duration = Field(default=Duration("55s"), ge=1, le=600)
    size: Size = Size("1MiB")
    secret: Secret | None = None
    url: Url
    paths: tuple[PathGlob, ...] = (PathGlob("/api/**"),)
    words: dict[str, int] = {"a": 1}
    inner: Inner = Inner(name="x")
    inners: tuple[Inner, ...] = ()


class Middle(Table):
    """A table with tables."""

    inners: tuple[Inner, ...] = ()
    """Several tables."""
    named: dict[str, Inner] = {}
    """Tables by name."""


class Outer(Table):
    """A table with a table with tables."""

    middle: Middle = Middle()
    """One table."""


def test_tables_in_tables_have_sections_with_their_paths() -> None:
    page = configuration.table_page("plugins.cache", Outer)
    assert re.findall("^## (.+)$", page, re.MULTILINE) == [
        "`[plugins.cache.middle]`",
        "`[[plugins.cache.middle.inners]]`",
        "`[plugins.cache.middle.named.NAME]`",
    ]


@pytest.mark.parametrize(
    ("key", "kind", "default"),
    [
        ("text", "text", '`"a \\"b\\""`'),
        ("number", "integer, at least 1, at most 1,000,000", "`1`"),
        ("share", "number, above 0, below 1", "`0.5`"),
        ("on", "`true` or `false`", "`true`"),
        ("wait", 'duration, such as `"30s"`', '`"30s"`'),
        ("blocking", 'duration, such as `"30s"`, at least 1 s, at most 600 s', '`"55s"`'),
        ("size", 'size in bytes, such as `"64KiB"`', '`"1MiB"`'),
        ("secret", "secret text", "none"),
        ("url", 'URL, such as `"redis://127.0.0.1:6379"`', "required"),
        ("paths", "list of path pattern", '`["/api/**"]`'),
        ("words", "table; keys: text; values: integer", '`{"a" = 1}`'),
        ("inner", "table, below", "defaults of its keys"),
        ("inners", "list of table, below", "`[]`"),
    ],
)
def test_types_and_defaults_are_those_of_the_file(key: str, kind: str, default: str) -> None:
    field = Sample.model_fields[key]
    assert (type_of(field), default_of(field)) == (kind, default)


def test_a_pattern_is_described_by_its_expectation() -> None:
    class Patterned(Table):
        """One key."""

        name: str = Field(default="a")

    field = Patterned.model_fields["name"]
    field.metadata.append(TextPattern("^[a-z]+$", "lower-case letters"))
    assert type_of(field) == "text: lower-case letters"


def test_a_type_without_words_is_refused() -> None:
    class Odd(Table):
        """One key."""

        key: bytes = b""

    with pytest.raises(LookupError, match="add them to WORDS"):
        type_of(Odd.model_fields["key"])
