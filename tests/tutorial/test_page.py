from __future__ import annotations

from pathlib import Path

import pytest

from tests.tutorial.page import Command, blocks, commands, shows

PAGE = """\
# Title

Text.

**app.py**
```python
a = 1

b = 2
```

**scalekit.toml** (add at the end)

```toml
[app]
```

Text before a fragment:

```python
c = 3
```

<!-- not run: needs Docker -->
```console
$ docker compose up
```

**Terminal 2**
```console
$ echo one \\
two
one two
$ true
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_blocks_have_files_languages_and_places(page: Path) -> None:
    app, toml, fragment, docker, terminal = blocks(page)
    assert (app.file, app.is_appended, app.text, app.line) == ("app.py", False, "a = 1\n\nb = 2\n", 7)
    assert (toml.file, toml.is_appended) == ("scalekit.toml", True)
    assert (fragment.file, fragment.language, fragment.is_run) == ("", "python", True)
    assert not docker.is_run
    assert (docker.terminal, terminal.terminal, terminal.is_run) == (1, 2, True)


def test_a_console_block_has_commands_with_their_outputs(page: Path) -> None:
    *_, block = blocks(page)
    joined, silent = commands(block)
    assert joined == Command(f"{page}:{block.line}", "echo one \\\ntwo", ["one two"])
    assert (silent.text, silent.output) == ("true", [])


def test_output_without_a_command_is_a_mistake_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\nhello\n```\n")
    (block,) = blocks(page)
    with pytest.raises(ValueError, match=r"page.md:2: the block begins with output"):
        commands(block)


def test_a_block_without_end_is_a_mistake_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ true\n")
    with pytest.raises(ValueError, match="the last code block has no end"):
        list(blocks(page))


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (["a"], "a", True),
        (["a"], "a\r\n\n", True),
        (["a"], "b", False),
        (["a"], "a\nb", False),
        (["a", "..."], "a\nb\nc", True),
        (["a", "..."], "a", True),
        (["a", "...", "c"], "a\nb\nc", True),
        (["a", "...", "c"], "a\nb\nd", False),
        (["took ... ms"], "took 7.25 ms", True),
        (["took ... ms"], "took 7\n8 ms", False),
        (["a.b"], "axb", False),
        (["", "a"], "\na", False),
    ],
)
def test_dots_stand_for_any_text(expected: list[str], printed: str, same: bool) -> None:
    assert shows(expected, printed) is same


def test_a_server_may_print_other_lines_too() -> None:
    assert shows(["... ready"], "12:00 ready\n12:01 request", within=True)
    assert shows(["... ready"], "12:00 the database is slow\n12:01 ready", within=True)
    assert not shows(["ready"], "12:00 ready", within=True)
    assert not shows(["... ready", "... steady"], "12:00 ready\n12:01 slow\n12:02 steady", within=True)
