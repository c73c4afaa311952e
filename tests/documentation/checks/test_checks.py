"""The checks of documents find mistakes in links, words and code, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documentation.checks import links
from tests.documentation.checks.code_blocks import Block, blocks_in, commands_in, invalid_code, mistakes
from tests.documentation.checks.commands import mistake_in
from tests.documentation.checks.dictionary import unknown_words, words_in
from tests.documentation.checks.links import anchors, broken_links, slug_of
from tests.documentation.checks.problem import Problem
from tests.documentation.checks.tables import nameless_columns
from tests.documents import ROOT


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "other.md").write_text("# Other\n\n## Same\n\n## Same\n\n```sh\n# no section\n```\n")
    return tmp_path / "page.md"


@pytest.mark.parametrize(
    ("heading", "slug"),
    [
        ("Log levels", "log-levels"),
        ("`[server.tls]`", "servertls"),
        ("Redis: one server, Sentinel", "redis-one-server-sentinel"),
        ("What `max_lag` does", "what-max_lag-does"),
        ("[A link](b.md) & more", "a-link--more"),
        ("Größe", "größe"),
    ],
)
def test_anchors_are_those_of_github(heading: str, slug: str) -> None:
    assert slug_of(heading) == slug


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a](missing.md)", "the link leads to 'missing.md', which does not exist"),
        ("[a](other.md#gone)", "the link leads to #gone, which is no section of other.md"),
        ("[a](other.md#no-section)", "the link leads to #no-section, which is no section of other.md"),
        ("[a](#gone)", "the link leads to #gone, which is no section of page.md"),
        ("![a](gone.png)", "the link leads to 'gone.png', which does not exist"),
    ],
)
def test_a_broken_link_is_found_with_its_line(document: Path, text: str, message: str) -> None:
    document.write_text(f"# Page\n\nText\n{text}\n")
    assert list(broken_links(document)) == [Problem(document, 4, message)]


def test_links_that_lead_somewhere_are_no_problems(document: Path) -> None:
    document.write_text(
        "# Page\n[a](other.md) [b](other.md#same-1) [c](#page)\n"
        "[d](https://shop.example/x#y) [e](mailto:a@b)\n`[f](g.md)`\n"
    )
    assert list(broken_links(document)) == []
    assert links.anchors(document.with_name("other.md")) == {"other", "same", "same-1"}


def test_every_anchor_of_the_handbook_that_plugins_use_exists() -> None:
    assert {"hooks", "pages-of-the-console"} <= anchors(ROOT / "plugins" / "README.md")


def test_words_outside_of_code_links_and_names_are_checked() -> None:
    text = (
        "# A Title\n\nThe user's `cod` in http://exmple.org, FastAPI, GCRA's and max_lag\n\n| cell |\n|---|\n| word |\n"
    )
    assert list(words_in(text)) == [
        *((1, word) for word in ("a", "title")),
        *((3, word) for word in ("the", "user", "in", "and")),
        (5, "cell"),
        (7, "word"),
    ]


def test_an_unknown_word_is_reported_once_with_the_remedy(document: Path) -> None:
    document.write_text("# Page\n\nThe adress of a middleware.\n\nAn adress.\n")
    message = "unknown word 'adress'; correct it, or add it to docs/words.txt"
    assert list(unknown_words(document)) == [Problem(document, 3, message)]


@pytest.mark.parametrize(
    ("language", "text", "message"),
    [
        ("python", "async def f():\n    return await g(\n", "the example is no Python: '(' was never closed"),
        ("toml", "[app\n", "the example is no TOML: "),
        ("toml", "[server]\nprt = 1\n", "server.prt: unknown key; did you mean"),
        ("toml", '[plugins.cache]\ncookies = "never"\n', "plugins.cache.cookies: "),
        ("toml", "[plugins.cach]\n", "plugins.cach: no such plugin is installed; did you mean"),
        ("console", "$ scalekit chek\n", "`scalekit` has no command 'chek'"),
        ("", "scalekit run --reloaded\n", "`scalekit run`: No such option '--reloaded'."),
        ("", "scalekit queue peek orders --limits 5\n", "`scalekit queue peek`: No such option '--limits'."),
        ("sh", "A=1 scalekit \\\n    rum\n", "`scalekit` has no command 'rum'"),
        ("sh", "make tests\n", "the Makefile has no target 'tests'"),
        ("sh", "cd shop && make nothing\n", "the Makefile has no target 'nothing'"),
        ("", ".venv/bin/python -m tests.nothing\n", "there is no module tests.nothing"),
    ],
)
def test_a_mistake_in_code_is_found(language: str, text: str, message: str) -> None:
    ((_, found),) = mistakes(Block(language, 1, text))
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "async with a() as b:\n    await b\n"),
        ("toml", '[project]\nname = "shop"\n'),
        ("toml", '[server.tls]\ncert_file = "/etc/shop/fullchain.pem"\n'),
        ("toml", 'extends = "scalekit.toml"\n[plugins.queue]\nconsumers = "of_the_reader:consumers"\n'),
        ("console", "$ scalekit check\nscalekit.toml:1: no command\n"),
        ("", "scalekit -c shop.toml run shop.toml --reload > log.txt 2>&1\n"),
        ("", "PORT=1 CACHE_URL=redis://a scalekit run --set server.workers=4 # comment --with options\n"),
        ("", "scalekit queue schedules trigger nightly | cat\n"),
        ("", "scalekit log-level debug --for 10m\n"),
        ("", "make bench PLUGIN=cache; make test\n"),
        ("json", "scalekit nothing\n"),
        ("", "it's text that no shell reads\n"),
    ],
)
def test_valid_code_is_no_problem(language: str, text: str) -> None:
    assert list(mistakes(Block(language, 1, text))) == []


def test_blocks_are_found_with_their_lines() -> None:
    text = "# Page\n\n```toml\na = 1\n```\n\n1. Step\n\n   ```sh\n   make docs\n   ```\n\n    indented\n"
    assert [(block.language, block.line, block.text) for block in blocks_in(text)] == [
        ("toml", 4, "a = 1\n"),
        ("sh", 10, "make docs\n"),
    ]
    assert [(block.language, block.line) for block in blocks_in("Text:\n\n    make docs\n")] == [("", 3)]


def test_a_continued_command_is_one_with_the_line_of_its_begin() -> None:
    block = Block("console", 1, "$ make docs\nbuilt\n$ scalekit \\\n  run\n")
    assert list(commands_in(block)) == [(0, "make docs"), (2, "scalekit   run")]


def test_placeholders_stand_for_commands() -> None:
    assert mistake_in("scalekit PLUGIN COMMAND") == ""
    assert mistake_in("scalekit queue sell") == "`scalekit queue` has no command 'sell'"


def test_commands_in_sentences_and_tables_are_checked(document: Path) -> None:
    document.write_text(
        "# Page\n\nRun `scalekit chek`, then `scalekit run --only` and\n`make docs`.\n\n"
        "| command |\n|---|\n| `make nothing` |\n\n`scalekit pool alembic revision --autogenerate`\n"
    )
    assert list(invalid_code(document)) == [
        Problem(document, 3, "`scalekit` has no command 'chek'"),
        Problem(document, 8, "the Makefile has no target 'nothing'"),
    ]


def test_a_column_without_a_name_is_found(document: Path) -> None:
    document.write_text("# Page\n\n| a | b |\n|---|---|\n| | c |\n\nText\n\n| | b |\n|---|---|\n| d | e |\n")
    assert list(nameless_columns(document)) == [Problem(document, 9, "a column of the table has no name")]
